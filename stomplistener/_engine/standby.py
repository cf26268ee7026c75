"""Standby connections, which are logged in and wait to take over.

Standby connections wait for a connection loss (``backup``) or for the return to a preferred broker
(``priorityBackup``). If the URI asks for standby connections, one thread makes them, and the timer keeps them alive.

A standby connection holds no subscription. The client forgets dead standby connections.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from stomplistener._engine.context import Context
from stomplistener._engine.login import LoggedIn, log_in
from stomplistener._util.deadline import Deadline
from stomplistener._util.timer import Entry, timer
from stomplistener.errors import TimedOut
from stomplistener.failover import Broker, Schedule
from stomplistener.options import Config
from stomplistener.protocol.heartbeat import HeartBeat, negotiate, parse
from stomplistener.states import ConnectionState, StandbyState
from stomplistener.transport import Interrupt

LOOK_SECONDS = 1.0
"""Seconds between two checks of a standby connection: often enough for any useful heartbeat."""

MOVE_PATIENCE_SECONDS = 5.0
"""How long a return to a preferred broker holds senders back while it waits for open answers and messages."""

PROVEN_SECONDS = 1.0
"""How long a standby connection to a preferred broker must live before the client moves to it."""

SETTLED_SECONDS = 30.0
"""A preferred broker whose connection ends sooner than this after a move flaps: the client moves to it less often."""


class Migrate(Protocol):
    """Leaves the connection in good order; False if an answer or a message stayed open for too long."""

    def __call__(self, deadline: Deadline) -> bool: ...


class StandbyConnection:
    """A connection that is logged in and idle, made by the standby thread and kept alive by the timer."""

    def __init__(self, config: Config, logged_in: LoggedIn) -> None:
        self.logged_in = logged_in
        self.broker = logged_in.broker
        self.state = StandbyState.ALIVE
        answered = parse(logged_in.connected.headers.get("heart-beat", "0,0"))
        self._beats = negotiate(HeartBeat(*config.heartbeat), answered)
        self._last_sent = time.monotonic()
        # The thread that reads from the connection or takes it over holds this lock, so no thread reads after a
        # takeover.
        self._lock = threading.Lock()
        self._entry: Entry = timer().call_at(time.monotonic() + LOOK_SECONDS, self._look)

    def take(self) -> bool:
        """Stop the checks. Return whether the connection was alive until now."""
        timer().cancel(self._entry)
        with self._lock:
            if self.state is StandbyState.ALIVE:
                self.state = StandbyState.TAKEN
                return True
        return False

    def close(self) -> None:
        """Stop the checks and close the connection."""
        self.take()
        self.logged_in.transport.close()

    def _look(self) -> float | None:
        with self._lock:
            if self.state is not StandbyState.ALIVE:
                return None
            try:
                self._check()
            except Exception:
                self.state = StandbyState.DEAD
        if self.state is StandbyState.DEAD:
            self.logged_in.transport.shutdown()
            return None
        return time.monotonic() + LOOK_SECONDS

    def _check(self) -> None:
        found = self.logged_in
        found.transport.settimeout(0.0)
        with suppress(TimeoutError, BlockingIOError):
            data = found.transport.receive()
            if not data:
                raise ConnectionResetError("the broker closed the connection")
            found.last_received = time.monotonic()
            if any(frame.command == "ERROR" for frame in found.decoder.feed(data)):
                raise ConnectionResetError("the broker sent an ERROR")
        now = time.monotonic()
        if now >= self._beats.dead_at(found.last_received):
            raise TimedOut("no heartbeat came")
        if now + LOOK_SECONDS >= self._beats.send_due(self._last_sent) and found.transport.send_nowait(b"\n"):
            self._last_sent = now


class Standby:
    """The thread that makes standby connections, and the connections that it has made.

    Args:
        context: the context of the connection.
        schedule: decides which brokers to try.
        interrupt: ends the attempt under way.
        migrate: leaves the connection for a standby connection.
        is_over: whether the life of this object has ended.
    """

    def __init__(
        self,
        context: Context,
        schedule: Schedule,
        interrupt: Interrupt,
        migrate: Migrate,
        is_over: Callable[[], bool],
    ) -> None:
        self._context = context
        self._schedule = schedule
        self._interrupt = interrupt
        self._migrate = migrate
        self._is_over = is_over
        self._options = context.config.uri.options
        self._held: list[StandbyConnection] = []
        self._number = 0
        self._moved = _Moves(self._options.initial_reconnect_delay, self._options.max_reconnect_delay)
        self.thread = threading.Thread(target=self._run, name=f"{context.config.name}-standby", daemon=True)

    @staticmethod
    def is_wanted(config: Config) -> bool:
        """Whether the URI asks for standby connections."""
        return config.uri.options.backup or config.uri.options.priority_backup

    def take(self) -> LoggedIn | None:
        """Return a connection that was alive at its last check, preferred brokers first; the caller owns it."""
        while True:
            with self._context.lock:
                self._held.sort(key=lambda each: not self._schedule.is_preferred(each.broker))
                found = self._held.pop(0) if self._held else None
            if found is None:
                return None
            if found.take():
                return found.logged_in
            found.logged_in.transport.close()

    @property
    def held(self) -> list[Broker]:
        """The brokers of the standby connections at hand."""
        with self._context.lock:
            return [each.broker for each in self._held]

    def _run(self) -> None:
        try:
            while self._wait_connected():
                epoch = self._context.session.epoch
                if self._options.backup:
                    self._fill_pool(epoch)
                if self._is_away():
                    self._probe(epoch)
                else:
                    self._rest(epoch, self._pause())
        except Exception as error:  # the client works without standby connections
            self._context.log.error("standby connections failed: please report this as a bug", exc_info=error)
        finally:
            while (found := self.take()) is not None:
                found.transport.close()

    def _wait_connected(self) -> bool:
        context = self._context
        context.wait_until(lambda: context.state is ConnectionState.CONNECTED or self._is_over(), Deadline(None))
        return not self._is_over()

    def _is_past(self, epoch: int) -> bool:
        context = self._context
        return self._is_over() or context.state is not ConnectionState.CONNECTED or context.session.epoch != epoch

    def _rest(self, epoch: int, seconds: float | None) -> bool:
        """Wait. Return whether the connection of this epoch ended meanwhile."""
        return self._context.wait_until(lambda: self._is_past(epoch), Deadline(seconds))

    def _pause(self) -> float | None:
        return max(LOOK_SECONDS, self._options.initial_reconnect_delay) if self._options.backup else None

    def _is_away(self) -> bool:
        broker = self._context.broker
        return self._options.priority_backup and broker is not None and not self._schedule.is_preferred(broker)

    # Returning to a preferred broker

    def _probe(self, epoch: int) -> None:
        """Try the preferred brokers until the client can move to one, or this connection ends."""
        for attempt in self._schedule.probes():
            delay = max(attempt.delay, self._moved.wait(time.monotonic()))
            if self._rest(epoch, delay):
                return
            found = self._open(attempt.broker)
            if found is not None and self._move_to(found, epoch):
                return
            if self._options.backup:
                self._fill_pool(epoch)

    def _move_to(self, found: StandbyConnection, epoch: int) -> bool:
        """Leave this connection for the standby connection ``found``. Return whether this connection is over."""
        # CONNECTED proves little: a broker that closes at once must not cost a connection that works.
        if self._rest(epoch, PROVEN_SECONDS):
            self._keep(found)
            return True
        if found.state is not StandbyState.ALIVE:
            found.close()
            return False
        self._keep(found)
        self._moved.note(time.monotonic())
        if self._migrate(Deadline(MOVE_PATIENCE_SECONDS)):
            self._rest(epoch, MOVE_PATIENCE_SECONDS)
            return True
        if self._is_past(epoch):
            # The connection was lost before it could be left: the receiver takes over what is held.
            return True
        self._context.log.info("no return to %s yet: answers or messages are still open", found.broker)
        with self._context.lock:
            mine = found in self._held
            self._held = [each for each in self._held if each is not found]
        if mine:
            found.close()
        return False

    # The pool

    def _keep(self, found: StandbyConnection) -> None:
        with self._context.lock:
            self._held = [*self._held, found]

    def _fill_pool(self, epoch: int) -> None:
        """Make standby connections until there are as many as the URI asks for."""
        with self._context.lock:
            dead = [each for each in self._held if each.state is StandbyState.DEAD]
            self._held = [each for each in self._held if each.state is not StandbyState.DEAD]
        for each in dead:
            each.close()
        current = self._context.broker
        assert current is not None
        for broker in self._schedule.spares(current, self.held):
            if len(self.held) >= self._options.backup_pool_size or self._is_past(epoch):
                break
            found = self._open(broker)
            if found is not None:
                self._keep(found)

    def _open(self, broker: Broker) -> StandbyConnection | None:
        context = self._context
        self._number += 1
        logged_in: LoggedIn | None = None
        try:
            logged_in = log_in(
                context.config,
                broker,
                self._number,
                Deadline(broker.options.connection_timeout),
                self._interrupt,
                context.log,
            )
            return StandbyConnection(context.config, logged_in)
        except BaseException as error:  # a transport or callback of the application may raise anything
            # One possible failure is a refused second login with the same client-id: then this broker gets no standby
            # connection.
            context.log.info("no standby connection to %s: %s", broker, error)
            if logged_in is not None:
                logged_in.transport.close()
            return None


class _Moves:
    """Decides when the next move may begin: the client moves less and less often to a broker that flaps."""

    def __init__(self, first: float, most: float) -> None:
        self._first = max(first, PROVEN_SECONDS)
        self._most = max(most, self._first)
        self._wait = 0.0
        self._last: float | None = None

    def note(self, now: float) -> None:
        """Note that a move begins."""
        quick = self._last is not None and now - self._last < SETTLED_SECONDS + self._wait
        self._wait = min(max(self._wait * 2, self._first), self._most) if quick else 0.0
        self._last = now

    def wait(self, now: float) -> float:
        """Seconds until the next move may begin."""
        return 0.0 if self._last is None else max(0.0, self._last + self._wait - now)
