"""The transactions of a session: which are open, and how each ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from stomplistener.errors import ConnectionLost
from stomplistener.protocol.ledger import Ledger, Request, TransactionEntry
from stomplistener.states import TransactionState


class Transactions:
    """Those of one epoch that are not over.

    Args:
        ledger: of the session.
        unsettle: called with the context of each acknowledgement in a transaction that is aborted or refused.

    Attributes:
        entries: by name.
    """

    __slots__ = ("_ledger", "_unsettle", "entries")

    def __init__(self, ledger: Ledger, unsettle: Callable[[object], object]) -> None:
        self._ledger = ledger
        self._unsettle = unsettle
        self.entries: dict[str, TransactionEntry] = {}

    def open(self, id: str) -> TransactionEntry:
        """The transaction of that name; ConnectionLost if there is none."""
        entry = self.entries.get(id)
        if entry is None:
            raise ConnectionLost(f"transaction {id!r} is not open: it was ended, or lost with its connection")
        return entry

    def refuse(self, entry: TransactionEntry) -> NoReturn:
        """Raise the ConnectionLost that says why a transaction cannot be used."""
        if entry.state is TransactionState.IN_DOUBT:
            raise ConnectionLost(
                f"transaction {entry.id!r}: the connection was lost before its COMMIT was confirmed; "
                "the broker may have committed it or not",
                outcome_unknown=True,
            )
        raise ConnectionLost(f"transaction {entry.id!r} is {entry.state.value}; begin another one")

    def answered(self, request: Request) -> None:
        """A RECEIPT came. A transaction is committed when its COMMIT and every SEND that asked for it have theirs."""
        entry = request.transaction
        if entry is not None and entry.state is TransactionState.COMMITTING and not entry.awaited:
            self.end(entry, TransactionState.COMMITTED)

    def failed(self, request: Request, *, refused: bool) -> None:
        """A request was refused, or its caller stopped waiting for it: that may end its transaction."""
        entry = request.transaction
        if entry is None or entry.state is not TransactionState.COMMITTING:
            return
        if refused and request.command == "COMMIT":
            self.end(entry, TransactionState.ABORTED)
        elif not any(other.command == "COMMIT" for other in tuple(entry.awaited.values())):
            # The COMMIT was answered, or nobody waits for that: only the broker knows what it did.
            self.end(entry, TransactionState.IN_DOUBT)

    def end(self, entry: TransactionEntry, state: TransactionState) -> None:
        """Nothing of a transaction is awaited any more."""
        entry.move(state)
        self._ledger.release(entry)
        self.entries.pop(entry.id, None)
        if state is TransactionState.ABORTED:
            for context in tuple(entry.settled):
                self._unsettle(context)

    def reopen(self, entry: TransactionEntry) -> None:
        """The COMMIT of a transaction was not written after all."""
        if entry.state is TransactionState.COMMITTING:
            entry.move(TransactionState.OPEN)

    def lost(self) -> None:
        """The epoch is over."""
        for entry in tuple(self.entries.values()):
            in_doubt = entry.state is TransactionState.COMMITTING
            entry.move(TransactionState.IN_DOUBT if in_doubt else TransactionState.LOST)
            self.entries.pop(entry.id, None)

    def withdraw(self, context: object) -> None:
        """Undo what a call with this context did to any transaction."""
        for entry in tuple(self.entries.values()):
            for receipt, request in tuple(entry.awaited.items()):
                if request.context is context:
                    entry.awaited.pop(receipt, None)
                    if request.command == "COMMIT":
                        self.reopen(entry)
            entry.settled = [settled for settled in tuple(entry.settled) if settled is not context]
            if entry.context is context:
                self.entries.pop(entry.id, None)
