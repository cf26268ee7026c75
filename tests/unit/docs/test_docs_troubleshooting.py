"""Every line of the log, and every exception, that the manual quotes is one that the client writes."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
from docs_support import DOCS, server

from stomplistener import Connection, Limits, Listener, Message, StompError
from stomplistener._engine.log import flush
from stomplistener.testing import Broker

PAGES = tuple(f"howto/{name}.md" for name in ("troubleshooting", "heartbeats", "big-messages", "rabbitmq"))
_QUOTED = re.compile(r"^```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)
DENIED = "User shop is not authorized to read from: queue://orders"


def quoted() -> list[str]:
    """The lines that the pages quote, each once."""
    found = [
        line for page in PAGES for block in _QUOTED.findall((DOCS / page).read_text()) for line in block.splitlines()
    ]
    return list(dict.fromkeys(found))


def pattern(line: str) -> re.Pattern[str]:
    """What matches a quoted line: with other numbers and hosts, and anything for an ellipsis."""
    text = re.escape(line).replace("…", ".*").replace("mq1", r"(?:mq1|localhost|127\.0\.0\.1)")
    return re.compile(re.sub(r"\d[\d,]*(?:\\\.\d+)?", r"\\d[\\d,.]*", text))


class Written(logging.Handler):
    """Keeps the lines of the log as a program's handler writes them, and exceptions as a traceback ends."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Expects an exception and keeps it."""
        with pytest.raises((StompError, TypeError)) as caught:
            yield
        self.lines += [f"{type(caught.value).__name__}: {caught.value}", str(caught.value)]

    def wait_for(self, text: str) -> None:
        """Wait until a line has this text."""
        end = time.monotonic() + 10
        while not any(text in line for line in list(self.lines)):
            assert time.monotonic() < end, f"no {text!r} in {self.lines}"
            flush(0.1)
            time.sleep(0.01)


def on_order(message: Message) -> None:
    raise LookupError(message.text)


class Orders(Listener):
    def on_mesage(self, message: Message) -> None:
        """Misspelt."""


async def asynchronous(message: Message) -> None:
    """Nobody awaits it."""


asynchronous.__qualname__ = asynchronous.__name__ = "on_order"


def listeners(written: Written) -> None:
    with Broker() as broker, Connection(broker.uri, name="shop") as connection:
        written.wait_for("connected to")
        connection.subscribe("/queue/orders", confirm=True)
        connection.send("/queue/orders", "pizza", confirm=True)
        written.wait_for("no listener for messages")
        with written.raising():
            connection.add_listener(Orders())
        with written.raising():
            connection.subscribe("/queue/more", asynchronous)
        broker.drop_connections()
        written.wait_for("connected again")


def twice(written: Written) -> None:
    with Broker() as broker, Connection(broker.uri, name="shop") as connection:
        for _ in range(2):
            connection.subscribe("/queue/orders", print)
        written.wait_for("the same listener is subscribed")


def raises(written: Written) -> None:
    for settle, then in ((False, "body of 5 bytes"), (True, "it is rejected")):
        with Broker(max_deliveries=1) as broker, Connection(broker.uri, name="shop") as connection:
            connection.subscribe("/queue/orders", on_order, settle=settle, confirm=True)
            connection.send("/queue/orders", "pizza", confirm=True)
            written.wait_for(then)


def refused_frames(written: Written) -> None:
    with Broker() as broker, Connection(broker.uri, name="shop") as connection:
        connection.subscribe("/queue/other", print, confirm=True)
        broker.error_next("SUBSCRIBE", DENIED)
        connection.subscribe("/queue/orders", print)
        written.wait_for("was rejected")


def not_connected(written: Written) -> None:
    with Broker() as broker, Connection(broker.uri, name="shop") as connection:
        broker.stop()
        written.wait_for("not connected, pass 1")
        with written.raising():
            connection.send("/queue/orders", "pizza", timeout=0.2)
        connection.close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with written.raising():
        Connection(f"tcp://127.0.0.1:{port}", name="shop").connect()


def no_receipt(written: Written) -> None:
    with Broker() as broker, Connection(broker.uri, name="shop") as connection:
        broker.withhold_receipts("SEND")
        with written.raising():
            connection.send("/queue/orders", "pizza", confirm=True, timeout=0.2)
        connection.close()


def silent_broker(written: Written) -> None:
    Connection("tcp://127.0.0.1:1", heartbeat=(10000, 10000))
    with Broker(heartbeat=(0.2, 0.2)) as broker:
        connection = Connection(broker.uri, name="stomp-1", heartbeat=(0.2, 0.2)).connect()
        broker.go_silent()
        written.wait_for("not even a heartbeat")
        connection.close()
        broker.speak()
    written.lines += [line.replace("stomp-1: the", "shop: the") for line in written.lines]


def too_big(written: Written) -> None:
    with Broker() as broker:
        connection = Connection(broker.uri, name="shop", limits=Limits(max_body=1000)).connect()
        connection.subscribe("/queue/big", print, settle=True, confirm=True)
        broker.publish("/queue/big", b"x" * 2000)
        written.wait_for("a frame exceeds Limits.max_body")
        connection.close()


def answering(*answers: bytes) -> Callable[[socket.socket], None]:
    """Answers the first bytes of each connection, one after the other with the next of these."""
    left = list(answers)

    def answer(connected: socket.socket) -> None:
        connected.recv(4096)
        said = left.pop(0) if len(left) > 1 else left[0]
        connected.sendall(said)
        if not said.startswith(b"CONNECTED"):
            connected.shutdown(socket.SHUT_WR)

    return answer


def error(message: str, body: str = "") -> bytes:
    return f"ERROR\nmessage:{message}\n\n{body}\0".encode()


def other_ports(written: Written) -> None:
    openwire, tls = b"\0\0\1\x41\1ActiveMQ\0\0\0\x0c", bytes([0x15, 3, 3, 0, 2, 2, 10])
    http = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
    for answer in (openwire, b"AMQP\0\0\x09\1", http, tls, error("Access refused for user shop")):
        with server(answering(answer)) as port, written.raising():
            Connection(f"tcp://127.0.0.1:{port}", name="shop").connect()


def virtual_hosts(written: Written) -> None:
    refused = error("Bad CONNECT", "Virtual host 'shop' access denied")
    with server(answering(refused)) as port, written.raising():
        Connection(f"tcp://127.0.0.1:{port}", name="shop", host="shop").connect()
    with server(answering(refused, b"CONNECTED\nversion:1.2\nserver:RabbitMQ/3.10\n\n\0")) as port:
        connection = Connection(f"tcp://127.0.0.1:{port}", name="shop", reconnect=False).connect()
        written.wait_for("which was guessed from the URI")
        connection.close()


def certificate_wanted(written: Written, directory: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def answer(connected: socket.socket) -> None:
        with context.wrap_socket(connected, server_side=True) as secure:
            secure.recv(4096)

    with server(answer) as port, written.raising():
        Connection(f"ssl://127.0.0.1:{port}?caFile={directory / 'ca.pem'}", name="shop").connect()
    written.lines += [line.replace(f"{directory}/", "") for line in written.lines]


SCENARIOS: tuple[Callable[[Written], None], ...] = (
    *(listeners, twice, raises, refused_frames, not_connected, no_receipt),
    *(silent_broker, too_big, other_ports, virtual_hosts),
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """What the client writes when all that the pages tell of happens to it."""
    handler, logger = Written(), logging.getLogger("stomplistener")
    with ExitStack() as stack:
        stack.callback(logger.setLevel, logger.level)
        stack.callback(logger.removeHandler, handler)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        for scenario in SCENARIOS:
            scenario(handler)
        certificate_wanted(handler, tmp_path_factory.mktemp("tls"))
        flush(5.0)
        yield handler.lines


@pytest.mark.timeout(90)
@pytest.mark.parametrize("line", quoted())
def test_the_client_writes_what_the_manual_quotes(line: str, written: list[str]) -> None:
    assert any(pattern(line).fullmatch(each) for each in written), "\n".join(written)


def test_the_client_writes_the_reasons_of_the_table(written: list[str]) -> None:
    page = (DOCS / "howto" / "troubleshooting.md").read_text()
    reasons = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert len(reasons) == 4
    assert [reason for reason in reasons if not any(pattern(reason).search(line) for line in written)] == []


def test_a_line_that_is_not_written_would_be_found(written: list[str]) -> None:
    assert not any(pattern("WARNING shop: the connection was lost").fullmatch(each) for each in written)
    assert len(quoted()) > 20


def test_a_listener_of_the_connection_and_one_of_the_subscription_get_the_message_both() -> None:
    got: list[str] = []
    with Broker() as broker, Connection(broker.uri) as connection:
        connection.add_listener(lambda message: got.append("connection"))
        connection.subscribe("/queue/orders", lambda message: got.append("subscription"), confirm=True)
        connection.send("/queue/orders", "pizza", confirm=True)
        broker.wait_for(lambda: len(got) == 2, what="both calls")
    assert sorted(got) == ["connection", "subscription"]


def _has(got: list[Any], count: int) -> bool:
    return len(got) == count


def test_messages_that_nobody_acknowledges_come_again_after_each_reconnect() -> None:
    got: list[Any] = []
    with Broker() as broker, Connection(broker.uri) as connection:
        connection.subscribe("/queue/orders", got.append, ack="client-individual", confirm=True)
        connection.send("/queue/orders", "pizza", confirm=True)
        for times in range(3):
            if times:
                broker.drop_connections()
            broker.wait_for(partial(_has, got, times + 1), what="the message")
    assert [message.redelivered for message in got] == [False, True, True]
