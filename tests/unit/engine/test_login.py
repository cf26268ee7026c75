"""Log in over a transport in memory: the frames, the meaning of each answer, and the end of each failure."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from engine_support import FakeTransport, make_context

from stomplistener import BrokerError, ConnectFailed, ConnectOptions, Frame, Limits, ProtocolError, TimedOut
from stomplistener._engine.login import LoggedIn, log_in
from stomplistener._util.deadline import Deadline
from stomplistener.protocol import encode
from stomplistener.transport import Interrupt

CONNECTED = b"CONNECTED\nversion:1.2\n\n\0"
NO_SUCH_HOST = b"ERROR\nmessage:Bad CONNECT\n\nVirtual host 'mq1' access denied\0"
IS_IT_STOMP = "the port accepts connections, but does it speak STOMP, without TLS?"

Answer = bytes | BaseException | Callable[[], bytes]


class Script(FakeTransport):
    """A transport whose broker gives these answers, one for each ``receive``."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__()
        self.answers = list(answers)
        self.timeouts: list[float | None] = []
        self.ended: list[str] = []

    def receive(self) -> bytes:
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, bytes) else answer()

    def settimeout(self, seconds: float | None) -> None:
        self.timeouts.append(seconds)

    def shutdown(self) -> None:
        self.ended.append("shutdown")

    def close(self) -> None:
        self.ended.append("close")


class Rig:
    """Logs in, with the next script for each transport that is dialled."""

    def __init__(self, *scripts: Script | BaseException, uri: str = "tcp://mq1:1", **arguments: Any) -> None:
        self.scripts = list(scripts)
        self.context = make_context(uri, transport=self._dial, **arguments)
        self.interrupt = Interrupt()
        self.dialled: list[dict[str, Any]] = []
        self.sent: list[Frame] = []

    def _dial(self, _broker: object, **options: Any) -> Script:
        self.dialled.append(options)
        script = self.scripts[len(self.dialled) - 1]
        if isinstance(script, BaseException):
            raise script
        return script

    def log_in(self, seconds: float = 10.0) -> LoggedIn:
        config, deadline, log = self.context.config, Deadline(seconds), self.context.log
        return log_in(config, config.uri.brokers[0], 7, deadline, self.interrupt, log, self.sent.append)


class Clock:
    """Stands still until an answer takes a while."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def after(self, seconds: float, data: bytes) -> Callable[[], bytes]:
        def answer() -> bytes:
            self.now += seconds
            return data

        return answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("stomplistener._engine.login.time", clock)
    monkeypatch.setattr("stomplistener._util.deadline.time", clock)
    return clock


def test_a_login_leaves_an_open_transport_without_a_timeout(clock: Clock) -> None:
    script = Script(CONNECTED)
    script.takes = 7
    rig = Rig(script, login="anna", passcode="s3cret", before_connect=lambda asked: asked.http_headers.update(a="b"))
    found = rig.log_in(10.0)
    wanted = {"accept-version": "1.0,1.1,1.2", "heart-beat": "10000,10000", "host": "mq1"}
    assert found.connect.headers == {**wanted, "login": "anna", "passcode": "s3cret"}
    assert (rig.sent, found.broker) == ([found.connect], rig.context.config.uri.brokers[0])
    assert script.data == encode(found.connect)
    assert found.connected == Frame("CONNECTED", {"version": "1.2"})
    transport: object = found.transport
    assert (transport, script.timeouts[-1]) == (script, None)
    assert not script.ended
    tls = {"ssl_context": None}
    assert rig.dialled == [{"deadline": 1010.0, "interrupt": rig.interrupt, "headers": {"a": "b"}, **tls}]


def test_frames_behind_connected_are_kept(clock: Clock) -> None:
    pieces = b"\n", CONNECTED[:4], CONNECTED[4:] + b"\nMESSAGE\nmessage-id:1\n\none\0MESSAGE\nmessage-id:2\n\nt"
    found = Rig(Script(*(clock.after(1.0, piece) for piece in pieces))).log_in()
    assert found.last_received == 1003.0
    assert [frame.body for frame in found.early] == [b"one"]
    assert [frame.body for frame in found.decoder.feed(b"wo\0")] == [b"two"]


def test_the_deadline_limits_the_whole_login(clock: Clock) -> None:
    slow, silent = Script(*[clock.after(4.0, b"\n")] * 5), Script(TimeoutError("timed out"))
    for script in slow, silent:
        with pytest.raises(TimedOut) as caught:
            Rig(script).log_in(10.0)
        assert str(caught.value) == f"no answer to CONNECT within 10 s (connectionTimeout); {IS_IT_STOMP}"
        assert script.ended == ["close"]
    assert slow.timeouts == [10.0, 10.0, 6.0, 2.0]


def test_a_broker_that_sends_connected_byte_by_byte_is_given_up(clock: Clock) -> None:
    script = Script(*(clock.after(2.0, bytes([byte])) for byte in CONNECTED))
    with pytest.raises(ProtocolError, match=r"a frame was not complete 5\.0 s after its first byte"):
        Rig(script, limits=Limits(frame_timeout=5.0)).log_in(1000.0)
    assert clock.now == 1008.0


@pytest.mark.parametrize(
    ("uri", "context", "advice"),
    [
        ("tcp://mq1:1", None, IS_IT_STOMP),
        ("ssl://mq1:1", None, "over TLS it may want a client certificate (certFile)"),
        ("ssl://mq1:1?certFile=mine.pem", None, "is it a STOMP port?"),
        ("ssl://mq1:1", ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "is it a STOMP port?"),
    ],
)
def test_the_text_guesses_why_the_broker_closed_the_connection(
    uri: str, context: ssl.SSLContext | None, advice: str
) -> None:
    closing, resetting = Script(b"\n", b""), Script(ConnectionResetError(104, "reset by peer"))
    for script, why in (closing, "closed the connection"), (resetting, "broke the connection off"):
        with pytest.raises(ConnectFailed) as caught:
            Rig(script, uri=uri, ssl_context=context).log_in()
        cause = " (reset by peer)" if script is resetting else ""
        assert str(caught.value) == f"the broker {why} instead of answering CONNECT{cause}; {advice}"
        assert script.ended == ["close"]


def test_another_protocol_is_named() -> None:
    for pieces in (b"SSH-2.0-OpenSSH_9.6\r\n",), (b"S", b"SH-2.0-OpenSSH_9.6\r\n"):
        with pytest.raises(ConnectFailed, match="this port speaks SSH; ActiveMQ's STOMP is 61613"):
            Rig(Script(*pieces)).log_in()
    with pytest.raises(ProtocolError, match="it begins with an unknown command: b'Go away"):
        Rig(Script(b"Go away\n")).log_in()


def test_an_error_in_front_of_bad_bytes_is_the_reason() -> None:
    bad = b"CONNECTED\nno colon\n\n\0"
    with pytest.raises(BrokerError, match="the broker refused the login: not today"):
        Rig(Script(b"ERROR\nmessage:not today\n\n\0" + bad)).log_in()
    for front in b"", CONNECTED:
        with pytest.raises(ProtocolError, match="no name or no colon"):
            Rig(Script(front + bad)).log_in()


def test_no_text_shows_a_secret_that_the_broker_quotes(caplog: pytest.LogCaptureFixture) -> None:
    script = Script(b"\n", b"ERROR\nmessage:wrong: s3cret\n\nnot s3cret\0")
    with caplog.at_level(logging.DEBUG, "stomplistener"), pytest.raises(BrokerError) as caught:
        Rig(script, login="anna", passcode="s3cret").log_in()
    assert "wrong: ***" in str(caught.value)
    assert "s3cret" not in f"{caught.value} {caught.value.frame.headers} {caught.value.frame.body!r} {caplog.text}"
    assert [text.split()[1:3] for text in caplog.messages] == [[">", "CONNECT"], ["<", "ERROR"]]


def test_an_error_that_ends_with_the_connection_tells_its_reason() -> None:
    with pytest.raises(BrokerError, match="the broker refused the login: wrong password"):
        Rig(Script(b"ERROR\nmessage:wrong password\n\n", b"")).log_in()


def test_a_guessed_virtual_host_that_the_broker_rejects_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    scripts = Script(NO_SUCH_HOST), Script(CONNECTED)
    asked: list[ConnectOptions] = []
    rig = Rig(*scripts, before_connect=asked.append)
    transport: object = rig.log_in().transport
    assert transport is scripts[1]
    assert [frame.headers["host"] for frame in rig.sent] == ["mq1", "/"]
    assert ([script.ended for script in scripts], len(asked)) == ([["close"], []], 1)
    assert "tcp://mq1:1 has no virtual host 'mq1', which was guessed from the URI; logged in to '/'" in caplog.text


def test_the_second_refusal_of_a_virtual_host_is_final(caplog: pytest.LogCaptureFixture) -> None:
    scripts = Script(NO_SUCH_HOST), Script(NO_SUCH_HOST.replace(b"mq1", b"/")), Script(CONNECTED)
    with pytest.raises(BrokerError, match="Virtual host '/' access denied"):
        Rig(*scripts).log_in()
    assert [script.ended for script in scripts] == [["close"], ["close"], []]
    assert not caplog.messages


def test_a_virtual_host_that_the_application_gave_is_not_replaced() -> None:
    for rig in (
        Rig(Script(NO_SUCH_HOST), Script(CONNECTED), host="mq1"),
        Rig(Script(NO_SUCH_HOST), Script(CONNECTED), uri="tcp://mq1:1/mq1"),
        Rig(Script(NO_SUCH_HOST), Script(CONNECTED), before_connect=lambda asked: setattr(asked, "host", "other")),
    ):
        with pytest.raises(BrokerError, match="give another with host="):
            rig.log_in()
        assert len(rig.dialled) == 1


def test_before_connect_decides_for_one_attempt() -> None:
    def decide(options: ConnectOptions) -> None:
        options.headers["attempt"] = str(options.attempt)
        options.login, options.host = "bert", None

    connect = Rig(Script(CONNECTED), login="anna", before_connect=decide).log_in().connect
    assert (connect.headers["login"], connect.headers["attempt"]) == ("bert", "7")
    assert "host" not in connect.headers


@pytest.mark.parametrize(
    ("raised", "caught"),
    [
        (OSError("no token"), OSError("no token")),
        (TimedOut("no token"), TimedOut("no token")),
        (KeyError("token"), ConnectFailed("before_connect raised KeyError: 'token'")),
        (SystemExit(3), ConnectFailed("before_connect raised SystemExit: 3")),
    ],
)
def test_an_exception_of_before_connect_ends_this_attempt_only(raised: BaseException, caught: Exception) -> None:
    def fail(_options: ConnectOptions) -> None:
        raise raised

    rig = Rig(before_connect=fail)
    with pytest.raises(type(caught)) as found:
        rig.log_in()
    assert (type(found.value), str(found.value), rig.dialled) == (type(caught), str(caught), [])


def test_bad_values_of_before_connect_are_refused() -> None:
    async def later(_options: ConnectOptions) -> None:
        """No code awaits this."""

    rig = Rig(before_connect=lambda options: setattr(options, "login", 7))
    with pytest.raises(TypeError, match=r"ConnectOptions\.login"):
        rig.log_in()
    assert rig.dialled == []
    with pytest.raises(ConnectFailed, match=r"before_connect raised TypeError: .* returned coroutine"):
        Rig(Script(CONNECTED), before_connect=lambda options: later(options)).log_in()


def test_a_transport_of_the_application_may_raise_anything() -> None:
    with pytest.raises(OSError, match="refused"):
        Rig(OSError("refused")).log_in()
    with pytest.raises(ConnectFailed, match="the transport raised SystemExit: 3"):
        Rig(SystemExit(3)).log_in()
    script = Script(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        Rig(script).log_in()
    assert script.ended == ["close"]


def test_an_interrupt_breaks_the_wait_for_the_answer_and_nothing_later() -> None:
    def stop() -> bytes:
        assert rig.interrupt.step == f"the answer to CONNECT of tcp://mq1:1; {IS_IT_STOMP}"
        rig.interrupt.set()
        return b""

    script, later = Script(stop), Script(CONNECTED)
    rig = Rig(script)
    with pytest.raises(ConnectFailed):
        rig.log_in()
    assert script.ended == ["shutdown", "close"]
    rig = Rig(later)
    rig.log_in()
    rig.interrupt.set()
    assert later.ended == []
