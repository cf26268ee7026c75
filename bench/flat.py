"""Costs that must not grow with the size of a frame: the time per byte when it arrives byte by byte."""

from __future__ import annotations

import time

from bench.process import Figures
from stomplistener.protocol import Decoder


def body(size: int, rounds: int) -> Figures:
    """Measure a body of ``size`` bytes with a content-length."""
    return _feed(b"MESSAGE\nmessage-id:1\ncontent-length:%d\n\n" % size + b"x" * size + b"\0", rounds)


def unlimited_body(size: int, rounds: int) -> Figures:
    """Measure the same body without a content-length."""
    return _feed(b"MESSAGE\nmessage-id:1\n\n" + b"x" * size + b"\0", rounds)


def head(size: int, rounds: int) -> Figures:
    """Measure header lines of ``size`` bytes in total."""
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
