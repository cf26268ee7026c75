"""What goes on, for those who look: each event goes to every page that is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

WAITING = 256
"""Events that wait for one page. A page that is further behind is closed; it comes back by itself, and begins with the
state of the moment."""


class Viewer:
    """One open page: its events, until it falls too far behind or the board is closed."""

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
        """The events; None after ``idle`` seconds without one."""
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
    """The state of each account's connection, and the open pages. It belongs to the loop's thread."""

    def __init__(self) -> None:
        self.accounts: dict[str, dict[str, Any]] = {}
        self._viewers: set[Viewer] = set()
        self._closed = False

    def set_account(self, name: str, state: str, detail: str = "") -> None:
        """An account's connection has changed."""
        self.accounts[name] = {"account": name, "state": state, "detail": detail}
        self.publish("account", self.accounts[name])

    def publish(self, kind: str, data: Any) -> None:
        """Tell every page."""
        for viewer in self._viewers:
            viewer.tell((kind, data))

    @contextmanager
    def viewer(self) -> Iterator[Viewer]:
        """A page for as long as it is open."""
        viewer = Viewer()
        self._viewers.add(viewer)
        if self._closed:
            viewer.end()
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)

    def close(self) -> None:
        """End every page's events."""
        self._closed = True
        for viewer in self._viewers:
            viewer.end()
