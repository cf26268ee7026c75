"""Starting, stopping, threads and descriptors, TLS, and the broker as a process."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from broker_support import DEADLINE, Raw, bodies, connected

from stomplistener.testing import Broker


def test_stop_keeps_port_and_queues_and_gives_back_what_was_held() -> None:
    with Broker() as broker:
        port = broker.port
        with connected(broker) as client:
            broker.publish("/queue/a", b"x")
            client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\n\n\0")
            client.frame()
            broker.stop()
            client.expect_end()
        assert broker.connections == []
        assert bodies(broker, "/queue/a") == [b"x"]
        with pytest.raises(ConnectionRefusedError):
            Raw(broker)
        broker.start()
        assert broker.port == port
        with connected(broker):
            assert broker.connection_count == 2


def test_restart_stays_away_as_long_as_it_is_told() -> None:
    with Broker() as broker:
        start = time.monotonic()
        broker.restart(after=0.1)
        assert time.monotonic() - start >= 0.1
        connected(broker).socket.close()


def test_a_port_that_is_refused_is_given_to_nobody() -> None:
    with Broker() as broker:
        broker.stop()
        with socket.socket() as other, pytest.raises(OSError):
            other.bind(("127.0.0.1", broker.port))


def test_start_and_stop_are_idempotent() -> None:
    broker = Broker()
    assert broker.port == 0
    with broker:
        assert broker.start() is broker
        broker.stop()
        broker.stop()
    broker.close()
    with broker:
        connected(broker).socket.close()


def test_a_port_that_is_taken() -> None:
    with Broker() as broker, pytest.raises(OSError):
        Broker(port=broker.port).start()


def test_nothing_is_left_behind() -> None:
    with Broker() as warm, connected(warm):
        pass
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for round in range(50):
        with Broker() as broker, connected(broker) as client, connected(broker):
            client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0")
            if round % 3 == 0:
                broker.drop_connections(reset=True)
            if round % 3 == 1:
                broker.restart()
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, descriptors)


def test_one_broker_started_fifty_times_leaves_nothing_behind() -> None:
    with Broker() as broker:
        threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
        for _ in range(50):
            with connected(broker):
                broker.restart()
        assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, descriptors)


def test_many_clients_at_once_while_connections_drop() -> None:
    """Every message that a client holds is somewhere, whatever else happens: none is lost and none doubled."""
    with Broker(prefetch=7) as broker:
        done = threading.Event()

        def consume() -> None:
            while not done.is_set():
                try:
                    with connected(broker) as client:
                        client.send(b"SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\n\n\0")
                        while not done.is_set():
                            client.frame()
                except (OSError, AssertionError):
                    pass

        consumers = [threading.Thread(target=consume) for _ in range(6)]
        for consumer in consumers:
            consumer.start()
        for number in range(300):
            broker.publish("/queue/a", str(number))
            if number % 30 == 0:
                broker.drop_connections(reset=number % 60 == 0)
        done.set()
        broker.stop()
        for consumer in consumers:
            consumer.join(DEADLINE)
            assert not consumer.is_alive()
        assert [message.text for message in broker.messages("/queue/a")] == [str(number) for number in range(300)]


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6() -> None:
    try:
        broker = Broker(host="::1").start()
    except OSError:
        pytest.skip("no IPv6 loopback")
    with broker:
        assert broker.uri == f"tcp://[::1]:{broker.port}"
        with socket.create_connection(("::1", broker.port), DEADLINE) as client:
            client.sendall(b"CONNECT\n\n\0")
            assert client.recv(9) == b"CONNECTED"


@contextmanager
def tls_contexts() -> Iterator[tuple[ssl.SSLContext, ssl.SSLContext]]:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    yield server, client


def test_tls() -> None:
    body = bytes(range(256)) * 2000
    with tls_contexts() as (server, trusting), Broker(ssl_context=server) as broker:
        assert broker.uri == f"ssl://127.0.0.1:{broker.port}"
        plain = socket.create_connection(("127.0.0.1", broker.port), DEADLINE)
        with trusting.wrap_socket(plain, server_hostname="127.0.0.1") as client:
            client.sendall(b"CONNECT\naccept-version:1.2\nhost:a\n\n\0SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0")
            client.sendall(b"SEND\ndestination:/queue/a\ncontent-length:%d\n\n%b\0" % (len(body), body))
            data = b""
            while not data.endswith(body + b"\0"):
                data += client.recv(1 << 16)
        broker.wait_for(lambda: not broker.connections)


def test_tls_with_a_client_that_does_not_speak_it_or_does_not_trust() -> None:
    with tls_contexts() as (server, _), Broker(ssl_context=server) as broker:
        with Raw(broker) as plain:
            plain.send(b"CONNECT\naccept-version:1.2\nhost:a\n\n\0")
            assert not plain.read(4096).startswith(b"CONNECTED")
        with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", broker.port), DEADLINE) as doubting:
            ssl.create_default_context().wrap_socket(doubting, server_hostname="127.0.0.1")
        with Raw(broker):
            broker.wait_for(lambda: broker.connection_count == 3)
            broker.stop()


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "stomplistener.testing", "--port", "0", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def answer(running: subprocess.Popen[str], line: str) -> dict[str, object]:
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write(line + "\n")
    running.stdin.flush()
    answered: dict[str, object] = json.loads(running.stdout.readline())
    return answered


def test_as_a_process() -> None:
    with process("--login", "me", "--passcode", "pass") as running:
        assert running.stdout is not None
        uri = running.stdout.readline().strip()
        assert uri.startswith("tcp://me:pass@127.0.0.1:")
        port = int(uri.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
            client.sendall(b"CONNECT\nlogin:me\npasscode:pass\n\n\0SEND\ndestination:/queue/a\nreceipt:1\n\nx\0")
            data = b""
            while b"RECEIPT" not in data:
                data += client.recv(4096)
            status = answer(running, "status")
            assert (status["connections"], status["waiting"], status["port"]) == ([1], {"/queue/a": 1}, port)
            assert answer(running, "drop") == {"ok": "drop", "dropped": 1}
            while client.recv(4096):
                pass
        answer(running, "stop")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), DEADLINE)
        answer(running, "start")
        socket.create_connection(("127.0.0.1", port), DEADLINE).close()
        assert "unknown command" in str(answer(running, "dance")["error"])
        running.send_signal(signal.SIGTERM)
        assert running.wait(DEADLINE) == 0


def test_a_process_quits_when_told_to() -> None:
    with process() as running:
        assert running.communicate("silent\nspeak\nquit\n", DEADLINE)[0].endswith('{"ok": "silent"}\n{"ok": "speak"}\n')
        assert running.returncode == 0


def test_a_process_on_a_port_that_is_taken_says_so() -> None:
    with Broker() as broker:
        command = [sys.executable, "-m", "stomplistener.testing", "--port", str(broker.port)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, stdin=subprocess.DEVNULL)
    assert result.returncode == 1
    assert result.stderr.startswith(f"cannot listen on 127.0.0.1:{broker.port}: ")
