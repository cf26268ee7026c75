"""The programs that a reader pastes, as they stand: README's first one, those of the manual, the container's."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from docs_support import ROOT, Program, blocks, captioned, eventually, running, server, typed

from stomplistener.testing import Broker


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """README's program in a file."""
    (only,) = blocks(ROOT / "README.md")
    path = tmp_path / "orders.py"
    path.write_text(only.text)
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM on this platform")
def test_the_first_program_survives_a_restart_and_ends_gracefully(orders: Path) -> None:
    with Broker() as broker, running([str(orders)], orders.parent, STOMP_URL=broker.uri) as program:
        program.expect("received two pizzas")
        broker.wait_for(lambda: not broker.unacknowledged("/queue/orders"), what="the acknowledgement")
        broker.restart()
        broker.wait_for(lambda: len(broker.subscriptions) == 1, 15, "the restored subscription")
        broker.publish("/queue/orders", "a salad")
        program.expect("received a salad")
        broker.wait_for(lambda: not broker.unacknowledged("/queue/orders"), what="the acknowledgement")
        program.process.send_signal(signal.SIGTERM)
        assert program.end() == 0, program.lines
        assert not any("Traceback" in line for line in program.lines)
        assert broker.frames(command="DISCONNECT")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM on this platform")
def test_the_program_of_the_front_page_does_what_the_page_says(tmp_path: Path) -> None:
    with Broker() as broker:
        path = tmp_path / "orders.py"
        path.write_text(captioned("index.md", path.name).replace("tcp://localhost:61613", broker.uri))
        with running([str(path)], tmp_path) as program:
            program.expect("received two pizzas")
            broker.restart()
            broker.wait_for(lambda: len(broker.subscriptions) == 1, 15, "the restored subscription")
            broker.publish("/queue/orders", "a salad")
            program.expect("received a salad")
            program.process.send_signal(signal.SIGTERM)
            assert program.end() == 0, program.lines


def as_http(connected: socket.socket) -> None:
    connected.recv(4096)
    connected.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    connected.shutdown(socket.SHUT_RDWR)


def failed(orders: Path, url: str, within: float) -> str:
    """Run the program on a bad URL: the one exception that it ends with."""
    start = time.monotonic()
    with running([str(orders)], orders.parent, STOMP_URL=url) as program:
        assert program.end(within + 10) == 1, program.lines
    assert time.monotonic() - start < within + 5
    return exception_of(program)


def exception_of(program: Program) -> str:
    """The last line of the one traceback."""
    text = "\n".join(program.lines)
    assert text.count("Traceback (most recent call last)") == 1, text
    assert "During handling" not in text, text
    return program.lines[-1]


def test_an_unreachable_host(orders: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    line = failed(orders, f"tcp://127.0.0.1:{port}", 1)
    assert line.startswith("stomplistener.errors.ConnectFailed: could not connect"), line
    assert f"tcp://127.0.0.1:{port}" in line
    assert "refused" in line


def test_a_wrong_password(orders: Path) -> None:
    with Broker(login="me", passcode="right") as broker:
        line = failed(orders, f"tcp://me:open-sesame@127.0.0.1:{broker.port}", 1)
    assert line.startswith("stomplistener.errors.ConnectFailed: could not connect"), line
    assert "refused the login" in line
    assert "me:***@" in line
    assert "sesame" not in line


def test_a_server_that_is_not_stomp(orders: Path) -> None:
    with server(as_http) as port:
        line = failed(orders, f"tcp://127.0.0.1:{port}", 1)
    assert line.startswith("stomplistener.errors.ConnectFailed: could not connect"), line
    assert "this port speaks HTTP; use ws://" in line


def test_a_silent_server(orders: Path) -> None:
    with server(lambda connected: None) as port:
        line = failed(orders, f"tcp://127.0.0.1:{port}?connectionTimeout=300", 1)
    assert line.startswith("stomplistener.errors.ConnectFailed: could not connect"), line
    assert "connectionTimeout" in line


def test_a_bad_uri(orders: Path) -> None:
    line = failed(orders, "failover:(tcp://mq1:61613)?maxReconectDelay=5", 1)
    assert line.startswith("stomplistener.errors.InvalidURI"), line
    assert "maxReconnectDelay" in line


def test_the_tutorial_word_by_word(tmp_path: Path) -> None:
    """Its programs as files, its commands typed as it says them."""
    for caption in ("listen.py", "order.py", "count.py"):
        (tmp_path / caption).write_text(captioned("tutorial.md", caption))
    with running(["-m", "stomplistener.testing", "--port", "0"], tmp_path) as broker:
        while not broker.lines:
            time.sleep(0.01)
        url = broker.lines[0]
        with running(["listen.py"], tmp_path, STOMP_URL=url) as listener:
            listener.expect("connected")
            with running(["order.py", "pizza", "salad"], tmp_path, STOMP_URL=url) as order:
                assert order.end() == 0
                assert order.lines == ["confirmed pizza", "confirmed salad"]
            listener.expect("received pizza")
            listener.expect("received salad")
            broker.type("stop")
            broker.expect('{"ok": "stop"}')
            listener.expect("disconnected")
            listener.wait_for(lambda lines: any("stomp-1: not connected, pass 1 failed: " in line for line in lines))
            broker.type("start")
            listener.expect("connected", times=2)
            listener.wait_for(
                lambda lines: any(re.search(r"stomp-1: connected, pass \d+ succeeded", line) for line in lines)
            )
            with running(["order.py", "soup"], tmp_path, STOMP_URL=url) as order:
                assert order.end() == 0
            listener.expect("received soup")
            with running(["count.py"], tmp_path, STOMP_URL=url) as count:
                count.expect("confirmed 2")
                broker.type("stop")
                broker.expect('{"ok": "stop"}', times=2)
                broker.type("start")
                assert count.end(30) == 0
            for number in range(20):
                listener.expect(f"received number {number}")
            listener.process.send_signal(signal.SIGINT)
            assert listener.end() == 0, listener.lines
            assert listener.lines[-1] == "disconnected"
            assert "Traceback" not in "\n".join(listener.lines)
        broker.type("quit")
        assert broker.end() == 0


def test_the_programs_of_the_tutorial_say_where_the_embedded_broker_listens() -> None:
    for caption in ("listen.py", "order.py", "count.py"):
        assert '"tcp://localhost:61613"' in captioned("tutorial.md", caption)


@pytest.mark.timeout(150)
def test_the_commands_of_the_page_on_the_command_line(tmp_path: Path) -> None:
    """In the order of the page, in one shell, as they are typed."""
    with Broker() as broker:
        done = typed("howto/command-line.md", tmp_path, broker.uri)
        assert broker.depth("/queue/orders") == 0
    assert '{"id": 1}\npizza\nsalad\n' in done.stdout


def test_the_worker_of_the_page_on_workers(tmp_path: Path) -> None:
    (tmp_path / "handlers.py").write_text(captioned("howto/worker.md", "handlers.py"))
    with Broker() as broker:
        arguments = ["-m", "stomplistener.cli", "worker", "handlers:app", "--url", broker.uri]
        with running(arguments, tmp_path) as worker:
            broker.publish("/queue/orders", '{"id": 7}')
            broker.wait_for(lambda: broker.depth("/queue/invoices") == 1, 20, "the invoice")
            worker.process.send_signal(signal.SIGTERM)
            assert worker.end(30) == 0, worker.lines
        assert [json.loads(invoice.body) for invoice in broker.messages("/queue/invoices")] == [{"for": 7}]


def test_the_program_for_a_container(tmp_path: Path) -> None:
    (tmp_path / "consumer.py").write_text(captioned("howto/containers.md", "consumer.py"))
    alive = tmp_path / "alive"
    with Broker() as broker:
        with running(["consumer.py"], tmp_path, STOMP_URL=broker.uri, ALIVE_FILE=str(alive)) as program:
            broker.publish("/queue/orders", "pizza")
            program.expect("received pizza")
            eventually(alive)
            alive.unlink()
            broker.drop_connections()
            eventually(alive)
            program.process.send_signal(signal.SIGTERM)
            assert program.end() == 0, program.lines


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM on this platform")
def test_a_program_that_asks_for_the_end_in_its_handler_ends_gracefully(tmp_path: Path) -> None:
    (tmp_path / "until_sigterm.py").write_text(captioned("howto/end.md", "until_sigterm.py"))
    with Broker() as broker, running(["until_sigterm.py"], tmp_path, STOMP_URL=broker.uri) as program:
        broker.publish("/queue/orders", "a pizza")
        program.expect("received a pizza")
        broker.wait_for(lambda: not broker.unacknowledged("/queue/orders"), what="the acknowledgement")
        program.process.send_signal(signal.SIGTERM)
        assert program.end() == 0, program.lines
        # A message may come before connect() has returned, and so may the signal.
        early = "the signal came before the connection was ready" in program.lines
        assert early or broker.frames(command="DISCONNECT")
