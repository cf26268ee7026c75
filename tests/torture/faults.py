"""What can happen to a connection or a broker, each as a thing to do and undo."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import docker.errors

from stomplistener.testing import FaultProxy
from stomplistener.testing.containers import BrokerContainer

Dice = random.Random


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: for the table.
        weight: how often it is drawn, against the others.
        run: does it and undoes it; the time between the two comes from the dice.
    """

    name: str
    weight: float
    run: Callable[[FaultProxy, BrokerContainer | None, Dice], None]


def _cut(proxy: FaultProxy, _broker: object, _dice: Dice) -> None:
    proxy.cut()


def _reset(proxy: FaultProxy, _broker: object, _dice: Dice) -> None:
    proxy.reset()


def _cut_at_byte(proxy: FaultProxy, _broker: object, dice: Dice) -> None:
    proxy.cut_at(dice.randrange(1, 20_000), dice.choice(("up", "down")), reset=dice.random() < 0.5)


def _half_close(proxy: FaultProxy, _broker: object, dice: Dice) -> None:
    proxy.half_close(dice.choice(("up", "down")))


def _blackhole(proxy: FaultProxy, _broker: object, dice: Dice) -> None:
    proxy.blackhole(lose=dice.random() < 0.5)
    time.sleep(dice.uniform(0.5, 3.0))
    proxy.heal()
    # What was lost on the way leaves both ends out of step: such a connection is of no use any more.
    proxy.cut()


def _refuse(proxy: FaultProxy, _broker: object, dice: Dice) -> None:
    proxy.refuse()
    proxy.cut()
    time.sleep(dice.uniform(0.05, 1.0))
    proxy.accept()


def _slow(proxy: FaultProxy, _broker: object, dice: Dice) -> None:
    proxy.slow(dice.uniform(20_000, 100_000))
    time.sleep(dice.uniform(0.2, 1.0))
    proxy.cut()
    proxy.slow(None)


def _kill(proxy: FaultProxy, broker: BrokerContainer | None, _dice: Dice) -> None:
    assert broker is not None
    broker.kill()
    broker.start()


def _restart(proxy: FaultProxy, broker: BrokerContainer | None, _dice: Dice) -> None:
    assert broker is not None
    broker.restart()


def _pause(proxy: FaultProxy, broker: BrokerContainer | None, dice: Dice) -> None:
    assert broker is not None
    try:
        broker.pause()
    except docker.errors.APIError:
        return  # the kernel could not freeze it just now: this fault did not happen
    time.sleep(dice.uniform(1.0, 4.0))
    broker.unpause()


ON_THE_WIRE = (
    Fault("cut (FIN)", 30, _cut),
    Fault("reset (RST)", 30, _reset),
    Fault("cut at a byte", 25, _cut_at_byte),
    Fault("half-close", 8, _half_close),
    Fault("black hole", 4, _blackhole),
    Fault("refused", 6, _refuse),
    Fault("slow, then cut", 5, _slow),
)

AT_THE_BROKER = (
    Fault("container paused", 1.5, _pause),
    Fault("container killed", 1.0, _kill),
    Fault("container restarted", 0.7, _restart),
)
