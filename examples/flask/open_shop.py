"""Run the shop as in production: gunicorn with two workers, ``flask stomp worker``, and customers.

The program uses an embedded broker, unless FLASK_STOMP_URL names one.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stomplistener.testing import Broker

HERE = Path(__file__).parent
ORDERS = 40
PATIENCE = 30.0


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python program inside the block, and check that SIGTERM ends it gracefully."""
    process = subprocess.Popen([sys.executable, "-m", *arguments], cwd=HERE)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        code = process.wait(PATIENCE)
        print(f"{arguments[0]} ended with exit code {code}", flush=True)
        if code:
            raise SystemExit(f"{arguments[0]} did not end gracefully")
    finally:
        process.kill()
        process.wait()


def call(url: str, item: str | None = None) -> Any:
    """POST an order, or GET the booked orders."""
    data = None if item is None else json.dumps({"item": item}).encode()
    wanted = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(wanted, timeout=PATIENCE) as response:
        return json.load(response)


def eventually(condition: Any, what: str) -> None:
    """Wait until other processes have made the condition true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"did not happen within {PATIENCE:g} s: {what}")
        time.sleep(0.1)


def answers(port: int) -> bool:
    """Whether a server listens on the port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def serve() -> None:
    """Run web server and worker, place orders, and check that all are booked."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"http://127.0.0.1:{port}/orders"
    subprocess.run([sys.executable, "-m", "flask", "--app", "shop", "create-tables"], cwd=HERE, check=True)
    with (
        running("flask", "--app", "shop", "stomp", "worker", "--log-level", "warning"),
        running("gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "2", "--preload", "shop:create_app()"),
    ):
        eventually(lambda: answers(port), "gunicorn answers")
        with ThreadPoolExecutor(4) as customers:
            placed = list(customers.map(lambda number: call(url, f"pizza {number}"), range(ORDERS)))
        print(f"{len(placed)} orders were confirmed", flush=True)
        ids = {order["id"] for order in placed}
        eventually(lambda: ids <= {order["id"] for order in call(url)}, "every order is booked")
        print(f"{len(ids)} orders are booked", flush=True)


def main() -> None:
    """Run the shop with a temporary database and, unless a broker is named, an embedded broker."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        os.environ["FLASK_SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{directory}/shop.db"
        if "FLASK_STOMP_URL" not in os.environ:
            os.environ["FLASK_STOMP_URL"] = stack.enter_context(Broker()).uri
        serve()


if __name__ == "__main__":
    main()
