"""The example of public feeds: its parts, and the whole program with its page."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import sqlite3
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from client_support import eventually
from docs_support import ROOT, Program, running
from docs_support import load as load_module

import formats
import recording
from accounts import Feed, load
from board import WAITING, Board
from recorder import Entry, Gap, Recorder, position_of
from stomplistener.testing import Broker

EXAMPLE = ROOT / "examples" / "feeds"
MODULUS = 1000
NUMBERED = Feed("numbered", "/topic/a", "elexon", quiet=10.0, sequence="number", modulus=MODULUS)
PLAIN = Feed("plain", "/topic/b", "elexon", quiet=10.0)


def entry(number: int | None = None, *, sent: float = 1.0, id: str | None = None) -> Entry:
    return Entry(id or f"ID:{number}:{sent}", 99.0, sent, number, "kind", "summary", b"body")


def numbered(*numbers: int) -> list[Entry]:
    return [entry(number) for number in numbers]


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    with Recorder(tmp_path / "feeds.db") as recorder:
        yield recorder


def missing(recorder: Recorder) -> list[tuple[int, int]]:
    """The missing positions as ranges, in order."""
    return sorted((gap["first"], gap["last"]) for gap in recorder.gaps(99) if gap["kind"] == "missing")


# The recorder.


@pytest.mark.parametrize(
    ("number", "last", "position"),
    [
        (7, None, 7),
        (8, 7, 8),
        (0, 999, 1000),
        (998, 1001, 998),
        (5, 12_004, 12_005),
        (499, 1000, 1499),
        (501, 1000, 501),
    ],
)
def test_a_position_only_rises(number: int, last: int | None, position: int) -> None:
    assert position_of(number, last, MODULUS) == position


def test_numbers_that_did_not_come_are_a_gap(recorder: Recorder) -> None:
    recorded = recorder.record(NUMBERED, numbered(998, 999, 0, 4))
    assert recorded.gaps == [Gap("numbered", "missing", 99.0, 1001, 1003)]
    assert missing(recorder) == [(1001, 1003)]


def test_numbers_that_come_late_leave_their_gap(recorder: Recorder) -> None:
    recorder.record(NUMBERED, numbered(1, 7))
    assert recorder.record(NUMBERED, numbered(4)).filled == 1
    assert missing(recorder) == [(2, 3), (5, 6)]
    assert recorder.record(NUMBERED, numbered(2, 3, 6, 5, 8)).filled == 4
    assert missing(recorder) == []


def test_numbers_that_begin_again_are_told_of_once(recorder: Recorder) -> None:
    recorded = recorder.record(NUMBERED, numbered(300, 301, 5, 6))
    assert recorded.gaps == [Gap("numbered", "renumbered", 99.0, 301, 5)]


def test_a_message_that_comes_again_is_recorded_once(recorder: Recorder) -> None:
    recorder.record(NUMBERED, numbered(1, 2, 3))
    recorded = recorder.record(NUMBERED, numbered(2, 3, 4))
    assert [each.number for each in recorded.entries] == [4]
    assert recorded.gaps == []
    assert recorder.totals() == [{"feed": "numbered", "total": 4, "received": 99.0}]


def test_a_silence_is_measured_by_the_time_of_sending(recorder: Recorder) -> None:
    recorded = recorder.record(PLAIN, [entry(sent=1.0), entry(sent=11.0), entry(sent=21.5), entry(sent=20.0)])
    assert recorded.gaps == [Gap("plain", "silence", 99.0, 11.0, 21.5)]


def test_a_gap_over_a_restart_of_the_program_shows_though_old_rows_are_deleted(tmp_path: Path) -> None:
    path = tmp_path / "feeds.db"
    with Recorder(path) as recorder:
        recorder.record(NUMBERED, numbered(1))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM messages")
    with Recorder(path) as recorder:
        assert recorder.record(NUMBERED, numbered(3)).gaps == [Gap("numbered", "missing", 99.0, 2, 2)]
        assert recorder.totals()[0]["total"] == 2


def test_a_batch_that_cannot_be_written_leaves_nothing(recorder: Recorder) -> None:
    broken = Entry("ID:9", 99.0, 1.0, 9, "kind", None, b"")  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        recorder.record(NUMBERED, [*numbered(1, 5), broken])
    assert (recorder.totals(), recorder.latest(9), recorder.gaps(9)) == ([], [], [])


# Formats and accounts.


def test_gzip_is_read_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert formats.unpack(gzip.compress(b"x" * 5000)) == b"x" * 5000
    monkeypatch.setattr(formats, "MOST_UNPACKED", 4999)
    for body, trouble in (
        (gzip.compress(b"x" * 5000), "larger than 4999 bytes"),
        (gzip.compress(b"x" * 50)[:-4], "cut off"),
        (b"<xml/>", "not gzip"),
    ):
        with pytest.raises(ValueError, match=trouble):
            formats.unpack(body)


@pytest.mark.parametrize("format", formats.FORMATS)
@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", b"<a", b"\xff\x00", gzip.compress(b"<a", mtime=0)])
def test_what_cannot_be_read_is_kept_as_it_came(format: str, body: bytes) -> None:
    content, error = formats.read(format, {}, body)
    assert (content.kind, content.body) == ("unreadable", body)
    assert error is not None


def test_the_accounts_that_are_shipped_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="NETWORK_RAIL_LOGIN"):
        load(EXAMPLE / "accounts.toml")
    for provider in ("NETWORK_RAIL_LOGIN", "NETWORK_RAIL_PASSCODE", "DARWIN_LOGIN", "DARWIN_PASSCODE", "ELEXON_KEY"):
        monkeypatch.setenv(provider, provider.lower())
    rail, darwin, _ = load(EXAMPLE / "accounts.toml")
    assert rail.uri.startswith("failover:(tcp://publicdatafeeds.networkrail.co.uk:61618)?")
    assert "reconnectDelayJitter=" in rail.uri
    assert (darwin.login, darwin.passcode) == ("darwin_login", "darwin_passcode")


def test_accounts_of_one_client_id_are_refused(tmp_path: Path) -> None:
    account = '[[accounts]]\nname = "a"\nclient_id = "same"\nbrokers = ["tcp://mq1:61613"]\nfeeds = []\n'
    (tmp_path / "accounts.toml").write_text(account * 2)
    with pytest.raises(ValueError, match="twice"):
        load(tmp_path / "accounts.toml")


def test_the_recording_is_always_the_same_and_has_its_troubles(tmp_path: Path) -> None:
    for name in ("one", "two"):
        recording.make(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    darwin = [each for each in recording.load(tmp_path / "one") if "PushPortSequence" in each.headers]
    numbers = [int(each.headers["PushPortSequence"]) for each in darwin]
    assert numbers[0] == recording.FIRST
    assert 0 in numbers
    assert not set(numbers) & {number % recording.MODULUS for number in recording.LOST}
    assert numbers != sorted(numbers, key=lambda number: (number - recording.FIRST) % recording.MODULUS)


# The board.


def test_a_page_that_is_too_slow_is_closed_and_the_others_go_on() -> None:
    async def look() -> None:
        board = Board()
        with board.viewer() as slow, board.viewer() as quick:
            quick_events = quick.events(idle=5)
            for number in range(WAITING + 1):
                board.publish("recorded", number)
                assert await anext(quick_events) == ("recorded", number)
            assert len([event async for event in slow.events(idle=5)]) == WAITING
            assert await anext(quick.events(idle=0.01)) is None
            board.close()
            assert [event async for event in quick.events(idle=5)] == []

    asyncio.run(look())


# The program.


def events(url: str) -> Iterator[tuple[str, Any]]:
    """The server-sent events of a page."""
    with urllib.request.urlopen(url, timeout=20) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        kind = ""
        for line in map(bytes.decode, response):
            field, _, value = line.strip().partition(": ")
            if field == "event":
                kind = value
            elif field == "data":
                yield kind, json.loads(value)


def page_of(program: Program) -> str:
    """Where a program says that its page is."""
    program.wait_for(lambda lines: any(line.startswith("page: ") for line in lines), 30, "the page")
    (line,) = (line for line in program.lines if line.startswith("page: "))
    return line.removeprefix("page: ")


def rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.execute(query))


@pytest.mark.timeout(150)
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM on this platform")
def test_the_program_records_finds_gaps_shows_them_and_survives_a_restart_of_the_broker(tmp_path: Path) -> None:
    database = tmp_path / "feeds.db"
    # The longest back-off after an outage of 3 s is 10 s.
    options = ["--port", "0", "--speed", "10", "--up", "10", "--database", str(database)]
    with running(["-X", "dev", str(EXAMPLE / "live.py"), *options], tmp_path) as program:
        page = page_of(program)
        with urllib.request.urlopen(page, timeout=20) as response:
            assert "EventSource" in response.read().decode()
        stream = events(f"{page}events")
        kind, snapshot = next(stream)
        assert kind == "snapshot"
        assert [feed["feed"] for feed in snapshot["feeds"]] == ["movements", "darwin", "frequency"]
        seen: dict[str, list[Any]] = {"recorded": [], "gaps": [], "account": []}
        recorded_after_loss = False
        while not (seen["gaps"] and recorded_after_loss):
            kind, data = next(stream)
            seen[kind].append(data)
            states = [account["state"] for account in seen["account"] if account["account"] == "Darwin"]
            back = "lost" in states and "connected" in states[states.index("lost") :]
            recorded_after_loss = back and kind == "recorded" and data["feed"] == "darwin"
        stream.close()  # type: ignore[attr-defined]
        program.process.send_signal(signal.SIGTERM)
        assert program.end(30) == 0, program.lines
        assert not any("Traceback" in line or "Warning" in line for line in program.lines), program.lines
    assert {feed for (feed,) in rows(database, "SELECT DISTINCT feed FROM messages")} == {
        "movements",
        "darwin",
        "frequency",
    }
    # Nothing is lost by the broker's restart: only the numbers that the provider never sent are missing.
    # They may be missing twice: the recording begins again after half a minute.
    gaps = rows(database, "SELECT first, last FROM gaps WHERE kind = 'missing'")
    assert set(gaps) == {(recording.LOST.start, recording.LOST.stop - 1)}
    errors = rows(database, "SELECT error FROM messages WHERE error IS NOT NULL")
    assert set(errors) == {("gzip: cut off",)}
    assert rows(database, "SELECT body FROM messages WHERE feed = 'darwin' LIMIT 1")[0][0].startswith(b"<Pport")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM on this platform")
@pytest.mark.parametrize("was_there", [True, False], ids=["lost", "never there"])
def test_the_program_waits_for_its_brokers_and_ends_while_they_are_away(
    broker: Broker, tmp_path: Path, was_there: bool
) -> None:
    accounts = tmp_path / "accounts.toml"
    brokers = f'brokers = ["{broker.uri}"]\nclient_id'
    accounts.write_text((EXAMPLE / "show.toml").read_text().replace("client_id", brokers))
    if not was_there:
        broker.stop()
    with running([str(EXAMPLE / "live.py"), "--port", "0", "--accounts", str(accounts)], tmp_path) as program:
        page_of(program)
        if was_there:
            broker.wait_for(lambda: len(broker.subscriptions) == 3, 20, "the subscriptions")
            broker.stop()
        program.wait_for(lambda lines: sum("not connected, pass 1 failed" in line for line in lines) == 3, 30)
        program.process.send_signal(signal.SIGTERM)
        assert program.end(10) == 0, program.lines
        assert not any("Traceback" in line for line in program.lines), program.lines
    assert rows(tmp_path / "feeds.db", "SELECT * FROM messages") == []


def test_the_show_does_not_touch_a_database_that_exists(tmp_path: Path) -> None:
    database = tmp_path / "feeds.db"
    database.write_text("mine")
    with running([str(EXAMPLE / "live.py"), "--port", "0", "--database", str(database)], tmp_path) as program:
        assert program.end(30) == 2
    assert database.read_text() == "mine"


@pytest.mark.timeout(120)
def test_a_browser_shows_the_page(chromium: str, tmp_path: Path) -> None:
    """To look at it: FEEDS_PICTURE=FILE keeps the picture."""
    picture = Path(os.environ.get("FEEDS_PICTURE", tmp_path / "feeds.png"))
    with running([str(EXAMPLE / "live.py"), "--port", "0", "--speed", "10"], tmp_path) as program:
        with load_module("browser").tab(chromium, page_of(program), tmp_path / "profile") as shown:
            # Both came by an event: the page was opened before the gap.
            eventually(lambda: "3 numbers, 40 to 42" in shown.text(), "the gap", 40)
            text = shown.text()
            assert "none so far" not in text
            assert text.count("per second") == 3
            assert "live" in text.splitlines()
            picture.write_bytes(shown.picture())
    assert picture.read_bytes().startswith(b"\x89PNG")
