"""The books of what is more than one message: failures, transactions, requests, refusals. Each has to balance."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Any


class Book:
    """Thread-safe. ``changed`` guards what a book notes, and is notified of it."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._last = time.monotonic()

    def open(self) -> Collection[str]:
        """What is still owed."""
        return ()

    def wrong(self) -> Collection[str]:
        """What must never happen, and did."""
        return ()

    def summary(self) -> str:
        """One cell of the table."""
        raise NotImplementedError

    def note(self, change: Callable[[], object]) -> None:
        with self.changed:
            change()
            self._last = time.monotonic()
            self.changed.notify_all()

    @property
    def idle(self) -> float:
        """Seconds since something was noted."""
        return time.monotonic() - self._last

    def wait_balanced(self, timeout: float) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: not self.open(), timeout)

    def problems(self) -> list[str]:
        with self.changed:
            owed, wrong = list(self.open()), list(self.wrong())
        name = type(self).__name__.lower()
        found = [f"{name}: {len(owed)} still owed: {owed[:5]}"] if owed else []
        return found + ([f"{name}: {len(wrong)} wrong: {wrong[:5]}"] if wrong else [])


class Failures(Book):
    """Failed = forwarded: a listener handles each good message, and each bad one goes to the error destination."""

    def __init__(self) -> None:
        super().__init__()
        self._sent: dict[str, bool] = {}
        self._handled: set[str] = set()
        self._forwarded: set[str] = set()
        self._buried: set[str] = set()

    def send(self, id: str, *, bad: bool) -> None:
        """Before the message is sent: it may be handled at once. ``forget`` it if it was not confirmed."""
        self.note(lambda: self._sent.update({id: bad}))

    def forget(self, id: str) -> None:
        """Nothing is owed for it; it may have arrived all the same."""
        self.note(lambda: self._sent.pop(id, None))

    def handle(self, id: str) -> None:
        self.note(lambda: self._handled.add(id))

    def forward(self, id: str) -> None:
        self.note(lambda: self._forwarded.add(id))

    def bury(self, id: str) -> None:
        """The broker itself gave it up: its connections ended too often."""
        self.note(lambda: self._buried.add(id))

    def open(self) -> Collection[str]:
        return [
            id
            for id, bad in self._sent.items()
            if id not in (self._forwarded if bad else self._handled) and id not in self._buried
        ]

    def wrong(self) -> Collection[str]:
        return [id for id in self._forwarded if not self._sent.get(id, True)]

    def summary(self) -> str:
        buried = f" + {len(self._buried):,} dead letters" if self._buried else ""
        return f"{sum(self._sent.values()):,} = {len(self._forwarded):,}{buried}"


class Transactions(Book):
    """All parts of a transaction arrive that was committed, none of one that was aborted; all or none if in doubt."""

    PARTS = 3

    def __init__(self) -> None:
        super().__init__()
        self._fates: dict[str, str] = {}
        self._parts: dict[str, set[str]] = {}

    def end(self, id: str, fate: str) -> None:
        """Note its end: ``committed``, ``aborted`` or ``in doubt``."""
        self.note(lambda: self._fates.update({id: fate}))

    def receive(self, text: str) -> None:
        id, _, part = text.partition("/")
        self.note(lambda: self._parts.setdefault(id, set()).add(part))

    def _arrived(self, id: str) -> int:
        return len(self._parts.get(id, ()))

    def open(self) -> Collection[str]:
        return [
            f"{id} ({fate}, {self._arrived(id)} parts)"
            for id, fate in self._fates.items()
            if self._arrived(id) < self.PARTS and (fate == "committed" or self._arrived(id))
        ]

    def wrong(self) -> Collection[str]:
        return [f"{id} (aborted)" for id, fate in self._fates.items() if fate == "aborted" and self._arrived(id)]

    def summary(self) -> str:
        return f"{sum(fate == 'committed' for fate in self._fates.values()):,}"


class Requests(Book):
    """Each request gets its own answer, or its caller an exception."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = 0
        self.given_up = 0
        self._wrong: list[str] = []

    def answer(self, question: str, answer: str) -> None:
        with self.changed:
            self.answered += 1
            if answer != f"re: {question}":
                self._wrong.append(f"{question!r} was answered {answer!r}")

    def give_up(self) -> None:
        with self.changed:
            self.given_up += 1

    def wrong(self) -> Collection[str]:
        return self._wrong

    def summary(self) -> str:
        return f"{self.answered:,} ({self.given_up:,} given up)"


class Refusals(Book):
    """The broker refuses the poisoned SENDs, and none of the good ones beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.poisoned = 0
        self.good = 0
        self._wrong: list[str] = []

    def poison(self, error: BaseException | None) -> None:
        with self.changed:
            self.poisoned += 1
            if error is None:
                self._wrong.append("a poisoned SEND was confirmed")

    def innocent(self, id: str, error: BaseException | None) -> None:
        with self.changed:
            self.good += 1
            if error is not None:
                self._wrong.append(f"{id}: {type(error).__name__}: {error}")

    def wrong(self) -> Collection[str]:
        return self._wrong

    def summary(self) -> str:
        return f"{self.poisoned:,} (beside {self.good:,} good ones)"


class Silence(Book):
    """Each exception that an application raised on a message was reported to its listeners."""

    def __init__(self) -> None:
        super().__init__()
        self._raised: dict[int, BaseException] = {}
        self._reported = 0

    def raises(self, error: BaseException) -> BaseException:
        self.note(lambda: self._raised.update({id(error): error}))
        return error

    def report(self, error: BaseException) -> None:
        def change() -> None:
            self._reported += self._raised.pop(id(error), None) is not None

        self.note(change)

    def open(self) -> Collection[str]:
        return [repr(error) for error in self._raised.values()]

    def summary(self) -> Any:
        return f"{self._reported + len(self._raised):,}, {len(self._raised)} silent"
