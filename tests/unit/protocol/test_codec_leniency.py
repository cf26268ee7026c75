"""Frames of brokers that break the specification: they are read as far as they can be, and the connection goes on."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Iterator
from typing import Any

import pytest

from stomplistener.errors import InvalidHeader, ProtocolError
from stomplistener.protocol import HEARTBEAT, Decoder, Frame, Limits, commands, decoder, encode
from stomplistener.protocol.frame import without

NEXT = b"\nMESSAGE\nn:1\n\nnext\0\n"
NEXT_FRAME = Frame("MESSAGE", {"n": "1"}, b"next")


def each_way(data: bytes) -> Iterator[list[bytes]]:
    """Whole, byte by byte, in two at every place."""
    yield [data]
    yield [data[start : start + 1] for start in range(len(data))]
    for cut in range(1, len(data)):
        yield [data[:cut], data[cut:]]


def run(chunks: list[bytes], version: str | None = "1.2", **options: Any) -> tuple[list[Frame], ProtocolError | None]:
    decoder = Decoder(version, **options)
    frames: list[Frame] = []
    try:
        for chunk in chunks:
            frames += decoder.feed(chunk)
    except ProtocolError as error:
        return frames + error.frames, error
    assert not decoder.partial
    return frames, None


# (version, bytes, the frame that is read of them, words of what is wrong)
LENIENT: list[tuple[str, bytes, Frame, str]] = [
    ("1.1", b"MESSAGE\nk:a\\rb\n\nx\0", Frame("MESSAGE", {"k": "a\\rb"}, b"x"), "undefined escape"),
    ("1.2", b"MESSAGE\nk:a\\tb\\cc\n\n\0", Frame("MESSAGE", {"k": "a\\tb:c"}), "undefined escape"),
    ("1.2", b"MESSAGE\nk:\\\\\\x\\\n\n\0", Frame("MESSAGE", {"k": "\\\\x\\"}), "undefined escape"),
    ("1.2", b"RECEIPT\nreceipt-id:\\x\n\n\0", Frame("RECEIPT", {"receipt-id": "\\x"}), "undefined escape"),
    ("1.2", b"MESSAGE\na:1\nno colon\nb:2\n\nx\0", Frame("MESSAGE", {"a": "1", "b": "2"}, b"x"), "b'no colon'"),
    ("1.0", b"MESSAGE\nno colon\n\nx\0", Frame("MESSAGE", {}, b"x"), "no name or no colon"),
    ("1.1", b"MESSAGE\na:1\n:value\n\nx\0", Frame("MESSAGE", {"a": "1"}, b"x"), "b':value'"),
    ("1.1", b"MESSAGE\na:1\n\r\nb:2\n\nx\0", Frame("MESSAGE", {"a": "1", "b": "2"}, b"x"), "b'\\\\r'"),
    ("1.2", b"MESSAGE\na:\xff\nb:\xc3\xa9\n\nx\0", Frame("MESSAGE", {"a": "\ufffd", "b": "é"}, b"x"), "not UTF-8"),
    ("1.2", b"MESSAGE\n\xff:1\n\nx\0", Frame("MESSAGE", {"\ufffd": "1"}, b"x"), "not UTF-8"),
    (
        "1.2",
        b"MESSAGE\r\na:\xff\r\nb\r\nc:\\x\r\n\r\nx\0",
        Frame("MESSAGE", {"a": "\ufffd", "c": "\\x"}, b"x"),
        "not UTF-8.*no colon.*undefined escape",
    ),
    *[
        (
            "1.2",
            b"MESSAGE\ncontent-length:%b\n\nabc\0" % text,
            Frame("MESSAGE", {"content-length": text.decode()}, b"abc"),
            words,
        )
        for text, words in [
            *[
                (text, "not a number")
                for text in (b"", b"-3", b"+3", b"3.0", b"0x3", b"3_0", b"\xd9\xa3", b"9" * 19, b"a")
            ],
            # Too small: characters instead of bytes, say.
            *[(text, "no NUL follows") for text in (b"0", b"1", b"2")],
            # Too large: what stands behind the first NUL is the beginning of the next frame.
            *[(text, "no NUL follows") for text in (b"4", b"5", b"8", b"12", b"13", b"20", b"21", b"23")],
        ]
    ],
]


@pytest.mark.parametrize(("version", "wire", "expected", "words"), LENIENT, ids=[repr(row[1]) for row in LENIENT])
def test_a_frame_whose_end_is_known_is_read_as_far_as_it_can_be(
    version: str, wire: bytes, expected: Frame, words: str
) -> None:
    seen = set()
    for chunks in each_way(wire + NEXT):
        frames, error = run(chunks, version)
        assert error is None, chunks
        assert frames == [expected, NEXT_FRAME], chunks
        assert frames[1].problem is None
        seen.add(frames[0].problem)
    [problem] = seen
    assert problem is not None
    assert re.search(words, problem), problem
    assert "problem=" in frames[0].info
    assert len(problem) < 500


@pytest.mark.parametrize(
    "wire",
    [
        # What stands behind the first NUL is no beginning of a frame, so either end may be the right one.
        b"MESSAGE\ncontent-length:5\n\na\0bcdef\0",
        b"MESSAGE\ncontent-length:3\n\n\0\xff\xffx\0",
        b"RECEIPT\ncontent-length:2\n\n\0\0x\0",
    ],
)
def test_a_frame_whose_end_is_not_known_is_fatal(wire: bytes) -> None:
    for chunks in each_way(wire + NEXT):
        frames, error = run(chunks)
        assert frames == []
        assert error is not None
        assert "no NUL follows its body" in str(error)


@pytest.mark.parametrize(
    "wire",
    [
        b"%b\nk\n\n\0",
        b"%b\nk:\xff\n\n\0",
        b"%b\ncontent-length:x\n\n\0",
        b"%b\ncontent-length:1\n\nabc\0",
        b"%b\n:v\n\n\0",
    ],
)
@pytest.mark.parametrize("command", [b"CONNECTED", b"CONNECT", b"STOMP", b"SEND", b"SUBSCRIBE", b"ACK", b"DISCONNECT"])
def test_a_handshake_and_the_frames_of_a_client_are_read_strictly(command: bytes, wire: bytes) -> None:
    for chunks in each_way(wire % command + b"\nMESSAGE\n\n\0"):
        frames, error = run(chunks)
        assert frames == []
        assert error is not None


@pytest.mark.parametrize(
    ("junk", "beats"),
    [
        (b"\0", 0),
        (b"\0\n", 1),
        (b"\0\n\n", 2),
        (b"junk", 0),
        (b"junk\0", 0),
        (b"junk\nmore\0\n\n", 2),
        (b"MESSAGE \nk:v\n\nbody\0\n", 1),
        (b"\rX", 0),
        (b"\xff\xfe\n\nMESSAG\n", 0),
        (b"one\0two\0\nthree", 0),
        (b"RECEIPTS\n", 0),
    ],
)
@pytest.mark.parametrize("before", [b"MESSAGE\n\nx\0", b"RECEIPT\nreceipt-id:1\n\n\0", b"ERROR\nbad\n\n\0\n"])
def test_bytes_behind_a_frame_are_skipped_and_told_with_the_next(before: bytes, junk: bytes, beats: int) -> None:
    seen = set()
    for chunks in each_way(before + junk + NEXT + NEXT[1:]):
        frames, error = run(chunks, None)
        assert error is None, chunks
        assert [frame for frame in frames if frame is not HEARTBEAT][1:] == [NEXT_FRAME, NEXT_FRAME], chunks
        assert sum(frame is HEARTBEAT for frame in frames) == beats, chunks
        assert frames[-1].problem is None
        seen.add(frames[-2].problem)
    [problem] = seen
    assert problem is not None
    assert "bytes before it belong to no frame" in problem


def test_bytes_behind_a_frame_have_a_limit_and_do_not_gather() -> None:
    limits = Limits(max_header_bytes=1000)
    for unit in (b"junk\n", b"\0", b"x", b"\nMESSAG", b"a\0\n\n"):
        enough, too_much = (990 // len(unit)) * unit, (1000 // len(unit) + 2) * unit
        for size in (1, 7, 5000):
            decoder = Decoder("1.2", limits)
            decoder.feed(b"MESSAGE\n\n\0")
            for start in range(0, len(enough), size):
                decoder.feed(enough[start : start + size])
            [frame] = [f for f in decoder.feed(b"\nMESSAGE\n\n\0") if f is not HEARTBEAT]
            assert frame.problem is not None
            assert "bytes before it belong to no frame" in frame.problem
            decoder = Decoder("1.2", limits)
            decoder.feed(b"MESSAGE\n\n\0")
            with pytest.raises(ProtocolError, match=r"Limits\.max_header_bytes"):  # noqa: PT012
                for start in range(0, len(too_much) * 3, size):
                    decoder.feed((too_much * 3)[start : start + size])


def test_junk_is_fatal_at_the_beginning_and_behind_a_handshake_or_a_frame_of_a_client() -> None:
    for before in (b"", b"CONNECTED\nversion:1.2\n\n\0", b"SEND\n\n\0", b"CONNECT\n\n\0"):
        for chunks in each_way(before + b"junk\0" + NEXT):
            _, error = run(chunks, None)
            assert error is not None
            assert "unknown command" in str(error)


# An ERROR is never refused for its form: its words are all that says why the connection ends.

ERRORS: list[tuple[bytes, Frame]] = [
    (b"ERROR\n\nwhy\0", Frame("ERROR", {}, b"why")),
    (b"ERROR\nno colon\n\nwhy\0", Frame("ERROR", {}, b"why")),
    (b"ERROR\nmessage:caf\xe9\n\nwhy\0", Frame("ERROR", {"message": "caf\ufffd"}, b"why")),
    (b"ERROR\nmessage:C:\\temp\n\n\0", Frame("ERROR", {"message": "C:\\temp"})),
    (b"ERROR\ncontent-length:1\n\nwhy\0", Frame("ERROR", {"content-length": "1"}, b"why")),
    (b"ERROR\ncontent-length:9\n\nwhy\0not a frame\0", Frame("ERROR", {"content-length": "9"}, b"why")),
    (b"ERROR\ncontent-length:many\n\nwhy\0", Frame("ERROR", {"content-length": "many"}, b"why")),
    (b"ERROR\nmessage:why\n\0", Frame("ERROR", {"message": "why"})),
    (b"ERROR\nmessage:why\0", Frame("ERROR", {"message": "why"})),
    (b"ERROR\n\0", Frame("ERROR")),
    (b"ERROR\r\nmessage:why\r\n\0", Frame("ERROR", {"message": "why"})),
    (b"ERROR\ncontent-length:7\nmessage:why\n\0", Frame("ERROR", {"content-length": "7", "message": "why"})),
]


@pytest.mark.parametrize(("wire", "expected"), ERRORS, ids=[repr(row[0]) for row in ERRORS])
@pytest.mark.parametrize("before", [b"", b"CONNECTED\nversion:1.2\n\n\0\n"])
def test_an_error_is_never_refused_for_its_form(before: bytes, wire: bytes, expected: Frame) -> None:
    for chunks in each_way(before + wire):
        decoder, frames = Decoder(), []
        for chunk in chunks:
            frames += decoder.feed(chunk)
        assert frames[-1] == expected or expected in frames, chunks


def test_an_error_beyond_the_limits_is_fatal() -> None:
    for wire in (b"ERROR\n" + b"a:b\n" * 5 + b"\n\0", b"ERROR\n\n" + b"x" * 20, b"ERROR\ncontent-length:20\n\n"):
        for chunks in ([wire], [wire[i : i + 1] for i in range(len(wire))]):
            _, error = run(chunks, limits=Limits(max_headers=3, max_body=10))
            assert error is not None
            assert "Limits" in str(error)


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (b"ERROR\nmessage:why\n\nmore", Frame("ERROR", {"message": "why"}, b"more")),
        (b"ERROR\nmessage:why\n\n", Frame("ERROR", {"message": "why"})),
        (b"ERROR\nmessage:why\n", Frame("ERROR", {"message": "why"})),
        (b"ERROR\r\nmessage:why\r\n", Frame("ERROR", {"message": "why"})),
        (b"ERROR\nmessage:why", Frame("ERROR", {"message": "why"})),
        (b"ERROR\n", Frame("ERROR")),
        (b"ERROR\ncontent-length:99\n\nwhy\0\n", Frame("ERROR", {"content-length": "99"}, b"why")),
        (b"ERR", None),
        (b"MESSAGE\na:b\n\nbody", None),
        (b"MESSAGE\na:b\n", None),
        (b"RECEIPT\n\n\0", None),
        (b"RECEIPT\n\n\0junk", None),
        (b"", None),
    ],
)
def test_an_error_that_the_end_of_the_stream_cut_off_can_be_read(wire: bytes, expected: Frame | None) -> None:
    for chunks in each_way(wire):
        decoder = Decoder("1.2")
        for chunk in chunks:
            decoder.feed(chunk)
        frame = decoder.finish()
        assert frame == expected, chunks
        assert frame is None or "the connection ended within ERROR" in str(frame.problem)
        assert not decoder.partial
        with pytest.raises(ProtocolError, match="new one"):
            decoder.feed(b"\n")


def test_nothing_is_read_of_an_error_that_is_too_long_or_behind_a_failure() -> None:
    reader = Decoder("1.2", Limits(max_header_bytes=8))
    assert reader.feed(b"ERROR\nabc:defgh") == []
    assert reader.finish() is None
    reader = Decoder("1.2")
    with pytest.raises(ProtocolError):
        reader.feed(b"junk")
    assert reader.finish() is None


# What an application makes of such a frame


@pytest.mark.parametrize(("version", "source"), [("1.0", "message-id"), ("1.1", "message-id"), ("1.2", "ack")])
def test_an_id_that_is_not_utf_8_goes_back_byte_for_byte(version: str, source: str) -> None:
    wire = b"MESSAGE\n%b:id-\xff\xe9\nsubscription:1\nother:\xff\n\n\0" % source.encode()
    [frame] = Decoder(version).feed(wire)
    assert frame.headers["other"] == "\ufffd"
    ack = encode(commands.ack(frame, version=version), version)
    assert b":id-\xff\xe9\n" in ack
    assert Decoder(version).feed(ack) == [commands.ack(frame, version=version)]
    assert b":id-\xff\xe9\n" in encode(commands.ack(frame, "t", receipt="r", version=version), version)
    with pytest.raises(InvalidHeader, match="UTF-8"):
        encode(Frame("SEND", dict(frame.headers)), version)
    with pytest.raises(InvalidHeader, match="UTF-8"):
        encode(Frame("ACK", {"id": "\ud800"}), version)
    assert frame.info.isprintable()


def test_an_id_with_an_undefined_escape_goes_back_as_it_was_read() -> None:
    [frame] = Decoder("1.2").feed(b"MESSAGE\nack:a\\x\\c\n\n\0")
    assert encode(commands.ack(frame), "1.2") == b"ACK\nid:a\\\\x\\c\n\n\0"


def test_no_problem_shows_a_secret() -> None:
    secret = "s3cr3t-of-mine"
    wire = b"MESSAGE\npasscode:\xff%b\n\n\0MESSAGE\nx:\xff %b\n\n\0token:%b\0ERROR\n%b\n\n\0"
    frames, error = run([wire.replace(b"%b", secret.encode())], secrets=[secret])
    assert error is None
    assert [frame.command for frame in frames] == ["MESSAGE", "MESSAGE", "ERROR"]
    for frame in frames:
        assert frame.problem is not None
        assert secret not in frame.problem
        assert "***" in frame.problem
    error_frame = without(Frame("ERROR", {}, b"", f"what {secret}"), [secret])
    assert error_frame.problem == "what ***"


def test_a_problem_goes_where_its_frame_goes() -> None:
    [frame] = Decoder("1.2").feed(b"MESSAGE\nno colon\n\n\0")
    for again in (copy.copy(frame), pickle.loads(pickle.dumps(frame)), frame.adding("a", "b")):
        assert again.problem == frame.problem
    assert frame.adding("a", "b").header("a") == "b"
    assert Frame("SEND").problem is None
    assert commands.send("/q").problem is None


# Exceptions from within


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("wire", [b"MESSAGE\n\n\0", b"MESSAGE\r\n\r\n\0", b"CONNECTED\n\n\0"])
def test_a_decoder_that_was_interrupted_stays_failed(
    monkeypatch: pytest.MonkeyPatch, wire: bytes, error: type[BaseException]
) -> None:
    def fail(*_: object) -> None:
        raise error

    reader = Decoder("1.2")
    with monkeypatch.context() as patch:
        patch.setattr(decoder, "ReceivedFrame", fail)
        with pytest.raises(error):
            reader.feed(wire)
    for chunk in (b"\n", b"", b"MESSAGE\n\n\0"):
        with pytest.raises(ProtocolError, match="interrupted"):
            reader.feed(chunk)
