"""The whole client where the standard library is what Windows has of it: see ``pretended_windows``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pretends what is real there")

HERE = Path(__file__).parent

BEGIN = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import pretended_windows
import os, select, signal, threading, time
from stomplistener import Connection, ConnectionState
from stomplistener.testing import Broker, Inbox

assert not hasattr(select, "poll") and not hasattr(signal, "SIGHUP") and not hasattr(os, "fork")

def eventually(condition):
    end = time.perf_counter() + 20
    while not condition():
        assert time.perf_counter() < end
        time.sleep(0.01)
"""

PROGRAMS = {
    "it sends and receives": """
with Broker() as broker, Connection(broker.uri) as connection:
    inbox = Inbox()
    connection.subscribe("/queue/q", inbox, settle=True)
    for number in range(200):
        connection.send("/queue/q", str(number), confirm=number % 10 == 0)
    assert [message.text for message in inbox.expect(200, timeout=20)] == [str(number) for number in range(200)]
""",
    "a lost connection is restored": """
with Broker() as broker, Connection(f"failover:({broker.uri})?initialReconnectDelay=1") as connection:
    inbox = Inbox()
    connection.subscribe("/queue/q", inbox, settle=True, confirm=True)
    for times in range(1, 4):
        broker.drop_connections()
        eventually(lambda: connection.statistics().reconnects >= times and connection.is_connected)
    connection.send("/queue/q", "after", confirm=True)
    assert inbox.expect(1, timeout=20)[0].text == "after"
""",
    "waits end in time, to a tick": """
with Broker() as broker, Connection(broker.uri) as connection, connection.consume("/queue/empty") as consumer:
    for seconds in 0.0, 0.001, 0.1, 0.5:
        for wait in connection.wait, consumer.receive:
            began = time.perf_counter()
            assert not wait(seconds)
            took = time.perf_counter() - began
            assert seconds - pretended_windows.TICK_SECONDS <= took < seconds + 5, (seconds, took)
""",
    "nothing is left behind": """
before = set(threading.enumerate())
with Broker() as broker:
    for _ in range(3):
        with Connection(broker.uri) as connection:
            connection.subscribe("/queue/q", lambda message: None, workers=2)
            connection.send("/queue/q", "x", confirm=True)
        closed = Connection(broker.uri).connect()
        closed.close()
eventually(lambda: not set(threading.enumerate()) - before)
""",
    "a signal ends run_forever": """
with Broker() as broker:
    connection = Connection(broker.uri)
    def interrupt():
        eventually(lambda: connection.is_connected)
        signal.raise_signal(signal.SIGINT)
    threading.Thread(target=interrupt, daemon=True).start()
    connection.run_forever()
    assert connection.state is ConnectionState.CLOSED
    assert [frame.command for frame in broker.frames()][-1] == "DISCONNECT"
""",
    "a worker knows the signals that are there": """
from stomplistener.worker.signals import ENDING
assert set(ENDING) == {signal.SIGTERM, signal.SIGINT}
""",
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_on_pretended_windows(program: str) -> None:
    command = (sys.executable, "-c", f"{BEGIN}{program}\nprint('works', flush=True)\nos._exit(0)")
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.stdout == "works\n", done.stderr
