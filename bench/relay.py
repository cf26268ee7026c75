"""Publish a full outbox: measure from the first row to the last one at a subscriber.

Each package writes the rows with its own call, and publishes them with its own command. The subscriber is a plain
socket. The figures do not include the start, the login and the last commit.
"""

from __future__ import annotations

import socket

from bench import clients
from bench.brokers import Target, new_queue
from bench.postgres import postgres
from bench.process import BenchError, Figures
from bench.projects.process import Project, Stopwatch


def ours(uri: str, count: int) -> Figures:
    """Measure ``stomp_outbox``: persistent messages that the broker confirms, with a commit for each batch."""
    return _emptied("ours", "stomp_outbox", uri, count, persistent=True)


def theirs(uri: str, count: int, persistent: bool) -> Figures:
    """Measure django-outbox-pattern's ``publish``: the broker confirms no message, and all rows are in one transaction.

    The messages of the peer are lost when the broker restarts, unless the application sets the header that
    ``persistent`` sets here.
    """
    return _emptied("theirs", "publish", uri, count, persistent)


def _emptied(name: str, command: str, uri: str, count: int, persistent: bool) -> Figures:
    target, destination = Target(uri), new_queue()
    work = {
        "BENCH_URI": uri,
        "BENCH_DESTINATION": destination,
        "BENCH_COUNT": str(count),
        "BENCH_PERSISTENT": str(int(persistent)),
    }
    with postgres() as database, target.raw() as subscriber:
        project = Project(name, {**database, **work})
        project.migrate()
        project.fill()
        subscriber.sendall(b"SUBSCRIBE\ndestination:%b\nid:1\nack:auto\n\n\0" % destination.encode())
        with project.running(command) as relay:
            arrived = _messages(subscriber)
            watch = Stopwatch(relay.pid)
            left = count - arrived
            while arrived < count:
                arrived += _messages(subscriber)
            return watch.figures(left)


def _messages(subscriber: socket.socket) -> int:
    """Return the number of messages in one read, at least one."""
    subscriber.settimeout(clients.LONG)
    while True:
        data = subscriber.recv(65536)
        if not data:
            raise BenchError("the broker hung up")
        if frames := data.count(b"\0"):
            return frames
