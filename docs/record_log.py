"""Record what a worker logs through a restart of its broker, as the page on logging shows it: a real run.

.venv/bin/python docs/record_log.py        writes the block into docs/howto/logging.md

A test records it again, and compares all but what differs from one run to the next.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from stomplistener.testing import Broker

PAGE = Path(__file__).parent / "howto" / "logging.md"
HANDLERS = """
from stomplistener.worker import Application

app = Application()


@app.listener("/queue/orders")
def book(order):
    app.send("/queue/invoices", order.body, confirm=True)
"""
# The second pass follows soon, the third one leaves the broker the time to come back.
OPTIONS = "initialReconnectDelay=100&reconnectDelayExponent=5&reconnectDelayJitter=0"
_BLOCK = re.compile(r"(?s)(?<=<!-- written by docs/record_log\.py -->\n\n```text\n).*?(?=```\n)")


def record() -> str:
    """The log of a worker whose broker goes away with an unconfirmed message, and comes back."""
    with tempfile.TemporaryDirectory() as directory, Broker() as broker:
        Path(directory, "handlers.py").write_text(HANDLERS)
        command = ["worker", "handlers:app", "--url", f"failover:({broker.uri})?{OPTIONS}"]
        with subprocess.Popen(
            [sys.executable, "-m", "stomplistener", *command], cwd=directory, stderr=subprocess.PIPE, text=True
        ) as worker:
            assert worker.stderr is not None
            try:
                lines = _outage(broker, worker.stderr, lambda: worker.send_signal(signal.SIGTERM))
            finally:
                worker.kill()
        return _as_elsewhere("".join(lines), f"127.0.0.1:{broker.port}")


def _outage(broker: Broker, log: IO[str], end: Callable[[], None]) -> list[str]:
    """Let happen what the log is to tell, each step when the log has told the one before."""
    lines: list[str] = []

    def told(text: str) -> None:
        while True:
            line = log.readline()
            assert line, f"the worker ended before {text!r}: {lines}"
            lines.append(line)
            if text in line:
                return

    told(": listening to")
    broker.drop_after("SEND")
    broker.refuse_connections()
    broker.publish("/queue/orders", "two pizzas")
    told("not connected, pass 1")
    told("Connection refused")
    broker.accept_connections()
    told(": connected, pass")
    broker.wait_for(lambda: not broker.unacknowledged("/queue/orders"), what="the end of the handler")
    end()
    return lines + log.readlines()


def _as_elsewhere(log: str, address: str) -> str:
    """The log with a broker's name instead of one on loopback."""
    for before in ("tcp://", "connect to "):
        log = log.replace(before + address, f"{before}mq1:61613")
    return log.replace(address, "10.0.0.7:61613")


def masked(log: str) -> str:
    """The log without times, process ids and reasons of the system, which no two runs share."""
    log = re.sub(r"(?m)^[\d-]+ [\d:,]+ (\w+) +\d+", r"TIME \1 PID", log)
    return re.sub(r"after \d+\.\d s", "after N s", log)


def shown() -> str:
    """What the page shows."""
    found = _BLOCK.search(PAGE.read_text())
    assert found is not None
    return found[0]


def main() -> None:
    log = record()
    PAGE.write_text(_BLOCK.sub(lambda _: log, PAGE.read_text(), count=1))
    print(log, end="")


if __name__ == "__main__":
    main()
