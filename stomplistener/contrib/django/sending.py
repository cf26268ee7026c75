"""Send rows of the outbox as messages, and return the outcome of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Any

from django.utils import timezone

from stomplistener._util.deadline import Deadline
from stomplistener.brokers.profile import Profile
from stomplistener.brokers.table import by_server
from stomplistener.connection import Body, Connection
from stomplistener.contrib.django.models import OutboxMessage
from stomplistener.contrib.django.outbox import TEXT
from stomplistener.errors import BrokerError, ProtocolError, StompError, TimedOut
from stomplistener.options import with_persistence

Outcomes = dict[int, Exception | None]
"""The outcome of each row that was tried, by its primary key: None if the broker confirmed it, otherwise the error."""


LEAST = 0.001
"""The lifetime, in seconds, of a message that has expired in the outbox. The broker then treats it as expired."""


class Sender:
    """Sends rows and waits for their receipts. Thread-safe.

    Args:
        connection: to the broker.
        timeout: seconds that a row may wait for its receipt.
        detects_duplicates: whether to send the ids of rows as ``duplicate_id``; None decides by the broker in use.
    """

    def __init__(self, connection: Connection, timeout: float, detects_duplicates: bool | None = None) -> None:
        self._connection = connection
        self._timeout = timeout
        self._detects_duplicates = detects_duplicates

    def send(self, groups: Sequence[deque[OutboxMessage]]) -> Outcomes:
        """Send rows, until the first sign of a connection loss.

        A row is sent after the broker has confirmed the row before it in its group, or in one transaction with that
        row. A row that failed before is sent alone, so that it affects no other row if the broker closes the
        connection.
        """
        profile = by_server(self._connection.session.server)
        now, with_id = timezone.now(), self._sends_ids(profile)
        outcomes: Outcomes = {}
        if profile is not None and profile.stores_in_turn:
            fresh = [group for group in groups if not any(row.attempts for row in group)]
            outcomes = self._send_whole([row for group in fresh for row in group], now, with_id)
            groups = [group for group in groups if group[0].pk not in outcomes]
        if not any(map(is_loss, outcomes.values())):
            outcomes |= self._send_in_turn(groups, now, with_id)
        return outcomes

    def _send_whole(self, rows: Sequence[OutboxMessage], now: datetime, with_id: bool) -> Outcomes:
        """Send rows in one transaction. If the broker refuses the transaction, return no outcomes."""
        if len(rows) < 2:
            return {}
        outcome = self._commit(rows, now, with_id, Deadline(self._timeout))
        # No message of a refused transaction took effect, and the broker does not say which row it refuses.
        return {row.pk: outcome for row in rows} if outcome is None or is_loss(outcome) else {}

    def _send_in_turn(self, groups: Sequence[deque[OutboxMessage]], now: datetime, with_id: bool) -> Outcomes:
        """Send the first row of each group, then the next row of each group whose row was confirmed."""
        outcomes: Outcomes = {}
        while groups:
            heads = [group.popleft() for group in groups]
            fresh = [row for row in heads if not row.attempts]
            suspects = [[row] for row in heads if row.attempts]
            for together in filter(None, [fresh, *suspects]):
                outcomes |= self._send_together(together, now, with_id)
                if any(map(is_loss, outcomes.values())):
                    return outcomes
            left = zip(groups, heads, strict=True)
            groups = [group for group, head in left if group and outcomes[head.pk] is None]
        return outcomes

    def _send_together(self, rows: Collection[OutboxMessage], now: datetime, with_id: bool) -> Outcomes:
        deadline = Deadline(self._timeout)
        with self._connection.batch():
            answers = {row.pk: self._begin(row, now, with_id, deadline) for row in rows}
        return {pk: _outcome(answer, deadline) for pk, answer in answers.items()}

    def _commit(
        self, rows: Collection[OutboxMessage], now: datetime, with_id: bool, deadline: Deadline
    ) -> Exception | None:
        """Send rows in one transaction. Return the outcome that all of them share."""
        try:
            with self._connection.transaction() as transaction:
                with self._connection.batch():
                    for row in rows:
                        body, headers, options = arguments(row, now, with_id)
                        transaction.send(row.destination, body, headers, timeout=deadline.remaining(), **options)
                transaction.commit(deadline.remaining())
        except (StompError, ValueError, TypeError) as error:
            return error
        return None

    def _sends_ids(self, profile: Profile | None) -> bool:
        if self._detects_duplicates is not None:
            return self._detects_duplicates
        return profile is not None and profile.options["duplicate_id"].headers is not None

    def _begin(self, row: OutboxMessage, now: datetime, with_id: bool, deadline: Deadline) -> Future[Any] | Exception:
        try:
            body, headers, options = arguments(row, now, with_id)
            return self._connection.send_async(row.destination, body, headers, timeout=deadline.remaining(), **options)
        except (StompError, ValueError, TypeError) as error:
            return error


def arguments(row: OutboxMessage, now: datetime, with_id: bool) -> tuple[Body, dict[str, str], dict[str, Any]]:
    """Make the arguments of ``send_async`` for a row: body, headers, options."""
    options = dict(row.options)
    headers = with_persistence(row.headers, options.pop("persistent", True))
    headers["outbox-id"] = str(row.uuid)
    body = bytes(row.body).decode() if options.pop(TEXT, False) else bytes(row.body)
    # ``expires`` and ``delay`` count from the time when the row was written, so subtract the wait in the outbox.
    waited = max((now - row.created).total_seconds(), 0.0)
    if (expires := options.get("expires")) is not None:
        options["expires"] = max(expires - waited, LEAST)
    if (delay := options.pop("delay", None)) is not None and delay > waited:
        options["delay"] = delay - waited
    if with_id:
        options.setdefault("duplicate_id", str(row.uuid))
    return body, headers, options


def is_refusal(outcome: Exception | None) -> bool:
    """Whether the outcome concerns the message itself, and not the connection to the broker."""
    return isinstance(outcome, (BrokerError, ProtocolError, TypeError)) or (
        isinstance(outcome, ValueError) and not isinstance(outcome, TimedOut)
    )


def is_loss(outcome: Exception | None) -> bool:
    """Whether the outcome concerns the connection to the broker."""
    return outcome is not None and not is_refusal(outcome)


def reason(outcome: Exception) -> str:
    """Return the reason for the log. Of an ERROR frame it has only the header: the body may quote the message."""
    text = str(outcome)
    if isinstance(outcome, BrokerError):
        text = outcome.frame.headers.get("message") or "the ERROR frame has no message"
    return f"{type(outcome).__name__}: {text}"


def _outcome(answer: Future[Any] | Exception, deadline: Deadline) -> Exception | None:
    if isinstance(answer, Exception):
        return answer
    try:
        answer.result(deadline.remaining())
    except TimeoutError:
        return TimedOut(f"no receipt from the broker for {deadline.timeout} s")
    except Exception as error:
        return error
    return None
