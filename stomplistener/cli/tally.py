"""Count the receipts of confirmed sends, and show them in a progress bar."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from stomplistener import Frame, TimedOut
from stomplistener.cli import terminal


class Tally:
    """The messages that wait for receipts, in order, and the number of confirmed messages.

    One thread sends and collects.

    The thread checks the receipts from time to time, because a callback for each receipt would cost a context switch.
    """

    def __init__(self) -> None:
        self._waiting: deque[Future[Frame]] = deque()
        self.confirmed = 0

    def add(self, answer: Future[Frame]) -> None:
        """Add a sent message. If messages were not confirmed, raise the exception of the first of them."""
        self._waiting.append(answer)
        while self._waiting and self._waiting[0].done():
            self._take(0)

    def wait(self, timeout: float) -> None:
        """Wait until all are confirmed.

        Raises:
            TimedOut: no receipt arrived for ``timeout`` seconds.
        """
        while self._waiting:
            self._take(timeout)

    def _take(self, timeout: float) -> None:
        answer = self._waiting[0]
        try:
            answer.result(timeout)
        except TimeoutError:
            if answer.done():
                raise
            raise TimedOut(
                f"no receipt arrived for {timeout:g} s; the broker may have stored the other messages or not"
            ) from None
        self._waiting.popleft()
        self.confirmed += 1


@contextmanager
def progress(tally: Tally, total: int | None) -> Iterator[None]:
    """Show a progress bar on stderr, if it is a terminal and more than one message is to be sent."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = terminal.console(stderr=True)
    if not console.is_terminal or total == 1:
        yield
        return
    columns = (TextColumn("confirmed"), BarColumn(), MofNCompleteColumn(), TaskProgressColumn(show_speed=True))
    stopped = threading.Event()
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("lines", total=total)

        def follow() -> None:
            while not stopped.wait(0.1):
                bar.update(task, completed=tally.confirmed)

        follower = threading.Thread(target=follow, name="progress", daemon=True)
        follower.start()
        try:
            yield
        finally:
            stopped.set()
            follower.join()
            bar.update(task, completed=tally.confirmed)


def messages(count: int) -> str:
    """Return the number of messages in words."""
    return "1 message" if count == 1 else f"{count:,} messages"


def report(count: int, seconds: float, destination: str, done: str) -> None:
    """Report the number of messages, the time and the rate."""
    rate = f", {count / seconds:,.0f}/s" if count > 1 and seconds > 0 else ""
    terminal.say(f"{messages(count)} to {destination} {done} in {seconds:.2f} s{rate}")
