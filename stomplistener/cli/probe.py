"""Connect to one broker step by step, for ``ping``, with the parts of the library, so that each step can be timed."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from stomplistener import ConnectFailed, Frame, TimedOut
from stomplistener._util.deadline import Deadline
from stomplistener.cli.target import Target
from stomplistener.failover import Broker
from stomplistener.options import ConnectOptions
from stomplistener.protocol import Decoder, Session, SessionState, commands, encode
from stomplistener.protocol.frame import without
from stomplistener.transport import Transport, connect, tls

ROUND_TRIPS = 5


@dataclass(kw_only=True)
class Findings:
    """The findings of a probe. Fields of steps after a failure keep their default.

    Attributes:
        reached: whether the transport connection was made, including TLS and WebSocket.
        heard: the first bytes that the server sent.
        connected: the CONNECTED frame of the broker.
        version: the version of STOMP.
        heartbeat: seconds between heartbeats that the client sends, and between those that it expects.
        tls: facts about TLS by name; empty without TLS.
        times: the durations of the steps, in seconds.
        round_trips: the times from a frame to its receipt, in seconds.
        failure: the exception of the step that failed.
    """

    reached: bool = False
    heard: bytes = b""
    connected: Frame | None = None
    version: str = ""
    heartbeat: tuple[float, float] = (0.0, 0.0)
    tls: dict[str, str] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)
    round_trips: list[float] = field(default_factory=list)
    failure: Exception | None = None


class Probe:
    """Probes one broker, once, in one thread."""

    def __init__(self, broker: Broker, target: Target) -> None:
        self.findings = Findings()
        self._broker = broker
        self._session = Session(target.versions, target.heartbeat)
        self._options = ConnectOptions.of(broker, target.login, target.passcode, target.host, {})
        self._decoder = Decoder(secrets=self._options.secrets)
        self._deadline = Deadline(target.timeout)

    def run(self) -> Findings:
        """Connect, log in, measure and disconnect. The findings contain a failure."""
        findings = self.findings
        try:
            with self._timed("connect"):
                transport = self._dial()
        except Exception as error:
            findings.failure = error
            return findings
        findings.reached = True
        try:
            with self._timed("log in"):
                self._log_in(transport)
            for number in range(ROUND_TRIPS):
                self._round_trip(transport, f"stomplistener-ping-{number}")
            self._say(transport, commands.disconnect(version=self.findings.version))
        except Exception as error:
            findings.failure = error
        finally:
            transport.close()
        return findings

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.findings.times[step] = time.perf_counter() - began

    def _dial(self) -> Transport:
        assert self._deadline.at is not None
        context = None
        if self._broker.scheme in ("ssl", "wss"):
            context = tls.default_context(self._broker.options)
            context.sslobject_class = _observed(self._note_tls)
        return connect(self._broker, deadline=self._deadline.at, ssl_context=context)

    def _note_tls(self, connection: ssl.SSLObject) -> None:
        cipher = connection.cipher()
        certificate: dict[str, Any] = connection.getpeercert() or {}
        facts = {
            "protocol": connection.version(),
            "cipher": cipher[0] if cipher else None,
            "certificate": _name(certificate.get("subject", ())),
            "names": ", ".join(value for _, value in certificate.get("subjectAltName", ())),
            "issuer": _name(certificate.get("issuer", ())),
            "valid until": certificate.get("notAfter"),
        }
        self.findings.tls = {name: value for name, value in facts.items() if value}

    def _log_in(self, transport: Transport) -> None:
        options = self._options
        self._say(transport, self._session.connect(options.host, options.login, options.passcode))
        while self._session.state is SessionState.CONNECTING:
            for frame in self._hear(transport):
                if frame.command:
                    self._session.receive(frame)
                    self.findings.connected = frame
        self.findings.version = self._session.version or ""
        self.findings.heartbeat = self._session.heartbeat

    def _round_trip(self, transport: Transport, name: str) -> None:
        """Time a BEGIN with a receipt, then send ABORT, so that nothing remains on the broker."""
        version = self.findings.version
        began = time.perf_counter()
        self._say(transport, commands.begin(name, receipt=name, version=version))
        while not any(frame.headers.get("receipt-id") == name for frame in self._hear(transport)):
            pass
        self.findings.round_trips.append(time.perf_counter() - began)
        self._say(transport, commands.abort(name, version=version))

    def _say(self, transport: Transport, frame: Frame) -> None:
        data = memoryview(encode(frame, self._session.version))
        while data:
            data = data[transport.send(data) :]

    def _hear(self, transport: Transport) -> list[Frame]:
        transport.settimeout(max(0.001, self._deadline.remaining() or 0.0))
        try:
            data = transport.receive()
        except TimeoutError:
            raise TimedOut(f"no answer within {self._deadline.timeout:g} s") from None
        if not data:
            raise ConnectFailed("the server closed the connection without an answer")
        self.findings.heard = (self.findings.heard + data)[:200]
        return [without(frame, self._options.secrets) for frame in self._decoder.feed(data)]


def _observed(note: Callable[[ssl.SSLObject], object]) -> type[ssl.SSLObject]:
    """Return a class of TLS connections that call ``note`` after their handshake."""

    class Observed(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            note(self)

    return Observed


def _name(subject: Any) -> str:
    names = {key: value for part in subject for key, value in part}
    return str(names.get("commonName") or names.get("organizationName") or "")
