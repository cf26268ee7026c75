"""Connections that are logged in and wait: for a loss (``backup``), or for the return to a preferred broker
(``priorityBackup``). One thread makes them, only where the URI asks for them; the timer keeps them alive.

A spare holds no subscription and is never read by a thread of its own: what comes on it are heart-beats, which the
timer takes from it once a second. A dead one is forgotten.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from stomplistener.config import Config, ConnectOptions
from stomplistener.errors import StompError, TimedOut
from stomplistener.failover import Broker, Schedule
from stomplistener.protocol import Decoder, Frame, HeartBeat, Session, SessionState, encode
from stomplistener.state import ConnectionState
from stomplistener.threads.deadline import Deadline
from stomplistener.threads.timer import Entry, timer
from stomplistener.transport import Interrupt, Transport

if TYPE_CHECKING:
    from stomplistener.core import Core

_log = logging.getLogger("stomplistener")

_LOOK = 1.0
"""Seconds between two looks at a spare: often enough for any heart-beat worth having, rare enough to cost nothing."""

MOVE_PATIENCE = 5.0
"""Seconds that senders may be held back while a return to a preferred broker waits for what is open to end."""


def dial(
    config: Config, broker: Broker, number: int, deadline: Deadline, interrupt: Interrupt
) -> tuple[Transport, ConnectOptions]:
    """Connect a transport, with what ``before_connect`` makes of the options for this attempt."""
    options = config.connect_options(broker, number)
    if config.before_connect is not None:
        config.before_connect(options)
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

    def __init__(self, config: Config, broker: Broker, transport: Transport) -> None:
        self.broker = broker
        self.transport = transport
        self.decoder = Decoder(limits=config.limits)
        self.last_received = time.monotonic()
        self.is_dead = False
        self._last_sent = time.monotonic()
        self._session = Session(config.versions, config.heartbeat)
        self._entry: Entry | None = None
        # Taken by whoever looks at it or takes it over, so that nobody reads it afterwards.
        self._lock = threading.Lock()

    @property
    def connected(self) -> Frame:
        assert self._session.connected_frame is not None
        return self._session.connected_frame

    def log_in(self, options: ConnectOptions, deadline: Deadline) -> None:
        """Say CONNECT and wait for CONNECTED."""
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
        self._entry = timer().call_at(time.monotonic() + _LOOK, self._look)

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
            self._session.receive(frame)

    def _look(self) -> float | None:
        with self._lock:
            try:
                self._check()
            except (OSError, StompError) as error:
                _log.info("the spare connection to %s is gone: %s", self.broker, error)
                self.is_dead = True
                self.transport.shutdown()
                return None
        return time.monotonic() + _LOOK

    def _check(self) -> None:
        beats: HeartBeat = self._session.heartbeat
        self.transport.settimeout(0.0)
        with suppress(TimeoutError):
            self._receive()
        now = time.monotonic()
        if now >= beats.dead_at(self.last_received):
            raise TimedOut("no heart-beat came")
        if now + _LOOK >= beats.send_due(self._last_sent) and self.transport.send_nowait(b"\n"):
            self._last_sent = now


class Standby:
    """The thread that makes spare connections, and what it has made."""

    def __init__(self, core: Core, schedule: Schedule, interrupt: Interrupt) -> None:
        self._core = core
        self._schedule = schedule
        self._interrupt = interrupt
        self._options = core.config.uri.options
        self._lock = threading.Lock()
        self._spares: list[Spare] = []
        self._number = 0
        self.thread = threading.Thread(target=self._run, name=f"{core.config.name}-standby", daemon=True)

    @staticmethod
    def is_wanted(config: Config) -> bool:
        return config.uri.options.backup or config.uri.options.priority_backup

    def take(self) -> Spare | None:
        """A spare that was alive when last looked at, preferred brokers first; it is the caller's now."""
        while True:
            with self._lock:
                self._spares.sort(key=lambda spare: not self._schedule.is_preferred(spare.broker))
                spare = self._spares.pop(0) if self._spares else None
            if spare is None or spare.take():
                return spare
            spare.transport.close()

    @property
    def held(self) -> list[Broker]:
        with self._lock:
            return [spare.broker for spare in self._spares]

    def _run(self) -> None:
        core = self._core
        try:
            while self._wait_connected():
                epoch = core.session.epoch
                if self._is_away():
                    self._go_home(epoch)
                elif self._options.backup:
                    self._fill_pool(epoch)
                else:
                    core.wait_until(lambda: self._is_over(epoch), Deadline(None))  # noqa: B023
        finally:
            while (spare := self.take()) is not None:
                spare.close()

    def _wait_connected(self) -> bool:
        core = self._core
        settled = (ConnectionState.CONNECTED, ConnectionState.CLOSING, ConnectionState.CLOSED)
        core.wait_until(lambda: core.state in settled, Deadline(None))
        return core.state is ConnectionState.CONNECTED

    def _is_over(self, epoch: int) -> bool:
        return self._core.state is not ConnectionState.CONNECTED or self._core.session.epoch != epoch

    def _is_away(self) -> bool:
        broker = self._core.broker
        return self._options.priority_backup and broker is not None and not self._schedule.is_preferred(broker)

    def _go_home(self, epoch: int) -> None:
        """Try the preferred brokers until one can be moved to, or this connection ends."""
        for attempt in self._schedule.probes():
            if self._core.wait_until(lambda: self._is_over(epoch), Deadline(attempt.delay)):
                return
            spare = self._open(attempt.broker)
            if spare is None:
                continue
            with self._lock:
                self._spares.append(spare)
            if self._core.move_away(Deadline(MOVE_PATIENCE)):
                self._core.wait_until(lambda: self._is_over(epoch), Deadline(MOVE_PATIENCE))
                return
            _log.info("%s: no return to %s yet: something is still open", self._core.config.name, spare.broker)
            with self._lock:
                mine = spare in self._spares
                if mine:
                    self._spares.remove(spare)
            if mine:
                spare.close()

    def _fill_pool(self, epoch: int) -> None:
        """Keep as many spares as wanted, and look again after a while or when the connection has changed."""
        with self._lock:
            dead = [spare for spare in self._spares if spare.is_dead]
            self._spares = [spare for spare in self._spares if not spare.is_dead]
        for spare in dead:
            spare.close()
        core = self._core
        assert core.broker is not None
        for broker in self._schedule.spares(core.broker, self.held):
            if len(self.held) >= self._options.backup_pool_size or self._is_over(epoch):
                break
            new = self._open(broker)
            if new is not None:
                with self._lock:
                    self._spares.append(new)
        core.wait_until(lambda: self._is_over(epoch), Deadline(max(_LOOK, self._options.initial_reconnect_delay)))

    def _open(self, broker: Broker) -> Spare | None:
        config = self._core.config
        self._number += 1
        deadline = Deadline(broker.options.connection_timeout)
        transport = None
        try:
            transport, options = dial(config, broker, self._number, deadline, self._interrupt)
            spare = Spare(config, broker, transport)
            # close() breaks a log-in that hangs, as it breaks a connect.
            with self._interrupt.doing(transport.shutdown):
                spare.log_in(options, deadline)
        except (OSError, StompError, ValueError) as error:
            # Also a refused second login under the same client-id: then there is no spare on this broker.
            _log.info("%s: no spare connection to %s: %s", config.name, broker, error)
            if transport is not None:
                transport.close()
            return None
        return spare
