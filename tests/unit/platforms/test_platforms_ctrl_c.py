"""Ctrl-C ends every wait of the main thread, also on a system where a signal does not interrupt a wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stomplistener.testing import Broker

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the real thing cannot be sent a Ctrl-C by a test")

HERE = Path(__file__).parent

WAITS = {
    "wait": "connection.wait()",
    "a future": "connection.send_async('/queue/x', 'held').result()",
    "a confirmed send": "connection.send('/queue/x', 'held', confirm=True, timeout=None)",
    "iterating a consumer": "list(connection.consume('/queue/empty'))",
    "receive without a time": "connection.consume('/queue/empty').receive(None)",
    "request": "connection.request('/queue/empty', 'nobody answers', timeout=None)",
    "disconnect": "connection.disconnect(timeout=None)",
}

SOURCE = """
import sys
sys.path.insert(0, {here!r})
import pretended_windows
import signal, threading, time
from stomplistener import Connection
from stomplistener._util import pieces

# A shell starts what runs in its background with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
pieces.PIECE_SECONDS = {piece}
pretended_windows.deafen()
connection = Connection(sys.argv[1], timeout=5).connect()
stuck = threading.Event()
if "disconnect" in {wait!r}:
    # A listener that does not return holds up the graceful end.
    connection.subscribe("/queue/held", lambda message: stuck.wait(), confirm=True)
    connection.send("/queue/held", "x", confirm=True)

def watch():
    while "stomplistener" not in sys._current_frames()[threading.main_thread().ident].f_code.co_filename:
        time.sleep(0.01)
    time.sleep(0.3)
    print("READY", flush=True)

threading.Thread(target=watch, daemon=True).start()
try:
    {wait}
except KeyboardInterrupt:
    print("INTERRUPTED", flush=True)
    import os
    os._exit(0)
"""


def interrupted(wait: str, broker: Broker, piece: float | None, patience: float) -> bool:
    """Whether one Ctrl-C ends the wait in time."""
    source = SOURCE.format(here=str(HERE), wait=wait, piece=piece)
    command = [sys.executable, "-c", source, broker.uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "READY\n"
            os.kill(process.pid, signal.SIGINT)
            out, _ = process.communicate(timeout=patience)
            return out == "INTERRUPTED\n"
        except subprocess.TimeoutExpired:
            return False
        finally:
            process.kill()


def test_what_is_simulated_is_the_fault(broker: Broker) -> None:
    """In one piece the wait goes on: without this the tests below would prove nothing."""
    assert not interrupted(WAITS["wait"], broker, None, patience=1.5)


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
def test_ctrl_c_ends_a_wait(wait: str, broker: Broker) -> None:
    if "held" in wait:
        broker.withhold_receipts("SEND")
    began = time.monotonic()
    assert interrupted(wait, broker, 0.1, patience=15.0)
    assert time.monotonic() - began < 30.0
