"""Programs in the shape of real ones, with their connections cut at every point of their life.

Each runs with stomp.py 9, the reference, and with this library in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import pytest
from compat_support import ALL, OURS, Library
from lives import SECONDS, Cut, end_what_is_left, live
from programs import PROGRAMS, Outcome, Place, Program

from stomplistener.testing import Broker

QUEUE = "/queue/test"


@pytest.fixture(autouse=True)
def _ends_what_is_left() -> Iterator[None]:
    yield
    end_what_is_left()


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


def outcome_of(library: Library, program: type[Program], name: str, broker: Broker, least: Outcome) -> Outcome:
    when, _needs, fault = CUTS[name]
    cut = Cut(**{when: lambda: fault(broker)})
    # What may well be silent is not waited for as long as what must work.
    seconds = {Outcome.WORKS: SECONDS, Outcome.ENDED: SECONDS / 2}.get(least, 0.5)
    return live(program(library, Place(broker.port, QUEUE)), Embedded(broker), cut, seconds)


def cases(libraries: Iterable[Any], without: Iterable[str] = ()) -> pytest.MarkDecorator:
    rows = [
        pytest.param(each.values[0], program, name, id=f"{program.__name__}-{name}-{each.id}")
        for program in PROGRAMS
        for name, (_when, needs, _fault) in CUTS.items()
        for each in libraries
        if program.__name__ not in without and (not needs or getattr(program, needs))
    ]
    return pytest.mark.parametrize(("library", "program", "cut"), rows)


# A connection that is lost while a program logs in, subscribes or writes. Where it is not restored, the call may raise,
# and that may end the program, as the race goes; with stomp.py it may hang, too.
RACES = {name for name, (when, _needs, _fault) in CUTS.items() if "CONNECTED" in name or when == "before"} - {"never"}


def least_of(library: Library, program: type[Program], cut: str) -> Outcome:
    """What becomes of a program at worst."""
    if cut == "never" or CUTS[cut][0] == "at_end":
        return Outcome.WORKS
    if library.arguments.get("restore"):
        return program.restored
    if cut in RACES:
        return min(program.lost, Outcome.ENDED) if library.is_ours else Outcome.STUCK
    # With stomp.py the hooks of the old and of the new connection may run at the same time.
    return program.lost if library.is_ours or CUTS[cut][0] != "during" else Outcome.STUCK


@cases(OURS)
def test_a_program_goes_on_with_this_library(
    library: Library, program: type[Program], cut: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Restored, it works again, unless it ends by its own making; not restored, it does what it does with stomp.py."""
    # Hooks that wait for what never comes hold disconnect() up for ten seconds; the programs have hundredths here.
    monkeypatch.setattr("stomplistener.compat.stomp.life._DISCONNECTED_PATIENCE", 0.5)
    least = least_of(library, program, cut)
    assert outcome_of(library, program, cut, broker, least) >= least
    if CUTS[cut][0] == "between" and not (library.arguments["restore"] and program.leaves):
        broker.wait_for(lambda: not broker.connections, 10)


# The embedded broker refuses to have messages acknowledged one by one in STOMP 1.0, as KombuStomp does.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@cases(ALL[:1], without=["KombuStomp"])
def test_what_becomes_of_a_program_with_the_reference(
    library: Library, program: type[Program], cut: str, broker: Broker
) -> None:
    """The shapes are those of programs that work with stomp.py, and are lost where they say so."""
    least = least_of(library, program, cut)
    assert outcome_of(library, program, cut, broker, least) >= least
