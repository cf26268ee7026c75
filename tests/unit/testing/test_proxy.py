"""The proxy, between hand-written bytes and the embedded broker or a socket of the test's own."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from broker_support import DEADLINE, Raw, connected

from stomplistener import InvalidURI, TimedOut
from stomplistener.testing import Broker, FaultProxy


@contextmanager
def through() -> Iterator[tuple[Broker, FaultProxy, Raw]]:
    """A client that is connected to a broker through a proxy."""
    with Broker() as broker, FaultProxy(broker.uri) as proxy, connected(proxy) as client:
        yield broker, proxy, client


@contextmanager
def pair() -> Iterator[tuple[FaultProxy, socket.socket, socket.socket]]:
    """A proxy with the sockets at its two ends: the client's and the target's."""
    with socket.create_server(("127.0.0.1", 0)) as server, FaultProxy(("127.0.0.1", server.getsockname()[1])) as proxy:
        server.settimeout(DEADLINE)
        with socket.create_connection(("127.0.0.1", proxy.port), DEADLINE) as client:
            target, _ = server.accept()
            with target:
                target.settimeout(DEADLINE)
                yield proxy, client, target


def read(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := source.recv(size - len(data))):
        data += more
    return data


def test_bytes_pass_both_ways_and_are_counted() -> None:
    with pair() as (proxy, client, target):
        data = os.urandom(3_000_000)
        sender = threading.Thread(target=client.sendall, args=(data,))
        sender.start()
        assert read(target, len(data)) == data
        sender.join()
        target.sendall(b"back")
        assert read(client, 4) == b"back"
        assert (proxy.bytes("up"), proxy.bytes("down")) == (3_000_000, 4)
        assert (proxy.connections, proxy.connection_count) == (1, 1)


@pytest.mark.parametrize("target", ["", "queue", "tcp://host", "tcp://:1", "tcp://a:99999", "failover:(tcp://a:1)"])
def test_a_target_without_an_address(target: str) -> None:
    with pytest.raises(InvalidURI):
        FaultProxy(target)


def test_the_uri_keeps_all_but_the_address() -> None:
    with FaultProxy("stomp+ssl://me:p%2Fw@[::1]:61614/vhost?connectionTimeout=5") as proxy:
        assert proxy.uri == f"stomp+ssl://me:p%2Fw@127.0.0.1:{proxy.port}/vhost?connectionTimeout=5"
        assert "p%2Fw" not in repr(proxy)
    with FaultProxy(("mq1", 61613)) as proxy:
        assert proxy.uri == f"tcp://127.0.0.1:{proxy.port}"


@pytest.mark.parametrize("reset", [False, True])
def test_cut(reset: bool) -> None:
    with through() as (broker, proxy, client):
        assert (proxy.reset if reset else proxy.cut)() == 1
        client.expect_reset() if reset else client.expect_end()
        broker.wait_for(lambda: not broker.connections)
        proxy.wait_for(lambda: proxy.connections == 0)
        connected(proxy).socket.close()


def test_cut_at_a_byte_of_an_open_connection() -> None:
    with pair() as (proxy, client, target):
        target.sendall(b"before")
        assert read(client, 6) == b"before"
        proxy.cut_at(3)
        target.sendall(b"12345")
        assert read(client, 100) == b"123"
        proxy.wait_for(lambda: proxy.connections == 0)


def test_cut_at_a_byte_of_later_connections() -> None:
    with Broker() as broker, FaultProxy(broker.uri) as proxy:
        proxy.cut_at(20, "up", times=2)
        for _ in range(2):
            with Raw(proxy) as client:
                client.send(b"CONNECT\naccept-version:1.2\nhost:a\n\n\0")
                client.expect_end()
        connected(proxy).socket.close()
        assert len(broker.frames()) == 1
        assert broker.frames(1) == broker.frames(2) == []


def test_cut_at_with_reset() -> None:
    with pair() as (proxy, client, target):
        proxy.cut_at(2, "up", reset=True)
        client.sendall(b"1234")
        assert read(target, 2) == b"12"
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_half_close_down_leaves_the_way_up() -> None:
    with pair() as (proxy, client, target):
        proxy.half_close("down")
        assert client.recv(1) == b""
        target.sendall(b"lost")
        proxy.wait_for(lambda: proxy.lost("down") == 4)
        client.sendall(b"up")
        assert read(target, 2) == b"up"


def test_half_close_up_leaves_the_way_down() -> None:
    with pair() as (proxy, client, target):
        proxy.half_close("up")
        assert target.recv(1) == b""
        client.sendall(b"lost")
        target.sendall(b"down")
        assert read(client, 4) == b"down"


def test_a_stream_that_ends_on_one_side_ends_on_the_other() -> None:
    with pair() as (proxy, client, target):
        client.shutdown(socket.SHUT_WR)
        assert target.recv(1) == b""
        target.sendall(b"down")
        target.shutdown(socket.SHUT_WR)
        assert read(client, 100) == b"down"
        proxy.wait_for(lambda: proxy.connections == 0)


def test_a_reset_is_passed_on() -> None:
    with through() as (broker, proxy, client):
        broker.drop_connections(reset=True)
        client.expect_reset()
        proxy.wait_for(lambda: proxy.connections == 0)


def test_a_blackhole_keeps_bytes_and_ends_nothing() -> None:
    with pair() as (proxy, client, target):
        proxy.blackhole()
        client.sendall(b"up")
        target.sendall(b"down")
        target.shutdown(socket.SHUT_WR)
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(1)
        proxy.heal()
        client.settimeout(DEADLINE)
        assert read(client, 100) == b"down"
        assert read(target, 2) == b"up"


def test_a_blackhole_of_one_way_that_loses() -> None:
    with pair() as (proxy, client, target):
        proxy.blackhole("up", lose=True)
        client.sendall(b"lost")
        target.sendall(b"down")
        assert read(client, 4) == b"down"
        assert proxy.bytes("up") == 0
        proxy.wait_for(lambda: proxy.lost("up") == 4)
        proxy.heal()
        client.sendall(b"kept")
        assert read(target, 4) == b"kept"


def test_new_connections_fall_into_the_blackhole_too() -> None:
    with Broker() as broker, FaultProxy(broker.uri) as proxy:
        proxy.blackhole()
        with Raw(proxy) as client:
            client.send(b"CONNECT\naccept-version:1.2\nhost:a\n\n\0")
            client.socket.settimeout(0.1)
            with pytest.raises(TimeoutError):
                client.read(1)
            client.socket.settimeout(DEADLINE)
            proxy.heal()
            client.expect(b"CONNECTED\n")


def test_refuse_and_accept() -> None:
    with through() as (_, proxy, client):
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            Raw(proxy)
        client.sync()
        proxy.accept()
        connected(proxy).socket.close()


def test_slow() -> None:
    with pair() as (proxy, client, target):
        proxy.slow(50_000)
        start = time.monotonic()
        client.sendall(bytes(10_000))
        assert len(read(target, 10_000)) == 10_000
        assert 0.15 < time.monotonic() - start < 3.0
        proxy.slow(None)
        client.sendall(bytes(1_000_000))
        assert len(read(target, 1_000_000)) == 1_000_000
        with pytest.raises(ValueError, match="blackhole"):
            proxy.slow(0)


def test_delay() -> None:
    with pair() as (proxy, client, target):
        proxy.delay(0.1)
        start = time.monotonic()
        client.sendall(b"x")
        assert read(target, 1) == b"x"
        target.sendall(b"y")
        assert read(client, 1) == b"y"
        assert 0.2 <= time.monotonic() - start < 3.0


def test_a_target_that_is_not_there_resets() -> None:
    with Broker() as broker, FaultProxy(broker.uri) as proxy:
        broker.stop()
        # Where the proxy is quick, the reset comes while the system still reports the connection.
        with contextlib.suppress(ConnectionResetError), Raw(proxy) as client:
            client.expect_reset()
        broker.start()
        connected(proxy).socket.close()


def test_closing_frees_everything_at_once() -> None:
    with Broker() as broker:
        with FaultProxy(broker.uri) as warm, connected(warm):
            pass
        broker.wait_for(lambda: not broker.connections)
        broker.stop()
        threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
        broker.start()
        for fault in "blackhole", "slow", "delay", "none":
            with FaultProxy(broker.uri) as proxy, connected(proxy) as client, connected(proxy):
                if fault == "blackhole":
                    proxy.blackhole()
                if fault == "slow":
                    proxy.slow(1)
                if fault == "delay":
                    proxy.delay(60)
                client.send(b"\n" * 1000)
                start = time.monotonic()
                proxy.close()
                assert time.monotonic() - start < 0.9
        broker.stop()
        assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, descriptors)


def test_a_wait_in_vain_shows_the_state() -> None:
    with FaultProxy(("127.0.0.1", 1)) as proxy, pytest.raises(TimedOut, match="0 connections of 0"):
        proxy.wait_for(lambda: False, 0.01)


@pytest.mark.parametrize(
    "fault",
    [
        lambda proxy: proxy.cut_at(5, "in"),
        lambda proxy: proxy.cut_at("5"),
        lambda proxy: proxy.half_close("x"),
        lambda proxy: proxy.blackhole("UP"),
        lambda proxy: proxy.delay("1"),
        lambda proxy: proxy.delay(-1),
    ],
)
def test_a_fault_that_could_never_happen_is_refused(fault: Any) -> None:
    with FaultProxy(("127.0.0.1", 1)) as proxy, pytest.raises((TypeError, ValueError)):
        fault(proxy)
