"""The command line and the worker keep secrets, whatever the broker quotes of them and however much they log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from hostile_servers import Peer, Server
from worker_process import APPLICATION, WorkerProcess

from stomplistener.cli.root import cli

PASSCODE = "s3cret-passcode"


def refuses(peer: Peer) -> None:
    asked = peer.frame()
    peer.say(b"ERROR\nmessage:no %b\n\n%b\0" % (asked.strip().replace(b"\n", b" ").replace(b":", b" "), asked))


def reflects(peer: Peer) -> None:
    asked = peer.frame()
    assert PASSCODE.encode() in asked
    peer.say(b"%b is not what I speak\n\n\0" % PASSCODE.encode())


def breaks_off(peer: Peer) -> None:
    """Welcome, and answer the next frame with nothing that is STOMP."""
    asked = peer.welcome()
    peer.frame()
    assert PASSCODE.encode() in asked
    peer.say(b"ERROR\nno-colon %b\n\n\0" % PASSCODE.encode())


def echoes(peer: Peer) -> None:
    peer.say(peer.sock.recv(65536))


def lasting_once(server: Server) -> str:
    return f"failover:(tcp://guest:{PASSCODE}@127.0.0.1:{server.port})?maxReconnectAttempts=1"


BROKERS = pytest.mark.parametrize("script", [refuses, reflects, breaks_off, echoes])


@BROKERS
@pytest.mark.parametrize(
    "arguments",
    ["ping", "send /queue/a text", "listen /queue/a --count 1", "bench --count 1"],
    ids=lambda line: line.split()[0],
)
def test_a_command(arguments: str, script: Callable[[Peer], None]) -> None:
    command, *rest = arguments.split()
    with Server(script) as server:
        environment = {"STOMP_URL": lasting_once(server), "STOMP_PASSCODE": PASSCODE, "XDG_CONFIG_HOME": "/none"}
        result = CliRunner().invoke(cli, ["-vv", command, *rest], env=environment)
    assert result.exit_code != 0, result.output
    assert result.output
    assert "s3cret" not in result.output
    assert isinstance(result.exception, SystemExit), "a message, and no traceback"


@BROKERS
def test_a_worker(script: Callable[[Peer], None], tmp_path: Path) -> None:
    application = f"import logging\nlogging.getLogger().setLevel(logging.DEBUG)\n{APPLICATION}"
    with Server(script) as server, WorkerProcess(tmp_path, lasting_once(server), application=application) as worker:
        assert worker.wait() != 0
    assert "passcode:***" in worker.err
    assert "s3cret" not in worker.err
