"""Costs that must not grow: a byte of a frame that comes one byte at a time, whatever its size."""

from __future__ import annotations

import time

from bench.process import Figures
from stomplistener.protocol import Decoder


def body(size: int, rounds: int) -> Figures:
    """A body of so many bytes, with its length in the head."""
    return _feed(b"MESSAGE\nmessage-id:1\ncontent-length:%d\n\n" % size + b"x" * size + b"\0", rounds)


def unlimited_body(size: int, rounds: int) -> Figures:
    """The same, ended by its NUL alone."""
    return _feed(b"MESSAGE\nmessage-id:1\n\n" + b"x" * size + b"\0", rounds)


def head(size: int, rounds: int) -> Figures:
    """Header lines of so many bytes together."""
    line = b"\nname-of-header:" + b"x" * 240
    return _feed(b"MESSAGE" + line * (size // len(line)) + b"\n\n\0", rounds)


def _feed(data: bytes, rounds: int) -> Figures:
    bytes_one_by_one = [data[position : position + 1] for position in range(len(data))]
    decoder = Decoder("1.2")
    feed = decoder.feed
    began = time.perf_counter()
    frames = 0
    for _ in range(rounds):
        for byte in bytes_one_by_one:
            frames += len(feed(byte))
    took = time.perf_counter() - began
    assert frames == rounds
    return {"cost": took / (rounds * len(data)) * 1e9}
