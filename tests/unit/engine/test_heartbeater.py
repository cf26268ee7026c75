"""When a beat is sent, and when the connection is broken."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from stomplistener import ProtocolError
from stomplistener._engine import heartbeater as module
from stomplistener._engine.heartbeater import Heartbeater
from stomplistener._util.timer import Entry
from stomplistener.protocol import HeartBeat


class Timer:
    """Keeps entries and calls none."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)

    def cancel(self, entry: Entry) -> None:
        self.entries.remove(entry)


class Watched:
    """A connection whose clock stands at 1000 s at first."""

    def __init__(self) -> None:
        self.now = self.last_write = self.last_received = 1000.0
        self.unread = False
        self.slow: ProtocolError | None = None
        self.events: list[object] = []

    def beat(self) -> None:
        self.last_write = self.now
        self.events.append("beat")

    def has_unread(self) -> bool:
        return self.unread

    def heartbeat_missed(self, silence: float, epoch: int) -> None:
        self.events.append(silence)

    def overdue(self, now: float) -> tuple[float, ProtocolError | None]:
        return now + 100.0, self.slow

    def broken(self, reason: BaseException, epoch: int) -> None:
        self.events.append(reason)


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch) -> Timer:
    timer = Timer()
    monkeypatch.setattr(module, "timer", lambda: timer)
    return timer


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    watched = Watched()
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: watched.now)
        yield watched


def look(timer: Timer, watched: Watched, after: float) -> float | None:
    watched.now += after
    return timer.entries[0].function()


def test_a_beat_when_nothing_was_sent(timer: Timer, watched: Watched) -> None:
    Heartbeater(watched, HeartBeat(10.0, 0.0))
    first = timer.entries[0].at
    assert 1000.0 < first <= 1010.0
    again = look(timer, watched, first - 1000.0)
    assert watched.events == ["beat"]
    assert again is not None
    assert watched.now < again <= watched.now + 10.0


def test_no_beat_when_something_was_sent(timer: Timer, watched: Watched) -> None:
    Heartbeater(watched, HeartBeat(10.0, 0.0))
    watched.last_write = 1009.0
    look(timer, watched, 9.5)
    assert watched.events == []


def test_silence_breaks_the_connection(timer: Timer, watched: Watched) -> None:
    Heartbeater(watched, HeartBeat(0.0, 10.0), tolerance=2.0)
    assert look(timer, watched, 15.0) is not None
    assert watched.events == []
    assert look(timer, watched, 10.0) is None
    assert watched.events == [25.0]


def test_unread_bytes_are_a_sign_of_life(timer: Timer, watched: Watched) -> None:
    Heartbeater(watched, HeartBeat(0.0, 10.0), tolerance=2.0)
    watched.unread = True
    assert look(timer, watched, 25.0) is not None
    assert watched.events == []
    assert watched.last_received == watched.now


def test_a_frame_that_takes_too_long(timer: Timer, watched: Watched) -> None:
    Heartbeater(watched, HeartBeat(10.0, 10.0))
    watched.slow = ProtocolError("slow")
    assert look(timer, watched, 0.5) is None
    assert watched.events == [watched.slow]


def test_one_that_was_stopped_does_nothing(timer: Timer, watched: Watched) -> None:
    heartbeater = Heartbeater(watched, HeartBeat(10.0, 10.0))
    entry = timer.entries[0]
    heartbeater.stop()
    heartbeater.stop()
    watched.now += 1000.0
    assert entry.function() is None
    assert (watched.events, timer.entries) == ([], [])
