"""Heartbeat arithmetic: what is negotiated, when a beat is due, when silence means death. Pure; time is an argument.

Source: STOMP 1.1 and 1.2, Heartbeating. The wire speaks milliseconds, everything else here seconds.
"""

from __future__ import annotations

from typing import NamedTuple

from stomplistener.errors import ProtocolError

_SEND_EARLY = 0.75
"""A beat goes out at this share of the interval: the promise is "at least every", and timers and networks are late."""

TOLERANCE = 2.5
"""Silence means death after this many intervals: the specification asks for an error margin, and brokers beat late.

ActiveMQ's first beat comes two intervals after CONNECTED: with 2.0 every idle connection was lost to that race.
"""


_LONGEST = 40
"""Characters of a heart-beat header; more are no interval but an attack."""


class HeartBeat(NamedTuple):
    """Intervals in seconds, 0 where there is no heartbeat: how often we can or must ``send``, and they."""

    send: float
    receive: float

    @property
    def header(self) -> str:
        """The value of the ``heart-beat`` header, in milliseconds (STOMP 1.2, Heartbeating)."""
        return f"{_milliseconds(self.send)},{_milliseconds(self.receive)}"

    def send_due(self, last_sent: float) -> float:
        """The time at which a beat is due if nothing else is sent."""
        return last_sent + self.send * _SEND_EARLY if self.send else float("inf")

    def dead_at(self, last_received: float, tolerance: float = TOLERANCE) -> float:
        """The time at which a peer that stays silent counts as dead."""
        return last_received + self.receive * tolerance if self.receive else float("inf")


def _milliseconds(seconds: float) -> int:
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"a heartbeat interval is a number of seconds, 0 for none, not {seconds!r}")
    return max(1, round(seconds * 1000)) if seconds else 0


def parse(text: str) -> HeartBeat:
    """Read a heart-beat header; ProtocolError where it is none."""
    ours, comma, theirs = text.strip().partition(",")
    if not (comma and ours.isdigit() and theirs.isdigit() and text.isascii() and len(text) <= _LONGEST):
        raise ProtocolError("a heart-beat header is not two numbers of milliseconds", data=text.encode())
    return HeartBeat(int(ours) / 1000, int(theirs) / 1000)


def negotiate(wanted: HeartBeat, answered: HeartBeat) -> HeartBeat:
    """What holds between one side that wants ``wanted`` and another that answered; from the first side's view."""
    return HeartBeat(
        send=max(wanted.send, answered.receive) if wanted.send and answered.receive else 0.0,
        receive=max(wanted.receive, answered.send) if wanted.receive and answered.send else 0.0,
    )
