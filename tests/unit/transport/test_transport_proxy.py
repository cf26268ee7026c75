"""Proxies: HTTP CONNECT and SOCKS5, by small ones written here."""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme
from transport_servers import SOON, Background, Options, Place, listening, refused, soon

from stomplistener.errors import ConnectFailed, InvalidURI, StompError, TimedOut
from stomplistener.transport import ConnectInterrupted, Interrupt, MissingExtra, connect

pytest.importorskip("python_socks")

from stomplistener.transport.proxy import choose, parse

AT_ONCE = 1.0


def exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece
        data += piece
    return data


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


class Tunnels:
    """What an accepted client asked for, and the joining of it to the one real server, whatever the name asked for."""

    def __init__(self, target: int, login: tuple[str, str] | None) -> None:
        self.target = target
        self.login = login
        self.asked: list[tuple[str, int]] = []

    def join(self, client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self.target)) as server:
            there = threading.Thread(target=pump, args=(client, server), daemon=True)
            there.start()
            pump(server, client)
            there.join(SOON)

    def http(self, client: socket.socket) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += exactly(client, 1)
        host, _, port = request.split()[1].decode().rpartition(":")
        self.asked.append((host, int(port)))
        if self.login is not None and b"Basic " + b64encode(":".join(self.login).encode()) not in request:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        for piece in b"HTTP/1.1 200 Connection", b" established\r\nX: ", b"y\r\n\r", b"\n":
            client.sendall(piece)
            time.sleep(0.002)  # for it to leave in packets of its own
        self.join(client)

    def socks5(self, client: socket.socket) -> None:
        methods = exactly(client, exactly(client, 2)[1])
        wanted = 0 if self.login is None else 2
        client.sendall(bytes([5, wanted if wanted in methods else 255]))
        if wanted:
            user = exactly(client, exactly(client, 2)[1])
            password = exactly(client, exactly(client, 1)[0])
            good = self.login == (user.decode(), password.decode())
            client.sendall(bytes([1, 0 if good else 1]))
            if not good:
                return
        kind = exactly(client, 4)[3]
        size = {1: 4, 4: 16}.get(kind) or exactly(client, 1)[0]
        address = exactly(client, size)
        host = address.decode() if kind == 3 else socket.inet_ntop(socket.AF_INET, address)
        self.asked.append((host, struct.unpack("!H", exactly(client, 2))[0]))
        if host == "nowhere.test":
            client.sendall(bytes([5, 4, 0, 1, 0, 0, 0, 0, 0, 0]))
            return
        client.sendall(bytes([5, 0, 0, 1, 127, 0, 0, 1, 0, 0]))
        self.join(client)


@contextmanager
def running(kind: str, target: int, login: tuple[str, str] | None = None) -> Iterator[tuple[int, Tunnels]]:
    tunnels = Tunnels(target, login)
    answer: Callable[[socket.socket], None] = getattr(tunnels, kind)

    def accept(server: socket.socket) -> None:
        with suppress(OSError):
            client, _ = server.accept()
            with client:
                client.settimeout(SOON)
                answer(client)

    with listening() as server:
        thread = threading.Thread(target=accept, args=(server,), daemon=True)
        thread.start()
        yield server.getsockname()[1], tunnels
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        thread.join(SOON)


@pytest.fixture(params=["http", "socks5"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestTunnel:
    @pytest.mark.parametrize("login", [None, ("us er", "p@ss:w/rd")])
    def test_bytes_go_both_ways(self, kind: str, login: tuple[str, str] | None) -> None:
        user = "" if login is None else "us%20er:p%40ss%3Aw%2Frd@"
        with listening() as server, running(kind, server.getsockname()[1], login) as (port, tunnels):
            options = Options(proxy=f"{kind}://{user}127.0.0.1:{port}")
            transport = connect(Place(host="mq.test", port=61613, options=options), deadline=soon())
            peer, _ = server.accept()
            with peer:
                transport.send(b"hello")
                assert exactly(peer, 5) == b"hello"
                peer.sendall(b"there")
                assert transport.receive() == b"there"
                transport.close()
        # The name is looked up by the proxy: it may mean nothing here.
        assert tunnels.asked == [("mq.test", 61613)]

    def test_tls_on_top(self, kind: str, tmp_path: Path) -> None:
        ca = trustme.CA()
        ca.cert_pem.write_to_path(tmp_path / "ca.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("mq.test").configure_cert(context)
        with listening() as server, running(kind, server.getsockname()[1]) as (port, _):
            options = Options(proxy=f"{kind}://127.0.0.1:{port}", ca_file=str(tmp_path / "ca.pem"))
            attempt = Background(connect, Place("ssl", "mq.test", 61614, options=options), deadline=soon())
            raw, _ = server.accept()
            with context.wrap_socket(raw, server_side=True) as peer:
                transport = attempt.result()
                transport.send(b"hello")
                assert peer.recv(5) == b"hello"
                transport.close()

    def test_wrong_password(self, kind: str) -> None:
        with listening() as server, running(kind, server.getsockname()[1], ("user", "right")) as (port, _):
            options = Options(proxy=f"{kind}://user:s3cret@127.0.0.1:{port}")
            with pytest.raises(ConnectFailed, match="user and a password") as failure:
                connect(Place(host="mq.test", port=1, options=options), deadline=soon())
        error: BaseException | None = failure.value
        while error is not None:
            assert "s3cret" not in f"{error} {error!r}"
            error = error.__cause__ or error.__context__

    def test_the_proxy_cannot_reach_the_broker(self) -> None:
        with running("socks5", 0) as (port, _):
            options = Options(proxy=f"socks5://127.0.0.1:{port}")
            with pytest.raises(ConnectFailed, match=r"nowhere\.test:1.*[Hh]ost unreachable"):
                connect(Place(host="nowhere.test", port=1, options=options), deadline=soon())

    def test_no_proxy_there(self, kind: str) -> None:
        port = refused()
        options = Options(proxy=f"{kind}://user:s3cret@127.0.0.1:{port}")
        with pytest.raises(ConnectFailed, match=f"the proxy {kind}://127.0.0.1:{port}: .*refused") as failure:
            connect(Place(host="mq.test", port=1, options=options), deadline=soon())
        assert "s3cret" not in str(failure.value)


class TestBadProxies:
    @pytest.mark.parametrize("answer", [b"", b"junk\r\n\r\n", b"\5", b"\5\xff", b"SSH-2.0-OpenSSH\r\n\r\n"])
    def test_junk(self, kind: str, answer: bytes) -> None:
        with listening() as server:
            options = Options(proxy=f"{kind}://127.0.0.1:{server.getsockname()[1]}")
            attempt = Background(connect, Place(host="mq.test", port=1, options=options), deadline=soon())
            client, _ = server.accept()
            with client:
                client.recv(1)
                with suppress(OSError):  # it may be gone already
                    client.sendall(answer)
                    client.shutdown(socket.SHUT_WR)
                with pytest.raises(ConnectFailed):
                    attempt.result()

    def test_a_silent_one_and_the_deadline(self, kind: str) -> None:
        with listening() as server:
            options = Options(proxy=f"{kind}://127.0.0.1:{server.getsockname()[1]}")
            with pytest.raises(TimedOut, match="proxy"):
                connect(Place(host="mq.test", port=1, options=options), deadline=time.monotonic() + 0.05)

    def test_a_dripping_one_and_the_deadline(self) -> None:
        def drip(server: socket.socket) -> None:
            client, _ = server.accept()
            with client, suppress(OSError):
                while True:
                    client.sendall(b"x")
                    time.sleep(0.01)

        with listening() as server:
            dripping = Background(drip, server)
            options = Options(proxy=f"http://127.0.0.1:{server.getsockname()[1]}")
            start = time.monotonic()
            with pytest.raises(TimedOut, match="proxy"):
                connect(Place(host="mq.test", port=1, options=options), deadline=start + 0.1)
            assert time.monotonic() - start < AT_ONCE
            dripping.result()

    def test_a_silent_one_and_an_interrupt(self, kind: str) -> None:
        interrupt = Interrupt()
        with listening() as server:
            options = Options(proxy=f"{kind}://127.0.0.1:{server.getsockname()[1]}")
            place = Place(host="mq.test", port=1, options=options)
            attempt = Background(connect, place, deadline=soon(), interrupt=interrupt)
            client, _ = server.accept()
            with client:
                assert client.recv(1)
                start = time.monotonic()
                interrupt.set()
                with pytest.raises(ConnectInterrupted):
                    attempt.result()
                assert time.monotonic() - start < AT_ONCE

    def test_without_the_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "stomplistener.transport.proxy")
        monkeypatch.delattr("stomplistener.transport.proxy")
        monkeypatch.setitem(sys.modules, "python_socks", None)
        with pytest.raises(MissingExtra, match=r"pip install 'stomplistener\[proxy\]'"):
            connect(Place(options=Options(proxy="http://127.0.0.1:1")), deadline=soon())


class TestChoice:
    @pytest.fixture(autouse=True)
    def clean(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in "http", "https", "all", "socks", "no":
            monkeypatch.delenv(f"{name}_proxy", raising=False)
            monkeypatch.delenv(f"{name}_PROXY".upper(), raising=False)

    def test_the_environment_counts_only_where_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
        with listening() as server:
            connect(Place(port=server.getsockname()[1]), deadline=soon()).close()

    def test_of_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert choose("env", "mq.test") is None
        monkeypatch.setenv("http_proxy", "http://for-plain-http:1")
        assert choose("env", "mq.test") is None
        monkeypatch.setenv("all_proxy", "socks5h://all:1080")
        assert str(choose("env", "mq.test")) == "socks5://all:1080"
        monkeypatch.setenv("HTTPS_PROXY", "tunnels:3128")
        assert str(choose("env", "mq.test")) == "http://tunnels:3128"
        monkeypatch.setenv("no_proxy", ".test")
        assert choose("env", "mq.test") is None

    def test_no_proxy_for_this_host_means_directly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with listening() as server:
            options = Options(proxy="env")
            connect(Place(port=server.getsockname()[1], options=options), deadline=soon()).close()

    @pytest.mark.parametrize(
        "url",
        [
            "https://user:s3cret@host:1",
            "http://user:s3cret@host",
            "http://user:s3cret@host:x",
            "//s3cret",
            "http://[s3cret",
        ],
    )
    def test_malformed(self, url: str) -> None:
        with pytest.raises(InvalidURI, match="http://host:port or socks5://host:port") as failure:
            parse(url)
        assert "s3cret" not in str(failure.value)
        assert isinstance(failure.value, StompError)

    def test_no_password_is_shown(self) -> None:
        for shown in str, repr:
            assert "s3cret" not in shown(parse("http://user:s3cret@[::1]:1"))
