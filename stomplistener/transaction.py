"""A transaction as an application holds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from stomplistener._util.deadline import Deadline
from stomplistener.errors import ClosedAfterFork, ConnectionLost
from stomplistener.options import DEFAULT
from stomplistener.protocol import Frame, Session, TransactionEntry, TransactionState, commands

if TYPE_CHECKING:
    from stomplistener.core import Answer, Core
    from stomplistener.message import Message

T = TypeVar("T")


class Transaction:
    """A context manager: BEGIN at its start, COMMIT at its end, ABORT if an exception passes through.

    It lives and dies with the connection on which it began: after a loss its next use raises ``ConnectionLost`` and
    nothing of it was done, except where COMMIT itself was on its way (``outcome_unknown``). Thread-safe.
    """

    def __init__(
        self, core: Core, headers: Mapping[str, str] | None = None, *, id: str | None = None, retry: int = 0
    ) -> None:
        self._core = core
        self._headers = headers
        self._id = id
        self._retry = retry
        self._entry: TransactionEntry | None = None

    @property
    def entry(self) -> TransactionEntry:
        """What the session knows of it; RuntimeError before it has begun."""
        if self._entry is None:
            raise RuntimeError("the transaction has not begun: use it in a with statement, or call begin()")
        return self._entry

    @property
    def id(self) -> str:
        """Its name on the wire; RuntimeError before it has begun."""
        return self.entry.id

    @property
    def state(self) -> TransactionState:
        """Where it stands; RuntimeError before it has begun."""
        return self.entry.state

    @property
    def outcome_unknown(self) -> bool:
        """Whether COMMIT was written and the connection lost before its answer."""
        return self._entry is not None and self._entry.state is TransactionState.IN_DOUBT

    def begin(self, timeout: float | None = DEFAULT) -> Transaction:
        """BEGIN.

        Args:
            timeout: seconds to wait for a connection.

        Raises:
            TimedOut: none came; nothing was written.
            NotConnected: there is no connection, nor is one being restored.
            ValueError: a transaction of that id is open.
        """

        def make(session: Session) -> Frame:
            self._entry, frame = session.begin(self._id, self._headers)
            return frame

        self._core.say(make, self._deadline(timeout), "BEGIN")
        return self

    def send(
        self,
        destination: str,
        body: bytes | bytearray | memoryview | str = b"",
        headers: Mapping[str, str] | None = None,
        *,
        content_type: str | None = None,
        auto_content_length: bool | None = None,
        persistent: bool | None = None,
        expires: float | None = None,
        priority: int | None = None,
        delay: float | None = None,
        duplicate_id: str | None = None,
        timeout: float | None = DEFAULT,
    ) -> None:
        """SEND as part of this transaction; COMMIT alone confirms it. Arguments and errors as ``Connection.send``."""
        headers = self._core.spelled(
            headers,
            self._deadline(timeout),
            persistent=persistent,
            expires=expires,
            priority=priority,
            delay=delay,
            duplicate_id=duplicate_id,
        )
        frame = commands.send(
            destination,
            body,
            headers,
            content_type=content_type,
            transaction=self.id,
            auto_content_length=self._core.counted(body, auto_content_length),
        )
        self._say(lambda session: session.send(frame), "SEND", timeout)

    def ack(self, message: Message) -> bool:
        """Acknowledge a message when this transaction commits; see :meth:`Message.ack`."""
        return message.ack(self)

    def nack(self, message: Message) -> bool:
        """Reject a message when this transaction commits; see :meth:`Message.nack`."""
        return message.nack(self)

    def commit(self, timeout: float | None = DEFAULT, headers: Mapping[str, str] | None = None) -> None:
        """COMMIT, and wait for the broker's receipt.

        Args:
            timeout: seconds to wait.
            headers: more headers for the frame.

        Raises:
            ConnectionLost: the transaction was lost with its connection; ``outcome_unknown`` tells whether the broker
                may have committed it.
            BrokerError: the broker refused; nothing was done.
            TimedOut: no receipt came; the broker may have committed it.
        """
        deadline = self._deadline(timeout)
        self._core.await_answer(self._commit(timeout, headers), deadline, f"COMMIT of transaction {self.id}")

    def commit_async(self, timeout: float | None = DEFAULT, headers: Mapping[str, str] | None = None) -> Future[Frame]:
        """COMMIT, without waiting for the broker's receipt.

        Args:
            timeout: seconds to wait for a broker that takes no more bytes.
            headers: more headers for the frame.

        Returns:
            a future: the RECEIPT frame, or what ``commit`` would raise. Its callbacks run in the dispatcher thread.

        Raises:
            ConnectionLost: the transaction was lost with its connection.
            TimedOut: nothing was written, and nothing will be.
        """
        return self._commit(timeout, headers)

    def _commit(self, timeout: float | None, headers: Mapping[str, str] | None) -> Answer:
        answer = self._core.new_answer()
        self._say(lambda session: session.commit(self.entry, headers, context=answer), "COMMIT", timeout)
        return answer

    def abort(self, headers: Mapping[str, str] | None = None) -> None:
        """ABORT. Where the connection is gone the broker has done so already: then nothing is written.

        Args:
            headers: more headers for the frame.
        """
        self._core.say_now(lambda session: session.abort(self.entry, headers))

    def run(self, function: Callable[[Transaction], T]) -> T:
        """Begin, call ``function`` with this transaction, commit; run it all again if the connection is lost.

        As often as ``retry`` of ``Connection.transaction`` allows, and never where COMMIT may have been carried out.

        Returns:
            what the function returned.

        Raises:
            ConnectionLost: the connection was lost more often than ``retry``, or COMMIT was on its way
                (``outcome_unknown``).
            Exception: what the function raised, after ABORT; likewise what ``begin`` and ``commit`` raise.
        """
        for remaining in range(self._retry, -1, -1):
            try:
                with self:
                    return function(self)
            except ConnectionLost as lost:
                if lost.outcome_unknown or not remaining:
                    raise
        raise AssertionError("unreachable")

    def __enter__(self) -> Transaction:
        return self.begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.entry.state is TransactionState.COMMITTED or self.entry.state is TransactionState.ABORTED:
            return
        if kind is None:
            self.commit()
            return
        # In the child of a fork there is nothing to abort, and what passes through must get through.
        with suppress(ClosedAfterFork):
            self.abort()

    def _say(self, make: Callable[[Session], Frame | None], what: str, timeout: float | None) -> None:
        def checked(session: Session) -> Frame | None:
            session.check_transaction(self.entry)
            return make(session)

        with self._core.lock:
            # At once, and not only when a connection is back: waiting cannot bring this transaction back.
            if self.entry.state is not TransactionState.OPEN:
                self._core.session.check_transaction(self.entry)
        self._core.say(checked, self._deadline(timeout), what, begun=True)

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._core.config.seconds(timeout))
