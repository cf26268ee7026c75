"""TCP: look-up, several addresses, deadline, interrupt, and the socket as a transport."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from transport_servers import SOON, Background, Options, Place, deaf, eventually, listening, refused, soon

from stomplistener.errors import ConnectFailed, StompError, TimedOut
from stomplistener.failover import parse
from stomplistener.transport import ConnectInterrupted, Guided, Interrupt, Transport, connect
from stomplistener.transport.address import Address, interleave
from stomplistener.transport.stream import RECEIVE_IDLE, RECEIVE_LARGE, RECEIVE_SIZE, SocketTransport

AT_ONCE = 1.0  # generous for a loaded machine; what it bounds takes a few milliseconds


@contextmanager
def connected(**options: Any) -> Iterator[tuple[Transport, socket.socket]]:
    """Our transport and the server's end of it."""
    with listening() as server:
        place = Place(port=server.getsockname()[1], options=Options(**options))
        transport = connect(place, deadline=soon())
        peer, _ = server.accept()
        with peer:
            peer.settimeout(SOON)
            try:
                yield transport, peer
            finally:
                transport.close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Make the resolver answer with these addresses; the names asked for are listed."""
    real = socket.getaddrinfo
    asked: list[str] = []

    def use(*addresses: tuple[str, int]) -> list[str]:
        def fake(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
            asked.append(host)
            return [each for address in addresses for each in real(*address, *args, **kwargs)]

        monkeypatch.setattr(socket, "getaddrinfo", fake)
        return asked

    return use


def takes(seconds: float) -> Any:
    @contextmanager
    def clock() -> Iterator[None]:
        start = time.monotonic()
        yield
        assert time.monotonic() - start < seconds

    return clock()


class Counting(socket.socket):
    """A socket that counts its reads."""

    reads = 0

    def recv(self, *arguments: int) -> bytes:
        self.reads += 1
        return super().recv(*arguments)


class TestConnect:
    def test_bytes_go_both_ways(self) -> None:
        with connected() as (transport, peer):
            assert transport.send(b"CONNECT") == 7
            assert peer.recv(100) == b"CONNECT"
            peer.sendall(b"CONNECTED")
            assert transport.receive() == b"CONNECTED"

    def test_an_answer_is_one_read(self) -> None:
        ours, peer = socket.socketpair()
        counting = Counting(ours.family, ours.type, fileno=ours.detach())
        transport = SocketTransport(counting)
        with peer:
            for answer in (b"first", b"second", b"third"):
                peer.sendall(answer)
                assert transport.receive() == answer
            assert counting.reads == 3
            waiting = Background(transport.receive)
            peer.sendall(b"fourth")
            assert waiting.result() == b"fourth"
            assert counting.reads == 4
            transport.close()

    def test_what_a_read_has_room_for_follows_what_the_last_one_brought(self) -> None:
        with connected() as (transport, peer):
            sizes, much = [], 3 * RECEIVE_IDLE
            for _ in range(2):
                peer.sendall(bytes(much))
                eventually(lambda: len(transport._sock.recv(much, socket.MSG_PEEK)) == much)  # type: ignore[attr-defined]
                sizes += [len(transport.receive()), len(transport.receive())]
                peer.sendall(b"\n")
                sizes.append(len(transport.receive()))
            assert sizes == [RECEIVE_IDLE, much - RECEIVE_IDLE, 1] * 2

    @pytest.mark.parametrize("on", [True, False])
    def test_options_of_the_socket(self, on: bool) -> None:
        with connected(tcp_no_delay=on, keep_alive=on) as (transport, _):
            assert isinstance(transport, SocketTransport)
            sock = transport._sock
            assert bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) is on
            assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is on

    def test_ipv6(self) -> None:
        try:
            listener = listening(socket.AF_INET6)
            server = listener.__enter__()
        except OSError:
            pytest.skip("no IPv6 here")
        connect(Place(host="::1", port=server.getsockname()[1]), deadline=soon()).close()
        listener.__exit__(None, None, None)

    def test_refused_says_where_and_why(self) -> None:
        port = refused()
        with pytest.raises(ConnectFailed, match=rf"127\.0\.0\.1:{port}: Connection refused") as failure:
            connect(Place(port=port), deadline=soon())
        [(address, error)] = failure.value.attempts
        assert address == f"127.0.0.1:{port}"
        assert isinstance(error, ConnectionRefusedError)

    def test_a_broker_of_a_failover_uri_is_an_endpoint(self) -> None:
        with listening() as server:
            [broker] = parse(f"tcp://127.0.0.1:{server.getsockname()[1]}").brokers
            connect(broker, deadline=soon()).close()

    def test_unknown_scheme(self) -> None:
        with pytest.raises(ConnectFailed, match="gopher"):
            connect(Place(scheme="gopher"), deadline=soon())


class TestNames:
    def test_a_name_is_looked_up_at_each_attempt(self, names: Callable[..., list[str]]) -> None:
        with listening() as server:
            asked = names(server.getsockname())
            for _ in range(2):
                connect(Place(host="mq.test", port=1), deadline=soon()).close()
        assert asked == ["mq.test", "mq.test"]

    def test_a_numeric_address_needs_no_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(threading, "Thread", None)
        with listening() as server:
            connect(Place(port=server.getsockname()[1]), deadline=soon()).close()

    def test_the_second_address_is_used_when_the_first_refuses(self, names: Callable[..., list[str]]) -> None:
        with listening() as server:
            names(("127.0.0.1", refused()), server.getsockname())
            with takes(AT_ONCE):
                connect(Place(host="mq.test"), deadline=soon()).close()

    def test_the_second_address_is_used_when_the_first_is_silent(self, names: Callable[..., list[str]]) -> None:
        with deaf() as silent, listening() as server:
            names(("127.0.0.1", silent), server.getsockname())
            with takes(AT_ONCE):
                connect(Place(host="mq.test"), deadline=soon()).close()

    def test_a_silent_address_is_told_beside_those_that_refused(self, names: Callable[..., list[str]]) -> None:
        with deaf() as silent:
            ports = refused(), refused()
            names(("127.0.0.1", silent), *(("127.0.0.1", port) for port in ports))
            with pytest.raises(TimedOut) as failure:
                connect(Place(host="mq.test"), deadline=time.monotonic() + 0.4)
        for port in ports:
            assert f"127.0.0.1:{port}: Connection refused" in str(failure.value)
        assert f"127.0.0.1:{silent}: no answer" in str(failure.value)

    def test_all_errors_are_told(self, names: Callable[..., list[str]]) -> None:
        ports = refused(), refused()
        names(*(("127.0.0.1", port) for port in ports))
        with pytest.raises(ConnectFailed) as failure:
            connect(Place(host="mq.test", port=61613), deadline=soon())
        assert "mq.test:61613" in str(failure.value)
        assert [address for address, _ in failure.value.attempts] == [f"127.0.0.1:{port}" for port in ports]

    def test_families_alternate(self) -> None:
        def make(*hosts: str) -> list[Address]:
            return [Address(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, 1)) for host in hosts]

        assert interleave(make("::1", "::2", "::3", "1.1.1.1")) == make("::1", "1.1.1.1", "::2", "::3")
        assert interleave(make("1.1.1.1", "::1")) == make("1.1.1.1", "::1")
        assert interleave([]) == []

    @pytest.mark.parametrize("host", ["a" * 64 + ".test", "mq..test"])
    def test_a_malformed_name_is_no_traceback_of_a_codec(self, host: str) -> None:
        with pytest.raises(ConnectFailed, match="cannot be looked up"):
            connect(Place(host=host, port=1), deadline=soon())

    def test_an_unknown_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*args: Any, **kwargs: Any) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", fails)
        with pytest.raises(ConnectFailed, match=r"mq\.test cannot be looked up: Name or service not known"):
            connect(Place(host="mq.test", port=1), deadline=soon())


@pytest.fixture
def hanging_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    asked, release = threading.Event(), threading.Event()

    def hang(*args: Any, **kwargs: Any) -> None:
        asked.set()
        release.wait(SOON)
        raise socket.gaierror(socket.EAI_AGAIN, "too late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield asked
    release.set()
    eventually(lambda: not [each for each in threading.enumerate() if "look-up" in each.name])


class TestDeadlineAndInterrupt:
    def test_deadline_of_a_look_up(self, hanging_resolver: threading.Event) -> None:
        with takes(AT_ONCE), pytest.raises(TimedOut, match=r"mq\.test"):
            connect(Place(host="mq.test", port=1), deadline=time.monotonic() + 0.05)

    def test_interrupt_of_a_look_up(self, hanging_resolver: threading.Event) -> None:
        interrupt = Interrupt()
        attempt = Background(connect, Place(host="mq.test", port=1), deadline=soon(), interrupt=interrupt)
        assert hanging_resolver.wait(SOON)
        with takes(AT_ONCE):
            interrupt.set()
            with pytest.raises(ConnectInterrupted):
                attempt.result()

    def test_deadline_of_a_connection(self) -> None:
        with deaf() as port, takes(AT_ONCE), pytest.raises(TimedOut, match=f"127.0.0.1:{port}"):
            connect(Place(port=port), deadline=time.monotonic() + 0.05)

    def test_interrupt_of_a_connection(self) -> None:
        interrupt = Interrupt()
        with deaf() as port:
            attempt = Background(connect, Place(port=port), deadline=soon(), interrupt=interrupt)
            eventually(lambda: interrupt._actions)
            assert attempt.running
            with takes(AT_ONCE):
                interrupt.set()
                with pytest.raises(ConnectInterrupted):
                    attempt.result()

    def test_an_interrupt_that_is_set_already(self) -> None:
        interrupt = Interrupt()
        interrupt.set()
        interrupt.set()
        with listening() as server, pytest.raises(ConnectInterrupted):
            connect(Place(port=server.getsockname()[1]), deadline=soon(), interrupt=interrupt)

    def test_a_deadline_that_has_passed(self) -> None:
        with listening() as server, pytest.raises(TimedOut):
            connect(Place(port=server.getsockname()[1]), deadline=time.monotonic() - 1)

    def test_no_deadline(self) -> None:
        with listening() as server:
            connect(Place(port=server.getsockname()[1]), deadline=float("inf")).close()

    def test_an_interrupt_ends_a_sleep(self) -> None:
        interrupt = Interrupt()
        assert not interrupt.wait(0)
        sleep = Background(interrupt.wait, SOON)
        interrupt.set()
        assert sleep.result() is True
        assert issubclass(ConnectInterrupted, StompError)


def fill(transport: Transport) -> None:
    """Send until nothing more is taken."""
    while True:
        transport.send(bytes(1 << 20))


class TestTransport:
    @pytest.mark.parametrize("timeout", [None, 60.0])
    def test_shutdown_frees_a_blocked_receive(self, timeout: float | None) -> None:
        with connected() as (transport, _):
            transport.settimeout(timeout)
            receive = Background(transport.receive)
            with takes(AT_ONCE):
                transport.shutdown()
                assert receive.result() == b""

    @pytest.mark.parametrize("timeout", [None, 60.0])
    def test_shutdown_frees_a_blocked_send(self, timeout: float | None) -> None:
        with connected() as (transport, _):
            transport.settimeout(timeout)
            send = Background(fill, transport)
            eventually(lambda: not transport.send_nowait(b"\n"))
            with takes(AT_ONCE):
                transport.shutdown()
                with pytest.raises(OSError):
                    send.result()

    def test_close_frees_a_blocked_send(self) -> None:
        with connected() as (transport, _):
            send = Background(fill, transport)
            eventually(lambda: not transport.send_nowait(b"\n"))
            with takes(AT_ONCE):
                transport.close()
                with pytest.raises(OSError):
                    send.result()

    def test_after_close_nothing_hangs_or_surprises(self) -> None:
        with connected() as (transport, _):
            transport.close()
            transport.close()
            transport.shutdown()
            transport.abandon()
            assert not transport.unread()
            for timeout in None, 1.0:
                transport.settimeout(timeout)
                with pytest.raises(OSError):
                    transport.send(b"x")
                with pytest.raises(OSError):
                    transport.send_nowait(b"x")
                with pytest.raises(OSError):
                    transport.receive()

    def test_timeout_of_receive_and_send(self) -> None:
        with connected() as (transport, peer):
            transport.settimeout(0.05)
            with takes(AT_ONCE), pytest.raises(TimeoutError):
                transport.receive()
            with pytest.raises(TimeoutError):
                fill(transport)
            transport.settimeout(None)
            peer.sendall(b"later")
            assert transport.receive() == b"later"

    def test_a_limit_to_the_wait_concerns_what_is_received_alone(self) -> None:
        with connected() as (transport, peer):
            assert isinstance(transport, Guided)
            assert transport.limit_wait(0.02)
            with takes(AT_ONCE), pytest.raises(BlockingIOError):
                transport.receive()
            peer.sendall(b"x")
            assert transport.receive() == b"x"
            send = Background(fill, transport)
            eventually(lambda: not transport.send_nowait(b"\n"))
            with pytest.raises(BlockingIOError):
                transport.receive()
            assert send.running
            assert transport.limit_wait(None)
            receive = Background(transport.receive)
            peer.sendall(b"later")
            assert receive.result() == b"later"
            transport.shutdown()
            with pytest.raises(OSError):
                send.result()

    def test_what_is_sure_to_come_is_taken_in_large_pieces_once(self) -> None:
        with connected() as (transport, peer):
            assert isinstance(transport, Guided)
            size = 4 * RECEIVE_LARGE
            sending = Background(peer.sendall, bytes(size))
            received = [len(transport.receive())]
            while sum(received) < size:
                transport.expect(size - sum(received))
                received.append(len(transport.receive()))
            sending.result()
            assert RECEIVE_SIZE < max(received) <= RECEIVE_LARGE
            transport.expect(size)
            peer.sendall(b"x")
            transport.receive()
            sending = Background(peer.sendall, bytes(size))
            received = []
            while sum(received) < size:
                received.append(len(transport.receive()))
            sending.result()
            assert max(received) <= RECEIVE_SIZE

    def test_unread(self) -> None:
        with connected() as (transport, peer):
            assert not transport.unread()
            peer.sendall(b"x")
            eventually(transport.unread)
            assert transport.unread()
            assert transport.receive() == b"x"
            assert not transport.unread()
            peer.shutdown(socket.SHUT_WR)
            assert transport.receive() == b""
            assert not transport.unread()

    def test_the_end_of_the_stream_and_a_reset(self) -> None:
        with connected() as (transport, peer):
            peer.close()
            assert transport.receive() == b""
        with connected() as (transport, peer):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.close()
            with pytest.raises(ConnectionResetError):
                transport.receive()

    def test_what_send_nowait_left_over_goes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with connected() as (transport, peer):
            assert isinstance(transport, SocketTransport)
            transport.owes = b"lo "
            assert transport.send(b"world") == 5
            transport.owes = b"lo "
            assert transport.send_nowait(b"again")
            received = b""
            while len(received) < 16:
                received += peer.recv(100)
            assert received == b"lo worldlo again"

    def test_abandon_leaves_the_connection_to_the_others_that_have_it(self) -> None:
        with connected() as (transport, peer):
            assert isinstance(transport, SocketTransport)
            with transport._sock.dup() as parents:
                transport.abandon()
                parents.sendall(b"still here")
                assert peer.recv(100) == b"still here"

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    def test_a_forked_child_abandons_it_while_the_parent_is_blocked(self) -> None:
        """The locks that the parent's threads hold stay locked in the child forever: abandon takes none."""
        with connected() as (transport, peer):
            sending, receiving = Background(fill, transport), Background(transport.receive)
            eventually(lambda: not transport.send_nowait(b"\n"))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a process with threads
                child = os.fork()
            if child == 0:
                signal.alarm(5)
                transport.abandon()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            assert sending.running
            peer.sendall(b"still here")
            assert receiving.result() == b"still here"
            transport.shutdown()
            with pytest.raises(OSError):
                sending.result()
