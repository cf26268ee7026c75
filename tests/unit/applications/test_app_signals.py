"""Signals in the main thread: whatever a handler raises or calls, the connection works, or says that it is closed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from application_support import HERE, run_program
from interrupted_program import CALLS, DEEDS

from stomplistener.testing import Broker

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals as POSIX has them"),
]
PROGRAM = HERE / "interrupted_program.py"
INTERRUPTS = 200
"""A lock taken and not yet in its ``with`` is left in one of five to one of fifty runs of this many."""


@pytest.mark.parametrize("call", CALLS)
def test_an_exception_from_a_handler(call: str) -> None:
    # Where each try makes a connection, fewer have to do.
    count = 60 if call in ("connect", "with") else INTERRUPTS
    ended = run_program(PROGRAM, "raise", call, "7", str(count), timeout=40)
    assert ended.code == 0, f"{ended.out}\n{ended.err}"


@pytest.mark.parametrize("deed", DEEDS)
def test_a_call_in_a_handler(deed: str) -> None:
    count = 48 if deed in ("close", "disconnect", "stop") else 160
    ended = run_program(PROGRAM, "call", deed, "11", str(count), timeout=40)
    assert ended.code == 0, f"{ended.out}\n{ended.err}"


WAITS = {
    "run_forever": "connection.run_forever()",
    "wait": "connection.wait()",
    "iterating a consumer": "list(connection.consume('/queue/x'))",
    "receive without a time": "connection.consume('/queue/x').receive(None)",
    "request": "connection.request('/queue/x', 'nobody answers', timeout=None)",
}


SOURCE = """
import sys, threading, time
from stomplistener import Connection

def watch():
    main = threading.main_thread().ident
    while True:
        frame, calls = sys._current_frames()[main], set()
        while frame:
            calls.add(frame.f_code.co_filename + frame.f_code.co_qualname)
            frame = frame.f_back
        # In a wait: an interrupted write would break the connection, without a goodbye.
        end = ".wait" if RUNS else "_acquire"
        if WAITING.is_set() and any("stomplistener" in call and call.endswith(end) for call in calls):
            print("READY", flush=True)
            return
        time.sleep(0.01)

# run_forever() handles the signal, once it waits for it.
RUNS = "run_forever" in sys.argv[2]
WAITING = threading.Event()
threading.Thread(target=watch, daemon=True).start()
with Connection(sys.argv[1]) as connection:
    WAITING.set()
    %s
"""


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
def test_one_ctrl_c_ends_every_wait(wait: str, broker: Broker) -> None:
    command = [sys.executable, "-c", SOURCE % wait, broker.uri, wait]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "READY\n"
        begin = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=5)
        assert time.monotonic() - begin < 3
        assert process.returncode in ((0,) if "run_forever" in wait else (1, -signal.SIGINT))
    finally:
        process.kill()
        process.communicate()
    broker.wait_for(lambda: broker.frames()[-1].command == "DISCONNECT", what="the goodbye of with")
