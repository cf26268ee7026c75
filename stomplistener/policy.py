"""What becomes of a message when its listeners have ended."""

from __future__ import annotations

import enum

from stomplistener._util.record import Record
from stomplistener.backoff import Backoff


class Verdict(enum.StrEnum):
    """What one attempt at a message means for the message."""

    ACKED = "acked"
    RETRIED = "retried"
    FORWARDED = "forwarded"
    REJECTED = "rejected"


class SettlePolicy(Record):
    """The settling of one subscription.

    Attributes:
        settle: acknowledge when the listeners return, and settle otherwise when they raise.
        retries: how often a message is tried again.
        backoff: how long to wait before each.
        error_destination: where a message goes that is given up; None rejects it.
        dead_letter_on: exceptions that are not worth a retry.
        retry_on: the only exceptions that are worth a retry.
        max_deliveries: how often the broker may have delivered a message before it is given up unread; None: any.
    """

    settle: bool = False
    retries: int = 0
    backoff: Backoff = Backoff.of("retry_delay", 1.0)
    error_destination: str | None = None
    dead_letter_on: tuple[type[BaseException], ...] = ()
    retry_on: tuple[type[BaseException], ...] = (BaseException,)
    max_deliveries: int | None = None

    def decide(self, attempts: int, error: BaseException | None) -> Verdict:
        """Return what one attempt means.

        Args:
            attempts: how many attempts failed before this one.
            error: what the listener raised; None if it returned.
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
    """What a listener raises to be given the message again later, through no fault of the message.

    With ``settle=True`` it stays unacknowledged, which counts neither against ``retries`` nor as an error of the
    listener: it is tried again on this connection, or delivered again by the broker when that ends first.

    Args:
        reason: for the log.
        delay: seconds until then; other messages go on meanwhile.
    """

    def __init__(self, reason: str, delay: float = 0.0) -> None:
        super().__init__(reason)
        self.delay = delay
