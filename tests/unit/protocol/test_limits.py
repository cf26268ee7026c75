"""Limits hold before memory is spent, for whole frames and for bytes that come one at a time."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

from stomplistener.errors import ProtocolError
from stomplistener.protocol import Decoder, Frame, Limits


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def outcome(limits: Limits, data: bytes, size: int, version: str = "1.2") -> Frame | str:
    """The frame, or the words of the failure."""
    decoder = Decoder(version, limits)
    frames: list[Frame] = []
    try:
        for chunk in pieces(data, size):
            frames += decoder.feed(chunk)
    except ProtocolError as error:
        return str(error)
    [frame] = frames
    return frame


# Each (limits, a frame that just fits, one that is a byte or a line too much, the name of the limit)
CASES = [
    (
        Limits(max_header_line=20),
        b"MESSAGE\na:%b\n\n\0" % (b"x" * 18),
        b"MESSAGE\na:%b\n\n\0" % (b"x" * 19),
        "header_line",
    ),
    (Limits(max_header_line=4), b"UNSUBSCRIBE\na:bb\n\n\0", b"UNSUBSCRIBE\na:bbb\n\n\0", "header_line"),
    (Limits(max_headers=3), b"MESSAGE\na:\nb:\nc:\n\n\0", b"MESSAGE\na:\nb:\nc:\nd:\n\n\0", "headers"),
    (Limits(max_headers=1), b"MESSAGE\r\na:\r\n\r\n\0", b"MESSAGE\r\na:\r\nb:\r\n\r\n\0", "headers"),
    (Limits(max_headers=2), b"ACK\naaaaaaa:b\nc:\n\n\0", b"ACK\na:\nb:\nc:\n\n\0", "headers"),
    (Limits(max_header_bytes=12), b"MESSAGE\nab:c\nde:fgh\n\n\0", b"MESSAGE\nab:c\nde:fghi\n\n\0", "header_bytes"),
    (
        Limits(max_header_bytes=12),
        b"UNSUBSCRIBE\r\nab:c\r\nde:f\r\n\r\n\0",
        b"UNSUBSCRIBE\r\nab:c\r\nde:fg\r\n\r\n\0",
        "header_bytes",
    ),
    (Limits(max_body=5), b"MESSAGE\n\n12345\0", b"MESSAGE\n\n123456\0", "body"),
    (
        Limits(max_body=5),
        b"MESSAGE\ncontent-length:5\n\n12345\0",
        b"MESSAGE\ncontent-length:6\n\n123456\0",
        "body",
    ),
]


@pytest.mark.parametrize(("limits", "fits", "too_much", "name"), CASES)
def test_what_just_fits_passes_and_one_more_does_not_in_any_pieces(
    limits: Limits, fits: bytes, too_much: bytes, name: str
) -> None:
    for size in range(1, len(too_much) + 1):
        assert isinstance(outcome(limits, fits, size), Frame), size
        assert f"Limits.max_{name} = " in str(outcome(limits, too_much, size)), size


@pytest.mark.parametrize("length", [b"6", b"1000000", b"999999999999999999"])
def test_a_promised_body_is_refused_before_it_comes(length: bytes) -> None:
    head = b"MESSAGE\ncontent-length:" + length + b"\n\n"
    for size in (1, len(head)):
        assert "max_body" in str(outcome(Limits(max_body=5), head, size))


def test_a_promise_within_the_limit_allocates_nothing() -> None:
    tracemalloc = pytest.importorskip("tracemalloc", reason="this interpreter counts no memory")
    tracemalloc.start()
    try:
        decoder = Decoder("1.2")
        decoder.feed(b"MESSAGE\ncontent-length:268435456\n\nx")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 16
    assert decoder.partial


@pytest.mark.parametrize(
    ("head", "unit", "most"),
    [
        (b"MESSAGE\na:", b"x", 64 << 10),
        (b"MESSAGE\n", b"a:b\n", 4000),
        (b"MESSAGE\n", b"a:%b\n" % (b"x" * 1000), 256 << 10),
        (b"MESSAGE\na:b\r", b"\r", 64 << 10),
    ],
)
@pytest.mark.parametrize("size", [7, 4096, 1 << 20])
def test_a_head_without_end_is_refused_at_the_default_limits(head: bytes, unit: bytes, most: int, size: int) -> None:
    data = head + unit * ((1 << 20) // len(unit))
    decoder = Decoder("1.2")
    fed = 0
    with pytest.raises(ProtocolError, match="Limits"):  # noqa: PT012
        for chunk in pieces(data, size):
            fed += len(chunk)
            decoder.feed(chunk)
    assert fed <= most + 20 + size


@pytest.mark.parametrize("size", [1, 500])
def test_a_body_without_end_is_refused_when_the_limit_is_reached(size: int) -> None:
    decoder = Decoder("1.1", Limits(max_body=2000))
    decoder.feed(b"MESSAGE\n\n")
    fed = 0
    with pytest.raises(ProtocolError, match="max_body"):  # noqa: PT012
        while True:
            decoder.feed(b"x" * size)
            fed += size
    assert fed == 2000


def test_the_limits_begin_anew_with_each_frame() -> None:
    limits = Limits(max_headers=2, max_header_bytes=16, max_header_line=8, max_body=4)
    wire = b"MESSAGE\naaa:bbb\nccc:ddd\n\nbody\0\n"
    for size in (1, 7, len(wire) * 50):
        decoder = Decoder("1.2", limits)
        assert sum(len(decoder.feed(chunk)) for chunk in pieces(wire * 50, size)) == 50


def test_ends_of_line_count_against_no_limit() -> None:
    limits = Limits(max_headers=1, max_header_bytes=3, max_header_line=3, max_body=1)
    decoder = Decoder("1.2", limits)
    assert len(decoder.feed(b"\n" * 1000)) == 1000
    for _ in range(1000):
        decoder.feed(b"\r\n")
    assert not decoder.partial


def test_a_failure_gives_its_memory_back_and_shows_little() -> None:
    decoder = Decoder("1.2", Limits(max_body=1 << 20))
    decoder.feed(b"MESSAGE\n\n" + b"x" * (1 << 20))
    with pytest.raises(ProtocolError) as caught:
        decoder.feed(b"y")
    assert not decoder.partial
    assert len(str(caught.value)) < 300
    assert len(caught.value.data or b"") <= 60


@pytest.mark.parametrize("name", list(inspect.signature(Limits).parameters))
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_is_more_than_nothing(name: str, value: float) -> None:
    with pytest.raises((TypeError, ValueError), match=name):
        Limits(**{name: value})  # type: ignore[arg-type]


def test_limits_are_keyword_only_frozen_and_documented() -> None:
    with pytest.raises(TypeError):
        Limits(1)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        Limits().max_body = 1  # type: ignore[misc]
    for name in inspect.signature(Limits).parameters:
        assert f"{name}:" in (Limits.__doc__ or "")
