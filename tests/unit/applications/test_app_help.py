"""Errors that help: what a newcomer does wrong is told with what to do instead."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import Mock

import pytest
import trustme
from client_support import eventually

from stomplistener import BrokerError, ConnectFailed, Connection, Limits, Listener, ProtocolError, TimedOut
from stomplistener.protocol import Decoder, Frame, encode
from stomplistener.testing import Broker, Inbox, message
from stomplistener.worker import Application


@pytest.mark.parametrize("versions", [("1.0",), ("1.1",), ("1.2",)])
@pytest.mark.parametrize("call", ["ack", "nack"])
def test_acknowledging_in_ack_mode_auto(broker: Broker, inbox: Inbox, call: str, versions: tuple[str, ...]) -> None:
    with Connection(broker.uri, versions=versions) as connection:
        connection.subscribe("/queue/a", inbox, confirm=True)
        broker.publish("/queue/a", "x")
        received = inbox.expect(1)[0]
        with pytest.raises(ProtocolError, match=r"/queue/a has ack mode auto.*ack='client-individual'.*settle=True"):
            getattr(received, call)()
        connection.send("/queue/a", "the connection is as before", confirm=True)
        assert call.upper() not in [frame.command for frame in broker.frames()]


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        ({"a": 1}, "not dict: json.dumps() it, or use json="),
        (None, 'not None: give b"" for an empty one'),
        (7, "not int: write str(7), or use json="),
    ],
)
def test_a_body_that_is_none(broker: Broker, body: Any, advice: str) -> None:
    with Connection(broker.uri) as connection, connection.transaction() as transaction:
        recorded = message("x", {"reply-to": "/queue/b"})
        for send in (
            lambda: connection.send("/queue/a", body),
            lambda: connection.send_async("/queue/a", body),
            lambda: transaction.send("/queue/a", body),
            lambda: connection.request("/queue/a", body),
            # What a connection would refuse must not pass a test.
            lambda: recorded.reply(body),
        ):
            with pytest.raises(TypeError, match=re.escape(advice)):
                send()
        assert not broker.frames(command="SEND")


def test_a_header_that_is_none(broker: Broker) -> None:
    headers: Any = {"kind": None}
    with Connection(broker.uri) as connection:
        for call in (
            lambda: connection.send("/queue/a", "x", headers),
            lambda: connection.subscribe("/queue/a", print, headers=headers),
            lambda: Connection(broker.uri, headers=headers),
            lambda: message("x", {"reply-to": "/queue/b"}).reply("x", headers),
        ):
            with pytest.raises(TypeError, match=r"header 'kind' must be a str, not None.*; leave it out"):
                call()


async def _do_nothing(*_args: object) -> None: ...


unawaited: Any = _do_nothing


class Unawaited(Listener):
    async def on_connected(self, frame: Frame) -> None: ...  # type: ignore[override]


def test_what_nobody_would_await(broker: Broker) -> None:
    """Refused where it is given."""
    connection = Connection(broker.uri)
    for give in (
        lambda: connection.subscribe("/queue/a", unawaited),
        lambda: connection.subscribe("/queue/a", print, call_in=unawaited),
        lambda: connection.consume("/queue/a", notify=unawaited),
        lambda: connection.add_listener(Unawaited()),
        lambda: Connection(broker.uri, before_connect=unawaited),
        lambda: Connection(broker.uri, transport=unawaited),
        lambda: Application().listener("/queue/a")(unawaited),
    ):
        with pytest.raises(TypeError, match=r"asynchronous, and no code would await it: see stomplistener\.contrib"):
            give()


def returns_unawaited(*_args: object) -> object:
    return unawaited()


@pytest.mark.filterwarnings("error::RuntimeWarning", "error::pytest.PytestUnraisableExceptionWarning")
def test_what_nobody_awaits_is_told_when_it_is_returned(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    returns: Any = returns_unawaited
    with Connection(broker.uri) as connection:
        connection.add_listener(type("Hook", (), {"on_send": returns})())
        connection.subscribe("/queue/a", returns, confirm=True)
        broker.publish("/queue/a", "x")
        eventually(lambda: connection.statistics().listener_errors == 1, "the listener's error")
        connection.send("/queue/b", "x", confirm=True)
    assert caplog.text.count("returned coroutine, which no code awaits or iterates") >= 2
    with pytest.raises(ConnectFailed, match=r"before_connect raised TypeError: .* returned coroutine, which no code"):
        Connection(broker.uri, before_connect=returns).connect()


def test_a_mock_is_a_listener(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """What it returns has every attribute, and is nothing to await."""
    mock = Mock()
    with Connection(broker.uri) as connection:
        connection.add_listener(mock)
        connection.subscribe("/queue/a", confirm=True)
        broker.publish("/queue/a", "x")
        eventually(lambda: mock.on_message.call_count == 1, "the message")
    assert "ERROR" not in caplog.text


def test_limits_by_position_and_in_parts_of_a_byte() -> None:
    with pytest.raises(TypeError, match=r"by name, as in Limits\(max_header_line=…\)"):
        Limits(5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"max_body must be a whole number, not 1\.5"):
        Limits(max_body=1.5)  # type: ignore[arg-type]
    assert Limits(frame_timeout=1.5).frame_timeout == 1.5


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says anything."""
    held = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    held.append(server.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
    for sock in held:
        sock.close()


WAITED_FOR = {
    "tcp": r"answer to CONNECT .*does it speak STOMP, without TLS\?",
    "ssl": "TLS handshake.*if this port does not speak TLS, use tcp:// or ws://",
    "ws": "WebSocket handshake.*if this port does not speak WebSocket, use tcp:// or ssl://",
    "wss": "TLS handshake.*if this port does not speak TLS, use tcp:// or ws://",
}


@pytest.mark.parametrize("scheme", WAITED_FOR)
@pytest.mark.parametrize("whose", ["connect(timeout=)", "connectionTimeout"])
def test_a_port_that_does_not_answer(scheme: str, whose: str) -> None:
    """Whichever of the two times is over first, and by default they are one: the text names what was waited for."""
    with silent_port() as port:
        options, timeout = ("", 1.0) if whose == "connect(timeout=)" else ("?connectionTimeout=1000", 10)
        with pytest.raises((TimedOut, ConnectFailed), match=WAITED_FOR[scheme]):
            Connection(f"{scheme}://127.0.0.1:{port}{options}").connect(timeout=timeout)


def test_a_port_with_tls_met_without_it() -> None:
    """It closes, as this broker does, or breaks off: both leave the question what it speaks."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with Broker(ssl_context=context) as broker:
        with pytest.raises(ConnectFailed, match=r"instead of answering CONNECT; .*without TLS\?"):
            Connection(f"tcp://127.0.0.1:{broker.port}").connect()


def test_a_port_that_breaks_off() -> None:
    def break_off(sock: socket.socket) -> None:
        sock.recv(10)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: break_off(server.accept()[0]), daemon=True)
        thread.start()
        with pytest.raises(ConnectFailed, match=r"broke the connection off .* CONNECT .*without TLS\?"):
            Connection(f"tcp://127.0.0.1:{server.getsockname()[1]}").connect()
        thread.join(5)


def test_a_connect_that_is_between_two_attempts_tells_the_last_failure() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        uri = f"failover:(tcp://127.0.0.1:{nobody.getsockname()[1]})?initialReconnectDelay=5000"
        with pytest.raises(
            TimedOut, match=r"waiting for the next attempt; the last failure: .*no program listens there"
        ):
            Connection(uri).connect(timeout=0.3)


@contextmanager
def rabbit(hosts: dict[str, bytes]) -> Iterator[tuple[int, list[str]]]:
    """A broker that answers CONNECT by its host header; yields the port and the hosts that were asked for."""
    asked: list[str] = []

    def serve(sock: socket.socket) -> None:
        decoder = Decoder()
        with sock, suppress(OSError):
            while data := sock.recv(65536):
                for frame in decoder.feed(data):
                    if frame.command == "CONNECT":
                        asked.append(frame.headers["host"])
                        sock.sendall(hosts.get(asked[-1], NO_SUCH_HOST % asked[-1].encode()))
                        if asked[-1] not in hosts:
                            return
                    elif frame.command == "DISCONNECT":
                        sock.sendall(encode(Frame("RECEIPT", {"receipt-id": frame.headers["receipt"]}), "1.2"))

    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1], asked
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


NO_SUCH_HOST = b"ERROR\nmessage:Bad CONNECT\n\nVirtual host '%b' access denied\n\0"
WELCOME = b"CONNECTED\nversion:1.2\nserver:RabbitMQ/3.10\nheart-beat:0,0\n\n\0"


def test_a_virtual_host_that_was_only_guessed(caplog: pytest.LogCaptureFixture) -> None:
    with rabbit({"/": WELCOME}) as (port, asked):
        with Connection(f"tcp://127.0.0.1:{port}") as connection:
            assert connection.is_connected
        assert asked == ["127.0.0.1", "/"]
    assert "RabbitMQ at" in caplog.text
    assert (
        "has no virtual host '127.0.0.1', which was guessed from the URI; logged in to '/': write host='/'"
        in caplog.text
    )


def test_a_virtual_host_that_was_given() -> None:
    """What was asked for is not replaced by something else."""
    with rabbit({"/": WELCOME}) as (port, asked):
        for uri, host in ((f"tcp://127.0.0.1:{port}", "shop"), (f"tcp://127.0.0.1:{port}/shop", None)):
            with pytest.raises(ConnectFailed, match=r"'shop' access denied.*here 'shop'.*host="):
                Connection(uri, host=host).connect()
        assert asked == ["shop", "shop"]


def test_a_guess_that_fails_too_is_tried_once() -> None:
    with rabbit({}) as (port, asked):
        with pytest.raises(ConnectFailed, match="Virtual host '/' access denied") as caught:
            Connection(f"tcp://127.0.0.1:{port}").connect()
        assert asked == ["127.0.0.1", "/"]
        assert isinstance(caught.value.attempts[0][1], BrokerError)


@pytest.mark.parametrize("passcode", ["a", "abc", "1", "p.w"])
def test_a_short_passcode_that_the_broker_quotes(passcode: str, caplog: pytest.LogCaptureFixture) -> None:
    def answer(sock: socket.socket) -> None:
        with sock:
            sock.recv(65536)
            said = f"no login for shop:{passcode} (passcode={passcode}), as a banana abcdef 123 says"
            sock.sendall(f"ERROR\nmessage:{said}\n\n{said}\0".encode())

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: answer(server.accept()[0]), daemon=True)
        thread.start()
        with caplog.at_level("DEBUG"), pytest.raises(ConnectFailed) as caught:
            Connection(f"tcp://127.0.0.1:{server.getsockname()[1]}", "shop", passcode).connect()
        thread.join(5)
    for text in (str(caught.value), caplog.text):
        assert f"shop:{passcode}" not in text
        assert f"={passcode})" not in text
    assert "shop:*** (passcode=***)" in str(caught.value)
    assert "banana abcdef 123" in str(caught.value).replace("***", passcode), (
        "words that only contain it are to be read"
    )
