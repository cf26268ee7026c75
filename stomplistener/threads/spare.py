"""A connection that is logged in and waits to be used. Nobody reads it: what comes on it are heart-beats, which the
timer takes from it once a second."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress

from stomplistener._util.deadline import Deadline
from stomplistener._util.timer import Entry, timer
from stomplistener.errors import ConnectFailed, StompError, TimedOut
from stomplistener.failover import Broker
from stomplistener.options import Config, ConnectOptions
from stomplistener.protocol import Decoder, Frame, Session, SessionState, encode
from stomplistener.protocol.frame import without
from stomplistener.transport import Interrupt, Transport

_log = logging.getLogger("stomplistener")

LOOK = 1.0
"""Seconds between two looks at a spare: often enough for any heart-beat worth having, rare enough to cost nothing."""


def dial(
    config: Config, broker: Broker, number: int, deadline: Deadline, interrupt: Interrupt
) -> tuple[Transport, ConnectOptions]:
    """Connect a transport, with what ``before_connect`` makes of the options for this attempt."""
    options = config.connect_options(broker, number)
    if config.before_connect is not None:
        try:
            config.before_connect(options)
        except (OSError, StompError, ValueError):
            raise
        except Exception as error:
            # Whatever the application raises fails this attempt, and no more than that.
            raise ConnectFailed(f"before_connect raised {type(error).__name__}: {error}") from error
    assert deadline.at is not None
    transport = config.connect_transport(
        broker,
        deadline=deadline.at,
        interrupt=interrupt,
        ssl_context=config.ssl_context,
        headers=options.http_headers,
    )
    return transport, options


class Spare:
    """A connection that is logged in and does nothing: the standby thread makes it, the timer keeps it alive."""

    def __init__(self, config: Config, broker: Broker, transport: Transport, options: ConnectOptions) -> None:
        self.broker = broker
        self.transport = transport
        self._options = options
        self.decoder = Decoder(limits=config.limits, secrets=options.secrets)
        self.last_received = time.monotonic()
        self.is_dead = False
        self.secrets = options.secrets
        self._last_sent = time.monotonic()
        self._session = Session(config.versions, config.heartbeat)
        self._entry: Entry | None = None
        # Taken by whoever looks at it or takes it over, so that nobody reads it afterwards.
        self._lock = threading.Lock()

    @property
    def connected(self) -> Frame:
        assert self._session.connected_frame is not None
        return self._session.connected_frame

    def log_in(self, deadline: Deadline) -> None:
        """Say CONNECT and wait for CONNECTED."""
        options = self._options
        frame = self._session.connect(options.host, options.login, options.passcode, options.headers)
        self.transport.settimeout(deadline.remaining())
        data = memoryview(encode(frame))
        while data:
            data = data[self.transport.send(data) :]
        while self._session.state is SessionState.CONNECTING:
            if deadline.expired:
                raise TimedOut("no answer to CONNECT")
            self.transport.settimeout(deadline.remaining())
            self._receive()
        self._entry = timer().call_at(time.monotonic() + LOOK, self._look)

    def take(self) -> bool:
        """Stop looking at it; whether it was alive until now."""
        if self._entry is not None:
            timer().cancel(self._entry)
        with self._lock:
            return not self.is_dead

    def close(self) -> None:
        self.take()
        self.transport.close()

    def _receive(self) -> None:
        data = self.transport.receive()
        if not data:
            raise ConnectionResetError("the broker closed the connection")
        self.last_received = time.monotonic()
        for frame in self.decoder.feed(data):
            self._session.receive(without(frame, self.secrets))

    def _look(self) -> float | None:
        with self._lock:
            try:
                self._check()
            except (OSError, StompError) as error:
                _log.info("the spare connection to %s is gone: %s", self.broker, error)
                self.is_dead = True
                self.transport.shutdown()
                return None
        return time.monotonic() + LOOK

    def _check(self) -> None:
        beats = self._session.heartbeat
        self.transport.settimeout(0.0)
        with suppress(TimeoutError):
            self._receive()
        now = time.monotonic()
        if now >= beats.dead_at(self.last_received):
            raise TimedOut("no heart-beat came")
        if now + LOOK >= beats.send_due(self._last_sent) and self.transport.send_nowait(b"\n"):
            self._last_sent = now
