"""Single sends after pauses, timed until the bytes are in the socket, alternating with a raw socket.

Both sides run in one process, because CPU cache misses dominate the time and differ between processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from bench import wire
from bench.costs.clients import Address, Ours, Raw
from bench.costs.row import Row, Side
from bench.costs.statements import Scope
from bench.process import Figures
from stomplistener.protocol import commands, encode
from stomplistener.transport import connect as connect_transport

_PAUSE_SECONDS = 0.002


class Stopwatch:
    """A transport or socket that notes the time at which each send returned. Both sides make the same Python calls."""

    def __init__(self, watched: Any, times: list[float]) -> None:
        self._watched = watched
        self._times = times
        self.frame_per_send = False

    def send(self, data: bytes | memoryview) -> Any:
        accepted = self._watched.send(data)
        self._times.append(time.perf_counter())
        return accepted

    def send_nowait(self, data: bytes) -> Any:
        taken = self._watched.send_nowait(data)
        if taken:
            self._times.append(time.perf_counter())
        return taken

    def sendall(self, data: bytes) -> None:
        self._watched.sendall(data)
        self._times.append(time.perf_counter())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._watched, name)


@contextmanager
def preparing(row: Row, side: Side, address: Address) -> Iterator[Callable[[int, int], Figures]]:
    """Prepare a round of the row. ``took`` is our time in µs, ``peer_took`` that of the raw socket."""
    times: list[float] = []

    def watched(*arguments: Any, **keywords: Any) -> Any:
        return Stopwatch(connect_transport(*arguments, **keywords), times)

    client, wire_client = Ours(row, address, transport=watched), Raw(row, address)
    scope = Scope(row, side, client)
    loop = scope.loop()
    frame = encode(commands.send(wire.DESTINATION, wire.BODY, scope.value("HEADERS")), "1.2")
    stopwatch = Stopwatch(wire_client.connection, times)

    def ours(number: int) -> None:
        loop(number, number + 1)
        if not times:
            # The writer thread sends the frame.
            client.connection.flush()

    def raw(_number: int) -> None:
        stopwatch.sendall(frame)

    def took(send: Callable[[int], object], number: int) -> float:
        time.sleep(_PAUSE_SECONDS)
        times.clear()
        began = time.perf_counter()
        send(number)
        return (times[0] - began) * 1e6

    def play(first: int, last: int) -> Figures:
        pairs = [
            (took(ours, number), took(lambda _number: stopwatch.sendall(frame), number))
            for number in range(first, last)
        ]
        return {"took": median(mine for mine, _ in pairs), "peer_took": median(theirs for _, theirs in pairs)}

    try:
        yield play
    finally:
        client.close()
        wire_client.close()
