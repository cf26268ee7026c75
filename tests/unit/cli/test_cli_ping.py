"""What ``ping`` says of brokers that answer, and of everything else."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from cli_process import run, terminal

from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(30)


@contextmanager
def server(answer: bytes) -> Iterator[int]:
    """A server that reads once, says this to everybody, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secured(authority: trustme.CA) -> Iterator[Broker]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    with Broker(ssl_context=context) as broker:
        yield broker


def test_a_broker_that_answers() -> None:
    with Broker(server_name="shop/1", heartbeat=(5, 5)) as broker:
        result = run("ping", broker.uri)
        lines = [json.loads(line) for line in run("ping", "--json", broker.uri).stdout.splitlines()]
        # ping waits for no answer to its goodbye.
        broker.wait_for(lambda: len(broker.frames(command="DISCONNECT")) == 2, 10)
    assert result.exit_code == 0
    for fact in ("answers", "shop/1", "1.2", "every 10 s", "round trip"):
        assert fact in result.stdout
    [line] = lines
    assert line["ok"]
    assert line["version"] == "1.2"
    assert len(line["round_trips"]) == 5
    assert not broker.frames(command="SEND")


def test_each_broker_of_a_failover_is_asked() -> None:
    with Broker() as one, Broker() as two:
        two.stop()
        result = run("ping", f"failover:({one.uri},{two.uri})")
    assert result.exit_code == 3
    assert f"{one.uri} answers" in result.stdout
    assert f"✗ {two.uri}" in result.stdout


def test_a_closed_port() -> None:
    with Broker() as broker:
        broker.stop()
        result = run("ping", broker.uri)
    assert result.exit_code == 3
    assert f"nobody listens on 127.0.0.1:{broker.port}" in result.stdout
    assert "is the broker running" in result.stdout


def test_a_wrong_passcode_is_told_and_not_shown() -> None:
    with Broker(login="joe", passcode="right-one") as broker:
        result = run("ping", f"tcp://joe:wrong-one@127.0.0.1:{broker.port}")
        good = run("ping", f"tcp://127.0.0.1:{broker.port}", "--login", "joe", STOMP_PASSCODE="right-one")
    assert result.exit_code == 1
    assert "check login and passcode" in result.stdout
    assert "-one" not in result.output
    assert good.exit_code == 0
    assert "-one" not in good.output


def test_a_virtual_host() -> None:
    with Broker(virtual_hosts=["/"]) as broker:
        result = run("ping", broker.uri)
        assert result.exit_code == 1
        assert f"{broker.uri}/%2F" in result.stdout
        assert run("ping", f"{broker.uri}/%2F").exit_code == 0
        assert run("ping", broker.uri, "--host", "/").exit_code == 0


@pytest.mark.parametrize(
    ("answer", "cause", "cure"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "an HTTP server", "ws://"),
        (b"<!DOCTYPE HTML>\n<html>", "HTTP server", "STOMP port"),
        (b"\x15\x03\x03\x00\x02\x02\x0a", "the port speaks TLS", "ssl://"),
        (b"AMQP\x00\x00\x09\x01", "an AMQP port", "rabbitmq_stomp"),
        (b"\x00\x00\x01\x00\x01ActiveMQ\x00", "OpenWire", "STOMP connector"),
        (b"", "no answer to CONNECT", "another protocol"),
    ],
)
def test_strangers_are_recognised(answer: bytes, cause: str, cure: str) -> None:
    with server(answer) as port:
        result = run("ping", f"tcp://127.0.0.1:{port}")
    assert result.exit_code == (1 if answer else 3)
    assert cause in result.stdout
    assert cure in result.stdout


def test_a_silent_server() -> None:
    with Broker() as broker:
        broker.go_silent()
        result = run("ping", broker.uri, "--timeout", "0.3")
    assert result.exit_code == 4
    assert "no data arrived" in result.stdout


def test_certificates(secured: Broker, authority: trustme.CA, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    untrusted = run("ping", f"ssl://localhost:{secured.port}")
    wrong_name = run("ping", f"ssl://127.0.0.1:{secured.port}?caFile={file}")
    right = run("ping", f"ssl://localhost:{secured.port}?caFile={file}")
    assert (untrusted.exit_code, wrong_name.exit_code, right.exit_code) == (3, 3, 0)
    assert "not trusted here" in untrusted.stdout
    assert "?caFile=" in untrusted.stdout
    assert "the certificate is for localhost" in wrong_name.stdout
    assert "put a name that the certificate has" in wrong_name.stdout
    for fact in ("TLSv1.3", "cipher", "localhost", "trustme", "valid until"):
        assert fact in right.stdout


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_of_authorities_that_is_none(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    result = run("ping", f"ssl://127.0.0.1:1?caFile={file}")
    assert result.exit_code == 3
    assert str(file) in result.stdout
    assert "check the path in the URI" in result.stdout


def test_in_a_terminal_lines_are_folded_and_coloured_unless_told_not_to() -> None:
    plain, coloured = (terminal("ping", "tcp://127.0.0.1:1", columns=50, NO_COLOR=no) for no in ("1", ""))
    assert "\x1b[" not in plain
    assert "\x1b[31m" in coloured
    assert len(plain.splitlines()) > 6
    assert all(len(line) <= 50 for line in plain.splitlines())
    assert "\n           " in plain


def test_tls_to_a_port_without_it() -> None:
    with server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        result = run("ping", f"ssl://127.0.0.1:{port}")
    assert result.exit_code == 3
    assert "does not speak TLS" in result.stdout
    assert "write tcp://" in result.stdout


def test_bad_uris_and_none() -> None:
    result = run("ping", "tpc://localhost:1")
    assert result.exit_code == 2
    assert "did you mean 'tcp'" in result.stderr
    assert "s3cret" not in run("ping", "tcp://joe:s3cret@").output
    result = run("ping")
    assert result.exit_code == 2
    assert "STOMP_URL" in result.stderr
