"""Confirmed sends with a full window: each receipt makes room for the next send."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future

from bench import clients, wire
from bench.process import Clock, Figures, serving
from stomplistener import Frame, Limits
from stomplistener.protocol import commands, encode


def ours(count: int, window: int) -> Figures:
    """Measure ``send_async``, with the result of every future."""
    with serving("confirm", count=count) as server:
        connection = clients.ours(server.port, limits=Limits(max_unconfirmed_messages=window))
        connection.send(wire.START)
        clock = Clock()
        # Keep only as many futures as a program does. A list of all futures would measure Python's garbage collector.
        futures: deque[Future[Frame]] = deque()
        for _ in range(count):
            futures.append(connection.send_async(wire.DESTINATION, wire.BODY))
            if len(futures) > 2 * window:
                futures.popleft().result(clients.LONG)
        for future in futures:
            future.result(clients.LONG)
        return clock.figures(count)


def raw(count: int, window: int) -> Figures:
    """Measure a socket with the same window that writes each frame separately and counts the receipts."""
    frames = [
        encode(commands.send(wire.DESTINATION, wire.BODY, receipt=str(number)), "1.2") for number in range(1, count + 1)
    ]
    with serving("confirm", count=count) as server:
        sock = clients.raw(server.port)
        clients.raw_start(sock)
        buffer = bytearray(65536)
        clock = Clock()
        sent = confirmed = 0
        while confirmed < count:
            for frame in frames[sent : min(confirmed + window, count)]:
                sock.sendall(frame)
            sent = min(confirmed + window, count)
            confirmed += buffer.count(b"\0", 0, sock.recv_into(buffer))
        return clock.figures(count)
