"""What the tests of conformance share: brokers times versions, and an eye for what a broker does instead."""

from __future__ import annotations

import contextlib
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Self

import pytest
from expectations import SOMETIMES, expected

from stomplistener import Connection, Consumer, Frame, Message
from stomplistener.protocol import HEARTBEAT, Decoder, commands, encode
from stomplistener.testing.containers import BrokerContainer

VERSIONS = {"1.0": ("1.0",), "1.1": ("1.1",), "1.2": ("1.2",), "negotiated": ("1.0", "1.1", "1.2")}
DEAD_LETTERS = {
    "activemq": "/queue/ActiveMQ.DLQ",
    "artemis": "/queue/DLQ",
    "apollo": "/queue/DLQ",
    "rabbitmq": "/queue/DLQ",
}
SEEN: dict[tuple[str, str, str], str] = {}
"""What was seen in this run, by feature, broker and version: the page in the docs is made of it."""


class World:
    """One broker, spoken to in one version (or in whatever is negotiated)."""

    def __init__(self, broker: BrokerContainer, version: str) -> None:
        self.broker = broker
        self.name = broker.name
        self.version = version
        self.spoken = "1.2" if version == "negotiated" else version

    @property
    def individual(self) -> str:
        """The ack mode for one message at a time, as far as the version has one."""
        return "client" if self.spoken == "1.0" else "client-individual"

    def connection(self, **options: object) -> Connection:
        defaults = {"versions": VERSIONS[self.version], "host": self.broker.virtual_host, "timeout": 15.0}
        uri = options.pop("uri", self.broker.uri)
        # Artemis does not say what it is in STOMP 1.0.
        return Connection(uri, **(defaults | {"broker": self.name, "heartbeat": (0.0, 0.0)} | options))  # type: ignore[arg-type]

    def queue(self) -> str:
        return f"/queue/c{uuid.uuid4().hex[:12]}"

    def topic(self) -> str:
        return f"/topic/c{uuid.uuid4().hex[:12]}"

    def check(self, feature: str, outcome: str) -> None:
        """Compare with the table of expectations, and note it for the page."""
        wanted = expected(feature, self.name, self.spoken)
        if wanted.outcome == SOMETIMES and outcome in ("yes", "no"):
            outcome = SOMETIMES
        assert outcome == wanted.outcome, f"{feature} on {self.name} in {self.version}: {outcome!r} [{wanted.reason}]"
        SEEN[feature, self.name, self.version] = outcome

    def patience(self, feature: str, outcome: str = "yes", brief: float = 0.7) -> float:
        """Seconds to wait for what makes this the outcome: brief where it is not to come, long where a busy machine may
        be late with it."""
        return 20.0 if expected(feature, self.name, self.spoken).outcome == outcome else brief

    @property
    def dead_letters(self) -> str:
        """The queue of dead letters."""
        return DEAD_LETTERS[self.name]

    def dead_letter(self, body: str, destination: str | None = None, timeout: float = 20.0) -> bool:
        """Whether a message with this body is among the dead letters; those of other tests are dropped."""
        end = time.monotonic() + timeout
        with self.connection() as connection:
            with connection.consume(destination or self.dead_letters, ack="auto") as letters:
                while (left := end - time.monotonic()) > 0:
                    message = letters.receive(left)
                    if message is not None and message.body.decode(errors="replace") == body:
                        return True
        return False

    @contextlib.contextmanager
    def wire(self, heartbeat: tuple[float, float] = (0.0, 0.0)) -> Iterator[Wire]:
        """A client made of the parts of the library, that sends just what it is told to."""
        with socket.create_connection(self.broker.address(), 10) as plain:
            wire = Wire(plain, self.spoken)
            broker = self.broker
            wire.say(
                commands.connect(VERSIONS[self.version], broker.virtual_host, broker.login, broker.passcode, heartbeat)
            )
            assert wire.hear("CONNECTED").headers.get("version", "1.0") == self.spoken
            yield wire


class Wire:
    """A socket and a decoder."""

    def __init__(self, plain: socket.socket, version: str) -> None:
        self.version = version
        self._socket = plain
        self._decoder = Decoder()
        self._frames: list[Frame] = []

    def say(self, frame: Frame) -> Self:
        self._socket.sendall(encode(frame, None if frame.command == "CONNECT" else self.version))
        return self

    def hear(self, command: str | None = None, timeout: float = 10.0) -> Frame:
        """The next frame (of that command); ConnectionError at the end of the connection."""
        end = time.monotonic() + timeout
        while True:
            while self._frames:
                frame = self._frames.pop(0)
                if frame is not HEARTBEAT and command in (None, frame.command):
                    return frame
                assert frame is HEARTBEAT or frame.command != "ERROR", frame.info
            self._socket.settimeout(max(0.01, end - time.monotonic()))
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError("the broker closed the connection")
            self._frames += self._decoder.feed(data)

    def is_alive(self, timeout: float) -> bool:
        """Whether the broker still answers."""
        try:
            self.say(commands.send("/queue/alive", b"", receipt="alive", version=self.version))
            while True:
                if self.hear(timeout=timeout).headers.get("receipt-id") == "alive":
                    return True
        except OSError:
            return False


def received(consumer: Consumer, count: int = 1, timeout: float = 10.0) -> list[Message]:
    """So many messages, or what has come of them within the time."""
    end, messages = time.monotonic() + timeout, list[Message]()
    while len(messages) < count and (message := consumer.receive(max(0.0, end - time.monotonic()))) is not None:
        messages.append(message)
    return messages


def texts(consumer: Consumer, count: int, timeout: float = 10.0, *, ack: bool = True) -> list[str]:
    found = received(consumer, count, timeout)
    if ack and consumer.subscription.ack != "auto":
        for message in found:
            message.ack()
    return [message.text for message in found]


def outcome_of(function: Callable[[], object], *errors: type[Exception], refused: str = "refused") -> str:
    try:
        function()
    except errors:
        return refused
    return "yes"


def matrix() -> pytest.MarkDecorator:
    """Each broker in each version."""
    return pytest.mark.parametrize("version", VERSIONS)
