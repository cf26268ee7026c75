"""Which broker next, and everything up to the moment at which the connection is ready. Runs in the receiver thread.

One attempt is TCP, TLS, CONNECT, CONNECTED and the replay of the subscriptions, all within the broker's
``connectionTimeout``. A TCP connection proves nothing, so it counts as a success only when all of that is done.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial

from stomplistener._util.deadline import Deadline
from stomplistener.errors import BrokerError, ConnectFailed, NotConnected, ProtocolError, StompError, TimedOut
from stomplistener.failover import Attempt, Schedule
from stomplistener.options import Config
from stomplistener.protocol import SessionState
from stomplistener.states import ConnectionState
from stomplistener.threads.client import Client
from stomplistener.threads.spare import Spare, dial
from stomplistener.threads.standby import Standby
from stomplistener.transport import Interrupt, Transport

_log = logging.getLogger("stomplistener")

Failure = tuple[str, Exception]


class Reconnector:
    """Makes one connection after the other for one call of ``connect()``.

    Args:
        core: the shared state of the connection.
        schedule: which broker when.
        interrupt: ends an attempt that is under way.
        standby: has connections that are logged in already; None where the URI asks for none.
    """

    def __init__(self, core: Client, schedule: Schedule, interrupt: Interrupt, standby: Standby | None) -> None:
        self._core = core
        self._standby = standby
        self._config: Config = core.config
        self._schedule = schedule
        self._interrupt = interrupt

    def first(self) -> Transport | None:
        """The first connection; None when it failed for good or was called off. The core has been told why."""
        return self._connect(self._schedule.start(), starting=True)

    def again(self) -> Transport | None:
        """The next connection after a loss; None likewise."""
        core = self._core
        assert core.broker is not None
        while self._standby is not None and (spare := self._standby.take()) is not None:
            transport = self._take_over(spare)
            if transport is not None or core.state is ConnectionState.CLOSED:
                return transport
        lived = time.monotonic() - core.ready_since
        return self._connect(self._schedule.outage(core.broker, lived), starting=False)

    def _connect(self, attempts: Iterator[Attempt], *, starting: bool) -> Transport | None:
        failures: list[Failure] = []
        number = passes = 0
        for number, attempt in enumerate(attempts, 1):
            if attempt.pass_number != passes:
                passes, failures = attempt.pass_number, []
                if not self._begin_pass(attempt, starting):
                    return None
            try:
                return self._attempt_without_rejected(attempt, number)
            except (OSError, StompError, ValueError) as error:
                failures.append((str(attempt.broker), error))
                self._core.last_failure = error
                _log.info("%s: %s: %s", self._config.name, attempt.broker, error)
            if self._core.state is ConnectionState.CLOSED:
                return None
            if attempt.is_last_of_pass:
                if attempt.warn:
                    _log.warning("%s: not connected, pass %d failed: %s", self._config.name, passes, told(failures))
                if starting and refused_by_all(failures):
                    break
        self._give_up(failures, passes, starting)
        return None

    def _begin_pass(self, attempt: Attempt, starting: bool) -> bool:
        """Announce a pass and wait for its time; False if the connection was closed meanwhile."""
        if not starting or attempt.pass_number > 1:
            self._core.tell("on_reconnecting", attempt.pass_number, attempt.delay)
        self._drain_warnings()
        core = self._core
        closed = core.wait_until(lambda: core.state is ConnectionState.CLOSED, Deadline(attempt.delay))
        return not closed

    def _drain_warnings(self) -> None:
        for warning in self._schedule.warnings:
            _log.warning("%s: %s", self._config.name, warning)
        self._schedule.warnings.clear()

    def _attempt_without_rejected(self, attempt: Attempt, number: int) -> Transport:
        """Try again at once where only a subscription was refused: it is out of the way now, and the others wait."""
        while True:
            rejections = self._core.rejections
            try:
                return self._attempt(attempt, number)
            except (OSError, StompError):
                if self._core.rejections == rejections or self._core.state is ConnectionState.CLOSED:
                    raise

    def _attempt(self, attempt: Attempt, number: int) -> Transport:
        core, broker = self._core, attempt.broker
        core.tell("on_connecting", (broker.host, broker.port))
        deadline = Deadline(broker.options.connection_timeout)
        transport, options = dial(self._config, broker, number, deadline, self._interrupt)
        return self._make_ready(transport, deadline, partial(core.begin_epoch, broker, transport, options))

    def _take_over(self, spare: Spare) -> Transport | None:
        """Go on with a connection that is logged in already; None if it turns out to be dead."""
        core = self._core
        deadline = Deadline(spare.broker.options.connection_timeout)
        core.tell("on_reconnecting", 1, 0.0)
        try:
            return self._make_ready(spare.transport, deadline, partial(core.adopt_epoch, spare))
        except (OSError, StompError) as error:
            _log.info("%s: the spare connection to %s is dead: %s", self._config.name, spare.broker, error)
            return None

    def _make_ready(self, transport: Transport, deadline: Deadline, begin: Callable[[], None]) -> Transport:
        core = self._core
        try:
            transport.settimeout(deadline.remaining())
            begin()
            self._log_in(transport, deadline)
            self._replay(transport, deadline)
            transport.settimeout(None)
            core.restored()
        except BaseException as error:
            # Later ones were told when they came.
            if isinstance(error, BrokerError) and core.session.state is SessionState.CONNECTING:
                core.tell("on_error", error.frame)
            core.fail(core.end_epoch(transport))
            transport.close()
            raise
        return transport

    def _log_in(self, transport: Transport, deadline: Deadline) -> None:
        while self._core.session.state is SessionState.CONNECTING:
            self._receive(transport, deadline, "an answer to CONNECT")

    def _replay(self, transport: Transport, deadline: Deadline) -> None:
        core = self._core
        core.replay()
        while not core.session.is_replayed:
            self._receive(transport, deadline, "the receipts of the subscriptions")
            core.replay()

    def _receive(self, transport: Transport, deadline: Deadline, what: str) -> None:
        silent = TimedOut(f"the broker did not send {what} within {deadline.timeout} s (connectionTimeout)")
        if deadline.expired or not self._core.make_room(deadline):
            raise silent
        transport.settimeout(deadline.remaining())
        try:
            data = transport.receive()
        except TimeoutError:
            raise silent from None
        if not data:
            why = f"the broker closed the connection instead of sending {what}{self._advice()}"
            raise self._core.reason(ConnectFailed(why))
        self._core.received(data)

    def _advice(self) -> str:
        """For a broker that demands a certificate and says so by hanging up, without an alert (Apollo 1.7.1)."""
        broker = self._core.broker
        if broker is None or broker.scheme not in ("ssl", "wss") or self._config.ssl_context is not None:
            return ""
        return "" if broker.options.cert_file is not None else "; over TLS it may want a client certificate (certFile)"

    def _give_up(self, failures: list[Failure], passes: int, starting: bool) -> None:
        if not failures and not starting:
            # The limit of passes is 0: the loss itself is the failure, and it has been told.
            self._core.give_up(NotConnected("the connection was lost, and no reconnecting is wanted"))
            return
        when = "" if starting else " again after a loss"
        tries = f" in {passes} passes" if passes > 1 else ""
        self._core.give_up(ConnectFailed(f"could not connect{when}{tries}: {told(failures)}", failures))


def told(failures: list[Failure]) -> str:
    return "; ".join(f"{broker}: {error}" for broker, error in failures) or "there is no broker to try"


def refused_by_all(failures: list[Failure]) -> bool:
    """Whether each broker that answered said no, and one did: trying again would only repeat the answer."""
    answers = [error for _, error in failures if not isinstance(error, (OSError, ConnectFailed))]
    return bool(answers) and all(isinstance(error, (BrokerError, ProtocolError)) for error in answers)
