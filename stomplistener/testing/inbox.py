"""A listener that records messages and events, for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from stomplistener.testing.watch import Watch

T = TypeVar("T")

_SHOWN = 20


class Inbox:
    """Records the messages and events of a connection or a subscription. A test can wait for the records.

    ::

        inbox = Inbox()
        connection.subscribe("/queue/a", inbox)
        connection.send("/queue/a", "hello")
        assert [message.text for message in inbox.expect(1)] == ["hello"]

    Any thread may call any method. The returned lists are copies.

    Args:
        on_message: called with each message after it was recorded, for example to acknowledge it or to raise.
    """

    def __init__(self, on_message: Callable[[Any], object] | None = None) -> None:
        self._watch = Watch()
        self._act = on_message
        self._messages: list[Any] = []
        self._events: list[str] = []
        self._details: dict[str, list[Any]] = {}

    @property
    def messages(self) -> list[Any]:
        """The messages, in the order of their arrival."""
        return self._copy(self._messages)

    @property
    def events(self) -> list[str]:
        """The names of the events, in order.

        The names are ``connected``, ``disconnected``, ``reconnecting``, ``error`` and ``listener_error``. The list has
        no messages and receipts.
        """
        return self._copy(self._events)

    @property
    def receipts(self) -> list[Any]:
        """The RECEIPT frames."""
        return self._of("receipt")

    @property
    def errors(self) -> list[Any]:
        """The ERROR frames."""
        return self._of("error")

    @property
    def listener_errors(self) -> list[tuple[Any, BaseException]]:
        """The messages on which a listener raised, with the exceptions."""
        return self._of("listener_error")

    @property
    def reconnects(self) -> list[tuple[int, float]]:
        """The attempt and the delay in seconds of each ``on_reconnecting``."""
        return self._of("reconnecting")

    def expect(self, n: int, timeout: float = 5.0) -> list[Any]:
        """Wait until at least ``n`` messages have arrived, and return all of them.

        Raises:
            TimedOut: fewer messages arrived within ``timeout`` seconds; the text shows them.
        """
        __tracebackhide__ = True  # pytest shows the line of the test that waited
        self.wait_for(lambda: len(self._messages) >= n, timeout, f"{n} messages")
        return self.messages

    def wait_for(self, predicate: Callable[[], T], timeout: float = 5.0, what: str = "") -> T:
        """Wait until a condition on the records is true, and return its value.

        Args:
            predicate: a function without arguments; this thread calls it after each new record.
            timeout: seconds to wait.
            what: a description of the condition, for the exception.

        Raises:
            TimedOut: the condition did not become true; the text shows the records.
        """
        __tracebackhide__ = True
        return self._watch.wait_for(predicate, timeout, what, self._describe)

    def clear(self) -> None:
        """Forget all records."""
        with self._watch.lock:
            self._messages.clear()
            self._events.clear()
            self._details.clear()

    # The hooks of a listener.

    def on_message(self, message: Any) -> None:
        with self._watch.lock:
            self._messages.append(message)
            self._watch.changed()
        if self._act is not None:
            self._act(message)

    def on_connected(self, frame: Any) -> None:
        self._note("connected", frame)

    def on_disconnected(self) -> None:
        self._note("disconnected", None)

    def on_reconnecting(self, attempt: int, delay: float) -> None:
        self._note("reconnecting", (attempt, delay))

    def on_error(self, frame: Any) -> None:
        self._note("error", frame)

    def on_receipt(self, frame: Any) -> None:
        self._note("receipt", frame, event=False)

    def on_listener_error(self, message: Any, exception: BaseException) -> None:
        self._note("listener_error", (message, exception))

    def _note(self, name: str, detail: Any, *, event: bool = True) -> None:
        with self._watch.lock:
            if event:
                self._events.append(name)
            self._details.setdefault(name, []).append(detail)
            self._watch.changed()

    def _of(self, name: str) -> list[Any]:
        with self._watch.lock:
            return list(self._details.get(name, []))

    def _copy(self, recorded: list[T]) -> list[T]:
        with self._watch.lock:
            return list(recorded)

    def _describe(self) -> str:
        with self._watch.lock:
            shown = ", ".join(f"<{message.frame.info}>" for message in self._messages[-_SHOWN:])
            which = f" (the last {_SHOWN})" if len(self._messages) > _SHOWN else ""
            return f"got {len(self._messages)}{which}: [{shown}]; events: {', '.join(self._events) or 'none'}"
