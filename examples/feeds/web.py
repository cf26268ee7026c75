"""Serve the page, and its events as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from accounts import Account
from board import Board
from consumer import GAPS
from recorder import Recorder

PAGE = Path(__file__).with_name("page.html")
LATEST = 12
"""The number of messages that the page shows at first."""
IDLE = 15.0
"""Seconds without an event after which a comment is sent, because proxies close silent connections."""


def application(accounts: Sequence[Account], recorder: Recorder, board: Board) -> Starlette:
    """Return the web application. ``/`` is the page, and ``/events`` sends its events."""

    def snapshot() -> dict[str, Any]:
        feeds = [
            {"feed": feed.name, "account": account.name, "quiet": feed.quiet, "modulus": feed.modulus}
            for account in accounts
            for feed in account.feeds
        ]
        return {
            "feeds": feeds,
            "totals": recorder.totals(),
            "latest": recorder.latest(LATEST),
            "gaps": recorder.gaps(GAPS),
        }

    async def stream() -> AsyncIterator[str]:
        # Make the viewer first: an event during the reading of the snapshot may be shown twice, but is not missed.
        with board.viewer() as viewer:
            stored = await asyncio.to_thread(snapshot)
            yield _event("snapshot", {**stored, "accounts": list(board.accounts.values())})
            async for event in viewer.events(IDLE):
                yield _event(*event) if event is not None else ": still here\n\n"

    async def page(request: Request) -> Response:
        return FileResponse(PAGE, media_type="text/html")

    async def events(request: Request) -> Response:
        return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    return Starlette(routes=[Route("/", page), Route("/events", events)])


def _event(kind: str, data: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"
