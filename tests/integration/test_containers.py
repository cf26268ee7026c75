"""The containers themselves, tried with nothing but sockets."""

from __future__ import annotations

import socket
import ssl
import uuid
from pathlib import Path
from typing import Self

import pytest

from stomplistener.testing.containers import BrokerContainer, ContainerError

pytestmark = pytest.mark.timeout(180, func_only=True)


class RawStomp:
    """As much STOMP as these tests need, and no more."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, command: str, body: bytes = b"", /, **headers: str) -> None:
        lines = [command, *(f"{name.replace('_', '-')}:{value}" for name, value in headers.items())]
        self._socket.sendall("\n".join(lines).encode() + b"\n\n" + body + b"\0")

    def receive(self, timeout: float = 20.0) -> tuple[str, dict[str, str], bytes]:
        self._socket.settimeout(timeout)
        while b"\0" not in self._buffer:
            data = self._socket.recv(65536)
            assert data, "the broker has closed the connection"
            self._buffer += data
        frame, self._buffer = self._buffer.split(b"\0", 1)
        head, _, body = frame.lstrip(b"\r\n").partition(b"\n\n")
        command, *lines = head.decode().split("\n")
        return command, dict(line.partition(":")[::2] for line in lines), body


def connect(broker: BrokerContainer, version: str = "1.2", passcode: str | None = None) -> RawStomp:
    client = RawStomp(socket.create_connection(broker.address(), 20))
    client.send(
        "CONNECT",
        accept_version=version,
        host=broker.virtual_host,
        login=broker.login,
        passcode=broker.passcode if passcode is None else passcode,
    )
    return client


def logged_in(broker: BrokerContainer, version: str = "1.2") -> RawStomp:
    client = connect(broker, version)
    command, headers, body = client.receive()
    assert command == "CONNECTED", (headers, body)
    return client


def keep(broker: BrokerContainer, destination: str, **headers: str) -> None:
    """Sends a persistent message and waits for the receipt."""
    with logged_in(broker) as client:
        client.send("SEND", b"kept", destination=destination, persistent="true", receipt="sent", **headers)
        command, answer, body = client.receive()
        assert command == "RECEIPT", (answer, body)


def sync(broker: BrokerContainer) -> None:
    """Has RabbitMQ write down its queues: for two seconds a new one, and what it holds, is in memory only."""
    if broker.name == "rabbitmq":
        broker.exec("rabbitmqctl eval 'mnesia:sync_log().'")


def fetch(broker: BrokerContainer, destination: str, **headers: str) -> bytes:
    with logged_in(broker) as client:
        client.send("SUBSCRIBE", destination=destination, id="1", ack="auto", **headers)
        command, answer, body = client.receive()
        assert command == "MESSAGE", (answer, body)
        return body


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_each_version_is_answered(real_broker: BrokerContainer, version: str) -> None:
    with connect(real_broker, version) as client:
        command, headers, _ = client.receive()
    assert command == "CONNECTED"
    assert headers.get("version", "1.0") == version


def test_a_wrong_passcode_is_refused(real_broker: BrokerContainer) -> None:
    with connect(real_broker, passcode="wrong") as client:
        assert client.receive()[0] == "ERROR"


def test_tls_is_served_with_our_certificate(real_broker: BrokerContainer, certs: Path) -> None:
    context = ssl.create_default_context(cafile=str(certs / "ca.pem"))
    context.load_cert_chain(certs / "client.pem")
    with socket.create_connection(real_broker.address("ssl"), 20) as plain:
        with RawStomp(context.wrap_socket(plain, server_hostname="localhost")) as client:
            client.send("CONNECT", accept_version="1.2", host="/", login="app", passcode="app-secret")
            assert client.receive()[0] == "CONNECTED"


def test_websocket_is_served(real_broker: BrokerContainer) -> None:
    path = real_broker.uris["ws"].partition("@")[2].partition("/")[2]
    with socket.create_connection(real_broker.address("ws"), 20) as client:
        client.sendall(
            f"GET /{path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c3RvbXBsaXN0ZW5lciEhIQ==\r\n"
            "Sec-WebSocket-Protocol: v12.stomp\r\n\r\n".encode()
        )
        assert client.recv(4096).startswith(b"HTTP/1.1 101 ")


def test_a_persistent_message_survives_a_kill(real_broker: BrokerContainer) -> None:
    destination = f"/queue/kept-{uuid.uuid4().hex}"
    keep(real_broker, destination)
    sync(real_broker)
    before = real_broker.uri
    with logged_in(real_broker) as client:
        real_broker.kill()
        assert real_broker.status == "exited"
        with pytest.raises((ConnectionResetError, AssertionError)):
            client.receive()
    real_broker.start()
    assert real_broker.uri == before
    assert fetch(real_broker, destination) == b"kept"


def test_a_paused_broker_is_silent_and_goes_on(real_broker: BrokerContainer) -> None:
    with logged_in(real_broker) as client:
        real_broker.pause()
        try:
            assert real_broker.status == "paused"
            client.send("SEND", b"x", destination="/queue/paused", receipt="late")
            with pytest.raises(TimeoutError):
                client.receive(timeout=1.0)
        finally:
            real_broker.unpause()
        assert client.receive()[1]["receipt-id"] == "late"


def test_a_broker_off_the_network_is_out_of_reach_and_comes_back(real_broker: BrokerContainer) -> None:
    real_broker.disconnect_network()
    try:
        with pytest.raises((OSError, AssertionError)):
            logged_in(real_broker)
    finally:
        real_broker.connect_network()
    real_broker.wait_ready()


def test_a_running_broker_is_left_as_it_is(real_broker: BrokerContainer) -> None:
    with logged_in(real_broker) as client:
        real_broker.start()
        client.send("SEND", b"x", destination="/queue/left", receipt="there")
        assert client.receive()[1]["receipt-id"] == "there"


def test_commands_run_inside(real_broker: BrokerContainer) -> None:
    assert real_broker.exec(["echo", "a b"]) == "a b\n"
    with pytest.raises(ContainerError, match=r"(?s)ends with 3.*why"):
        real_broker.exec("echo why; exit 3")
    assert len(real_broker.logs(tail=2).splitlines()) <= 2


def test_a_quorum_queue_outlives_its_node(rabbitmq_cluster: list[BrokerContainer]) -> None:
    quorum = {"x-queue-type": "quorum", "durable": "true", "auto-delete": "false"}
    first, second, third = rabbitmq_cluster
    destination = f"/queue/quorum-{uuid.uuid4().hex}"
    keep(first, destination, **quorum)
    first.kill()
    try:
        assert fetch(second, destination, **quorum) == b"kept"
    finally:
        first.start()
    keep(first, destination, **quorum)
    assert fetch(third, destination, **quorum) == b"kept"


def test_the_backup_of_a_pair_takes_over_and_gives_back(artemis_pair: list[BrokerContainer]) -> None:
    primary, backup = artemis_pair
    destination = f"/queue/pair-{uuid.uuid4().hex}"
    keep(primary, destination)
    primary.kill()
    try:
        backup.wait_ready()
        assert fetch(backup, destination) == b"kept"
        keep(backup, destination)
    finally:
        primary.start(wait=True)
    assert fetch(primary, destination) == b"kept"
