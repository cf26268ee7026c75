"""Choose the next broker, and do every step until the connection is open. Runs in the receiver thread.

One attempt consists of TCP, TLS, CONNECT, CONNECTED and the replay of the subscriptions, all within the broker's
``connectionTimeout``. An attempt counts as a success only when all these steps are done: a TCP connection proves
nothing.
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
"""How many connections in a row must end with the same protocol error before an error is logged."""

_PROVEN = float("inf")

REPORT_SECONDS = 60.0
"""The shortest time in seconds between two reports of the same repeated error."""


class Reconnector:
    """Makes the connections for one call of ``connect()``, one at a time.

    Args:
        context: the context of the connection.
        cycle: begins connections.
        schedule: decides which broker to try when.
        interrupt: ends the attempt under way.
        standby: holds connections that are logged in; None if the URI does not ask for them.
        is_over: whether the life of this reconnector has ended.
        give_up: called when the client will not connect again.
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
        """Make the first connection; None if it failed for good or was interrupted."""
        return self._connect(self._schedule.start(), starting=True)

    def again(self) -> Transport | None:
        """Make the next connection after a loss; None if it failed for good or was interrupted."""
        context = self._context
        assert context.broker is not None
        # A standby connection has proved itself before the takeover. The end of a standby connection counts as a first
        # outage, and must not lengthen the wait for a broker that works.
        lived = _PROVEN if self._took_over else time.monotonic() - context.ready_since
        self._took_over = False
        if self._offences.note(context.last_error):
            # If a broker sends the same bad frame on each connection, the client tries it less and less often.
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
                    # Use the same level as the warning that this line resolves: a log at WARNING must not show the
                    # failure without its end.
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

    def _tell_warnings(self) -> None:
        for warning in self._schedule.warnings:
            self._context.log.warning("%s", warning)
        self._schedule.warnings.clear()

    def _tell(self) -> None:
        """Log the failures of a pass that appear in no warning and no exception."""
        for broker, error in self._untold:
            self._context.log.info("%s: %s", broker, error)
        self._untold.clear()

    def _is_final(self, passes: int, starting: bool, failures: Sequence[Failure]) -> bool:
        """Whether connect() raises the failures, so that a warning would only repeat them."""
        return starting and (refused_by_all(failures) or self._schedule.is_last_start(passes))

    def _begin_pass(self, attempt: Attempt, starting: bool) -> bool:
        """Announce a pass and wait until it is due; False if the connection was closed meanwhile."""
        if not starting or attempt.pass_number > 1:
            self._cycle.notify("on_reconnecting", attempt.pass_number, attempt.delay)
        self._tell_warnings()
        self._interrupt.step = "the next attempt"
        return not self._context.wait_until(self._is_over, Deadline(attempt.delay)) and not self._is_over()

    def _try(self, attempt: Attempt, number: int) -> Transport | Exception:
        """Make one attempt, and repeat it at once if the broker only rejected a subscription.

        The rejected subscription is not replayed again, and the others must not wait for the next pass.
        """
        context, broker = self._context, attempt.broker
        while True:
            rejections = self._cycle.rejections
            try:
                return self._attempt(broker, number)
            except Exception as error:
                failed = error
            except BaseException as error:  # a transport or callback of the application raised it
                failed = ConnectFailed(f"{type(error).__name__}: {error}")
            if self._is_over():
                # The failure of an old life says nothing about the current one.
                return failed
            context.last_error = failed
            if isinstance(failed, ProtocolError):
                # A bad message that the broker delivers again arrives before the connection is ready.
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
            # The end of this life breaks a replay that hangs, just as it breaks an attempt to connect.
            with self._interrupt.doing(transport.shutdown):
                return self._cycle.begin(logged_in, lambda: not self._is_over(), deadline)
        except BaseException:
            transport.close()
            raise

    def _take_over(self, spare: LoggedIn) -> Transport | None:
        """Use a connection that is logged in already; None if it is dead."""
        self._cycle.notify("on_reconnecting", 1, 0.0)
        try:
            return self._begin(spare, Deadline(spare.broker.options.connection_timeout))
        except BaseException as error:  # a transport of the application may raise anything
            self._context.log.info("the standby connection to %s is dead: %s", spare.broker, error)
            return None

    def _fail(self, failures: list[Failure], passes: int, starting: bool) -> None:
        self._tell_warnings()
        if not failures and not starting:
            # The limit of passes is 0, so the loss, which was already announced, is final.
            self._give_up(NotConnected("the connection was lost, and the URI forbids a reconnect"))
            return
        when = "" if starting else " again after a connection loss"
        tries = f" in {passes} passes" if passes > 1 else ""
        error = ConnectFailed(f"could not connect{when}{tries}: {describe(failures)}", failures)
        if not starting:
            self._context.log.error("%s", error)
        self._give_up(error)


class Offences:
    """Counts connections in a row that ended with the same protocol error, and reports them at a limited rate."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._offence = ""
        self._count = 0
        self._reported = 0.0

    def note(self, error: Exception | None) -> bool:
        """Note why a connection ended. Return whether several connections in a row ended for the same reason."""
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
    """Return each broker and its failure, on one line."""
    return "; ".join(f"{broker}: {error}" for broker, error in failures) or "there is no broker to try"


def refused_by_all(failures: Sequence[Failure]) -> bool:
    """Whether a broker answered and every answer was a refusal: another attempt would get the same answers."""
    answers = [error for _, error in failures if not isinstance(error, (OSError, ConnectFailed))]
    return bool(answers) and all(isinstance(error, (BrokerError, ProtocolError, TypeError)) for error in answers)
