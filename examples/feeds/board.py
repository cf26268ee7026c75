"""The board: it passes each event to every open page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

WAITING = 256
"""The largest number of events that wait for one page. A page that is further behind is closed, reconnects
automatically, and starts
with the current state."""


class Viewer:
    """One open page, which gets events until it is too far behind or the board is closed."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[tuple[str, Any] | None] = asyncio.Queue(WAITING + 1)
        self._ended = False

    def tell(self, event: tuple[str, Any]) -> None:
        if self._events.qsize() >= WAITING:
            self.end()
        elif not self._ended:
            self._events.put_nowait(event)

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self._events.put_nowait(None)

    async def events(self, idle: float) -> AsyncIterator[tuple[str, Any] | None]:
        """Yield the events, and None after ``idle`` seconds without an event."""
        while True:
            try:
                async with asyncio.timeout(idle):
                    event = await self._events.get()
            except TimeoutError:
                yield None
                continue
            if event is None:
                return
            yield event


class Board:
    """The state of each account's connection, and the open pages.

    Use the board only in the thread of the event loop.
    """

    def __init__(self) -> None:
        self.accounts: dict[str, dict[str, Any]] = {}
        self._viewers: set[Viewer] = set()
        self._closed = False

    def set_account(self, name: str, state: str, detail: str = "") -> None:
        """Note and publish the state of an account's connection."""
        self.accounts[name] = {"account": name, "state": state, "detail": detail}
        self.publish("account", self.accounts[name])

    def publish(self, kind: str, data: Any) -> None:
        """Pass an event to every page."""
        for viewer in self._viewers:
            viewer.tell((kind, data))

    @contextmanager
    def viewer(self) -> Iterator[Viewer]:
        """Yield a viewer for a page, inside the block."""
        viewer = Viewer()
        self._viewers.add(viewer)
        if self._closed:
            viewer.end()
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)

    def close(self) -> None:
        """End the events of every page."""
        self._closed = True
        for viewer in self._viewers:
            viewer.end()
