"""The whole receive path on what a broker may send: log-in, decoder, session, dispatch, settlement; without threads.

An input is one byte of choices, one for the size of pieces, one for what the application does, and the stream. The
byte FF in the stream, which no UTF-8 text has, ends a connection, and the next one begins.

What must hold: nothing but a ``StompError`` comes out of it; what is written is STOMP; nothing is left in the queues
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

with engine.instrumented("protocol", "_engine", "message"):
    from stomplistener import Connection, Frame, Limits, Listener, Message, options
    from stomplistener._engine import engine as parts
    from stomplistener._engine import heartbeater, settlement, shutdown
    from stomplistener._engine.life import Life
    from stomplistener._engine.login import _log_in
    from stomplistener._util.deadline import Deadline
    from stomplistener._util.timer import Entry
    from stomplistener.errors import StompError
    from stomplistener.failover import parse
    from stomplistener.options import ConnectOptions
    from stomplistener.protocol import Decoder
    from stomplistener.states import ConnectionState

LIMITS = Limits(max_header_line=60, max_headers=8, max_header_bytes=150, max_body=60)
CONNECTED = b"CONNECTED\nversion:%b\nheart-beat:0,0\nserver:ActiveMQ/6.1\n\n\0"
VERSIONS = (b"1.0", b"1.1", b"1.2")

logging.getLogger("stomplistener").addHandler(logging.NullHandler())
logging.getLogger("stomplistener").propagate = False


class Wire:
    """A transport that takes everything, and gives the pieces of a stream and then its end."""

    frame_per_send = False

    def __init__(self, pieces: list[bytes]) -> None:
        self.written = bytearray()
        self._pieces = pieces[::-1]

    def receive(self) -> bytes:
        return self._pieces.pop() if self._pieces else b""

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

    def add(self, entry: Entry) -> None:
        at = entry.at
        assert at == float("inf") or at - time.monotonic() < threading.TIMEOUT_MAX, f"no thread can wait until {at}"

    def cancel(self, entry: Entry) -> None: ...

    def watch(self, key: object, look: Callable[[], object]) -> None: ...

    def unwatch(self, key: object) -> None: ...

    def poke(self) -> None: ...


class Idle(Life):
    """A life without threads: this module does what they do."""

    def start(self) -> None: ...


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
        self.connection = connection
        self.engine = connection._engine
        self.context = self.engine.context
        # Without workers a queue has no thread: its items wait until they are taken.
        self.engine.main._workers = 0
        # Nor is what was said left to the writer thread.
        vars(self.engine.writer)["wake"] = lambda _lingers=False: self.engine.writer.write_all()
        self.inbound = self.engine._inbound
        vars(self.inbound)["_pause"] = self
        if choices & 8:
            connection.subscribe("/queue/a", id="auto")
        if choices & 16:
            connection.subscribe("/queue/a", id="one", ack="client-individual", settle=True, error_destination="/e")
        if choices & 32:
            connection.subscribe("/queue/b", id="many", ack="client", headers={"receipt": "2"})
        self.answers: list[Future[Any]] = []
        life = self.engine.begin_life()
        assert life is not None
        self.life = life

    # In the place of what lets bytes gather: it would sleep

    def before_read(self) -> None: ...

    def after_read(self, size: int, *, answers: bool) -> None: ...

    def live(self, pieces: list[bytes]) -> None:
        """One connection from its beginning to its end, as ``Reconnector`` and ``Life`` lead it."""
        wire, context = Wire(pieces), self.context
        broker = context.config.uri.brokers[0]
        patience = Deadline(60.0)
        options = ConnectOptions(broker="b", attempt=1, login="guest", passcode="secret", host="h", headers={})
        try:
            found = _log_in(context.config, broker, wire, options, patience, context.log, lambda _frame: None)
            self.engine.cycle.begin(found, lambda: not self.life.is_over, patience)
        except StompError as error:
            ended: Exception = error
        else:
            ended = self.read_to_its_end()
            self.engine.cycle.lost(wire, ended)
        assert len(str(ended)) < 1000, "what was seen is to be shown shortened"
        self.work_off()
        assert not self.engine.flow.messages, "the flow control counts messages that are not there"
        assert not self.engine.flow.bytes
        assert not self.engine.writer.waiting
        self.check_written(wire)

    def read_to_its_end(self) -> Exception:
        # A call may be refused, and must leave nothing behind.
        with suppress(StompError):
            self.do_deeds()
        while True:
            self.work_off()
            ended = self.inbound.read()
            if ended is not None:
                # A bug comes back from it like the end of a connection.
                if not isinstance(ended, StompError):
                    raise ended
                return ended

    def do_deeds(self) -> None:
        """Say what is to be said as soon as it may be."""
        session = self.context.session
        if self.deeds & 1:
            self.connection.send("/queue/a", "text", {"a:b": "c\nd"} if session.version != "1.0" else None)
        if self.deeds & 2:
            self.answers.append(self.connection.send_async("/queue/a", b"confirmed"))
        if self.deeds & 4 and "late" not in self.connection.session.subscriptions:
            self.connection.subscribe("/queue/a", id="late", ack="client-individual" if self.deeds & 16 else "auto")
        if self.deeds & 8:
            transaction = self.connection.transaction()
            transaction.begin()
            transaction.send("/queue/a", "in it")

    def work_off(self) -> None:
        assert self.engine.flow.messages <= engine.LONGEST // 10
        now = Deadline(0.0)
        for queue in self.engine.queues():
            while (item := queue.take(now)) is not None:
                self.engine.settlement.run([item])
        self.listener.examine()

    def end(self) -> None:
        """The application closes it, and the receiver thread ends."""
        self.life.give_up(StompError("the end"))
        self.engine._life_ended(self.life)
        for answer in self.answers:
            assert answer.done(), "somebody would wait forever"

    def check_written(self, wire: Wire) -> None:
        written = bytes(wire.written)
        version = self.context.session.version
        frames = Decoder(version if b"\n\n\0" in written[1:] else None).feed(written)
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
        if client.context.state is ConnectionState.CLOSED:
            break
        part = hello + part
        client.live([part[start : start + step] for start in range(0, len(part), step)])
    client.end()


clock = Clock()
for module in (heartbeater, settlement, shutdown, parts):
    vars(module)["timer"] = lambda: clock
vars(parts)["Life"] = Idle
# The URI is always the same, and reading it would be a third of the time.
vars(options)["parse"] = cache(parse)

if __name__ == "__main__":
    engine.fuzz(check)
