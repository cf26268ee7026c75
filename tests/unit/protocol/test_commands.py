"""Each command in each version: what it allows, what it refuses and says, and its headers to the letter."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import Enum
from types import CodeType
from typing import Any, Protocol

import pytest

from stomplistener.errors import ProtocolError
from stomplistener.protocol import VERSIONS, Decoder, Frame, Headers, commands, encode

MESSAGE = Frame("MESSAGE", {"message-id": "m:1", "subscription": "s", "ack": "a:1", "destination": "/q"})


class Call(Protocol):
    __code__: CodeType

    def __call__(self, version: str, /) -> Frame: ...


ALL = ("1.0", "1.1", "1.2")
LATER = ("1.1", "1.2")

# (versions, what is called, the bytes that it must give)
ALLOWED: list[tuple[tuple[str, ...], Call, bytes]] = [
    (("1.0",), lambda v: commands.connect(version=v), b"CONNECT\n\n\0"),
    (("1.0",), lambda v: commands.connect(version=v, heartbeat=(1, 1)), b"CONNECT\n\n\0"),
    (
        ("1.0",),
        lambda v: commands.connect(version=v, host="h", login="l", passcode="p"),
        b"CONNECT\nhost:h\nlogin:l\npasscode:p\n\n\0",
    ),
    (("1.1",), lambda v: commands.connect(version=v, host="h"), b"CONNECT\naccept-version:1.1\nhost:h\n\n\0"),
    (
        ("1.2",),
        lambda v: commands.connect(version=v, host="", login="", heartbeat=(0, 2)),
        b"CONNECT\naccept-version:1.2\nheart-beat:0,2000\nhost:\nlogin:\n\n\0",
    ),
    (("1.1",), lambda v: commands.stomp(version=v, host="h"), b"STOMP\naccept-version:1.1\nhost:h\n\n\0"),
    (ALL, lambda v: commands.send("/q", version=v), b"SEND\ndestination:/q\ncontent-length:0\n\n\0"),
    (ALL, lambda v: commands.send("/q", b"a\0", version=v), b"SEND\ndestination:/q\ncontent-length:2\n\na\0\0"),
    (ALL, lambda v: commands.send("/q", b"a", auto_content_length=False, version=v), b"SEND\ndestination:/q\n\na\0"),
    (
        ALL,
        lambda v: commands.send("/q", b"", {"x": "y"}, content_type="a/b", transaction="t", receipt="r", version=v),
        b"SEND\ndestination:/q\ncontent-type:a/b\ncontent-length:0\ntransaction:t\nreceipt:r\nx:y\n\n\0",
    ),
    (
        ("1.0",),
        lambda v: commands.send("/q", "ü", version=v),
        b"SEND\ndestination:/q\ncontent-type:text/plain;charset=utf-8\ncontent-length:2\n\n\xc3\xbc\0",
    ),
    (("1.0",), lambda v: commands.subscribe("/q", version=v), b"SUBSCRIBE\ndestination:/q\nack:auto\n\n\0"),
    (ALL, lambda v: commands.subscribe("/q", "1", version=v), b"SUBSCRIBE\ndestination:/q\nid:1\nack:auto\n\n\0"),
    (
        ALL,
        lambda v: commands.subscribe("/q", "1", "client", {"selector": "a"}, receipt="r", version=v),
        b"SUBSCRIBE\ndestination:/q\nid:1\nack:client\nreceipt:r\nselector:a\n\n\0",
    ),
    (
        LATER,
        lambda v: commands.subscribe("/q", "1", "client-individual", version=v),
        b"SUBSCRIBE\ndestination:/q\nid:1\nack:client-individual\n\n\0",
    ),
    (ALL, lambda v: commands.unsubscribe("1", version=v), b"UNSUBSCRIBE\nid:1\n\n\0"),
    (ALL, lambda v: commands.unsubscribe("1", "/q", receipt="r", version=v), b"UNSUBSCRIBE\nid:1\nreceipt:r\n\n\0"),
    (("1.0",), lambda v: commands.unsubscribe(destination="/q", version=v), b"UNSUBSCRIBE\ndestination:/q\n\n\0"),
    (("1.0",), lambda v: commands.ack(MESSAGE, version=v), b"ACK\nmessage-id:m:1\n\n\0"),
    (("1.1",), lambda v: commands.ack(MESSAGE, version=v), b"ACK\nmessage-id:m\\c1\nsubscription:s\n\n\0"),
    (("1.2",), lambda v: commands.ack(MESSAGE, version=v), b"ACK\nid:a\\c1\n\n\0"),
    (("1.1",), lambda v: commands.nack(MESSAGE, version=v), b"NACK\nmessage-id:m\\c1\nsubscription:s\n\n\0"),
    (
        ("1.2",),
        lambda v: commands.nack(MESSAGE, "t", {"x": "y"}, receipt="r", version=v),
        b"NACK\nid:a\\c1\ntransaction:t\nreceipt:r\nx:y\n\n\0",
    ),
    (ALL, lambda v: commands.begin("t", version=v), b"BEGIN\ntransaction:t\n\n\0"),
    (
        ALL,
        lambda v: commands.commit("t", {"x": "y"}, receipt="r", version=v),
        b"COMMIT\ntransaction:t\nreceipt:r\nx:y\n\n\0",
    ),
    (ALL, lambda v: commands.abort("t", version=v), b"ABORT\ntransaction:t\n\n\0"),
    (ALL, lambda v: commands.disconnect(version=v), b"DISCONNECT\n\n\0"),
    (ALL, lambda v: commands.disconnect("r", {"x": "y"}, version=v), b"DISCONNECT\nreceipt:r\nx:y\n\n\0"),
]

# (versions, what is called, the exception, words of its message)
REFUSED: list[tuple[tuple[str, ...], Call, type[Exception], str]] = [
    (LATER, lambda v: commands.connect(version=v), ProtocolError, "host"),
    (LATER, lambda v: commands.stomp(version=v), ProtocolError, "STOMP needs a host"),
    (("1.0",), lambda v: commands.stomp(version=v, host="h"), ProtocolError, "1.0 knows CONNECT"),
    (LATER, lambda v: commands.connect(version=v, host="h", heartbeat=(-1, 0)), ValueError, "heartbeat"),
    (ALL, lambda v: commands.send("", version=v), ValueError, "destination"),
    (ALL, lambda v: commands.subscribe("", "1", version=v), ValueError, "destination"),
    (LATER, lambda v: commands.subscribe("/q", version=v), ProtocolError, "needs an id"),
    (
        ("1.0",),
        lambda v: commands.subscribe("/q", ack="client-individual", version=v),
        ProtocolError,
        "1.0 has no ack mode",
    ),
    (ALL, lambda v: commands.subscribe("/q", "1", "none", version=v), ProtocolError, "auto, client"),
    (LATER, lambda v: commands.unsubscribe(destination="/q", version=v), ProtocolError, "needs an id"),
    (("1.0",), lambda v: commands.unsubscribe(version=v), ProtocolError, "an id or a destination"),
    (("1.0",), lambda v: commands.nack(MESSAGE, version=v), ProtocolError, "1.0 has no NACK"),
    (("1.0", "1.1"), lambda v: commands.ack(Frame("MESSAGE", {"ack": "1"}), version=v), ProtocolError, "message-id"),
    (("1.1",), lambda v: commands.ack(Frame("MESSAGE", {"message-id": "1"}), version=v), ProtocolError, "subscription"),
    (("1.2",), lambda v: commands.ack(Frame("MESSAGE", {"message-id": "1"}), version=v), ProtocolError, "ack header"),
    (ALL, lambda v: commands.begin("", version=v), ValueError, "transaction"),
    (ALL, lambda v: commands.commit("", version=v), ValueError, "transaction"),
    (ALL, lambda v: commands.abort("", version=v), ValueError, "transaction"),
]


@pytest.mark.parametrize(
    ("version", "call", "wire"), [(version, call, wire) for versions, call, wire in ALLOWED for version in versions]
)
def test_what_a_version_allows_is_said_to_the_letter(version: str, call: Call, wire: bytes) -> None:
    assert encode(call(version), version) == wire


@pytest.mark.parametrize(
    ("version", "call", "error", "words"),
    [(version, call, error, words) for versions, call, error, words in REFUSED for version in versions],
)
def test_what_a_version_refuses_is_said_why(version: str, call: Call, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(version)


def test_every_command_is_allowed_or_refused_in_every_version() -> None:
    rows = [(versions, call) for versions, call, *_ in ALLOWED] + [(versions, call) for versions, call, *_ in REFUSED]

    def covered(version: str) -> set[str]:
        return {call.__code__.co_names[1] for versions, call in rows if version in versions}

    names = {
        "connect",
        "stomp",
        "send",
        "subscribe",
        "unsubscribe",
        "ack",
        "nack",
        "begin",
        "commit",
        "abort",
        "disconnect",
    }
    for version in VERSIONS:
        assert names <= covered(version)


@pytest.mark.parametrize(
    "call",
    [
        lambda: commands.connect(version="1.3", host="h"),
        lambda: commands.connect(("1.2", "2.0"), host="h"),
        lambda: commands.stomp(("3",), host="h"),
        lambda: commands.send("/q", version="2"),
        lambda: commands.subscribe("/q", "1", version="2"),
        lambda: commands.unsubscribe("1", version="2"),
        lambda: commands.ack(MESSAGE, version="2"),
        lambda: commands.nack(MESSAGE, version="2"),
        lambda: commands.begin("t", version="2"),
        lambda: commands.disconnect(version="2"),
    ],
)
def test_a_version_that_does_not_exist_is_a_value_error(call: Callable[[], Frame]) -> None:
    with pytest.raises(ValueError, match="no STOMP version"):
        call()


def test_connect_offers_in_order_and_at_least_one() -> None:
    frame = commands.connect(("1.2", "1.0", "1.1", "1.2"), "h", headers={"client-id": "c"})
    assert frame.headers.pairs == (("accept-version", "1.0,1.1,1.2"), ("host", "h"), ("client-id", "c"))
    assert commands.stomp(host="h").headers["accept-version"] == "1.1,1.2"
    with pytest.raises(ValueError, match="no STOMP version to offer"):
        commands.connect((), "h")
    with pytest.raises(ProtocolError):
        commands.stomp(("1.0", "1.1"), "h")


def test_the_headers_of_the_application_win() -> None:
    frame = commands.send("/q", b"ab", {"content-length": "9", "destination": "/r", "x": "y"})
    assert frame.headers == {"destination": "/r", "content-length": "9", "x": "y"}
    assert (
        commands.subscribe("/q", "1", headers=Headers([("ack", "first"), ("ack", "second")])).headers["ack"] == "first"
    )
    assert commands.connect(host="h", headers={"host": "other"}).headers["host"] == "other"
    assert commands.begin("t", {"transaction": "u"}).headers == {"transaction": "u"}


def test_bodies_of_every_kind() -> None:
    for body in (b"abcd", bytearray(b"abcd"), memoryview(b"abcd"), memoryview(b"abcd").cast("i")):
        frame = commands.send("/q", body)
        assert (frame.body, frame.headers["content-length"]) == (b"abcd", "4")
        assert "content-type" not in frame.headers
    assert commands.send("/q", "x", content_type="text/csv").headers["content-type"] == "text/csv"
    assert commands.send("/q", "x", {"content-type": "a/b"}).headers.getall("content-type") == ["a/b"]
    with pytest.raises(ValueError, match="content-length"):
        encode(commands.send("/q", b"\0", auto_content_length=False), "1.2")


def test_an_ack_names_the_message_as_it_came() -> None:
    for version in VERSIONS:
        repeated = Frame("MESSAGE", [("message-id", "1"), ("message-id", "2"), ("subscription", "s"), ("ack", "1")])
        assert "2" not in commands.ack(repeated, version=version).headers.values()


class Priority(str, Enum):  # noqa: UP042  # as applications have them: format() gives their name
    HIGH = "9"


class Text(str):
    """Prints otherwise than its value."""

    __slots__ = ()

    def __str__(self) -> str:
        return "not the value"


def test_a_subclass_of_str_is_sent_by_its_value() -> None:
    frame = commands.send(Text("/q"), Text("body"), {"priority": Priority.HIGH, Text("a:b"): Text("x:y")})
    for headers in (frame.headers, dict(frame.headers)):
        wire = encode(Frame("SEND", headers, frame.body), "1.2")
        assert b"\npriority:9\na\\cb:x\\cy\n\nbody\0" in wire
        assert b"\ndestination:/q\n" in b"\n" + wire


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"priority": 5}, r"header 'priority' must be a str, not int; write str\(5\)"),
        ({"persistent": True}, r"not bool; write str\(True\)"),
        ({"priority": 5.5}, r"not float; write str\(5.5\)"),
        ({"a": None}, "header 'a' must be a str, not NoneType; leave it out"),
        ({"a": b"x"}, r"header 'a' must be a str, not bytes; decode\(\) it"),
        ({"a": ["x"]}, "header 'a' must be a str, not list$"),
        ({5: "a"}, "header name 5 must be a str, not int"),
        ({None: "a"}, "header name None must be a str"),
        ({"passcode": 12345}, r"write str\(\*\*\*\)"),
        ("text", "headers must be a mapping of str to str, not str"),
        (["text"], "headers must be a mapping of str to str, not list"),
        (5, "headers must be a mapping of str to str, not int"),
    ],
)
def test_a_header_that_is_no_str_is_refused_by_its_name(headers: Any, words: str) -> None:
    for version in VERSIONS:
        with pytest.raises(TypeError, match=words) as caught:
            encode(commands.send("/q", b"", headers, version=version), version)
        assert "12345" not in str(caught.value)
        assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize("wrong", [None, 5, b"/q", ["/q"]])
def test_an_argument_that_is_no_str_is_refused_by_its_name(wrong: Any) -> None:
    calls: list[tuple[str, Callable[[], Frame]]] = [
        ("destination", lambda: commands.send(wrong)),
        ("destination", lambda: commands.subscribe(wrong, "1")),
        ("transaction", lambda: commands.begin(wrong)),
        ("transaction", lambda: commands.commit(wrong)),
    ]
    if wrong is not None:
        calls += [
            ("transaction", lambda: commands.send("/q", transaction=wrong)),
            ("receipt", lambda: commands.send("/q", receipt=wrong)),
            ("content-type", lambda: commands.send("/q", content_type=wrong)),
            ("receipt", lambda: commands.disconnect(wrong)),
            ("login", lambda: commands.connect(host="/", login=wrong)),
        ]
    for name, call in calls:
        with pytest.raises(TypeError, match=f"{name}'? must be a str, not {type(wrong).__name__}"):
            encode(call(), "1.2")


def test_a_pair_that_is_no_pair_is_refused_when_the_frame_is_made() -> None:
    wrong: list[Any] = [[("a",), ("b", "c", "d")], ["abc"], [("a", "b", "c")]]
    for pairs in wrong:
        with pytest.raises(ValueError, match="unpack"):
            Frame("SEND", pairs)


def python_calls(call: Callable[[], object]) -> int:
    """How many Python functions run within a call, its own not counted, once what is made at the first use is there."""
    call()
    names: list[str] = []
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, _: names.append(frame.f_code.co_name) if event == "call" else None)
    try:
        call()
    finally:
        sys.setprofile(before)
    return len(names) - 1


def test_a_frame_takes_few_calls_each_way() -> None:
    """What every message costs: a helper more on this way is one more for each of a hundred thousand a second."""
    wire = b"MESSAGE\ndestination:/q\nmessage-id:ID-1\nack:a\\c1\nsubscription:1\ncontent-length:1\n\nx\0\n"
    decoder = Decoder("1.2")
    [message] = decoder.feed(wire)
    assert python_calls(lambda: decoder.feed(wire)) <= 4
    assert python_calls(lambda: encode(commands.send("/q", b"x", {"a": "b"}), "1.2")) <= 6
    assert python_calls(lambda: encode(commands.send("/q", "x", {"a": "b:c"}, receipt="1"), "1.2")) <= 8
    assert python_calls(lambda: encode(commands.ack(message), "1.2")) <= 12
    assert python_calls(lambda: message.headers["destination"]) <= 1
