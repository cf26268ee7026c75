"""Heartbeat arithmetic: the negotiation, and the times of the next and of a missed heartbeat. This module has no clock.

Source: STOMP 1.1 and 1.2, Heartbeating. The header has milliseconds; all other durations here are seconds.
"""

from __future__ import annotations

from typing import NamedTuple

from stomplistener.errors import ProtocolError

_SEND_EARLY = 0.75
"""A heartbeat is sent after this share of the interval. The promise is to send at least once in every interval,
and timers and networks are late."""

TOLERANCE = 2.5
"""After this many intervals of silence a peer counts as dead. The specification asks for a margin, and brokers are
late.

The first heartbeat of ActiveMQ arrives two intervals after CONNECTED. With a tolerance of 2.0 intervals, idle
connections to ActiveMQ were lost.
"""


_LONGEST = 40
"""The longest heart-beat header in characters; a longer header is an attack."""


class HeartBeat(NamedTuple):
    """The intervals at which one side sends and receives, in seconds; 0 for no heartbeat."""

    send: float
    receive: float

    @property
    def header(self) -> str:
        """The value of the ``heart-beat`` header, in milliseconds (STOMP 1.2, Heartbeating)."""
        return f"{_milliseconds(self.send)},{_milliseconds(self.receive)}"

    def send_due(self, last_sent: float) -> float:
        """Return the time of the next heartbeat if nothing else is sent."""
        return last_sent + self.send * _SEND_EARLY if self.send else float("inf")

    def dead_at(self, last_received: float, tolerance: float = TOLERANCE) -> float:
        """Return the time at which a silent peer counts as dead."""
        return last_received + self.receive * tolerance if self.receive else float("inf")


def _milliseconds(seconds: float) -> int:
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"a heartbeat interval is a number of seconds, 0 for none, not {seconds!r}")
    return max(1, round(seconds * 1000)) if seconds else 0


def parse(text: str) -> HeartBeat:
    """Read a heart-beat header; ProtocolError if it is malformed."""
    ours, comma, theirs = text.strip().partition(",")
    if not (comma and ours.isdigit() and theirs.isdigit() and text.isascii() and len(text) <= _LONGEST):
        raise ProtocolError("a heart-beat header is not two numbers of milliseconds", data=text.encode())
    return HeartBeat(int(ours) / 1000, int(theirs) / 1000)


def negotiate(wanted: HeartBeat, answered: HeartBeat) -> HeartBeat:
    """Return the agreed intervals, for the side that sent ``wanted`` and received ``answered``."""
    return HeartBeat(
        send=max(wanted.send, answered.receive) if wanted.send and answered.receive else 0.0,
        receive=max(wanted.receive, answered.send) if wanted.receive and answered.send else 0.0,
    )
