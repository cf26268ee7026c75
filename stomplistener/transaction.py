"""A transaction as an application uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar, Unpack

from stomplistener._engine.engine import Engine
from stomplistener._engine.receipts import Receipt
from stomplistener._util import arguments
from stomplistener._util.deadline import Deadline
from stomplistener.errors import ConnectionLost, StompError
from stomplistener.message import Message
from stomplistener.options import DEFAULT, SendOptions
from stomplistener.protocol import Frame, Session, TransactionEntry, TransactionState

T = TypeVar("T")


class Transaction:
    """A context manager: BEGIN at its start, COMMIT at its end, ABORT if an exception passes through.

    A transaction belongs to the connection on which it began. After a connection loss, the next use of the transaction
    raises ``ConnectionLost``. The transaction then had no effect, unless COMMIT was already written
    (``outcome_unknown``). Thread-safe.
    """

    def __init__(
        self, engine: Engine, headers: Mapping[str, str] | None = None, *, id: str | None = None, retry: int = 0
    ) -> None:
        self._engine = engine
        self._headers = arguments.headers(headers)
        self._id = arguments.optional_text("id", id)
        self._retry = arguments.count("retry", retry, 0)
        # The receipts of the SENDs, for a broker whose answer to COMMIT alone confirms nothing.
        self._receipts: list[Receipt] = []
        self._entry: TransactionEntry | None = None

    @property
    def entry(self) -> TransactionEntry:
        """The session's entry of the transaction; RuntimeError before it has begun."""
        if self._entry is None:
            raise RuntimeError("the transaction has not begun: use it in a with statement, or call begin()")
        return self._entry

    @property
    def id(self) -> str:
        """The name of the transaction on the wire; RuntimeError before it has begun."""
        return self.entry.id

    @property
    def state(self) -> TransactionState:
        """The state of the transaction; RuntimeError before it has begun."""
        return self.entry.state

    @property
    def outcome_unknown(self) -> bool:
        """Whether COMMIT was written, and the connection was lost before its answer."""
        return self._entry is not None and self._entry.state is TransactionState.IN_DOUBT

    def begin(self, timeout: float | None = DEFAULT) -> Transaction:
        """BEGIN.

        Args:
            timeout: seconds to wait for a connection.

        Raises:
            TimedOut: no connection within the time; nothing was written.
            NotConnected: the client is neither connected nor reconnecting.
            ValueError: a transaction with that id is open.
        """

        if self._entry is not None and self._entry.state is TransactionState.OPEN:
            raise RuntimeError(f"the transaction {self.id!r} has begun already: commit() or abort() it first")

        def note(session: Session) -> Frame:
            self._entry, frame = session.begin(self._id, self._headers, context=self)
            return frame

        self._receipts = []
        try:
            seconds, lingers = self._seconds(timeout), "receipt" not in self._headers
            self._engine.sender.transmit(None, seconds, "BEGIN", note=note, lingers=lingers, context=self)
        except BaseException:
            self._entry = None
            raise
        return self

    def send(
        self,
        destination: str,
        body: bytes | bytearray | memoryview | str = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = DEFAULT,
        **options: Unpack[SendOptions],
    ) -> None:
        """SEND as part of this transaction; only COMMIT confirms it. Arguments as in ``Connection.send``."""
        entry, seconds = self.entry, self._seconds(timeout)
        frame = self._engine.sender.make_send(destination, body, headers, entry.id, seconds, options)
        receipt = None if self._engine.context.profile.commit_confirms else self._engine.new_receipt()
        self._engine.sender.send_in(entry, frame, seconds, receipt)
        if receipt is not None:
            self._receipts.append(receipt)

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
            headers: additional headers for the frame.

        Raises:
            ConnectionLost: the transaction was lost with its connection; ``outcome_unknown`` tells whether the broker
                may have committed it.
            BrokerError: the broker refused the COMMIT; the transaction had no effect.
            TimedOut: no receipt arrived; the broker may have committed it.
        """
        deadline = Deadline(self._seconds(timeout))
        what = f"COMMIT of transaction {self.id}"
        self._engine.sender.await_receipt(self._commit(deadline.remaining(), headers), deadline, what)
        # RabbitMQ answers COMMIT before the messages are stored, but answers each SEND only afterwards.
        for receipt in self._receipts:
            self._engine.sender.await_receipt(receipt, deadline, what)

    def commit_async(self, timeout: float | None = DEFAULT, headers: Mapping[str, str] | None = None) -> Future[Frame]:
        """COMMIT, without waiting for the broker's receipt.

        Args:
            timeout: seconds to wait for a broker that takes no more bytes.
            headers: additional headers for the frame.

        Returns:
            a future: the RECEIPT frame, or the exception that ``commit`` would raise. The callbacks run in the
            dispatcher thread.

        Raises:
            ConnectionLost: the transaction was lost with its connection.
            TimedOut: nothing was written, and nothing will be.
        """
        return self._commit(self._seconds(timeout), headers)

    def _commit(self, seconds: float | None, headers: Mapping[str, str] | None) -> Receipt:
        receipt, entry = self._engine.new_receipt(), self.entry
        checked = arguments.headers(headers)

        def note(session: Session) -> Frame | None:
            return session.commit(entry, checked, context=receipt)

        self._check_open()
        self._engine.sender.transmit(None, seconds, "COMMIT", note=note, begun=True, context=receipt)
        return receipt

    def abort(self, headers: Mapping[str, str] | None = None) -> None:
        """ABORT. After a connection loss nothing is written: the broker has already rolled back.

        Args:
            headers: additional headers for the frame.
        """
        entry, checked = self.entry, arguments.headers(headers)
        self._engine.sender.transmit_now(lambda session: session.abort(entry, checked))

    def run(self, function: Callable[[Transaction], T]) -> T:
        """Begin, call ``function`` with this transaction, and commit. Repeat everything after a connection loss.

        The call repeats these steps as often as ``retry`` of ``Connection.transaction`` allows, but never if COMMIT may
        have taken effect.

        Returns:
            the result of the function.

        Raises:
            ConnectionLost: the connection was lost more often than ``retry``, or COMMIT was already written
                (``outcome_unknown``).
            Exception: the exception of the function, after ABORT; also exceptions of ``begin`` and ``commit``.
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
        # The exception must reach the caller. If ABORT cannot be sent, the end of the connection has the same effect.
        with suppress(StompError):
            self.abort()

    def _check_open(self) -> None:
        """Raise at once, without waiting for a connection: no reconnect can restore this transaction."""
        with self._engine.context.lock:
            if self.entry.state is not TransactionState.OPEN:
                self._engine.context.session.check_transaction(self.entry)

    def _seconds(self, timeout: Any) -> float | None:
        return self._engine.context.config.seconds(timeout)
