"""Under gevent the threads of a connection are greenlets; in processes of their own, since a patch cannot be undone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from docs_support import Program, running
from loop_support import BEATS

from stomplistener.testing import Broker

QUEUE = "/queue/test"

PROGRAM = """
import gevent.monkey

gevent.monkey.patch_all()
import os, signal, sys, threading
import gevent
from stomplistener import Connection

waited, received = [], []

def wait(message):
    gevent.sleep(1.5)
    waited.append(message.text)

connection = Connection(sys.argv[1], heartbeat=(0.2, 0.2))
connection.connect()
connection.subscribe("/queue/slow", wait, confirm=True)
connection.subscribe("/queue/test", lambda message: received.append(message.text), workers=2)
connection.send("/queue/slow", "waited for", confirm=True)
for future in [connection.send_async("/queue/test", str(number)) for number in range(1000)]:
    future.result(20)
while len(received) < 1000 or not waited:
    gevent.sleep(0.01)
print("received", len(set(received)), waited, connection.statistics().reconnects, flush=True)
while not connection.statistics().reconnects:
    gevent.sleep(0.01)
connection.send("/queue/test", "after", confirm=True)
while "after" not in received:
    gevent.sleep(0.01)
print("restored", flush=True)
gevent.spawn_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
connection.run_forever()
print("ended", [thread.name for thread in threading.enumerate()], flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM on this platform")
def test_all_of_it_works_in_greenlets(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    with Broker(heartbeat=BEATS) as broker:
        program: Program
        with running(["program.py", broker.uri], tmp_path) as program:
            program.expect("received 1000 ['waited for'] 0")
            broker.restart()
            program.expect("restored")
            program.expect("ended ['MainThread']")
            assert program.end() == 0
        assert broker.frames(command="DISCONNECT")


@pytest.mark.parametrize(
    ("first", "second", "complaint"),
    [
        (
            "import stomplistener.connection",
            "monkey.patch_all()",
            "after stomplistener was imported: patch first",
        ),
        ("monkey.patch_all(thread=False)", "import stomplistener", "and not threading: call patch_all()"),
        ("monkey.patch_socket()", "import stomplistener", "has patched socket and not"),
    ],
)
def test_half_a_patch_is_refused(broker: Broker, first: str, second: str, complaint: str) -> None:
    text = f"from gevent import monkey\n{first}\n{second}\nstomplistener.Connection({broker.uri!r}).connect()"
    result = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=50)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("RuntimeError: gevent has patched")
    assert complaint in result.stderr
    assert not broker.frames(command="CONNECT")


APPLICATION = """
import os
from stomplistener import Connection

def application(environ, start_response):
    with Connection(os.environ["STOMP_URL"]) as connection:
        connection.send("/queue/test", "from a greenlet", confirm=True)
    start_response("200 OK", [])
    return [b"confirmed"]
"""


@pytest.mark.skipif(os.name != "posix", reason="gunicorn needs fork")
@pytest.mark.parametrize(
    ("config", "answer"),
    [
        ("", "confirmed"),
        ("preload_app = True", "patch first"),
        ("import gevent.monkey\ngevent.monkey.patch_all()\npreload_app = True", "confirmed"),
    ],
)
def test_the_workers_of_gunicorn(broker: Broker, tmp_path: Path, config: str, answer: str) -> None:
    (tmp_path / "application.py").write_text(APPLICATION)
    (tmp_path / "gunicorn.conf.py").write_text(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = ["-m", "gunicorn", "-k", "gevent", "--bind", f"fd://{listening.fileno()}", "application:application"]
        environment = {**os.environ, "STOMP_URL": broker.uri}
        server = subprocess.Popen(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment,
            pass_fds=[listening.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
            with suppress(urllib.error.HTTPError), urllib.request.urlopen(url, timeout=30) as response:
                assert response.read() == b"confirmed"
        finally:
            server.terminate()
            _, log = server.communicate(timeout=30)
    assert (answer == "confirmed") == (broker.depth(QUEUE) == 1), log
    assert answer == "confirmed" or answer in log
