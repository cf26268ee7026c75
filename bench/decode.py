"""Decoding only: chunks of whole and cut frames as from a socket, but without a socket."""

from __future__ import annotations

import importlib
import time
from typing import Any

from bench import wire
from bench.process import Figures
from stomplistener.protocol import Decoder

CHUNK = 65536


def _chunks(size: int, escapes: bool) -> list[bytes]:
    data = wire.block(size, escapes=escapes)
    return [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]


def ours(rounds: int, size: int, escapes: bool = False) -> Figures:
    chunks = _chunks(size, escapes)
    decoder = Decoder("1.2")
    began = time.perf_counter()
    for _ in range(rounds):
        for chunk in chunks:
            decoder.feed(chunk)
    return {"rate": rounds * wire.BLOCK / (time.perf_counter() - began)}


def ours_read(rounds: int, size: int, escapes: bool = False) -> Figures:
    """Measure the same, and read every header."""
    chunks = _chunks(size, escapes)
    decoder = Decoder("1.2")
    began = time.perf_counter()
    for _ in range(rounds):
        for chunk in chunks:
            for frame in decoder.feed(chunk):
                frame.headers.get("message-id")
    return {"rate": rounds * wire.BLOCK / (time.perf_counter() - began)}


def stompest(rounds: int, size: int, escapes: bool = False) -> Figures:
    chunks = _chunks(size, escapes)
    protocol: Any = importlib.import_module("stompest.protocol")
    parser = protocol.StompParser("1.2")
    began = time.perf_counter()
    for _ in range(rounds):
        for chunk in chunks:
            parser.add(chunk)
            while parser.canRead():
                parser.get()
    return {"rate": rounds * wire.BLOCK / (time.perf_counter() - began)}
