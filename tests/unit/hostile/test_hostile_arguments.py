"""Header injection: whatever an application passes on from a stranger, no header and no frame of the stranger's own
reaches the wire. The bytes are read here by a few lines of their own, not by the library."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from hostile_servers import Peer, Server, nothing_left

from stomplistener import Connection, InvalidHeader, StompError

EVIL = {
    "line feed": "a\nevil:1",
    "empty line": "a\n\nevil",
    "carriage return": "a\revil:1",
    "CR LF": "a\r\nevil:1",
    "NUL": "a\0evil",
    "a frame": "a\n\n\0SEND\ndestination:/queue/evil\n\nevil\0",
    "colon": "a:evil",
    "backslash": "a\\nevil:1\\",
    "line separator": "a\u2028evil:1\x85evil:2",
    "half a surrogate": "a\ud800evil",
}
ESCAPES = {
    "1.0": {},
    "1.1": {"\\\\": "\\", "\\n": "\n", "\\c": ":"},
    "1.2": {"\\\\": "\\", "\\n": "\n", "\\c": ":", "\\r": "\r"},
}


class Heard(NamedTuple):
    """One frame as a strict reader finds it."""

    command: str
    headers: list[tuple[str, str]]
    body: bytes


def read_strictly(frame: bytes, version: str) -> Heard:
    """Read the bytes of one frame, up to its NUL, as the specification has it; refuse what it does not allow."""
    head, empty, body = frame.partition(b"\n\n")
    assert empty, "a head has an end"
    assert b"\r" not in head or version != "1.2", "a bare CR may be half an end of line"
    command, *lines = head.decode().split("\n")
    escapes = {} if command == "CONNECT" else ESCAPES[version]
    pairs = []
    for line in lines:
        key, colon, value = line.partition(":")
        assert colon, "a header line has a colon"
        assert key
        pairs.append((unescaped(key, escapes), unescaped(value, escapes)))
    return Heard(command, pairs, body)


def unescaped(text: str, escapes: dict[str, str]) -> str:
    if not escapes:
        return text
    plain, rest = "", text
    while rest:
        if rest[0] == "\\":
            plain += escapes[rest[:2]]
            rest = rest[2:]
        else:
            plain += rest[0]
            rest = rest[1:]
    return plain


class Ear:
    """A broker that keeps what it hears."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.frames: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def script(self, peer: Peer) -> None:
        self.frames.put(peer.welcome(b"CONNECTED\nversion:%b\n\n\0" % self.version.encode()))
        while True:
            frame = peer.frame()
            self.frames.put(frame)
            for line in frame.split(b"\n"):
                if line.startswith(b"receipt:"):
                    peer.say(b"RECEIPT\nreceipt-id:%b\n\n\0" % line.removeprefix(b"receipt:"))


Deed = Callable[[Connection, str], object]


def begin(connection: Connection, text: str) -> None:
    connection.transaction(headers={"name": text}).begin()


def unsubscribe(connection: Connection, text: str) -> None:
    subscription = connection.subscribe("/queue/a", confirm=True)
    subscription.unsubscribe(headers={"name": text})


DEEDS: dict[str, Deed] = {
    "send to": lambda connection, text: connection.send(text),
    "send a value": lambda connection, text: connection.send("/queue/a", headers={"name": text}),
    "send a name": lambda connection, text: connection.send("/queue/a", headers={text: "value"}),
    "send a type": lambda connection, text: connection.send("/queue/a", content_type=text),
    "send with a receipt": lambda connection, text: connection.send("/queue/a", headers={"receipt": text}),
    "send a length": lambda connection, text: connection.send("/queue/a", headers={"content-length": text}),
    "send in a transaction": lambda connection, text: connection.send("/queue/a", transaction=text),
    "send later": lambda connection, text: connection.send_async(text),
    "subscribe to": lambda connection, text: connection.subscribe(text),
    "subscribe as": lambda connection, text: connection.subscribe("/queue/a", id=text),
    "subscribe with a mode": lambda connection, text: connection.subscribe("/queue/a", ack=text),  # type: ignore[arg-type]
    "subscribe with a selector": lambda connection, text: connection.subscribe("/queue/a", selector=text),
    "subscribe with a value": lambda connection, text: connection.subscribe("/queue/a", headers={"name": text}),
    "subscribe with a name": lambda connection, text: connection.subscribe("/queue/a", headers={text: "value"}),
    "durable": lambda connection, text: connection.subscribe("/queue/a", durable=text),
    "consume from": lambda connection, text: connection.consume(text, ack="auto"),
    "unsubscribe with a value": unsubscribe,
    "begin with a value": begin,
}


@pytest.fixture(autouse=True)
def _leaves_nothing() -> Iterator[None]:
    with nothing_left():
        yield


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_strangers_text_stays_one_value(version: str) -> None:
    ear = Ear(version)
    said = 0
    with Server(ear.script) as server, Connection(server.uri, versions=(version,), heartbeat=(0, 0)) as connection:
        for deed in DEEDS.values():
            for text in EVIL.values():
                try:
                    deed(connection, text)
                    said += 1
                except (ValueError, StompError):
                    assert connection.is_connected, "refused, and the connection is as good as before"
        connection.send("/queue/end", confirm=True, timeout=5)
        frames = heard(ear)
    assert not any("evil" in key and key not in EVIL.values() for frame in frames for key, _ in frame.headers)
    assert all(b"evil" not in frame.body for frame in frames)
    # CONNECT, the last SEND, and no more than what was said: two frames where it was subscribed and unsubscribed.
    assert said < len(frames) <= 2 + said + len(EVIL)


def heard(ear: Ear) -> list[Heard]:
    frames: list[Heard] = []
    while not frames or ("destination", "/queue/end") not in frames[-1].headers:
        frames.append(read_strictly(ear.frames.get(timeout=5), ear.version))
    return frames


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_what_has_an_escape_arrives_as_it_was(version: str) -> None:
    ear = Ear(version)
    texts = [text for text in EVIL.values() if not set(text) & set("\0\r\ud800")]
    texts += ["a\r\nevil:1"] if version == "1.2" else []
    with Server(ear.script) as server, Connection(server.uri, versions=(version,), heartbeat=(0, 0)) as connection:
        for text in texts:
            connection.send("/queue/a", headers={"name": text, text: "value"})
        connection.send("/queue/end", confirm=True, timeout=5)
        sent = [frame for frame in heard(ear) if frame.command == "SEND"][:-1]
    assert [dict(frame.headers)["name"] for frame in sent] == texts
    assert all(dict(frame.headers)[text] == "value" for frame, text in zip(sent, texts, strict=True))


BREAKS = [EVIL[name] for name in ("line feed", "carriage return", "CR LF", "NUL", "a frame")]


def test_1_0_refuses_what_it_has_no_escape_for() -> None:
    ear = Ear("1.0")
    with Server(ear.script) as server, Connection(server.uri, versions=("1.0",), heartbeat=(0, 0)) as connection:
        for text in BREAKS:
            with pytest.raises(InvalidHeader):
                connection.send(text)
            with pytest.raises(InvalidHeader):
                connection.send("/queue/a", headers={"name": text})
        with pytest.raises(InvalidHeader):
            connection.send("/queue/a", headers={"a:b": "name with a colon"})


@pytest.mark.parametrize("argument", ["login", "passcode", "host"])
def test_connect_cannot_be_injected_into(argument: str) -> None:
    ear = Ear("1.2")
    with Server(ear.script) as server:
        for text in BREAKS:
            with pytest.raises(StompError) as caught:
                Connection(server.uri, **{argument: text}).connect(timeout=5)  # type: ignore[arg-type]
            assert argument != "passcode" or "evil" not in str(caught.value)
        assert ear.frames.empty()


def test_neither_can_its_headers() -> None:
    ear = Ear("1.2")
    with Server(ear.script) as server:
        for headers in ({"name": "a\nevil:1"}, {"a:evil": "1"}, {"a\nevil": "1"}, {"": "1"}):
            with pytest.raises(StompError):
                Connection(server.uri, headers=headers).connect(timeout=5)
        assert ear.frames.empty()
