"""Programs in the shape of real ones, with their connections cut at every point of their life.

Each runs with stomp.py 9, the reference, and with this library in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest
from compat_support import ALL, Library
from lives import Cut, Outcome, live
from programs import PROGRAMS, Place, Program

from stomplistener.testing import Broker

QUEUE = "/queue/test"


class Embedded:
    """See ``lives.World``."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    def publish(self, body: str) -> None:
        self.broker.publish(QUEUE, body)

    def arrived(self) -> Collection[str]:
        return [each.text for each in self.broker.messages(QUEUE + ".out")]

    def cut(self) -> object:
        return self.broker.drop_connections()


def again(fault: Callable[[Broker], object]) -> Callable[[Broker], object]:
    """Cut the connection, and the next one, too."""

    def cut(broker: Broker) -> None:
        fault(broker)
        broker.drop_connections()

    return cut


Fault = Callable[[Broker], object]

# When, what a program has to do for it to happen, and what happens then.
CUTS: dict[str, tuple[str, str, Fault]] = {
    "never": ("before", "", lambda broker: None),
    "before CONNECTED": ("before", "", lambda broker: broker.accept_and_close(1)),
    "by a reset before CONNECTED": ("before", "", lambda broker: broker.accept_and_close(1, reset=True)),
    "behind CONNECTED": ("before", "", lambda broker: broker.connected_then_close(1)),
    "at SUBSCRIBE": ("before", "receives", lambda broker: broker.drop_before("SUBSCRIBE")),
    "behind SUBSCRIBE": ("before", "receives", lambda broker: broker.drop_after("SUBSCRIBE")),
    "while a message runs": ("during", "receives", lambda broker: broker.drop_connections()),
    "at ACK": ("before", "acks", lambda broker: broker.drop_before("ACK")),
    "behind ACK": ("before", "acks", lambda broker: broker.drop_after("ACK")),
    "at SEND": ("before", "sends", lambda broker: broker.drop_before("SEND")),
    "behind SEND": ("before", "sends", lambda broker: broker.drop_after("SEND")),
    "between": ("between", "", lambda broker: broker.drop_connections()),
    "by a reset between": ("between", "", lambda broker: broker.drop_connections(reset=True)),
    "before the second CONNECTED": ("between", "", again(lambda broker: broker.accept_and_close(1))),
    "behind the second CONNECTED": ("between", "", again(lambda broker: broker.connected_then_close(1))),
    "by a restart of the broker": ("between", "", lambda broker: broker.restart(0.1)),
    "at DISCONNECT": ("at_end", "", lambda broker: broker.drop_before("DISCONNECT", None)),
    "behind DISCONNECT": ("at_end", "", lambda broker: broker.drop_after("DISCONNECT", None)),
}
CASES = [
    (program, name)
    for program in PROGRAMS
    for name, (_when, needs, _fault) in CUTS.items()
    if not needs or getattr(program, needs)
]


def outcome_of(library: Library, program: type[Program], name: str, broker: Broker) -> Outcome:
    when, _needs, fault = CUTS[name]
    return live(program(library, Place(broker.port, QUEUE)), Embedded(broker), Cut(**{when: lambda: fault(broker)}))
