"""Frames as values; what a person may read of them."""

from __future__ import annotations

import copy
import json
import pickle
from collections import ChainMap
from collections.abc import Callable
from typing import Any

import pytest

from stomplistener.errors import ProtocolError
from stomplistener.protocol import HEARTBEAT, Decoder, Frame, Headers, Limits, commands, encode
from stomplistener.protocol.frame import without

SECRET = "s3cr3t-of-mine"


def test_headers_are_a_mapping_in_which_the_first_counts() -> None:
    headers = Headers([("a", "1"), ("b", "2"), ("a", "3")])
    assert headers["a"] == "1"
    assert headers.get("c") is None
    assert list(headers) == ["a", "b"]
    assert len(headers) == 2
    assert "b" in headers
    assert "c" not in headers
    assert headers.getall("a") == ["1", "3"]
    assert headers.getall("c") == []
    assert headers.pairs == (("a", "1"), ("b", "2"), ("a", "3"))
    assert headers == {"a": "1", "b": "2"}
    assert dict(Headers(headers)) == dict(headers)
    assert Headers(headers).pairs == headers.pairs
    with pytest.raises(KeyError):
        headers["c"]
    with pytest.raises(TypeError):
        headers["c"] = "1"


def test_a_repr_shows_the_header_that_counts() -> None:
    pairs = [("a", "first"), ("a", "second")]
    assert "'first'" in repr(Frame("MESSAGE", pairs))
    assert "'first'" in repr(Headers(pairs))


def test_a_frame_keeps_its_own_copy_of_what_may_change() -> None:
    body, headers = bytearray(b"abc"), {"a": "1"}
    frame = Frame("SEND", headers, body)
    body[0] = 0
    headers["a"] = "2"
    assert frame.body == b"abc"
    assert frame.headers["a"] == "1"
    assert type(Frame("SEND", {}, memoryview(b"xy")).body) is bytes


def test_frames_are_equal_by_value() -> None:
    [received] = Decoder("1.2").feed(b"MESSAGE\na:\\c\nb:\n\nx\0")
    assert received == Frame("MESSAGE", {"a": ":", "b": ""}, b"x")
    assert received != Frame("MESSAGE", {"b": "", "a": ":"}, b"x")
    assert received != Frame("SEND", {"a": ":", "b": ""}, b"x")
    assert received != Frame("MESSAGE", {"a": ":", "b": ""}, b"y")
    assert Frame("SEND") != "SEND"
    with pytest.raises(TypeError):
        hash(received)


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_one_header_is_the_same_looked_up_either_way(version: str) -> None:
    wire = b"MESSAGE\na:b:c\nab:\nx\\\\y:z\nempty:\na:again\nlast:\\\\\n\n\0"
    keys = ["a", "ab", "b", "empty", "last", "nothing", "", "a:b", "x\\y", "x\\\\y", "empty:\na", "b:c\nab", "\na", "A"]
    for key in keys:
        [quick] = Decoder(version).feed(wire)
        [whole] = Decoder(version).feed(wire)
        assert quick.header(key) == whole.headers.get(key), key
        assert whole.header(key) == whole.headers.get(key), key


def test_headers_cannot_be_changed_and_can_be_copied() -> None:
    headers = Headers([("a", "1"), ("a", "2")])
    changes: list[Callable[[Any], object]] = [
        lambda h: h.update(a="2"),
        lambda h: h.pop("a"),
        lambda h: h.popitem(),
        lambda h: h.clear(),
        lambda h: h.setdefault("b", "2"),
        lambda h: h.__delitem__("a"),
        lambda h: h.__ior__({"b": "2"}),
    ]
    for change in changes:
        with pytest.raises(TypeError, match="copy"):
            change(headers)
    assert json.dumps(headers) == '{"a": "1"}'
    for again in (pickle.loads(pickle.dumps(headers)), copy.copy(headers), copy.deepcopy(headers)):
        assert type(again) is Headers
        assert again.pairs == headers.pairs
    assert headers | {"b": "2"} == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    "headers", [{"a": "1"}, [("a", "1"), ("b", "2"), ("b", "3")], Headers({"a": "1"}), ChainMap({})]
)
def test_one_header_more_gives_another_frame(headers: Any) -> None:
    frame = Frame("SEND", headers, b"x")
    more = frame.adding("receipt", "7")
    assert more.headers.pairs == (*frame.headers.pairs, ("receipt", "7"))
    assert (more.command, more.body) == ("SEND", b"x")
    assert more.header("receipt") == "7"
    assert frame.header("receipt") is None
    assert more.adding("receipt", "8").headers.getall("receipt") == ["8"]


def test_a_received_frame_can_be_given_one_header_more() -> None:
    [frame] = Decoder("1.2").feed(b"MESSAGE\na:\\c\na:2\n\nx\0")
    assert frame.adding("b", "3") == Frame("MESSAGE", [("a", ":"), ("a", "2"), ("b", "3")], b"x")


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        (None, r'not None: give b"" for an empty one'),
        *((number, rf"not {type(number).__name__}: write str\({number}\), or use json=") for number in (5, 1.5, True)),
        *((one, f"not {type(one).__name__}: json.dumps") for one in (["a"], [1, 2], {"a": 1}, {1}, object())),
    ],
)
def test_a_body_of_a_wrong_type_is_refused_with_advice(body: Any, advice: str) -> None:
    makes: list[Callable[[], Frame]] = [lambda: Frame("SEND", {}, body), lambda: commands.send("/q", body)]
    for make in makes:
        with pytest.raises(TypeError, match=advice) as caught:
            make()
        assert caught.value.__context__ is None
    with pytest.raises(TypeError, match="encode"):
        Frame("SEND", {}, "text")  # type: ignore[arg-type]


def test_the_size_of_a_frame_counts_its_headers_and_its_body() -> None:
    assert Frame("SEND", {"a": "12", "bc": ""}, b"xyz").size == 8
    assert Frame("SEND", [("a", "1"), ("a", "2")], b"xyz").size == 7
    [received] = Decoder("1.2").feed(b"MESSAGE\na:12\nbc:\n\nxyz\0")
    assert received.size >= 8


def test_secrets_are_replaced_in_an_error_alone() -> None:
    error = without(Frame("ERROR", {"message": f"no {SECRET}", "content-length": "14"}, SECRET.encode()), [SECRET])
    assert error == Frame("ERROR", {"message": "no ***"}, b"***")
    for frame, secrets in ((Frame("MESSAGE", {"a": SECRET}), [SECRET]), (Frame("ERROR", {"a": SECRET}), [])):
        assert without(frame, secrets) is frame


def test_heartbeat_is_no_frame_that_can_come() -> None:
    assert HEARTBEAT.command == ""
    assert HEARTBEAT is not Frame("")
    assert HEARTBEAT.info == ""


# Secrets


@pytest.mark.parametrize(
    "name", ["passcode", "Passcode", "PASSCODE", "authorization", "Authorization", "cookie", "Cookie", "token"]
)
def test_no_text_of_a_frame_shows_a_secret(name: str) -> None:
    pairs = [(name, SECRET), ("login", "guest"), (name, SECRET)]
    made = Frame("CONNECT", pairs)
    [received] = Decoder().feed(f"CONNECT\n{name}:{SECRET}\nlogin:guest\n{name}:{SECRET}\n\n\0".encode())
    for frame in (made, received):
        for text in (repr(frame), str(frame), f"{frame}", frame.info, repr(frame.headers), str(frame.headers)):
            assert SECRET not in text
            assert "guest" in text
            assert "***" in text
        assert frame.headers[name] == SECRET


def test_no_error_shows_a_secret() -> None:
    secret = f"passcode:{SECRET}".encode()
    long = f"passcode:{'A' * 40}{SECRET * 3}".encode()
    small = Limits(max_header_line=60, max_headers=2, max_header_bytes=150, max_body=5)
    for wire in (
        b"CONNECT\n" + long + b"\n\n\0",
        b"CONNECT\n" + secret + b"\na:b\nc:d\n\n\0",
        b"CONNECT\na:\xff\n" + secret + b"\n\n\0",
        b"CONNECT\na:b\n" + secret + b"\n\n123456789\0",
        b"CONNECT\n" + secret + b"\ncontent-length:9\n\n123456789\0",
        b"CONNECT\n" + secret + b"\ncontent-length:2\n\n123456789\0",
        b"CONNECT\n" + secret + b"\nnocolon\n\n\0",
        b"CONNECT\n" + secret + b"\ncontent-length:x\n\n\0",
        b"\rCONNECT\n" + secret + b"\n\n\0",
        b"HELLO\n" + secret + b"\n\n\0",
        b"SEND\nx:\\x\n" + secret + b"\\x\n\n\0",
        b"SEND\n" + secret + b"\\x\n\n\0",
    ):
        for size in (1, 9, len(wire)):
            decoder = Decoder("1.2", small)
            with pytest.raises(ProtocolError) as caught:  # noqa: PT012
                for start in range(0, len(wire), size):
                    decoder.feed(wire[start : start + size])
            shown = f"{caught.value} {caught.value!r} {caught.value.data!r} {caught.value.frame!r}"
            assert "s3cr3t" not in shown, shown
            assert "mine" not in shown, shown


def test_no_refusal_to_encode_shows_a_secret() -> None:
    for value in (f"{SECRET}\n", f"{SECRET}\r", f"{SECRET}\0", f"{SECRET}\ud800"):
        for frame in (Frame("CONNECT", {"passcode": value}), Frame("SEND", {"token": value})):
            with pytest.raises(ValueError) as caught:
                encode(frame, "1.0")
            assert "s3cr3t" not in f"{caught.value} {caught.value!r}"
            cause: BaseException | None = caught.value.__context__
            assert cause is None or caught.value.__suppress_context__
    frame = commands.connect(host="h", login="u", passcode=SECRET)
    assert SECRET not in frame.info + repr(frame)


def test_a_log_line_is_one_line() -> None:
    """A broker, or who sends through it, must not be able to write log lines of his own."""
    [frame] = Decoder("1.2").feed(b"MESSAGE\nk:v\\nERROR forged\\r\\n2\na\\nb:c\n\nbody\nmore\0")
    assert frame.headers["k"] == "v\nERROR forged\r\n2"
    for text in (frame.info, repr(frame)):
        assert len(text.splitlines()) == 1, text
    assert Frame("SEND", {"k": "plain ü", "j": "a:b"}).info == "SEND k:plain ü j:a:b"


def test_a_long_body_is_shown_at_a_glance() -> None:
    frame = Frame("SEND", {"destination": "/q"}, b"x" * 100_000)
    assert len(frame.info) < 200
    assert len(repr(frame)) < 200
    assert "100,000" in frame.info
