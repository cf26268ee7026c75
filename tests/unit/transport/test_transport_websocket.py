"""WebSocket, against the server of the ``websockets`` package and against one written by hand."""

from __future__ import annotations

import logging
import socket
import ssl
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
import trustme
from transport_servers import SOON, Background, Options, Place, eventually, listening, soon

from stomplistener.errors import ConnectFailed, InvalidHeader, TimedOut
from stomplistener.transport import ConnectInterrupted, Guided, Interrupt, MissingExtra, Transport, connect
from stomplistener.transport.layer import MAX_ANSWERS

websockets = pytest.importorskip("websockets")

from websockets.exceptions import ConnectionClosed  # noqa: E402
from websockets.sync.server import ServerConnection, serve  # noqa: E402

AT_ONCE = 1.0


@contextmanager
def websocket_server(handler: Callable[[ServerConnection], None], **options: Any) -> Iterator[int]:
    options.setdefault("subprotocols", ["v12.stomp"])
    with serve(handler, "127.0.0.1", 0, compression=None, max_size=None, **options) as server:
        running = threading.Thread(target=server.serve_forever, daemon=True)
        running.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        running.join(SOON)


@contextmanager
def connected(handler: Callable[[ServerConnection], None], **options: Any) -> Iterator[Transport]:
    with websocket_server(handler) as port:
        transport = connect(Place("ws", port=port, path="/ws"), deadline=soon(), **options)
        try:
            yield transport
        finally:
            transport.close()


def echo(connection: ServerConnection) -> None:
    with suppress(ConnectionClosed):
        for message in connection:
            connection.send(message)


def read(transport: Transport, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        data = transport.receive()
        assert data, "ended early"
        received += data
    return bytes(received)


class TestHandshake:
    def test_path_sub_protocols_and_headers(self) -> None:
        requests: list[Any] = []

        def note(connection: ServerConnection) -> None:
            requests.append((connection.request, connection.subprotocol))

        headers = {"Authorization": "Bearer t0ken", "Cookie": "a=1", "User-Agent": "mine", "user-agent": "really mine"}
        with websocket_server(note) as port:
            place = Place("ws", port=port, path="/ws?tenant=1")
            connect(place, deadline=soon(), headers=headers).close()
            eventually(lambda: requests)
        [(request, chosen)] = requests
        assert request.path == "/ws?tenant=1"
        assert request.headers["Authorization"] == "Bearer t0ken"
        assert request.headers["Cookie"] == "a=1"
        assert request.headers.get_all("User-Agent") == ["really mine"]
        assert request.headers["Host"] == f"127.0.0.1:{port}"
        assert request.headers["Sec-WebSocket-Protocol"].replace(" ", "") == "v12.stomp,v11.stomp,v10.stomp"
        assert chosen == "v12.stomp"

    @pytest.mark.parametrize("headers", [{"X": "a\r\nY: b"}, {"X\n": "a"}, {"": "a"}, {"X:Y": "a"}])
    def test_no_header_is_injected(self, headers: dict[str, str]) -> None:
        with websocket_server(echo) as port, pytest.raises(InvalidHeader):
            connect(Place("ws", port=port), deadline=soon(), headers=headers)

    def test_an_error_of_http(self) -> None:
        for status, hint in (404, "path of the broker's WebSocket"), (401, "token"), (503, "503"):

            def refuse(connection: ServerConnection, _: Any, status: int = status) -> Any:
                return connection.respond(status, "no")

            with websocket_server(echo, process_request=refuse) as port:
                with pytest.raises(ConnectFailed, match=rf"HTTP {status} .*path '/stomp'.*") as failure:
                    connect(Place("ws", port=port, path="/stomp?key=s3cret"), deadline=soon())
            assert f"ws://127.0.0.1:{port}" in str(failure.value)
            assert hint in str(failure.value)
            assert "s3cret" not in str(failure.value)

    def test_a_server_that_does_not_speak_http(self) -> None:
        with listening() as server:
            attempt = Background(connect, Place("ws", port=server.getsockname()[1]), deadline=soon())
            peer, _ = server.accept()
            with peer:
                peer.sendall(b"ERROR\nmessage:junk\n\n\0")
                with pytest.raises(ConnectFailed, match=r"does not speak HTTP, it sent b'ERROR.*tcp://"):
                    attempt.result()

    def test_a_server_that_hangs_up(self) -> None:
        with listening() as server:
            attempt = Background(connect, Place("ws", port=server.getsockname()[1]), deadline=soon())
            peer, _ = server.accept()
            peer.recv(1000)
            peer.close()
            with pytest.raises(ConnectFailed, match="WebSocket handshake"):
                attempt.result()

    def test_a_silent_server_and_the_deadline(self) -> None:
        with listening() as server, pytest.raises(TimedOut, match="WebSocket handshake"):
            connect(Place("ws", port=server.getsockname()[1]), deadline=time.monotonic() + 0.05)

    def test_a_silent_server_and_an_interrupt(self) -> None:
        interrupt = Interrupt()
        with listening() as server:
            place = Place("ws", port=server.getsockname()[1])
            attempt = Background(connect, place, deadline=soon(), interrupt=interrupt)
            peer, _ = server.accept()
            with peer:
                assert peer.recv(1000)
                start = time.monotonic()
                interrupt.set()
                with pytest.raises(ConnectInterrupted):
                    attempt.result()
                assert time.monotonic() - start < AT_ONCE

    def test_without_the_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "stomplistener.transport.websocket", raising=False)
        monkeypatch.setitem(sys.modules, "websockets.client", None)
        with pytest.raises(MissingExtra, match=r"pip install 'stomplistener\[websocket\]'"):
            connect(Place("ws", port=1), deadline=soon())

    def test_over_tls(self, tmp_path: Path) -> None:
        ca = trustme.CA()
        ca.cert_pem.write_to_path(tmp_path / "ca.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1").configure_cert(context)
        message = "größer ".encode() * 500_000
        with websocket_server(echo, ssl=context) as port:
            with pytest.raises(ConnectFailed, match="caFile"):
                connect(Place("wss", port=port), deadline=soon())
            options = Options(ca_file=str(tmp_path / "ca.pem"))
            transport = connect(Place("wss", port=port, options=options), deadline=soon())
            receiving = Background(read, transport, len(message))
            assert transport.send(message) == len(message)
            assert receiving.result() == message
            transport.close()


class TestData:
    def test_text_where_possible_else_binary(self) -> None:
        received: list[str | bytes] = []

        def note(connection: ServerConnection) -> None:
            received.extend(connection)

        with connected(note) as transport:
            assert transport.frame_per_send
            assert transport.send("SEND\n\nä\0".encode()) == 9
            assert transport.send(memoryview(b"SEND\n\n\xff\0")) == 8
            assert transport.send(b"") == 0
            assert transport.send_nowait(b"\n")
            eventually(lambda: len(received) == 3)
        assert received == ["SEND\n\nä\0", b"SEND\n\n\xff\0", "\n"]

    def test_one_message_for_each_send_however_long(self) -> None:
        """Characters are cut between fragments, which RFC 6455, 5.6 allows."""
        received: list[str | bytes] = []

        def note(connection: ServerConnection) -> None:
            received.extend(connection)

        text = "ä€" * 100_000
        with connected(note) as transport:
            assert transport.send(text.encode()) == 500_000
            eventually(lambda: received)
        assert received == [text]

    def test_no_fragment_is_longer_than_artemis_takes(self) -> None:
        fragments: list[int] = []

        def note(connection: ServerConnection) -> None:
            with suppress(ConnectionClosed):
                fragments.extend(len(each) for each in connection.recv_streaming())

        with connected(note) as transport:
            transport.send(b"x" * 200_000)
            eventually(lambda: sum(fragments) == 200_000)
        assert max(fragments) <= 65536

    def test_text_binary_and_fragments_are_one_stream(self) -> None:
        def serve_all(connection: ServerConnection) -> None:
            connection.send("ME")
            connection.send(b"SSAGE")
            connection.send(iter(["\n", "\n", ""]))
            connection.ping()
            connection.send(b"\xff\0")
            connection.recv()

        with connected(serve_all) as transport:
            assert read(transport, 11) == b"MESSAGE\n\n\xff\0"

    def test_a_ping_is_answered(self) -> None:
        answered = threading.Event()

        def ping(connection: ServerConnection) -> None:
            if connection.ping("are you there").wait(SOON):
                answered.set()
            connection.send("done")

        with connected(ping) as transport:
            assert transport.receive() == b"done"
        assert answered.is_set()

    def test_what_comes_with_the_handshake_is_not_lost(self) -> None:
        with handmade() as (attempt, peer, accept):
            peer.sendall(accept + b"\x81\x05early")
            transport = attempt.result()
            assert transport.unread()
            assert transport.receive() == b"early"
            transport.close()

    def test_bytes_in_any_pieces(self) -> None:
        with handmade() as (attempt, peer, accept):
            for byte in accept + b"\x81\x05first":
                peer.sendall(bytes([byte]))
            transport = attempt.result()
            assert read(transport, 5) == b"first"
            transport.close()

    def test_both_directions_at_once(self) -> None:
        frame = bytes(range(256)) * 64
        with connected(echo) as transport:
            receiving = Background(read, transport, 300 * len(frame))
            for _ in range(300):
                assert transport.send(frame) == len(frame)
            assert receiving.result() == frame * 300

    def test_a_message_above_the_limit(self) -> None:
        with handmade(max_message=1000) as (attempt, peer, accept):
            peer.sendall(accept)
            transport = attempt.result()
            peer.sendall(b"\x82\x7e\x07\xd0")  # the head of a frame of 2,000 bytes is enough
            with pytest.raises(ConnectionAbortedError, match=r"WebSocket: .*1000"):
                transport.receive()
            transport.close()

    def test_a_ping_that_comes_with_the_handshake_is_answered(self) -> None:
        with handmade() as (attempt, peer, accept):
            peer.sendall(accept + b"\x89\x00")
            transport = attempt.result()
            assert peer.recv(6)[:2] == b"\x8a\x80"
            transport.close()

    def test_pings_do_not_prolong_a_wait(self) -> None:
        with handmade() as (attempt, peer, accept):
            peer.sendall(accept)
            transport = attempt.result()
            transport.settimeout(0.6)
            receive = Background(transport.receive)
            start = time.monotonic()
            while time.monotonic() < start + 0.5:
                peer.sendall(b"\x89\x00")
                time.sleep(0.1)
            with pytest.raises(TimeoutError):
                receive.result()
            assert time.monotonic() - start < 1.0
            transport.close()

    def test_a_limited_wait_behind_a_ping(self) -> None:
        with handmade() as (attempt, peer, accept):
            peer.sendall(accept)
            transport = attempt.result()
            guided = transport
            assert isinstance(guided, Guided)
            guided.expect(1 << 20)
            for timeout, error in (None, BlockingIOError), (60.0, BlockingIOError), (0.05, TimeoutError):
                transport.settimeout(timeout)
                assert guided.limit_wait(0.1)
                peer.sendall(b"\x89\x00")
                with pytest.raises(error):
                    transport.receive()
            assert guided.limit_wait(None)
            transport.settimeout(None)
            receive = Background(transport.receive)
            peer.sendall(b"\x81\x05later")
            assert receive.result() == b"later"
            transport.close()

    def test_a_flood_of_pings_whose_answers_nobody_reads(self) -> None:
        with handmade() as (attempt, peer, accept):
            peer.sendall(accept)
            transport = attempt.result()
            receive = Background(transport.receive)
            left = pings = memoryview((b"\x89\x7d" + bytes(125)) * 1000)
            peer.settimeout(0.05)
            while receive.running:
                with suppress(TimeoutError):
                    left = left[peer.send(left) :] or pings
            with pytest.raises(ConnectionAbortedError, match="does not read"):
                receive.result()
            assert sum(map(len, transport._output)) < 4 * MAX_ANSWERS
            transport.close()

    def test_a_heart_beat_behind_what_found_no_room(self) -> None:
        with handmade() as (attempt, peer, accept):
            peer.sendall(accept)
            transport = attempt.result()
            transport.settimeout(0.05)
            with pytest.raises(TimeoutError):
                transport.send(b"x" * 30_000_000)
            beats = [transport.send_nowait(b"\n") for _ in range(3)]
            assert not beats[-1]
            transport.close()


@contextmanager
def handmade(**options: Any) -> Iterator[tuple[Background, socket.socket, bytes]]:
    """A connect under way, the server's end of it, and the answer that completes its handshake."""
    with listening() as server:
        attempt = Background(connect, Place("ws", port=server.getsockname()[1]), deadline=soon(), **options)
        peer, _ = server.accept()
        with peer:
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += peer.recv(10_000)
            headers = dict(line.split(": ", 1) for line in request.decode().split("\r\n")[1:-2])
            key = headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            accept = b64encode(sha1(key.encode()).digest())
            answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            yield attempt, peer, answer + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"


class TestEnd:
    def test_the_broker_closes(self) -> None:
        def last_words(connection: ServerConnection) -> None:
            connection.send("bye")

        with connected(last_words) as transport:
            assert transport.receive() == b"bye"
            assert transport.receive() == b""
            assert transport.receive() == b""
            with suppress(OSError):
                transport.send(b"x")

    def test_the_broker_closes_and_says_why(self) -> None:
        def complain(connection: ServerConnection) -> None:
            connection.send("bye")
            connection.close(1007, "framing error")

        with connected(complain) as transport:
            assert transport.receive() == b"bye"
            for _ in range(2):
                with pytest.raises(ConnectionAbortedError, match="1007: 'framing error'"):
                    transport.receive()

    def test_the_broker_vanishes(self) -> None:
        with handmade() as (attempt, peer, accept):
            peer.sendall(accept)
            transport = attempt.result()
            peer.close()
            assert transport.receive() == b""
            transport.close()

    def test_junk_after_the_handshake(self) -> None:
        with handmade() as (attempt, peer, accept):
            peer.sendall(accept + b"\x81\x04good" + b"\xff\xff\xff")
            transport = attempt.result()
            assert transport.receive() == b"good"
            with pytest.raises(ConnectionAbortedError, match="WebSocket"):
                transport.receive()
            transport.close()

    def test_our_close_says_goodbye(self) -> None:
        codes: list[int | None] = []

        def note(connection: ServerConnection) -> None:
            for _ in connection:
                pass
            codes.append(connection.protocol.close_code)

        with connected(note) as transport:
            transport.close()
            transport.close()
            eventually(lambda: codes)
        assert codes == [1000]

    def test_shutdown_frees_a_blocked_receive_and_a_blocked_send(self) -> None:
        def fill(transport: Transport) -> None:
            while True:
                transport.send(bytes(1 << 20))

        with handmade() as (attempt, peer, accept):
            peer.sendall(accept)
            transport = attempt.result()
            receive, send = Background(transport.receive), Background(fill, transport)
            eventually(lambda: not transport.send_nowait(b"\n"))
            start = time.monotonic()
            transport.shutdown()
            assert receive.result() == b""
            with pytest.raises(OSError):
                send.result()
            assert time.monotonic() - start < AT_ONCE
            transport.close()


def test_no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The package logs all frames and headers at DEBUG."""
    caplog.set_level(logging.DEBUG)
    with handmade() as (attempt, peer, accept):
        peer.sendall(accept)
        transport = attempt.result()
        transport.send(b"CONNECT\npasscode:s3cret\n\n\0")
        transport.close()
    assert "s3cret" not in caplog.text
