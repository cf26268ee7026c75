"""Programs in the shape of real ones for stomp.py, on real brokers: uncut, and with a cut in the middle."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator

import pytest
from compat_support import ALL, LOSING, OURS, Library
from lives import Cut, end_what_is_left, live
from programs import PROGRAMS, Outcome, Place, Program

import stomplistener
from stomplistener.testing import FaultProxy, Inbox
from stomplistener.testing.containers import BrokerContainer

SECONDS = 20.0
FEW = 5.0


class Real:
    """See ``lives.World``."""

    def __init__(self, broker: BrokerContainer, proxy: FaultProxy, connection: stomplistener.Connection) -> None:
        self.queue = f"/queue/compat-{uuid.uuid4().hex}"
        # A virtual host of their own is needed where one is, since a name of a broker is taken for one.
        vhost = broker.virtual_host if "rabbitmq" in broker.name else None
        self.place = Place(proxy.port, self.queue, broker.login or "", broker.passcode or "", vhost)
        self._proxy, self._connection = proxy, connection
        self._sent = Inbox()
        connection.subscribe(self.queue + ".out", self._sent)

    def publish(self, body: str) -> None:
        self._connection.send(self.queue, body, auto_content_length=False)

    def arrived(self) -> Collection[str]:
        return [message.text for message in self._sent.messages]

    def cut(self) -> object:
        return self._proxy.cut()


@pytest.fixture(params=["activemq", "rabbitmq"])
def world(request: pytest.FixtureRequest) -> Iterator[Real]:
    broker: BrokerContainer = request.getfixturevalue(request.param)
    with FaultProxy(broker.uri) as proxy, stomplistener.Connection(broker.uri) as connection:
        yield Real(broker, proxy, connection)
        end_what_is_left()


@pytest.mark.parametrize("library", ALL)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_uncut(library: Library, program: type[Program], world: Real) -> None:
    assert live(program(library, world.place), world, Cut(), SECONDS) is Outcome.WORKS


@pytest.mark.parametrize("library", OURS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_with_a_cut_in_the_middle(
    library: Library, program: type[Program], world: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stomplistener.compat.stomp.life._DISCONNECTED_PATIENCE", 0.5)
    least = program.lost if library is LOSING else program.restored
    seconds = SECONDS if least is Outcome.WORKS else FEW
    assert live(program(library, world.place), world, Cut(between=world.cut), seconds) >= least
