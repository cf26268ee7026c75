"""Measure the cost of connections that send only heartbeats."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench import clients
from bench.process import Figures, memory, serving


def ours(connections: int, seconds: float, interval: float) -> Figures:
    """Our client."""
    return _measure(connections, seconds, interval, lambda port: clients.ours(port, heartbeat=(interval, interval)))


def stomp_py(connections: int, seconds: float, interval: float) -> Figures:
    """stomp.py."""
    milliseconds = round(interval * 1000)
    heartbeats = (milliseconds, milliseconds)
    return _measure(connections, seconds, interval, lambda port: clients.stomp_py(port, heartbeats))


def _measure(connections: int, seconds: float, interval: float, connect: Callable[[int], object]) -> Figures:
    with serving("beats", interval=interval) as server:
        kept = [connect(server.port)]
        before = memory()
        kept += [connect(server.port) for _ in range(connections)]
        time.sleep(3 * interval)
        cpu = time.process_time()
        time.sleep(seconds)
        cpu = time.process_time() - cpu
        each = (memory() - before) / connections * 1024
        assert len(kept) == connections + 1
        return {"cpu": cpu / seconds / connections * 1e6, "memory": each}
