"""TLS: who is trusted and what is said if not, two threads at once, and every way to end."""

from __future__ import annotations

import datetime
import functools
import hashlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from transport_servers import SOON, Background, Options, Place, eventually, listening, refused, soon

from stomplistener.errors import ConnectFailed, TimedOut
from stomplistener.transport import ConnectInterrupted, Interrupt, Transport, connect
from stomplistener.transport.tls import default_context

AT_ONCE = 1.0


class Authority:
    """A CA, its certificate in a file, and certificates for 127.0.0.1."""

    def __init__(self, path: Path) -> None:
        self.ca = trustme.CA()
        self.file = str(path)
        self.ca.cert_pem.write_to_path(path)

    def context(self, *names: str, **kwargs: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*(names or ("127.0.0.1",)), **kwargs).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca") / "ca.pem")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger") / "ca.pem")


class Handshakes:
    """A TLS server: the first connection that it accepts, or the error of its handshake."""

    def __init__(self, server: socket.socket, context: ssl.SSLContext) -> None:
        self.port = server.getsockname()[1]
        self._accepting = Background(self._accept, server, context)

    def _accept(self, server: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        raw, _ = server.accept()
        raw.settimeout(SOON)
        try:
            return context.wrap_socket(raw, server_side=True)
        except BaseException:
            raw.close()
            raise

    def peer(self) -> ssl.SSLSocket:
        sock: ssl.SSLSocket = self._accepting.result()
        return sock

    def failed(self) -> bool:
        with suppress(OSError):
            self.peer().close()
            return False
        return True


@contextmanager
def tls_server(context: ssl.SSLContext) -> Iterator[Handshakes]:
    with listening() as server:
        yield Handshakes(server, context)


@contextmanager
def connected(context: ssl.SSLContext, **options: Any) -> Iterator[tuple[Transport, ssl.SSLSocket]]:
    with tls_server(context) as server:
        transport = connect(Place("ssl", port=server.port, options=Options(**options)), deadline=soon())
        with server.peer() as peer:
            try:
                yield transport, peer
            finally:
                transport.close()


@pytest.fixture(params=["1.2", "1.3"])
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    return {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[request.param]


@pytest.fixture
def pair(authority: Authority, version: ssl.TLSVersion) -> Iterator[tuple[Transport, ssl.SSLSocket]]:
    """Our transport and the server's end of it."""
    context = authority.context()
    context.minimum_version = context.maximum_version = version
    with connected(context, ca_file=authority.file) as both:
        yield both


def read(transport: Transport, size: int) -> bytes:
    received = b""
    while len(received) < size:
        data = transport.receive()
        assert data, "ended early"
        received += data
    return received


def read_peer(peer: ssl.SSLSocket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        received += peer.recv(size - len(received))
    return bytes(received)


class TestTrust:
    def refuse(self, context: ssl.SSLContext, **options: Any) -> str:
        """The error of a connection that must not come about."""
        with tls_server(context) as server:
            with pytest.raises(ConnectFailed) as failure:
                connect(Place("ssl", port=server.port, options=Options(**options)), deadline=soon())
            assert server.failed()
        assert f"ssl://127.0.0.1:{server.port}" in str(failure.value)
        return str(failure.value)

    def test_a_trusted_server(self, pair: tuple[Transport, ssl.SSLSocket]) -> None:
        transport, peer = pair
        assert transport.send(b"CONNECT") == 7
        assert peer.recv(100) == b"CONNECT"
        peer.sendall(b"CONNECTED")
        assert transport.receive() == b"CONNECTED"

    def test_unknown_authority(self, authority: Authority, stranger: Authority) -> None:
        error = self.refuse(authority.context(), ca_file=stranger.file)
        assert "trustme" in error
        assert "caFile" in error

    def test_the_authorities_of_the_system_are_the_default(self, authority: Authority) -> None:
        assert "caFile" in self.refuse(authority.context())

    def test_wrong_host(self, authority: Authority) -> None:
        error = self.refuse(authority.context("mq1.test", "mq2.test"), ca_file=authority.file)
        assert "is for mq1.test, mq2.test, not for 127.0.0.1" in error
        assert "verifyHostname=false" in error

    def test_the_check_of_the_name_can_be_left_out(self, authority: Authority) -> None:
        with connected(authority.context("mq1.test"), ca_file=authority.file, verify_hostname=False):
            pass

    def test_without_the_check_of_the_name_the_authority_is_still_checked(
        self, authority: Authority, stranger: Authority
    ) -> None:
        self.refuse(authority.context("mq1.test"), ca_file=stranger.file, verify_hostname=False)

    def test_expired(self, authority: Authority) -> None:
        past = datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC)
        error = self.refuse(authority.context("127.0.0.1", not_after=past), ca_file=authority.file)
        assert "expired since Jan  2 00:00:00 2020" in error

    def test_self_signed(self, tmp_path: Path) -> None:
        key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
        make_self_signed(key, cert)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        error = self.refuse(context)
        assert "self-signed" in error
        assert "caFile" in error
        with connected(context, ca_file=str(cert)):
            pass

    def test_old_versions_of_tls(self, authority: Authority) -> None:
        context = authority.context()
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        assert "no TLS version in common" in self.refuse(context, ca_file=authority.file)

    def test_old_versions_of_tls_where_the_system_allows_them(
        self, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = ssl.create_default_context

        def lenient(**options: str | None) -> ssl.SSLContext:
            context = made(**options)  # type: ignore[arg-type]
            with pytest.warns(DeprecationWarning, match="TLSv1"):
                context.minimum_version = ssl.TLSVersion.TLSv1
            return context

        monkeypatch.setattr(ssl, "create_default_context", lenient)
        assert default_context(Options(ca_file=authority.file)).minimum_version is ssl.TLSVersion.TLSv1_2

    def test_a_context_of_the_users_own_wins(self, authority: Authority) -> None:
        mine = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        mine.check_hostname = False
        mine.verify_mode = ssl.CERT_NONE
        with tls_server(authority.context("mq1.test")) as server:
            place = Place("ssl", port=server.port, options=Options(ca_file="/there is none"))
            connect(place, deadline=soon(), ssl_context=mine).close()
            server.peer().close()

    def test_server_name_is_sent_and_alpn_is_not(self, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str | None] = []
        context = authority.context("mq1.test")
        context.set_alpn_protocols(["http/1.1"])
        context.sni_callback = lambda sock, name, _: asked.append(name)
        real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, *args, **kw: real("127.0.0.1", *args, **kw))
        with tls_server(context) as server:
            place = Place("ssl", host="mq1.test.", port=server.port, options=Options(ca_file=authority.file))
            connect(place, deadline=soon()).close()
            with server.peer() as peer:
                assert peer.selected_alpn_protocol() is None
        assert asked == ["mq1.test"]


class TestClientCertificate:
    @pytest.fixture
    def demanding(self, authority: Authority, version: ssl.TLSVersion) -> ssl.SSLContext:
        context = authority.context()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.file)
        context.minimum_version = context.maximum_version = version
        return context

    @pytest.fixture
    def files(self, authority: Authority, tmp_path: Path) -> tuple[str, str]:
        cert = authority.ca.issue_cert("client@test")
        cert.private_key_pem.write_to_path(tmp_path / "key.pem")
        with open(tmp_path / "cert.pem", "wb") as file:
            for blob in cert.cert_chain_pems:
                file.write(blob.bytes())
        return str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")

    def attempt(self, context: ssl.SSLContext, authority: Authority, **options: Any) -> str:
        """The error, which in TLS 1.3 comes with the first receive only."""
        with tls_server(context) as server:
            place = Place("ssl", port=server.port, options=Options(ca_file=authority.file, **options))
            with pytest.raises((ConnectFailed, OSError)) as failure:
                talk(place)
            assert server.failed()
        return str(failure.value)

    def test_missing(self, demanding: ssl.SSLContext, authority: Authority) -> None:
        assert "certFile" in self.attempt(demanding, authority)

    def test_from_an_authority_that_the_server_does_not_know(
        self, demanding: ssl.SSLContext, authority: Authority, stranger: Authority, tmp_path: Path
    ) -> None:
        stranger.ca.issue_cert("client@test").private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
        assert "certFile" in self.attempt(demanding, authority, cert_file=str(tmp_path / "client.pem"))

    def test_given(self, demanding: ssl.SSLContext, authority: Authority, files: tuple[str, str]) -> None:
        with connected(demanding, ca_file=authority.file, cert_file=files[0], key_file=files[1]) as (_, peer):
            certificate = peer.getpeercert()
            assert certificate is not None
            assert ("email", "client@test") in certificate["subjectAltName"]

    def test_encrypted_key(self, files: tuple[str, str], tmp_path: Path) -> None:
        encrypted = tmp_path / "encrypted.pem"
        encrypt(Path(files[1]), encrypted, "s3cret!")
        good = Options(cert_file=files[0], key_file=str(encrypted), key_password="s3cret!")
        default_context(good)
        for password in None, "wr0ng!":
            with pytest.raises(ConnectFailed, match="keyFile") as failure:
                default_context(Options(cert_file=files[0], key_file=str(encrypted), key_password=password))
            assert "wr0ng" not in str(failure.value)
            assert ("keyPassword is needed" in str(failure.value)) is (password is None)

    def test_a_file_that_cannot_be_used_is_named(self, tmp_path: Path) -> None:
        junk = tmp_path / "junk.pem"
        junk.write_text("junk")
        for path in str(tmp_path / "none.pem"), str(junk):
            with pytest.raises(ConnectFailed, match=f"caFile '{path}'"):
                default_context(Options(ca_file=path))
            with pytest.raises(ConnectFailed, match=f"certFile '{path}'"):
                default_context(Options(cert_file=path))


def talk(place: Place) -> None:
    transport = connect(place, deadline=soon())
    try:
        transport.send(b"CONNECT")
        transport.receive()
    finally:
        transport.close()


class TestNoTLS:
    def test_a_server_that_speaks_stomp(self) -> None:
        with listening() as server:
            attempt = Background(connect, Place("ssl", port=server.getsockname()[1]), deadline=soon())
            peer, _ = server.accept()
            with peer:
                peer.sendall(b"ERROR\nmessage:junk\n\n\0")
                with pytest.raises(ConnectFailed, match=r"does not speak TLS, it sent b'ERROR.*tcp://"):
                    attempt.result()

    def test_a_server_that_hangs_up(self) -> None:
        with listening() as server:
            attempt = Background(connect, Place("ssl", port=server.getsockname()[1]), deadline=soon())
            server.accept()[0].close()
            with pytest.raises(ConnectFailed, match="broken off in the TLS handshake"):
                attempt.result()

    def test_a_silent_server_and_the_deadline(self) -> None:
        with listening() as server, pytest.raises(TimedOut, match="TLS handshake"):
            connect(Place("ssl", port=server.getsockname()[1]), deadline=time.monotonic() + 0.1)

    def test_a_silent_server_and_an_interrupt(self) -> None:
        interrupt = Interrupt()
        with listening() as server:
            place = Place("ssl", port=server.getsockname()[1])
            attempt = Background(connect, place, deadline=soon(), interrupt=interrupt)
            peer, _ = server.accept()
            with peer:
                assert peer.recv(10)
                start = time.monotonic()
                interrupt.set()
                with pytest.raises(ConnectInterrupted):
                    attempt.result()
                assert time.monotonic() - start < AT_ONCE


class TestData:
    def test_small_records_in_one_burst_all_arrive(self, pair: tuple[Transport, ssl.SSLSocket]) -> None:
        transport, peer = pair
        messages = [b"message %d\0" % number for number in range(80)]
        for message in messages:
            peer.sendall(message)
        assert read(transport, len(b"".join(messages))) == b"".join(messages)

    def test_many_messages_in_one_record_arrive_in_one_receive(self, pair: tuple[Transport, ssl.SSLSocket]) -> None:
        transport, peer = pair
        peer.sendall(b"message\0" * 80)
        assert transport.receive() == b"message\0" * 80

    def test_nothing_decrypted_is_left_inside(self, authority: Authority) -> None:
        """All records of one burst come out of one receive, however the kernel cuts them."""
        with connected(authority.context(), ca_file=authority.file) as (transport, peer):
            for _ in range(80):
                peer.sendall(b"x" * 100)
            eventually(transport.unread)
            received = b""
            while transport.unread():
                received += transport.receive()
                if len(received) < 8000:
                    eventually(transport.unread)
            assert received == b"x" * 8000

    def test_both_directions_at_once(self, pair: tuple[Transport, ssl.SSLSocket]) -> None:
        """50 MB each way, by one sender and one receiver, with heartbeats from a third thread; nothing is damaged."""
        transport, peer = pair
        piece = bytes(range(256)) * 1024
        size = 200 * len(piece)
        done = threading.Event()

        def send_all() -> str:
            digest, sent = hashlib.sha256(), 0
            while sent < size:
                view = memoryview(piece)
                while view:
                    count = transport.send(view)
                    digest.update(view[:count])
                    view = view[count:]
                    sent += count
            return digest.hexdigest()

        def receive_all() -> str:
            digest, received = hashlib.sha256(), 0
            while received < size:
                data = transport.receive()
                digest.update(data)
                received += len(data)
            return digest.hexdigest()

        def look() -> None:
            while not done.wait(0.001):
                transport.unread()

        looking, sender, receiver = Background(look), Background(send_all), Background(receive_all)
        theirs = Background(serve_both, peer, size, piece)
        received, sent = theirs.result()
        done.set()
        looking.result()
        assert (received, sent) == (sender.result(), receiver.result())

    def test_heart_beats(self, pair: tuple[Transport, ssl.SSLSocket]) -> None:
        transport, peer = pair
        assert transport.send_nowait(b"\n")
        assert peer.recv(10) == b"\n"
        send = Background(fill, transport)
        eventually(lambda: not transport.send_nowait(b"\n"))
        transport.shutdown()
        with pytest.raises(OSError):
            send.result()

    def test_a_heart_beat_that_finds_no_room_goes_first_later(self, pair: tuple[Transport, ssl.SSLSocket]) -> None:
        transport, peer = pair
        beats = 0
        while transport.send_nowait(b"\n" * 1000):
            beats += 1
        assert not transport.send_nowait(b"never")
        reading = Background(read_peer, peer, 1000 * beats + 3)
        assert transport.send(b"end") == 3
        assert reading.result() == b"\n" * 1000 * beats + b"end"


def serve_both(peer: ssl.SSLSocket, size: int, piece: bytes) -> tuple[str, str]:
    """Send and receive in turn (an SSLSocket is for one thread): what was received, and sent."""
    peer.settimeout(0)
    received, sent = hashlib.sha256(), hashlib.sha256()
    left_in = left_out = size
    deadline = time.monotonic() + 30
    while left_in or left_out:
        assert time.monotonic() < deadline
        idle = True
        with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            data = peer.recv(65536) if left_in else b""
            received.update(data)
            left_in -= len(data)
            idle = not data
        with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            start = -left_out % len(piece)
            count = peer.send(piece[start : start + 16384]) if left_out else 0
            sent.update(piece[start : start + count])
            left_out -= count
            idle = idle and not count
        if idle:
            time.sleep(0.0005)
    peer.settimeout(SOON)
    return received.hexdigest(), sent.hexdigest()


def fill(transport: Transport) -> None:
    while True:
        transport.send(bytes(1 << 20))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command as the server")
class TestNewKeys:
    """The peer changes keys while both directions are busy: Python's own server side cannot do that."""

    @pytest.mark.parametrize(("option", "command"), [("-tls1_3", b"K"), ("-tls1_2", b"r")])
    def test_sending_and_receiving_go_on(
        self, authority: Authority, tmp_path: Path, option: str, command: bytes
    ) -> None:
        key = tmp_path / "server.pem"
        authority.ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(key)
        with openssl_server(str(key), option) as (port, server):
            place = Place("ssl", port=port, options=Options(ca_file=authority.file))
            transport = connect(place, deadline=soon())
            received, shown, stop = bytearray(), bytearray(), threading.Event()
            receiving = Background(gather, transport.receive, received)
            assert server.stdin is not None
            assert server.stdout is not None
            showing = Background(gather, functools.partial(server.stdout.read, 65536), shown)
            sending = Background(send_lines, transport, stop)
            for number in range(5):
                handshakes = shown.count(b"SSL_do_handshake -> 1")
                server.stdin.write(command + b"\n")
                server.stdin.flush()
                eventually(lambda: shown.count(b"SSL_do_handshake -> 1") > handshakes)  # noqa: B023
                server.stdin.write(b"line %d\n" % number)
                server.stdin.flush()
                eventually(lambda: b"line %d\n" % number in received)  # noqa: B023
            stop.set()
            sent = sending.result()
            eventually(lambda: shown.count(b"0123456789\n") == sent)
            transport.close()
            receiving.result()
        showing.result()


def gather(read: Callable[[], bytes], into: bytearray) -> None:
    with suppress(OSError, ValueError):  # ValueError: the file was closed
        while data := read():
            into += data


def send_lines(transport: Transport, stop: threading.Event) -> int:
    sent = 0
    while not stop.wait(0.0005):
        line = memoryview(b"0123456789\n")
        while line:
            line = line[transport.send(line) :]
        sent += 1
    return sent


@contextmanager
def openssl_server(key: str, option: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    port = refused()
    command = ["openssl", "s_server", "-accept", str(port), "-cert", key, "-key", key, option]
    # Without a buffer a read gives what is there, rather than waiting for all that was asked for.
    with subprocess.Popen(
        command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        try:
            assert server.stdout is not None
            while b"ACCEPT" not in server.stdout.readline():
                assert server.poll() is None
            yield port, server
        finally:
            server.kill()


class TestEnd:
    def test_close_notify(self, pair: tuple[Transport, ssl.SSLSocket]) -> None:
        transport, peer = pair
        peer.sendall(b"last words")
        peer.settimeout(0)
        with suppress(ssl.SSLWantReadError):
            peer.unwrap()
        assert read(transport, 10) == b"last words"
        assert transport.receive() == b""
        assert transport.receive() == b""

    def test_after_the_peers_close_notify_we_may_still_send(self, pair: tuple[Transport, ssl.SSLSocket]) -> None:
        transport, peer = pair
        closing = Background(peer.unwrap)
        assert transport.receive() == b""
        assert transport.send(b"x") == 1
        transport.close()
        with suppress(OSError):
            closing.result()

    def test_the_peer_vanishes_without_close_notify(self, pair: tuple[Transport, ssl.SSLSocket]) -> None:
        transport, peer = pair
        receive = Background(transport.receive)
        socket.socket.shutdown(peer, socket.SHUT_WR)
        assert receive.result() == b""

    def test_the_peer_resets(self, pair: tuple[Transport, ssl.SSLSocket]) -> None:
        transport, peer = pair
        peer.sendall(b"x")
        assert transport.receive() == b"x"
        receive = Background(transport.receive)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        with pytest.raises(ConnectionResetError):
            receive.result()

    def test_our_close_says_goodbye(self, pair: tuple[Transport, ssl.SSLSocket]) -> None:
        transport, peer = pair
        transport.close()
        assert peer.read(10) == b""  # unlike recv, it does not take a missing goodbye for one
        transport.close()
        transport.shutdown()
        for action in transport.receive, lambda: transport.send(b"x"), lambda: transport.send_nowait(b"x"):
            with suppress(OSError):
                assert not action()

    def test_abandon_says_nothing(self, pair: tuple[Transport, ssl.SSLSocket]) -> None:
        transport, peer = pair
        raw: socket.socket = transport._inner._sock  # type: ignore[attr-defined]
        with raw.dup():
            transport.abandon()
            peer.settimeout(0.05)
            with pytest.raises(TimeoutError):
                peer.recv(10)

    def test_shutdown_frees_a_blocked_receive_and_a_blocked_send(self, pair: tuple[Transport, ssl.SSLSocket]) -> None:
        transport, _ = pair
        receive, send = Background(transport.receive), Background(fill, transport)
        eventually(lambda: not transport.send_nowait(b"\n"))
        start = time.monotonic()
        transport.shutdown()
        with suppress(ConnectionResetError):  # the server's TLS may have said something into the closing connection
            assert receive.result() == b""
        with pytest.raises(OSError):
            send.result()
        assert time.monotonic() - start < AT_ONCE

    def test_timeout(self, pair: tuple[Transport, ssl.SSLSocket]) -> None:
        transport, _ = pair
        transport.settimeout(0.05)
        with pytest.raises(TimeoutError):
            transport.receive()
        with pytest.raises(TimeoutError):
            fill(transport)

    def test_damaged_bytes_after_good_ones(self, pair: tuple[Transport, ssl.SSLSocket]) -> None:
        transport, peer = pair
        peer.sendall(b"good")
        with socket.socket(fileno=peer.detach()) as raw:
            raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            assert read(transport, 4) == b"good"
            with pytest.raises(ConnectionAbortedError):
                transport.receive()


def make_self_signed(key: Path, cert: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
    address = x509.IPAddress(__import__("ipaddress").ip_address("127.0.0.1"))
    builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    cert.write_bytes(builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    key.write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


def encrypt(key: Path, encrypted: Path, password: str) -> None:
    from cryptography.hazmat.primitives import serialization

    private = serialization.load_pem_private_key(key.read_bytes(), None)
    how = serialization.BestAvailableEncryption(password.encode())
    pem = serialization.Encoding.PEM
    encrypted.write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, how))
