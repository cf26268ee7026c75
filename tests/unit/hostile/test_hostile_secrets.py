"""Secrets stay where they are: every path of failure with all logging on, and all that it says searched for them."""

from __future__ import annotations

import gc
import io
import logging
import ssl
import sys
import threading
import traceback
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType

import pytest
import trustme
from hostile_servers import SOON, Peer, Server, eventually, good, nothing_left

from stomplistener import Connection, Frame, Message, StompError
from stomplistener.options import ConnectOptions

PASSCODE = "s3cret-passcode"
URI_PASSCODE = "s3cret-in-uri"
TOKEN = "s3cret-token"
PROXY_PASSWORD = "s3cret-of-proxy"
KEY_PASSWORD = "s3cret-of-key"
COOKIE = "s3cret-cookie"
MARK = "s3cret"
BASIC = b64encode(f"user:{PROXY_PASSWORD}".encode()).decode()


class Output:
    """All that a session writes: logs of every library at level DEBUG, both streams, exceptions with their causes."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def exception(self, error: BaseException) -> None:
        self.stream.write("".join(traceback.format_exception(error)))
        seen: BaseException | None = error
        while seen is not None:
            self.stream.write(f"{seen!r} {seen.args!r} {vars(seen)!r}\n")
            seen = seen.__cause__ or seen.__context__

    def everything_reachable(self, root: object) -> None:
        """The repr of each object of the library that can be reached, and of what containers hold of those."""
        for each in reachable(root):
            self.stream.write(f"{each!r}\n{each!s}\n")

    def check(self) -> None:
        text = self.stream.getvalue()
        assert text
        for secret in (MARK, BASIC):
            at = text.find(secret)
            assert at < 0, f"... {text[max(0, at - 300) : at + 60]}"


def reachable(root: object) -> Iterator[object]:
    passed_over = (type, ModuleType, FrameType, logging.Logger, logging.Handler, io.StringIO, threading.Thread)
    seen, waiting = {id(root)}, [root]
    while waiting:
        each = waiting.pop()
        if type(each).__module__.startswith("stomplistener"):
            yield each
        for other in gc.get_referents(each):
            if id(other) not in seen and not isinstance(other, passed_over):
                # Functions lead to the globals of their modules, and so to everything that a test holds.
                if callable(other) and hasattr(other, "__globals__"):
                    continue
                seen.add(id(other))
                waiting.append(other)


@pytest.fixture
def output(capfd: pytest.CaptureFixture[str]) -> Iterator[Output]:
    found = Output()
    handler = logging.StreamHandler(found.stream)
    root = logging.getLogger()
    former = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with nothing_left():
            yield found
    finally:
        root.removeHandler(handler)
        root.setLevel(former)
    captured = capfd.readouterr()
    found.stream.write(captured.out + captured.err)
    found.check()


@contextmanager
def failing(output: Output, connection: Connection) -> Iterator[None]:
    """What is done inside fails; that and the connection are looked at from all sides."""
    output.stream.write(f"{connection!r} {connection.state} {connection.session} {connection.statistics()}\n")
    with pytest.raises((StompError, OSError)) as caught:
        yield
    output.exception(caught.value)
    output.everything_reachable(connection)
    output.stream.write(f"{connection!r} {connection.state} {connection.session} {connection.statistics()}\n")
    connection.close()


def with_token(options: ConnectOptions) -> None:
    options.passcode = PASSCODE
    options.headers["Authorization"] = f"Bearer {TOKEN}"
    options.headers["token"] = TOKEN
    options.headers["X-Access-Token"] = f"{TOKEN}-of-access"
    options.http_headers["Authorization"] = f"Bearer {TOKEN}"
    options.http_headers["Cookie"] = f"session={COOKIE}"
    logging.getLogger("application").debug("%r %s", options, options)


def refuses(peer: Peer) -> None:
    peer.frame()
    peer.say(b"ERROR\nmessage:Bad CONNECT\n\nAccess refused\0")


def test_a_session_that_goes_well(output: Output) -> None:
    with Server(good) as server:
        uri = f"tcp://guest:{URI_PASSCODE}@127.0.0.1:{server.port}"
        with Connection(uri, headers={"cookie": COOKIE}, before_connect=with_token) as connection:
            sent: list[Frame] = []

            class Ears:
                def on_send(self, frame: Frame) -> None:
                    sent.append(frame)
                    logging.getLogger("application").debug("%r %s %s", frame, frame.info, frame.headers)

            connection.add_listener(Ears())
            connection.send("/queue/a", "text", {"authorization": TOKEN}, confirm=True, timeout=5)
            output.everything_reachable(connection)
            output.stream.write(f"{connection!r} {connection.session} {connection.statistics()}\n")
            eventually(lambda: sent, "a frame to look at")


def test_a_login_that_is_refused(output: Output) -> None:
    with Server(refuses) as server:
        connection = Connection(server.uri, "guest", PASSCODE, before_connect=with_token)
        with failing(output, connection):
            connection.connect(timeout=5)


def quotes(peer: Peer) -> None:
    """Refuse, and give back all that was said: whole, and in the pieces that a broker may have made of it."""
    asked = peer.frame()
    values = b" ".join(line.partition(b":")[2] for line in asked.split(b"\n"))
    assert MARK.encode() in values
    pieces = values.replace(b"=", b" = ").replace(b"Bearer", b"")
    peer.say(b"ERROR\nmessage:%b\nasked-%b\n\n%b\n%b\0" % (pieces, asked.strip().split(b"\n")[-1], asked, values))


def test_a_refusal_that_quotes_what_was_said(output: Output) -> None:
    refused: list[Frame] = []

    class Ears:
        def on_error(self, frame: Frame) -> None:
            refused.append(frame)
            logging.getLogger("application").debug("%s %r", frame.body, frame.headers.pairs)

    with Server(quotes) as server:
        headers = {"cookie": f"session={COOKIE}; theme=dark"}
        connection = Connection(server.uri, "guest", PASSCODE, headers=headers, before_connect=with_token)
        connection.add_listener(Ears())
        with failing(output, connection):
            connection.connect(timeout=5)
    eventually(lambda: refused, "a frame to look at")
    assert "theme" in refused[0].headers["message"], "what is no secret is to be read"


@pytest.mark.parametrize("scheme", ["tcp", "ws"])
def test_an_echo_in_the_place_of_a_broker(output: Output, scheme: str) -> None:
    with Server(lambda peer: peer.say(peer.sock.recv(65536))) as server:
        uri = f"{scheme}://127.0.0.1:{server.port}"
        connection = Connection(uri, "guest", PASSCODE, before_connect=with_token)
        with failing(output, connection):
            connection.connect(timeout=5)


# By a part of what the exception says.
JUNK = {
    "unknown command": b"500 %b\n\n\0",
    "not a STOMP frame": b"%b",
    "no name or no colon": b"ERROR\nno-colon %b\n\n\0",
    "no colon": b"ERROR\n:%b\n\n\0",
    "undefined escape": b"SEND\nasked:%b\\t\n\n\0",
    "is not a number": b"ERROR\ncontent-length:%b\n\n\0",
    "no NUL follows": b"ERROR\ncontent-length:1\n\na%b\0",
    "STOMP frame: it begins": b"\r%b",
    "not UTF-8": b"ERROR\nasked:%b\xff\n\n\0",
    "max_header_line": b"ERROR\nasked:%b" + b"x" * 70_000 + b"\n\n\0",
}


@pytest.mark.parametrize("what", JUNK)
def test_junk_that_quotes_what_was_said(output: Output, what: str) -> None:
    def reflects(peer: Peer) -> None:
        asked = peer.welcome()
        quoted = b" ".join(line.partition(b":")[2] for line in reversed(asked.strip(b"\0\n").split(b"\n")))
        assert quoted.startswith(MARK.encode()), "the exception quotes the beginning"
        peer.say(JUNK[what] % quoted)

    with Server(reflects) as server:
        uri = f"failover:({server.uri})?maxReconnectAttempts=0"
        connection = Connection(uri, "guest", PASSCODE, before_connect=with_token)
        with failing(output, connection):
            connection.connect(timeout=5)
            connection.wait(5)
            connection.send("/queue/a", "text")
    # What was wrong with a frame that is delivered all the same is in the log, which a thread of its own writes.
    eventually(lambda: what in output.stream.getvalue(), "what was wrong, in the log or in the exception")


def test_a_spare_that_is_refused_and_one_that_quotes_when_it_is_used(output: Output) -> None:
    lost = threading.Event()

    def main(peer: Peer) -> None:
        peer.welcome()
        lost.wait(SOON)

    def spare(peer: Peer) -> None:
        if peer.number == 1:
            quotes(peer)
            return
        asked = peer.welcome()
        peer.frame()
        peer.say(b"ERROR\nmessage:no\n\n%b\0" % asked)

    def own_passcode(options: ConnectOptions) -> None:
        with_token(options)
        options.passcode = f"{MARK}-{options.broker}"

    with Server(main) as one, Server(spare) as other:
        brokers = f"tcp://127.0.0.1:{one.port},tcp://127.0.0.1:{other.port}"
        options = "randomize=false&backup=true&initialReconnectDelay=10&maxReconnectAttempts=1"
        connection = Connection(f"failover:({brokers})?{options}", "guest", before_connect=own_passcode)
        connection.connect(timeout=5)
        life = connection._engine.life
        standby = life.standby if life is not None else None
        assert standby is not None
        eventually(lambda: standby.held, "a second spare", timeout=30)
        eventually(lambda: "no standby connection" in output.stream.getvalue(), "why there was none at first")
        lost.set()
        eventually(lambda: connection.statistics().reconnects, "the spare in use")
        connection.send("/queue/a", "text")
        eventually(lambda: "< ERROR" in output.stream.getvalue(), "the quotation")
        connection.close()


def test_uris_that_are_none(output: Output) -> None:
    for uri in (
        f"tcp://guest:{URI_PASSCODE}@host",
        f"tcp://guest:{URI_PASSCODE}@host:99999",
        f"tcp://guest:{URI_PASSCODE}#{URI_PASSCODE}@host:61613",
        f"tpc://guest:{URI_PASSCODE}@host:61613",
        f"failover:(tcp://guest:{URI_PASSCODE}@host:61613",
        f"tcp://guest:{URI_PASSCODE}@host:61613?noSuchOption=1",
        f"ssl://host:61613?keyPassword={KEY_PASSWORD}&keyFile",
        f"tcp://guest:{URI_PASSCODE}%zz@host:61613",
    ):
        with pytest.raises(ValueError) as caught:
            Connection(uri)
        output.exception(caught.value)


def test_a_broker_that_speaks_no_tls(output: Output) -> None:
    def plain(peer: Peer) -> None:
        peer.sock.recv(1)
        peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Server(plain) as server:
        uri = f"ssl://guest:{URI_PASSCODE}@127.0.0.1:{server.port}?keyPassword={KEY_PASSWORD}"
        connection = Connection(uri, before_connect=with_token)
        with failing(output, connection):
            connection.connect(timeout=5)


def test_a_certificate_that_is_not_trusted(output: Output, tmp_path: Path) -> None:
    authority = trustme.CA()
    client = tmp_path / "client.pem"
    authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(str(client))

    def secure(peer: Peer) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        context.wrap_socket(peer.sock.dup(), server_side=True).close()

    with Server(secure) as server:
        uri = f"ssl://guest:{URI_PASSCODE}@127.0.0.1:{server.port}?certFile={client}&keyPassword={KEY_PASSWORD}"
        connection = Connection(uri, before_connect=with_token)
        with failing(output, connection):
            connection.connect(timeout=5)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_proxy_that_refuses(output: Output, scheme: str) -> None:
    def proxy(peer: Peer) -> None:
        asked = peer.sock.recv(4096)
        if scheme == "http":
            # It gives back what it was told.
            told = asked.partition(b"Basic ")[2].split()[0]
            assert PROXY_PASSWORD.encode() in b64decode(told)
            peer.say(b"HTTP/1.1 407 No %b or %b\r\nContent-Length: 0\r\n\r\n" % (told, b64decode(told)))
        else:
            peer.say(b"\x05\x02")
            asked = peer.sock.recv(4096)
            peer.say(b"\x01\x01")
        assert asked

    with Server(proxy) as server:
        where = f"{scheme}://user:{PROXY_PASSWORD}@127.0.0.1:{server.port}"
        connection = Connection(f"tcp://guest:{URI_PASSCODE}@127.0.0.1:1?proxy={where}", before_connect=with_token)
        with failing(output, connection):
            connection.connect(timeout=5)


def test_a_proxy_without_an_address(output: Output) -> None:
    connection = Connection(f"tcp://guest:{URI_PASSCODE}@127.0.0.1:1?proxy=http://user:{PROXY_PASSWORD}@")
    with failing(output, connection):
        connection.connect(timeout=5)


def test_the_search_finds_what_it_is_for() -> None:
    connection = Connection(f"failover:(tcp://guest:{URI_PASSCODE}@host:1)", "guest", PASSCODE)
    found = {type(each).__name__ for each in reachable(connection)}
    assert found >= {"Config", "Engine", "Session", "BrokerURI", "Broker", "Limits", "Writer", "Listeners"}
    output = Output()
    output.exception(StompError(PASSCODE))
    with pytest.raises(AssertionError):
        output.check()


def test_a_proxy_of_the_environment(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", f"http://user:{PROXY_PASSWORD}@127.0.0.1:1")
    for name in ("no_proxy", "https_proxy", "socks_proxy", "NO_PROXY", "HTTPS_PROXY", "SOCKS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    connection = Connection("tcp://broker.example:61613?proxy=env", "guest", PASSCODE)
    with failing(output, connection):
        connection.connect(timeout=5)


def test_a_websocket_that_is_refused(output: Output) -> None:
    def unauthorised(peer: Peer) -> None:
        asked = peer.sock.recv(65536)
        assert TOKEN.encode() in asked
        quoted = b" ".join(asked.split(b"\r\n")[1:]).strip()
        peer.say(b"HTTP/1.1 401 No: %b\r\nX-Asked: %b\r\n" % (quoted, quoted))
        peer.say(b"Content-Length: %d\r\n\r\n%b" % (len(asked), asked))

    with Server(unauthorised) as server:
        uri = f"ws://guest:{URI_PASSCODE}@127.0.0.1:{server.port}/ws"
        connection = Connection(uri, before_connect=with_token)
        with failing(output, connection):
            connection.connect(timeout=5)


def test_headers_that_cannot_be_sent(output: Output) -> None:
    def bad(options: ConnectOptions) -> None:
        with_token(options)
        options.http_headers["Authorization"] = f"Bearer {TOKEN}\r\nX: {TOKEN}"
        options.passcode = f"{PASSCODE}\n{PASSCODE}"

    with Server(good) as server:
        for scheme in ("tcp", "ws"):
            connection = Connection(f"{scheme}://127.0.0.1:{server.port}", before_connect=bad)
            with failing(output, connection):
                connection.connect(timeout=5)


def test_no_broker_of_a_failover_is_there(output: Output) -> None:
    with Server(lambda peer: None) as closing, Server(refuses) as refusing:
        brokers = ",".join(f"tcp://guest:{URI_PASSCODE}@127.0.0.1:{port}" for port in (1, closing.port, refusing.port))
        uri = f"failover:({brokers})?startupMaxReconnectAttempts=1&warnAfterReconnectAttempts=1"
        connection = Connection(uri, before_connect=with_token)
        with failing(output, connection):
            connection.connect(timeout=5)


def test_a_connection_that_is_lost_and_not_restored(output: Output) -> None:
    def once(peer: Peer) -> None:
        if peer.number == 1:
            peer.welcome()
            peer.say(b"MESSAGE\nsubscription:1\nmessage-id:1\nauthorization:%b\n\nhello\0" % TOKEN.encode())
            peer.frame()
            peer.say(b"MESSAGE\nauthorization:%b\nno-colon\n\n\0" % TOKEN.encode())

    def listener(message: Message) -> None:
        logging.getLogger("application").debug("%r %r", message, message.headers)
        raise RuntimeError("as listeners do")

    with Server(once) as server:
        uri = f"failover:(tcp://guest:{URI_PASSCODE}@127.0.0.1:{server.port})?maxReconnectAttempts=2"
        connection = Connection(uri, before_connect=with_token)
        connection.add_listener(listener)
        connection.connect(timeout=5)
        with failing(output, connection):
            connection.send("/queue/a", "text", {"token": TOKEN})
            connection.wait(5)
            connection.send("/queue/a", "text", {"token": TOKEN})


def test_an_uncaught_exception_of_a_thread_shows_nothing(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda args: output.exception(args.exc_value))

    def fails(options: ConnectOptions) -> None:
        with_token(options)
        raise RuntimeError("the token server is down")

    with Server(good) as server:
        connection = Connection(server.uri, "guest", PASSCODE, before_connect=fails)
        with failing(output, connection):
            connection.connect(timeout=5)
    assert sys.exc_info() == (None, None, None)
