"""Thousands of connections in one process, one plain send on each: all arrive, and what the connections cost.

    python tests/soak/many_connections.py --connections 2000 --rounds 5

The broker is the embedded one in a process of its own. A send that is not at the broker within the patience, although
nothing else happens on its connection, is reported with the state of its connection's writer, and is the exit status.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from stomplistener import Connection
from stomplistener.testing import Broker

PATIENCE = 30.0
BESIDES = 200
"""Descriptors that a process needs besides those of its connections."""


def serve() -> None:
    """Be the broker: print the URI, then answer each line, the name of a queue, with the ids that are in it."""
    allow(100_000)
    with Broker() as broker:
        print(broker.uri, flush=True)
        for line in sys.stdin:
            print(json.dumps([message.body.decode() for message in broker.messages(line.strip())]), flush=True)


def allow(files: int) -> None:
    """Raise the limit of open files as far as need be and may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else files, hard))


def resident_megabytes() -> float:
    """What this process occupies now."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 1e6


class Peer:
    """The process of the broker."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            (sys.executable, __file__, "--serve"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.uri = self._read()

    def arrived(self, queue: str) -> set[str]:
        """The bodies of what is in the queue."""
        assert self._process.stdin is not None
        print(queue, file=self._process.stdin, flush=True)
        return set(json.loads(self._read()))

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        """Kill it: its threads are of no interest any more."""
        self._process.kill()
        self._process.communicate()


def one_round(peer: Peer, queue: str, count: int) -> int:
    """Connect, send one message on each connection and look whether all came; how many did not."""
    memory, threads, began = resident_megabytes(), threading.active_count(), time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        connections = list(
            pool.map(lambda _: Connection(peer.uri, heartbeat=(0, 0), timeout=60).connect(), range(count))
        )
        connected = time.monotonic()
        for number, connection in enumerate(connections):
            connection.send(queue, str(number))
        sent = time.monotonic()
        missing = {str(number) for number in range(count)}
        while missing and time.monotonic() < sent + PATIENCE:
            missing -= peer.arrived(queue)
        print(
            f"{count} connections in {connected - began:.1f} s, {threading.active_count() - threads} threads, "
            f"{(resident_megabytes() - memory) * 1000 / count:.0f} kB each; sent in {sent - connected:.1f} s, "
            f"all there {time.monotonic() - sent:.1f} s later; {len(missing)} lie",
            flush=True,
        )
        for lying in sorted(map(int, missing))[:5]:
            connection = connections[lying]
            print(f"  {lying}: {connection.state} {connection.statistics()}", flush=True)
        list(pool.map(Connection.close, connections))
    return len(missing)


def main() -> int:
    """Run the rounds; the number of sends that lay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve()
        return 0
    allow(asked.connections + BESIDES)
    peer = Peer()
    try:
        return sum(one_round(peer, f"/queue/{number}", asked.connections) for number in range(asked.rounds))
    finally:
        peer.end()


if __name__ == "__main__":
    sys.exit(min(main(), 1))
