"""A Chromium without a window, driven by its DevTools protocol. ``make browser`` installs one."""

from __future__ import annotations

import base64
import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

ANSWER = 60.0
"""Seconds within which the browser answers a call."""


class Tab:
    """A page of the browser."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = count(1)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and wait for its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv(ANSWER))).get("id") != number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method} failed: {answer['error']['message']}")
        return dict(answer["result"])

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def open(self, url: str) -> None:
        """Go to an address, and wait until the page and its pictures are loaded."""
        self.call("Page.navigate", url=url)
        self.evaluate(
            "new Promise(done => document.readyState == 'complete' ? done() : addEventListener('load', done))"
        )

    def text(self) -> str:
        """The text that the page shows."""
        return str(self.evaluate("document.body?.innerText"))

    def picture(self, height: float | None = None) -> bytes:
        """The window as PNG, or the page from its top down to ``height`` pixels."""
        beyond: dict[str, Any] = {}
        if height is not None:
            width = self.evaluate("innerWidth")
            clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
            beyond = {"captureBeyondViewport": True, "clip": clip}
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", **beyond)["data"])


@contextmanager
def tab(chromium: str, url: str, profile: Path) -> Iterator[Tab]:
    """A page in a browser of its own, which ends with the block."""
    browser = subprocess.Popen(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--no-first-run", f"--user-data-dir={profile}", "--window-size=1200,1000", "--remote-debugging-port=0", url,
        ],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert browser.stderr is not None
        line = next(line for line in browser.stderr if line.startswith("DevTools listening on ws://"))
        address = line.removeprefix("DevTools listening on ws://").partition("/")[0]
        with urllib.request.urlopen(f"http://{address}/json", timeout=ANSWER) as response:
            (opened,) = [each for each in json.load(response) if each["type"] == "page"]
        with connect(opened["webSocketDebuggerUrl"], max_size=None) as socket:
            yield Tab(socket)
    finally:
        browser.terminate()
        browser.communicate(timeout=20)
