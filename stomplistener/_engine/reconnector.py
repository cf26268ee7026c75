"""Which broker next, and everything up to the moment at which the connection is open. Runs in the receiver thread.

One attempt is TCP, TLS, CONNECT, CONNECTED and the replay of the subscriptions, all within the broker's
``connectionTimeout``. A TCP connection proves nothing, so it counts as a success only when all of that is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from stomplistener._engine.connection_cycle import ConnectionCycle
from stomplistener._engine.context import Context
from stomplistener._engine.login import LoggedIn, log_in
from stomplistener._engine.standby import Standby
from stomplistener._util.deadline import Deadline
from stomplistener.errors import BrokerError, ConnectFailed, NotConnected, ProtocolError, StompError
from stomplistener.failover import Attempt, Broker, Schedule
from stomplistener.protocol import Frame
from stomplistener.transport import Interrupt, Transport

Failure = tuple[str, Exception]

OFFENCES_IN_A_ROW = 3
"""Connections in a row that end by the same offence against the protocol before it is reported as an ERROR."""

_PROVEN = float("inf")

REPORT_SECONDS = 60.0
"""How often, at most, an offence that repeats is reported."""


class Reconnector:
    """Makes one connection after the other for one call of ``connect()``.

    Args:
        context: of the connection.
        cycle: begins connections.
        schedule: which broker when.
        interrupt: ends an attempt that is under way.
        standby: has connections that are logged in already; None where the URI asks for none.
        is_over: whether the life that this belongs to has ended.
        give_up: called when there is to be no connection any more.
    """

    def __init__(
        self,
        context: Context,
        cycle: ConnectionCycle,
        schedule: Schedule,
        interrupt: Interrupt,
        standby: Standby | None,
        is_over: Callable[[], bool],
        give_up: Callable[[StompError], None],
    ) -> None:
        self._context = context
        self._cycle = cycle
        self._schedule = schedule
        self._interrupt = interrupt
        self._standby = standby
        self._is_over = is_over
        self._give_up = give_up
        self._offences = Offences(context)
        self._took_over = False
        self._untold: list[Failure] = []

    def first(self) -> Transport | None:
        """The first connection; None when it failed for good or was called off."""
        return self._connect(self._schedule.start(), starting=True)

    def again(self) -> Transport | None:
        """The next connection after a loss; None likewise."""
        context = self._context
        assert context.broker is not None
        # A standby connection had proved itself before it was taken over: its end is an outage like the first one, and
        # must not make the wait for a broker that works longer.
        lived = _PROVEN if self._took_over else time.monotonic() - context.ready_since
        self._took_over = False
        if self._offences.note(context.last_error):
            # A broker that sends the same bad frame to each connection is asked ever more rarely.
            lived = 0.0
        while self._standby is not None and (spare := self._standby.take()) is not None:
            transport = self._take_over(spare)
            self._took_over = transport is not None
            if transport is not None or self._is_over():
                return transport
        return self._connect(self._schedule.outage(context.broker, lived), starting=False)

    def _connect(self, attempts: Iterator[Attempt], *, starting: bool) -> Transport | None:
        failures: list[Failure] = []
        number = passes = 0
        warned = False
        for number, attempt in enumerate(attempts, 1):
            if attempt.pass_number != passes:
                passes, failures = attempt.pass_number, []
                self._untold.clear()
                if not self._begin_pass(attempt, starting):
                    return None
            failed = self._try(attempt, number)
            if not isinstance(failed, Exception):
                if warned:
                    # At the level of the warning that it ends: a log at WARNING must not leave the alarm open.
                    self._context.log.warning("connected, pass %d succeeded: %s", passes, attempt.broker)
                return failed
            if self._is_over():
                return None
            failures.append((str(attempt.broker), failed))
            self._untold.append(failures[-1])
            if not attempt.is_last_of_pass:
                continue
            if not self._is_final(passes, starting, failures):
                if attempt.warn:
                    warned = True
                    self._context.log.warning("not connected, pass %d failed: %s", passes, describe(failures))
                else:
                    self._tell()
            if starting and refused_by_all(failures):
                break
        self._fail(failures, passes, starting)
        return None

    def _tell(self) -> None:
        """Log the failures of a pass that neither a warning nor an exception tells of."""
        for broker, error in self._untold:
            self._context.log.info("%s: %s", broker, error)
        self._untold.clear()

    def _is_final(self, passes: int, starting: bool, failures: Sequence[Failure]) -> bool:
        """Whether connect() raises what the warning would say."""
        return starting and (refused_by_all(failures) or self._schedule.is_last_start(passes))

    def _begin_pass(self, attempt: Attempt, starting: bool) -> bool:
        """Announce a pass and wait for its time; False if the connection was closed meanwhile."""
        if not starting or attempt.pass_number > 1:
            self._cycle.notify("on_reconnecting", attempt.pass_number, attempt.delay)
        for warning in self._schedule.warnings:
            self._context.log.warning("%s", warning)
        self._schedule.warnings.clear()
        self._interrupt.step = "the next attempt"
        return not self._context.wait_until(self._is_over, Deadline(attempt.delay)) and not self._is_over()

    def _try(self, attempt: Attempt, number: int) -> Transport | Exception:
        """Try again at once where only a subscription was refused: it is out of the way now, and the others wait."""
        context, broker = self._context, attempt.broker
        while True:
            rejections = self._cycle.rejections
            try:
                return self._attempt(broker, number)
            except Exception as error:
                failed = error
            except BaseException as error:  # of a transport or callback of the application
                failed = ConnectFailed(f"{type(error).__name__}: {error}")
            if self._is_over():
                # That of an old life says nothing about the present one.
                return failed
            context.last_error = failed
            if isinstance(failed, ProtocolError):
                # A bad message that is delivered again arrives before the connection is ready.
                self._offences.note(failed)
            is_final = self._cycle.rejections == rejections
            if is_final:
                return failed
            context.log.info("%s: %s", broker, failed)

    def _attempt(self, broker: Broker, number: int) -> Transport:
        cycle = self._cycle
        cycle.notify("on_connecting", (broker.host, broker.port))
        deadline = Deadline(broker.options.connection_timeout)

        def sent(frame: Frame) -> None:
            cycle.notify("on_send", frame)

        try:
            logged_in = log_in(self._context.config, broker, number, deadline, self._interrupt, self._context.log, sent)
        except BrokerError as error:
            cycle.notify("on_error", error.frame)
            raise
        return self._begin(logged_in, deadline)

    def _begin(self, logged_in: LoggedIn, deadline: Deadline) -> Transport:
        transport = logged_in.transport
        self._tell()
        self._interrupt.step = "the receipts of the subscriptions"
        try:
            # An end of this life breaks a replay that hangs, as it breaks a connect.
            with self._interrupt.doing(transport.shutdown):
                return self._cycle.begin(logged_in, lambda: not self._is_over(), deadline)
        except BaseException:
            transport.close()
            raise

    def _take_over(self, spare: LoggedIn) -> Transport | None:
        """Go on with a connection that is logged in already; None if it turns out to be dead."""
        self._cycle.notify("on_reconnecting", 1, 0.0)
        try:
            return self._begin(spare, Deadline(spare.broker.options.connection_timeout))
        except Exception as error:
            self._context.log.info("the standby connection to %s is dead: %s", spare.broker, error)
            return None

    def _fail(self, failures: list[Failure], passes: int, starting: bool) -> None:
        if not failures and not starting:
            # The limit of passes is 0: the loss itself is the failure, and was announced.
            self._give_up(NotConnected("the connection was lost, and the URI asks for no reconnect"))
            return
        when = "" if starting else " again after a connection loss"
        tries = f" in {passes} passes" if passes > 1 else ""
        error = ConnectFailed(f"could not connect{when}{tries}: {describe(failures)}", failures)
        if not starting:
            self._context.log.error("%s", error)
        self._give_up(error)


class Offences:
    """The same breach of the protocol or of a limit on one connection after the other: reported, at a bounded rate."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._offence = ""
        self._count = 0
        self._reported = 0.0

    def note(self, error: Exception | None) -> bool:
        """Note why a connection ended; whether it ended so several times in a row."""
        offence = error.offence if isinstance(error, ProtocolError) else ""
        self._count = self._count + 1 if offence and offence == self._offence else int(bool(offence))
        self._offence = offence
        if self._count < OFFENCES_IN_A_ROW:
            return False
        now = time.monotonic()
        if self._count == OFFENCES_IN_A_ROW or now - self._reported >= REPORT_SECONDS:
            self._reported = now
            self._context.log.error("%d connections in a row ended by the same offence: %s", self._count, error)
        return True


def describe(failures: Sequence[Failure]) -> str:
    """Each broker and why it failed, on one line."""
    return "; ".join(f"{broker}: {error}" for broker, error in failures) or "there is no broker to try"


def refused_by_all(failures: Sequence[Failure]) -> bool:
    """Whether a broker answered and every answer was a refusal: another attempt would only repeat it."""
    answers = [error for _, error in failures if not isinstance(error, (OSError, ConnectFailed))]
    return bool(answers) and all(isinstance(error, (BrokerError, ProtocolError, TypeError)) for error in answers)
