"""Receive one large body: measure the time and the peak memory."""

from __future__ import annotations

import time

from bench import clients
from bench.process import Figures, memory, serving
from stomplistener import Message

MEGABYTE = 1 << 20


def ours(size: int) -> Figures:
    """Measure our client. ``over`` is the growth of the peak memory, minus the size of the body."""
    with serving("one", size=size) as server:
        finish = clients.Finish()
        lengths: list[int] = []

        def listener(message: Message) -> None:
            lengths.append(len(message.body))
            finish.set()

        connection = clients.ours(server.port)
        connection.subscribe("/end", listener, id="1", confirm=True)
        before = memory()
        began = time.perf_counter()
        connection.send("/start")
        finish.wait()
        took = time.perf_counter() - began
        assert lengths == [size]
        return {"took": took * 1e3, "over": memory("VmHWM") - before - size / MEGABYTE}


def raw(size: int) -> Figures:
    """Measure ``recv_into`` from a socket into a buffer of the right size."""
    with serving("one", size=size) as server:
        sock = clients.raw(server.port)
        before = memory()
        began = time.perf_counter()
        clients.raw_start(sock)
        head = b""
        while b"\n\n" not in head:
            head += sock.recv(256)
        early = head.partition(b"\n\n")[2]
        body = bytearray(size)
        body[: len(early)] = early
        rest = memoryview(body)[len(early) :]
        while rest:
            rest = rest[sock.recv_into(rest) :]
        took = time.perf_counter() - began
        return {"took": took * 1e3, "over": memory("VmHWM") - before - size / MEGABYTE}
