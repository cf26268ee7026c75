"""Sending: until the server has seen the last frame, whoever wrote it to the socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from bench import clients, wire
from bench.process import Clock, Figures, serving
from stomplistener import Connection, Message
from stomplistener.protocol import commands, encode
from stomplistener.transport import connect as connect_transport

BODY = b"x" * 100
FRAME = encode(commands.send(wire.DESTINATION, BODY), "1.2")
IN_BATCH = 100
"""Frames in one ``batch()``."""


def _ours(count: int, work: Callable[[Connection], object]) -> Figures:
    with serving("sink", count=count) as server:
        finish = clients.Finish()
        connection = clients.ours(server.port)

        def listener(message: Message) -> None:
            if message.body == wire.END_BODY:
                finish.set()

        connection.set_listener("bench", listener)
        connection.send(wire.START)
        connection.flush()
        clock = Clock()
        work(connection)
        finish.wait()
        return clock.figures(count)


def ours(count: int) -> Figures:
    """One thread."""

    def work(connection: Connection) -> None:
        for _ in range(count):
            connection.send(wire.DESTINATION, BODY)

    return _ours(count, work)


def ours_threads(count: int, threads: int) -> Figures:
    """Several threads together."""

    def work(connection: Connection) -> None:
        def send() -> None:
            for _ in range(count // threads):
                connection.send(wire.DESTINATION, BODY)

        workers = [threading.Thread(target=send) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return _ours(count, work)


def ours_batch(count: int) -> Figures:
    """One thread, in batches."""

    def work(connection: Connection) -> None:
        for _ in range(count // IN_BATCH):
            with connection.batch():
                for _ in range(IN_BATCH):
                    connection.send(wire.DESTINATION, BODY)

    return _ours(count, work)


def raw(count: int) -> Figures:
    """``sendall`` for each frame, which is encoded already."""
    with serving("sink", count=count) as server:
        sock = clients.raw(server.port)
        clients.raw_start(sock)
        clock = Clock()
        for _ in range(count):
            sock.sendall(FRAME)
        clients.raw_wait_for_end(sock)
        return clock.figures(count)


def stomp_py(count: int) -> Figures:
    """stomp.py, one thread."""
    with serving("sink", count=count) as server:
        finish = clients.Finish()

        def on_message(_frame: Any) -> None:
            finish.set()

        connection = clients.stomp_py(server.port, listener=clients.StompPyListener(on_message))
        connection.send(wire.START, "")
        body = BODY.decode()
        clock = Clock()
        for _ in range(count):
            connection.send(wire.DESTINATION, body)
        finish.wait()
        return clock.figures(count)


class _Stopwatch:
    """A transport or socket that notes when each send returned: the same calls of Python on both sides."""

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


def after_pause(count: int, pause: float) -> Figures:
    """A send when nothing was sent for a while, until its bytes are in the socket; in turn with a raw socket."""
    times: list[float] = []

    def watched(*arguments: Any, **keywords: Any) -> Any:
        return _Stopwatch(connect_transport(*arguments, **keywords), times)

    def took(send: Callable[[], object]) -> float:
        time.sleep(pause)
        times.clear()
        began = time.perf_counter()
        send()
        return (times[0] - began) * 1e6

    with serving("swallow") as server, serving("swallow") as other:
        connection = clients.ours(server.port, transport=watched)
        connection.send(wire.START)
        sock = clients.raw(other.port)
        clients.raw_start(sock)
        stopwatch = _Stopwatch(sock, times)

        def ours() -> None:
            connection.send(wire.DESTINATION, BODY)
            if not times:
                # It was left to the writer thread.
                connection.flush()

        def raw() -> None:
            stopwatch.sendall(FRAME)

        pairs = [(took(ours), took(raw)) for _ in range(count)]
    return {"took": median(mine for mine, _ in pairs), "peer_took": median(theirs for _, theirs in pairs)}
