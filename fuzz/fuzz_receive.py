"""The whole receive path on what a broker may send: decoder, session, core, dispatch, acknowledging; without threads.

An input is one byte of choices, one for the size of pieces, one for what the application does, and the stream. The
byte FF in the stream, which no UTF-8 text has, ends a connection, and the next one begins.

What must hold: nothing but a ``StompError`` comes out of it; what is written is STOMP; nothing is left in the hand-off
when the listeners have worked it off, and never more than the input can hold; timers get times that exist.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from typing import Any

import engine

with engine.instrumented("protocol", "core", "delivery", "message", "threads"):
    from stomplistener import Connection, Frame, Limits, Listener, Message, connection, delivery
    from stomplistener._util.deadline import Deadline
    from stomplistener.core import Core
    from stomplistener.errors import StompError
    from stomplistener.failover import parse
    from stomplistener.options import ConnectOptions
    from stomplistener.protocol import Decoder, SessionState
    from stomplistener.states import ConnectionState
    from stomplistener.threads import heartbeater

LIMITS = Limits(max_header_line=60, max_headers=8, max_header_bytes=150, max_body=60)
CONNECTED = b"CONNECTED\nversion:%b\nheart-beat:0,0\nserver:ActiveMQ/6.1\n\n\0"
VERSIONS = (b"1.0", b"1.1", b"1.2")

logging.getLogger("stomplistener").addHandler(logging.NullHandler())
logging.getLogger("stomplistener").propagate = False


class Wire:
    """A transport that takes everything and gives nothing."""

    frame_per_send = False

    def __init__(self) -> None:
        self.written = bytearray()

    def receive(self) -> bytes:
        return b""

    def send(self, data: bytes | memoryview) -> int:
        self.written += data
        return len(data)

    def send_nowait(self, data: bytes) -> bool:
        return bool(self.send(data))

    def unread(self) -> bool:
        return False

    def settimeout(self, seconds: float | None) -> None: ...

    def shutdown(self) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


class Clock:
    """In the timer's place: holds that it could have waited for what it is given."""

    def call_at(self, at: float, _function: Callable[[], float | None]) -> None:
        assert at == float("inf") or at - time.monotonic() < threading.TIMEOUT_MAX, f"no thread can wait until {at}"

    def cancel(self, entry: None) -> None: ...


class Everything(Listener):
    """Hears all and keeps it: what a listener itself raised would be caught and logged as the application's."""

    def __init__(self) -> None:
        self.heard: list[Frame | Message] = []

    def on_connected(self, frame: Frame) -> None:
        self.heard.append(frame)

    def on_error(self, frame: Frame) -> None:
        self.heard.append(frame)

    def on_receipt(self, frame: Frame) -> None:
        self.heard.append(frame)

    def on_message(self, message: Message) -> None:
        self.heard.append(message)
        if message.destination.endswith("!"):
            raise RuntimeError("as listeners do")

    def examine(self) -> None:
        for one in self.heard:
            frame = one if isinstance(one, Frame) else one.frame
            assert frame.info.isprintable(), "a stranger writes log lines"
            if isinstance(one, Message):
                assert repr(one).isprintable()
                with suppress(ValueError, LookupError):
                    assert one.text or not one.body
        self.heard.clear()


class Client:
    """A connection in this one thread: what receiver, dispatcher and application do, one after the other."""

    def __init__(self, choices: int, deeds: int) -> None:
        self.deeds = deeds
        self.listener = Everything()
        connection = Connection(
            "failover:(tcp://a:1,tcp://b:2)", "guest", "secret", limits=LIMITS, name="fuzz", heartbeat=(10.0, 10.0)
        )
        connection.add_listener(self.listener)
        core: Core = connection._core
        # Without workers a lane has no thread: its items wait until they are taken.
        core.lanes = [core.lane]
        core.lane._workers = 0
        # Nor is what was said left to the writer thread.
        vars(core.outbox).update(push=lambda timeout=None: core.outbox.flush(timeout), wake=lambda: None)
        if choices & 8:
            connection.subscribe("/queue/a", id="auto")
        if choices & 16:
            connection.subscribe("/queue/a", id="one", ack="client-individual", settle=True, error_destination="/e")
        if choices & 32:
            connection.subscribe("/queue/b", id="many", ack="client", headers={"receipt": "2"})
        self.connection, self.core = connection, core
        self.answers: list[Future[Any]] = []
        core.state = ConnectionState.CONNECTING

    def live(self, pieces: list[bytes]) -> None:
        """One connection from its beginning to its end, as ``Reconnector`` and ``Receiver`` lead it."""
        wire, core = Wire(), self.core
        failure: StompError | None = None
        broker = core.config.uri.brokers[0]
        options = ConnectOptions(broker="b", attempt=1, login="guest", passcode="secret", host="h", headers={})
        try:
            core.begin_epoch(broker, wire, options)
            for piece in pieces:
                core.received(piece)
                self.open()
                self.work_off()
        except StompError as error:
            failure = error
        assert len(str(failure)) < 1000, "what was seen is to be shown shortened"
        unanswered = core.end_epoch(wire)
        if core.state is ConnectionState.CONNECTED:
            core.lost(StompError("cut"), unanswered)
        else:
            core.fail(unanswered)
        self.work_off()
        assert not core.bound.messages, "the hand-off counts messages that are not there"
        assert not core.bound.bytes
        self.check_written(wire)

    def open(self) -> None:
        """Say what is to be said as soon as it may be."""
        core = self.core
        if core.session.state is not SessionState.REPLAYING:
            return
        core.replay()
        if not core.session.is_replayed:
            return
        core.restored()
        if self.deeds & 1:
            self.connection.send("/queue/a", "text", {"a:b": "c\nd"} if core.session.version != "1.0" else None)
        if self.deeds & 2:
            self.answers.append(self.connection.send_async("/queue/a", b"confirmed"))
        if self.deeds & 4 and "late" not in self.connection.session.subscriptions:
            self.connection.subscribe("/queue/a", id="late", ack="client-individual" if self.deeds & 16 else "auto")
        if self.deeds & 8:
            transaction = self.connection.transaction()
            transaction.begin()
            transaction.send("/queue/a", "in it")

    def work_off(self) -> None:
        core = self.core
        assert core.bound.messages <= engine.LONGEST // 10
        now = Deadline(0.0)
        for lane in core.lanes:
            while (item := lane.take(now)) is not None:
                core.delivery.run([item])
        self.listener.examine()

    def check_written(self, wire: Wire) -> None:
        written = bytes(wire.written)
        frames = Decoder(self.core.session.version if b"\n\n\0" in written[1:] else None).feed(written)
        assert not frames or frames[0].command == "CONNECT"


def check(data: bytes) -> None:
    if len(data) < 4:
        return
    choices, step, deeds, stream = data[0], data[1] * 2 + 1, data[2], data[3:]
    logging.getLogger("stomplistener").setLevel(logging.DEBUG if deeds & 128 else logging.CRITICAL)
    client = Client(choices, deeds)
    # Some begin as a broker does, so that not every input has to find that out.
    hello = CONNECTED % VERSIONS[choices % 3] if not choices & 64 else b""
    for part in stream.split(b"\xff")[:3]:
        if client.core.state is ConnectionState.CLOSED:
            break
        part = hello + part
        client.live([part[start : start + step] for start in range(0, len(part), step)])
    client.core.delivery.cancel_retries()
    client.core.give_up(StompError("the end"))
    client.core.abandon_unconfirmed()
    for answer in client.answers:
        assert answer.done(), "somebody would wait for ever"


for module in (heartbeater, delivery):
    vars(module)["timer"] = Clock
# The URI is always the same, and reading it would be a third of the time.
vars(connection)["parse"] = cache(parse)

if __name__ == "__main__":
    engine.fuzz(check)
