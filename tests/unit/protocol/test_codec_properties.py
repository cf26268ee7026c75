"""What must hold for every frame and every sequence of bytes, in any pieces."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stomplistener.errors import InvalidHeader, ProtocolError
from stomplistener.protocol import HEARTBEAT, VERSIONS, Decoder, Frame, Limits, encode
from stomplistener.protocol import commands as stomp
from stomplistener.protocol.spec import COMMANDS, SERVER_COMMANDS

NEGOTIATING = {"CONNECT", "STOMP", "CONNECTED"}
quick = settings(max_examples=20, deadline=None)

commands = st.sampled_from(sorted(COMMANDS - NEGOTIATING))
versions = st.sampled_from(sorted(VERSIONS))
# What may go wrong lies near the characters that mean something; the others stand for every width of UTF-8.
USUAL = "ab \tz.\x7f\x85éλ\u2028\ufeff\U0001f600"
texts = st.text(USUAL + "\\:\n\r\0ncr\ud800", max_size=8)
bodies = st.one_of(st.binary(max_size=40), st.text("\0\n\r:a", max_size=12).map(str.encode))


@st.composite
def frames(draw: st.DrawFn, characters: str, commands: st.SearchStrategy[str] = commands) -> Frame:
    """A frame that can be written, with those unusual characters in keys and values."""
    one = st.one_of(
        st.sampled_from(characters), st.characters(exclude_characters="\\:\n\r\0", exclude_categories=["Cs"])
    )
    text = st.text(one, max_size=8)
    keys = text.filter(lambda key: key not in ("", "content-length"))
    headers = draw(st.lists(st.tuples(keys, text), max_size=5))
    body = draw(bodies)
    if b"\0" in body or draw(st.booleans()):
        headers.insert(draw(st.integers(0, len(headers))), ("content-length", str(len(body))))
    return Frame(draw(commands), headers, body)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def run(decoder: Decoder, chunks: list[bytes]) -> tuple[list[Frame], str | None]:
    """All frames, and how the failure began if there was one."""
    frames: list[Frame] = []
    try:
        for chunk in chunks:
            frames += decoder.feed(chunk)
    except ProtocolError as error:
        return frames + error.frames, str(error).partition(":")[0]
    return frames, None


def same(left: list[Frame], right: list[Frame]) -> bool:
    beats = [a is HEARTBEAT for a in left] == [b is HEARTBEAT for b in right]
    return beats and left == right and [a.problem for a in left] == [b.problem for b in right]


places = st.lists(st.integers(0, 10_000), max_size=6)


def round_trip(version: str, many: list[Frame], places: list[int], beats: int) -> None:
    wire = b"".join(encode(frame, version) + b"\n" for frame in many) + b"\n" * beats
    for chunks in (cut(wire, places), [wire[i : i + 1] for i in range(len(wire))]):
        decoder = Decoder(version)
        got, failure = run(decoder, chunks)
        assert failure is None
        assert same(got, [*many, *[HEARTBEAT] * beats])
        assert not decoder.partial


@quick
@given(st.lists(frames("a \\t"), max_size=3), places, st.integers(0, 2))
def test_round_trip_1_0(many: list[Frame], places: list[int], beats: int) -> None:
    round_trip("1.0", many, places, beats)


@quick
@given(st.lists(frames("\\:\nnc"), max_size=3), places, st.integers(0, 2))
def test_round_trip_1_1(many: list[Frame], places: list[int], beats: int) -> None:
    round_trip("1.1", many, places, beats)


@quick
@given(st.lists(frames("\\:\n\rncr"), max_size=3), places, st.integers(0, 2))
def test_round_trip_1_2(many: list[Frame], places: list[int], beats: int) -> None:
    round_trip("1.2", many, places, beats)


@quick
@given(frames("\\ncr", st.sampled_from(sorted(NEGOTIATING))), versions, places)
def test_round_trip_of_the_handshake(frame: Frame, version: str, places: list[int]) -> None:
    wire = encode(frame, version)
    assert wire == encode(frame)
    assert run(Decoder(), cut(wire, places)) == ([frame], None)


@quick
@given(
    commands | st.sampled_from(sorted(NEGOTIATING)),
    st.lists(st.tuples(texts, texts), max_size=4),
    bodies,
    st.sampled_from([None, *VERSIONS]),
)
def test_no_header_is_injected(command: str, pairs: list[tuple[str, str]], body: bytes, version: str | None) -> None:
    """Whatever an application puts into a header arrives as that header, or is refused."""
    frame = Frame(command, [*pairs, ("content-length", str(len(body)))], body)
    try:
        wire = encode(frame, version)
    except InvalidHeader:
        return
    if version is None:
        version = "1.0" if command in SERVER_COMMANDS else "1.2"
    assert Decoder(version).feed(wire) == [frame]


# Arbitrary bytes: words of the grammar in any order go deeper than noise.
words = st.sampled_from(
    [
        *(command.encode() for command in sorted(COMMANDS)),
        *(b"\n", b"\n\n", b"\r\n", b"\r\n\r\n", b"\r", b"\0", b"\0\n", b":", b"a:b", b"\na:b", b"\\", b"\\n", b"\\x"),
        *(b"\ncontent-length:2\n\n", b"content-length:9", b"version:1.1\n", b"accept-version:1.0,1.1\n", b"\xff"),
        *(b"ERROR\n", b"\nMESSAGE\n", b"\0MESSAGE\n", b"RECEIPT", b"\ncontent-length:x\n", b"\nack:\xff\n", b"body"),
        *(b"MESSAGE\na:b\n\nbody\0", b"CONNECTED\nversion:1.1\n\n\0", b"MESSAGE\r\na:b\r\n\r\n\n\0", b"RECEIPT\n\n\0"),
    ]
)
junk = st.one_of(st.binary(max_size=60), st.lists(words, max_size=12).map(b"".join))
small = st.builds(
    Limits,
    max_header_line=st.integers(1, 12),
    max_headers=st.integers(1, 3),
    max_header_bytes=st.integers(1, 20),
    max_body=st.integers(1, 6),
)


@settings(max_examples=80, deadline=None)
@given(junk, places, st.sampled_from([None, *VERSIONS]))
def test_any_bytes_give_the_same_in_any_pieces_or_a_protocol_error(
    data: bytes, places: list[int], version: str | None
) -> None:
    frames, failure = run(Decoder(version), [data])
    for frame in frames:
        assert frame.headers.pairs is not None  # splitting what was accepted cannot fail either
        assert frame.info is not None
    for chunks in (cut(data, places), [data[i : i + 1] for i in range(len(data))]):
        got, failed = run(Decoder(version), [*chunks, b""])
        assert same(got, frames) or (failed and failure)
        if failure:
            assert failed
            assert same(got, frames)
        elif failed:
            raise AssertionError(f"failed in pieces only: {failed}")


@settings(max_examples=50, deadline=None)
@given(st.lists(words, max_size=12).map(b"".join), places, st.sampled_from(sorted(VERSIONS)), small)
def test_limits_hold_the_same_in_any_pieces(data: bytes, places: list[int], version: str, limits: Limits) -> None:
    """In pieces a limit may be seen broken before the frame is whole, never the other way round, and never later."""
    frames, failure = run(Decoder(version, limits), [data])
    got, failed = run(Decoder(version, limits), [data[i : i + 1] for i in range(len(data))])
    assert same(got, frames)
    if failure:
        assert failed
    for frame in frames:
        assert len(frame.body) <= limits.max_body
        assert len(frame.headers.pairs) <= limits.max_headers
    got, failed = run(Decoder(version, limits), cut(data, places))
    assert same(got, frames)


names = st.text(USUAL + "\\:\n\rncr", min_size=1, max_size=6).filter(lambda name: name != "content-length")
headers = st.none() | st.dictionaries(names, st.text(USUAL + "\\:\n\rncr", max_size=6), max_size=4)
options = st.fixed_dictionaries({"headers": headers}, optional={"receipt": names, "transaction": names})


@settings(max_examples=150, deadline=None)
@given(versions, names, st.one_of(bodies, bodies.map(bytearray), st.text("aé\0\n")), options, st.data())
def test_the_decoder_gives_back_what_a_command_says(
    version: str, text: str, body: bytes | bytearray | str, options: dict[str, Any], data: st.DataObject
) -> None:
    """Each command with any arguments: what is written is what was asked for, or the header is refused."""
    ids = {"message-id": data.draw(names), "subscription": data.draw(names), "ack": data.draw(names)}
    message = Frame("MESSAGE", ids)
    in_none = {key: value for key, value in options.items() if key != "transaction"}
    calls: list[Callable[[], Frame]] = [
        lambda: stomp.send(text, body, version=version, **options),
        lambda: stomp.send(text, body, content_type=text, version=version, **options),
        lambda: stomp.subscribe(text, text, version=version, **in_none),
        lambda: stomp.unsubscribe(text, version=version, **in_none),
        lambda: stomp.ack(message, version=version, **options),
        lambda: stomp.begin(text, version=version, **in_none),
        lambda: stomp.disconnect(version=version, **in_none),
    ]
    if version != "1.0":
        calls.append(lambda: stomp.nack(message, version=version, **options))
    for call in calls:
        frame = call()
        try:
            wire = encode(frame, version)
        except InvalidHeader:
            unwritable = {"1.0": "\n\r", "1.1": "\r", "1.2": ""}[version]
            text_of_all = "".join(map("".join, frame.headers.pairs))
            in_a_name = version == "1.0" and ":" in "".join(frame.headers)
            assert in_a_name or any(character in text_of_all for character in unwritable)
            continue
        [got] = Decoder(version).feed(wire)
        assert got == frame
        expected = {key: value for key, value in options.items() if key != "headers"} | (options["headers"] or {})
        if frame.command in ("BEGIN", "SUBSCRIBE", "UNSUBSCRIBE", "DISCONNECT"):
            expected.pop("transaction", None) if "transaction" not in (options["headers"] or {}) else None
        assert expected.items() <= dict(got.headers).items()
        if frame.command == "SEND":
            assert got.body == (body.encode() if isinstance(body, str) else bytes(body))
