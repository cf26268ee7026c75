"""The transactions of a session: the open ones, and the end of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from stomplistener.errors import ConnectionLost
from stomplistener.protocol.ledger import Ledger, Request, TransactionEntry
from stomplistener.states import TransactionState


class Transactions:
    """The transactions of one epoch that have not ended.

    Args:
        ledger: the ledger of the session.
        unsettle: called with the context of each acknowledgement in a transaction that is aborted or refused.

    Attributes:
        entries: the transactions, by name.
    """

    __slots__ = ("_ledger", "_unsettle", "entries")

    def __init__(self, ledger: Ledger, unsettle: Callable[[object], object]) -> None:
        self._ledger = ledger
        self._unsettle = unsettle
        self.entries: dict[str, TransactionEntry] = {}

    def open(self, id: str) -> TransactionEntry:
        """Return the transaction of that name; ConnectionLost if there is none."""
        entry = self.entries.get(id)
        if entry is None:
            raise ConnectionLost(f"transaction {id!r} is not open: it was ended, or lost with its connection")
        return entry

    def refuse(self, entry: TransactionEntry) -> NoReturn:
        """Raise the ConnectionLost that tells why a transaction cannot be used."""
        if entry.state is TransactionState.IN_DOUBT:
            raise ConnectionLost(
                f"transaction {entry.id!r}: the connection was lost before its COMMIT was confirmed; "
                "the broker may have committed it or not",
                outcome_unknown=True,
            )
        raise ConnectionLost(f"transaction {entry.id!r} is {entry.state.value}; begin another one")

    def answered(self, entry: TransactionEntry) -> None:
        """Note a RECEIPT. A transaction is committed when its COMMIT and all its confirmed SENDs have a receipt."""
        if entry.state is TransactionState.COMMITTING and not entry.awaited:
            self.end(entry, TransactionState.COMMITTED)

    def failed(self, request: Request, *, refused: bool) -> None:
        """End a transaction if one of its requests was refused, or if the caller of the request stopped waiting."""
        entry = request.transaction
        if entry is None or entry.state is not TransactionState.COMMITTING:
            return
        if refused and request.command == "COMMIT":
            self.end(entry, TransactionState.ABORTED)
        elif not any(other.command == "COMMIT" for other in tuple(entry.awaited.values())):
            # The COMMIT was answered, or no call waits for its answer: only the broker knows the outcome.
            self.end(entry, TransactionState.IN_DOUBT)

    def end(self, entry: TransactionEntry, state: TransactionState) -> None:
        """End a transaction and stop waiting for its answers."""
        entry.move(state)
        self._ledger.release(entry)
        self.entries.pop(entry.id, None)
        if state is TransactionState.ABORTED:
            for context in tuple(entry.settled):
                self._unsettle(context)

    def reopen(self, entry: TransactionEntry) -> None:
        """Reopen a transaction whose COMMIT was not written."""
        if entry.state is TransactionState.COMMITTING:
            entry.move(TransactionState.OPEN)

    def lost(self) -> None:
        """End the epoch."""
        for entry in tuple(self.entries.values()):
            in_doubt = entry.state is TransactionState.COMMITTING
            entry.move(TransactionState.IN_DOUBT if in_doubt else TransactionState.LOST)
            self.entries.pop(entry.id, None)

    def withdraw(self, context: object) -> None:
        """Undo the changes of a call with this context to any transaction."""
        for entry in tuple(self.entries.values()):
            for receipt, request in tuple(entry.awaited.items()):
                if request.context is context:
                    entry.awaited.pop(receipt, None)
                    if request.command == "COMMIT":
                        self.reopen(entry)
            entry.settled = [settled for settled in tuple(entry.settled) if settled is not context]
            if entry.context is context:
                self.entries.pop(entry.id, None)
