"""Connecting where no daemon thread is allowed."""

from __future__ import annotations

import importlib
import subprocess
import sys
import threading
from typing import Any

import pytest

from stomplistener import ConnectFailed, Connection, ConnectionState
from stomplistener.testing import Broker

REFUSAL = "does not allow daemon threads"

INSIDE = """
from stomplistener import Connection, ConnectFailed
from stomplistener.protocol import Decoder, Frame, encode
assert [frame.command for frame in Decoder("1.2").feed(encode(Frame("SEND", {"destination": "/q"}), "1.2"))] == ["SEND"]
try:
    Connection("tcp://localhost:1").connect(timeout=5)
except ConnectFailed as error:
    print(error, flush=True)
"""

OUTSIDE = """
import _interpreters
failure = _interpreters.exec(_interpreters.create(), {inside!r})
assert failure is None, failure
"""


def test_a_connection_says_that_it_needs_threads(monkeypatch: pytest.MonkeyPatch, broker: Broker) -> None:
    real = threading.Thread

    def refused(*arguments: Any, daemon: bool | None = None, **options: Any) -> threading.Thread:
        if daemon:
            raise RuntimeError("daemon threads are disabled in this (sub)interpreter")
        return real(*arguments, **options)

    connection = Connection(broker.uri)
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Thread", refused)
        with pytest.raises(ConnectFailed, match=REFUSAL):
            connection.connect()
    assert connection.state is ConnectionState.NEW
    with connection:
        connection.send("/queue/test", "where threads are allowed", confirm=True)


def _has_interpreters() -> bool:
    try:
        importlib.import_module("_interpreters")
    except ImportError:
        return False
    return True


@pytest.mark.skipif(not _has_interpreters(), reason="sub-interpreters that a program can make came with Python 3.13")
def test_in_a_sub_interpreter() -> None:
    command = (sys.executable, "-c", OUTSIDE.format(inside=INSIDE))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr
    assert REFUSAL in done.stdout
