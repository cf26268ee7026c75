"""The running client over each transport, a user's own among them: a listener and many threads send while it reads."""

from __future__ import annotations

import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from client_support import nothing_left_behind
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from stomplistener import ConnectFailed, Connection, Message
from stomplistener.testing import Broker

START, ANSWERS = "/queue/start", "/queue/answers"
SENDS = 1000
PATIENCE = 30.0


class OwnTransport:
    """What the documentation of ``Transport`` asks for, and nothing of the library."""

    frame_per_send = False

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def receive(self) -> bytes:
        return self.sock.recv(65536)

    def send(self, data: bytes | memoryview) -> int:
        return self.sock.send(data)

    def send_nowait(self, data: bytes) -> bool:
        return False

    def unread(self) -> bool:
        return False

    def settimeout(self, seconds: float | None) -> None:
        self.sock.settimeout(seconds)

    def shutdown(self) -> None:
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.sock.close()

    def abandon(self) -> None:
        self.sock.close()


def pump(receive: Callable[[], bytes], send: Callable[[bytes], Any], end: Callable[[], Any]) -> None:
    """Carry bytes until either side ends."""
    with suppress(OSError, ConnectionClosed):
        while data := receive():
            send(data)
    with suppress(OSError):
        end()


def relayed(one: socket.socket, port: int) -> None:
    """Carry bytes between an accepted connection and the broker until both have ended."""
    with one, socket.create_connection(("127.0.0.1", port)) as other:
        back = threading.Thread(
            target=pump, args=(lambda: other.recv(65536), one.sendall, lambda: one.shutdown(socket.SHUT_RDWR))
        )
        back.start()
        pump(lambda: one.recv(65536), other.sendall, lambda: other.shutdown(socket.SHUT_RDWR))
        back.join(PATIENCE)


@contextmanager
def unix_socket(path: Path, port: int) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        relay = threading.Thread(target=lambda: relayed(server.accept()[0], port))
        relay.start()
        yield
        relay.join(PATIENCE)


@contextmanager
def web_socket(port: int, context: ssl.SSLContext | None) -> Iterator[int]:
    def relay(connection: ServerConnection) -> None:
        with socket.create_connection(("127.0.0.1", port)) as other:
            back = threading.Thread(
                target=pump, args=(lambda: other.recv(65536), connection.send, lambda: connection.close())
            )
            back.start()

            def received() -> bytes:
                data = connection.recv()
                return data.encode() if isinstance(data, str) else data

            pump(received, other.sendall, lambda: other.shutdown(socket.SHUT_RDWR))
            back.join(PATIENCE)

    with serve(relay, "127.0.0.1", 0, ssl=context, subprotocols=["v12.stomp"], compression=None) as server:  # type: ignore[list-item]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join(PATIENCE)


@pytest.fixture(params=["tcp", "ssl", "ws", "wss", "unix", "own"])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    """Connected to an embedded broker over one transport."""
    kind: str = request.param
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trust = f"?caFile={tmp_path / 'ca.pem'}"
    with ExitStack() as stack:
        stack.enter_context(nothing_left_behind())
        broker = stack.enter_context(Broker(ssl_context=context if kind == "ssl" else None))
        uri = broker.uri
        options: dict[str, Any] = {}
        if kind == "ssl":
            uri += trust
        elif kind in ("ws", "wss"):
            port = stack.enter_context(web_socket(broker.port, context if kind == "wss" else None))
            uri = f"{kind}://127.0.0.1:{port}/ws{trust if kind == 'wss' else ''}"
        elif kind == "unix":
            stack.enter_context(unix_socket(tmp_path / "stomp", broker.port))
            uri = f"unix://{tmp_path / 'stomp'}"
        elif kind == "own":
            options["transport"] = lambda place, **_: OwnTransport(socket.create_connection((place.host, place.port)))
        yield stack.enter_context(Connection(uri, reconnect=False, timeout=PATIENCE, **options))


def test_a_listener_sends_a_thousand_messages_and_all_arrive_in_order(connection: Connection) -> None:
    arrived: queue.SimpleQueue[int] = queue.SimpleQueue()

    def answer(_start: Message) -> None:
        for number in range(SENDS):
            connection.send(ANSWERS, str(number))

    connection.subscribe(ANSWERS, lambda message: arrived.put(int(message.text)))
    connection.subscribe(START, answer, confirm=True)
    connection.send(START, "go")
    assert [arrived.get(timeout=PATIENCE) for _ in range(SENDS)] == list(range(SENDS))


def test_many_threads_send_while_messages_come(connection: Connection) -> None:
    threads = 4
    arrived: queue.SimpleQueue[tuple[str, ...]] = queue.SimpleQueue()
    connection.subscribe(ANSWERS, lambda message: arrived.put(tuple(message.text.split())), confirm=True)

    def send(name: int) -> None:
        for number in range(SENDS // threads):
            connection.send(ANSWERS, f"{name} {number}", confirm=number % 50 == 0)

    senders = [threading.Thread(target=send, args=(name,)) for name in range(threads)]
    for sender in senders:
        sender.start()
    found = [arrived.get(timeout=PATIENCE) for _ in range(SENDS)]
    for sender in senders:
        sender.join(PATIENCE)
    for name in range(threads):
        assert [number for sender, number in found if sender == str(name)] == [
            str(number) for number in range(SENDS // threads)
        ]


@pytest.mark.parametrize("has_certificate", [False, True])
def test_a_broker_that_hangs_up_after_the_handshake_may_want_a_certificate(
    tmp_path: Path, has_certificate: bool
) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("client@test").private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")

    def hang_up() -> None:
        with context.wrap_socket(server.accept()[0], server_side=True) as peer:
            peer.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as server:
        hanging_up = threading.Thread(target=hang_up)
        hanging_up.start()
        own = f"&certFile={tmp_path / 'client.pem'}" if has_certificate else ""
        with pytest.raises(ConnectFailed, match="closed the connection") as failure:
            Connection(f"ssl://127.0.0.1:{server.getsockname()[1]}?caFile={tmp_path / 'ca.pem'}{own}").connect()
        hanging_up.join(PATIENCE)
    assert ("certificate (certFile)" in str(failure.value)) is not has_certificate
