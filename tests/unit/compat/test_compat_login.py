"""What CONNECT says: header for header as in stomp.py."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from compat_support import ALL, LOSING, OURS, QUEUE, RESTORING, Heard, Library, until, within

from stomplistener.testing import Broker

REFERENCE = Library("stomp")
LOGIN = ("admin", "password")

Connect = Callable[[Any], object]
WAYS: dict[str, tuple[dict[str, Any], Connect]] = {
    "plain": ({}, lambda conn: conn.connect(*LOGIN, wait=True)),
    "login in headers": ({}, lambda conn: conn.connect(wait=True, headers={"login": "admin", "passcode": "password"})),
    "login twice": ({}, lambda conn: conn.connect(*LOGIN, wait=True, headers={"login": "other", "passcode": "x"})),
    "keywords": ({}, lambda conn: conn.connect(*LOGIN, True, {"a": 1, "none": None}, b="two", a="over")),
    "host header": ({}, lambda conn: conn.connect(*LOGIN, wait=True, headers={"host": "there"})),
    "heart-beat header": ({}, lambda conn: conn.connect(*LOGIN, wait=True, headers={"heart-beat": "30000,0"})),
    "version header": ({}, lambda conn: conn.connect(*LOGIN, wait=True, headers={"accept-version": "1.0"})),
}
MORE_WAYS: dict[str, tuple[dict[str, Any], Connect]] = {
    "vhost": ({"vhost": "here"}, WAYS["plain"][1]),
    "vhost and header": ({"vhost": "here"}, WAYS["host header"][1]),
    "heart-beats": ({"heartbeats": (30000, 40000)}, WAYS["plain"][1]),
    "heart-beats and header": ({"heartbeats": (30000, 40000)}, WAYS["heart-beat header"][1]),
}


def said(library: Library, kind: str, broker: Broker, arguments: dict[str, Any], connect: Connect) -> dict[str, str]:
    broker.clear_log()
    conn = library.connection(broker, kind, **arguments)
    connect(conn)
    conn.disconnect()
    (frame,) = [each for each in broker.log if each.frame.command in ("CONNECT", "STOMP")]
    # Older versions are offered, too; see the manual.
    return {key: value for key, value in frame.frame.headers.items() if key != "accept-version"}


@pytest.mark.parametrize("kind", ["Connection10", "Connection", "Connection11", "Connection12"])
@pytest.mark.parametrize("way", [*WAYS, *MORE_WAYS])
def test_the_headers_are_those_of_stomp_py(kind: str, way: str, broker: Broker) -> None:
    if kind == "Connection10" and way in MORE_WAYS:
        pytest.skip("it has no such argument")
    arguments, connect = (WAYS | MORE_WAYS)[way]
    wanted = said(REFERENCE, kind, broker, arguments, connect)
    assert said(RESTORING, kind, broker, arguments, connect) == wanted


def test_a_restored_connection_says_the_same(broker: Broker) -> None:
    conn, heard = RESTORING.connection(broker, "Connection"), Heard()
    conn.set_listener("", heard)
    conn.connect(*LOGIN, wait=True, headers={"client-id": "me"})
    broker.drop_connections()
    heard.wait("connected", 2)
    conn.disconnect()
    first, second = [dict(each.headers) for each in broker.frames(command="CONNECT")]
    assert first == second
    assert "host" not in first


@pytest.mark.parametrize("library", ALL)
def test_a_listener_changes_what_connect_says(library: Library, broker: Broker) -> None:
    class Adds(library.stomp.ConnectionListener):  # type: ignore[name-defined, misc]
        def on_send(self, frame: Any) -> None:
            if frame.cmd in ("CONNECT", "STOMP"):
                frame.headers.update({"passcode": "password", "token": "t"})

    conn = library.connection(broker)
    conn.set_listener("zz", Adds())
    conn.connect("admin", "wrong", wait=True)
    conn.disconnect()
    assert broker.log[0].frame.headers["token"] == "t"


@pytest.mark.parametrize("library", ALL)
def test_a_heartbeat_listener_of_ones_own(library: Library) -> None:
    """The shape of plastron: the connection has no heartbeats, a listener asks for them."""
    with Broker(heartbeat=(0.2, 0.2)) as broker:
        conn, statistics = library.connection(broker, "Connection11"), library.stomp.StatsListener()
        own = library.stomp.listener.HeartbeatListener(conn.transport, (200, 200))
        conn.set_listener("heartbeat", own)
        conn.set_listener("statistics", statistics)
        conn.connect(wait=True, headers={"client-id": "me"})
        until(lambda: own.received_heartbeat is not None and own.heartbeat_thread is not None)
        first = own.received_heartbeat
        until(lambda: statistics.heartbeat_count >= 3)
        assert own.received_heartbeat > first
        assert own.heartbeats == (200, 200)
        assert own.running
        assert broker.log[0].frame.headers["heart-beat"] == "200,200"
        conn.disconnect()
        until(lambda: own.heartbeat_thread is None)


@pytest.mark.parametrize("library", OURS)
def test_lenient_arguments(library: Library, broker: Broker) -> None:
    conn = library.stomp.Connection12(
        [(None, str(broker.port))], heartbeats=("4000", "20000"), reconnect_attempts_max=1e4, restore=False
    )
    conn.connect(*LOGIN, wait=True, headers={"heart-beat": "1, 2"})
    assert conn.heartbeats == (10000, 20000)
    conn.disconnect()
    conn = library.connection(broker, "Connection")
    conn.connect(*LOGIN, wait=True, headers={"heart-beat": "30000, 40000"})
    assert [each.headers["heart-beat"] for each in broker.frames(command="CONNECT")] == ["4000,20000", "30000,40000"]
    conn.disconnect()


@contextmanager
def answering(data: bytes) -> Iterator[int]:
    """A port that answers whatever comes with these bytes, and closes nothing."""
    server, clients = socket.create_server(("127.0.0.1", 0)), []

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
                clients.append(client)
                client.recv(4096)
                client.sendall(data)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        for each in (server, *clients):
            each.close()


@pytest.mark.parametrize("library", OURS)
@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"garbage",
        b"\x16\x03\x01\0",
        b"ERROR\nmessage: connection failed\0",
        b"\n\nERROR\r\nmessage:no\r\n\0",
        b"ERROR\0",
    ],
)
def test_what_is_no_broker_fails_at_once(library: Library, data: bytes) -> None:
    with answering(data) as port:
        conn = library.connection(port)
        began = time.monotonic()
        with pytest.raises(library.stomp.exception.ConnectFailedException):
            conn.connect(*LOGIN, wait=True)
        assert time.monotonic() - began < 5
        assert not conn.is_connected()


@pytest.mark.parametrize("library", OURS)
def test_a_broker_that_sends_spaces_in_its_heartbeat_header(library: Library) -> None:
    with answering(b"CONNECTED\nversion:1.2\nheart-beat:20000, 0\n\n\0") as port:
        conn = library.connection(port, heartbeats=(0, 4000))
        conn.connect(wait=True)
        assert conn.heartbeats == (0, 20000)
        conn.transport.disconnect_socket()


@pytest.mark.parametrize("library", ALL)
def test_the_local_address_can_be_chosen(library: Library, broker: Broker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    conn = library.connection(broker, bind_host_port=("127.0.0.1", port))
    conn.connect(*LOGIN, wait=True)
    assert conn.transport.socket.getsockname() == ("127.0.0.1", port)
    conn.disconnect()


@pytest.mark.parametrize("library", ALL)
def test_the_place_is_known_until_the_program_disconnects(library: Library, broker: Broker) -> None:
    conn, heard = library.connection(broker), Heard()
    conn.set_listener("", heard)
    conn.connect(*LOGIN, wait=True)
    place = ("127.0.0.1", broker.port)
    assert conn.transport.current_host_and_port == place
    broker.stop()
    heard.wait("disconnected")
    assert conn.transport.current_host_and_port == place
    broker.start()
    conn.connect(*LOGIN, wait=True)
    conn.disconnect(receipt="r")
    until(lambda: conn.transport.current_host_and_port is None)


@pytest.mark.parametrize("library", ALL)
def test_a_command_that_only_the_broker_knows(library: Library, broker: Broker) -> None:
    conn = library.connection(broker)
    conn.connect(*LOGIN, wait=True)
    conn.transport.send(b"\n")
    conn.send_frame("SEND", {"destination": QUEUE}, "first")
    conn.send_frame("GREET", {"to": "all"}, "hello")
    broker.wait_for(lambda: "GREET" in str([each.frame.command for each in broker.log]) or not broker.connections)
    assert broker.depth(QUEUE) == 1
    within(15, conn.disconnect)


def test_the_names_that_a_program_sets_count_from_the_next_connect(broker: Broker) -> None:
    conn = LOSING.connection(1)
    conn.transport._Transport__host_and_ports[:] = [("127.0.0.1", broker.port)]
    conn.connect(*LOGIN, wait=True)
    conn.disconnect()


@pytest.mark.parametrize("library", ALL)
@pytest.mark.parametrize("kind", ["Connection11", "Connection12"])
def test_listeners_see_headers_as_they_are_written(library: Library, kind: str, broker: Broker) -> None:
    """So a listener that changes a header writes what it puts there; each is escaped once on its way."""
    said: list[dict[str, Any]] = []

    class Changing:
        def on_send(self, frame: Any) -> None:
            if frame.cmd == "SEND":
                said.append(dict(frame.headers))
                frame.headers["added"] = "a\\cb"

    conn, heard = library.connection(broker, kind), Heard()
    conn.set_listener("heard", heard)
    conn.set_listener("changing", Changing())
    conn.connect("admin", "password", wait=True)
    conn.subscribe(QUEUE, id=1)
    conn.send(QUEUE, "hello", headers={"given": "a:b\\c\nd"})
    [frame] = heard.wait("message")
    conn.disconnect()
    assert said[0]["given"] == "a\\cb\\\\c\\nd"
    assert (frame.headers["given"], frame.headers["added"]) == ("a:b\\c\nd", "a:b")


@pytest.mark.parametrize("library", ALL)
def test_frames_of_any_command_escape_their_headers_in_place(library: Library, broker: Broker) -> None:
    conn, heard = library.connection(broker), Heard()
    conn.set_listener("heard", heard)
    conn.connect("admin", "password", wait=True)
    headers = {"destination": QUEUE, "receipt": "a:b", "number": 7, "given": "x:y"}
    conn.send_frame("SEND", headers, "hello")
    assert heard.wait("receipt") == ["a:b"]
    conn.disconnect()
    assert headers["given"] == "x\\cy"


@pytest.mark.parametrize("library", OURS)
def test_in_stomp_1_0_nothing_is_escaped(library: Library, broker: Broker) -> None:
    conn, heard = library.connection(broker, "Connection10"), Heard()
    conn.set_listener("heard", heard)
    conn.connect("admin", "password", wait=True)
    conn.subscribe(QUEUE)
    conn.send(QUEUE, "hello", headers={"given": "a:b\\c"})
    [frame] = heard.wait("message")
    conn.disconnect()
    assert frame.headers["given"] == "a:b\\c"
