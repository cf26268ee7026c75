"""Round trips from ``send`` to the listener, one message at a time, through a server that answers each at once."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import Any

from bench import clients, wire
from bench.process import Figures, serving
from stomplistener import Message


def ours(count: int, pause: float) -> Figures:
    """Our client."""
    with serving("echo", size=len(wire.BODY)) as server:
        arrived: queue.SimpleQueue[float] = queue.SimpleQueue()

        def listener(_message: Message) -> None:
            arrived.put(time.perf_counter())

        connection = clients.ours(server.port)
        connection.subscribe(wire.DESTINATION, listener, id="1", confirm=True)
        connection.send(wire.START)
        return _measure(lambda: connection.send(wire.DESTINATION, wire.BODY), arrived, count, pause)


def stomp_py(count: int, pause: float) -> Figures:
    """Measure the same with stomp.py."""
    with serving("echo", size=len(wire.BODY)) as server:
        arrived: queue.SimpleQueue[float] = queue.SimpleQueue()

        def on_message(_frame: Any) -> None:
            arrived.put(time.perf_counter())

        connection = clients.stomp_py(server.port, listener=clients.StompPyListener(on_message))
        connection.subscribe(wire.DESTINATION, id="1", ack="auto")
        connection.send(wire.START, "")
        body = wire.BODY.decode()
        return _measure(lambda: connection.send(wire.DESTINATION, body), arrived, count, pause)


def _measure(send: Callable[[], object], arrived: queue.SimpleQueue[float], count: int, pause: float) -> Figures:
    took = []
    for number in range(count + 100):
        if pause:
            time.sleep(pause)
        began = time.perf_counter()
        send()
        at = arrived.get(timeout=clients.LONG)
        # The first round trips start threads.
        if number >= 100:
            took.append(at - began)
    took.sort()
    return {"p50": took[count // 2] * 1e6, "p99": took[count * 99 // 100] * 1e6}
