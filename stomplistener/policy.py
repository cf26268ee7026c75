"""Decide what becomes of a message after its listeners have returned or raised."""

from __future__ import annotations

import enum

from stomplistener._util.record import Record
from stomplistener.backoff import Backoff


class Verdict(enum.StrEnum):
    """The consequence of one attempt for the message."""

    ACKED = "acked"
    RETRIED = "retried"
    FORWARDED = "forwarded"
    REJECTED = "rejected"


class SettlePolicy(Record):
    """The rules for settling the messages of one subscription.

    Attributes:
        settle: acknowledge a message when the listeners return; retry, forward or reject it when one raises.
        retries: how often the listeners get a message again.
        backoff: the wait before each retry.
        error_destination: the destination of a message that is given up; None rejects the message.
        dead_letter_on: exceptions that are not worth a retry.
        retry_on: the only exceptions that are worth a retry.
        max_deliveries: how often the broker may deliver a message before it is given up without a listener; None: any
        number.
    """

    settle: bool = False
    retries: int = 0
    backoff: Backoff = Backoff.of("retry_delay", 1.0)
    error_destination: str | None = None
    dead_letter_on: tuple[type[BaseException], ...] = ()
    retry_on: tuple[type[BaseException], ...] = (BaseException,)
    max_deliveries: int | None = None

    def decide(self, attempts: int, error: BaseException | None) -> Verdict:
        """Return the consequence of one attempt.

        Args:
            attempts: how many attempts failed before this one.
            error: the exception of the listener; None if it returned.
        """
        if error is None:
            return Verdict.ACKED
        if isinstance(error, TryAgain):
            return Verdict.RETRIED
        is_worth_it = isinstance(error, self.retry_on) and not isinstance(error, self.dead_letter_on)
        if attempts < self.retries and is_worth_it:
            return Verdict.RETRIED
        return Verdict.REJECTED if self.error_destination is None else Verdict.FORWARDED


class TryAgain(Exception):
    """Raise this in a listener to get the message again later, if the failure is not the message's fault.

    With ``settle=True``, the message stays unacknowledged. ``TryAgain`` counts neither as one of the ``retries`` nor as
    an error of the listener. The listener gets the message again on this connection. If the connection ends first, the
    broker delivers the message again.

    Args:
        reason: the text for the log.
        delay: seconds to wait; other messages are handled meanwhile.
    """

    def __init__(self, reason: str, delay: float = 0.0) -> None:
        super().__init__(reason)
        self.delay = delay
