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
    """Raise this in a listener to get the message again later, if the message is not to blame.

    With ``settle=True`` the message stays unacknowledged. That counts neither against ``retries`` nor as an error of
    the listener. The client tries it again on this connection, or the broker delivers it again if the connection ends
    first.

    Args:
        reason: for the log.
        delay: seconds to wait; other messages are handled meanwhile.
    """

    def __init__(self, reason: str, delay: float = 0.0) -> None:
        super().__init__(reason)
        self.delay = delay
