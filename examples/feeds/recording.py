"""Make a recording of three invented feeds, with the faults of real feeds, and play the recording.

A recording has one message per line, as JSON: ``at`` (seconds from the beginning), ``destination``, ``headers``, and
``body`` in Base64.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stomplistener import Connection
from stomplistener.testing import Broker

MODULUS = 10_000_000
FIRST = MODULUS - 40
"""Darwin's first number in the recording. The numbers soon start again at 0."""
LOST = range(FIRST + 80, FIRST + 83)
"""Numbers that Darwin skips."""
SWAPPED = FIRST + 120
"""The number of a message that arrives after the next one."""
DAMAGED = FIRST + 60
"""The number of a message whose body is cut off."""
SILENCE = (30.0, 42.0)
"""The begin and end of the time in which Elexon sends nothing, in seconds of the recording."""
LENGTH = 300.0
"""The length of the recording in seconds."""
OUTAGE = 3.0
"""Seconds that a restart of the broker takes."""
STATIONS = {"52701": "VIC", "87701": "CLJ", "72410": "EUS", "31510": "MAN", "11271": "EDB"}


class Recorded(NamedTuple):
    """A message of the recording. ``at`` is its time in seconds from the beginning."""

    at: float
    destination: str
    headers: dict[str, str]
    body: bytes


def make(path: Path, seed: int = 1) -> None:
    """Write the recording, which is always the same for the same seed."""
    dice = random.Random(seed)
    every = sorted((*_movements(dice), *_darwin(dice), *_frequency(dice)), key=lambda recorded: recorded.at)
    with path.open("w") as file:
        for each in every:
            body = base64.b64encode(each.body).decode()
            print(json.dumps({**each._asdict(), "body": body}), file=file)


def load(path: Path) -> Iterator[Recorded]:
    """Return the messages of a recording, in order."""
    with path.open() as file:
        for line in file:
            fields: dict[str, Any] = json.loads(line)
            yield Recorded(**{**fields, "body": base64.b64decode(fields["body"])})


def _times(dice: random.Random, rate: float) -> Iterator[float]:
    """Yield random times at this rate per second."""
    at = dice.expovariate(rate)
    while at < LENGTH:
        yield round(at, 3)
        at += dice.expovariate(rate)


def _movements(dice: random.Random) -> Iterator[Recorded]:
    for at in _times(dice, 1.0):
        events = [
            {
                "header": {"msg_type": "0003", "source_system_id": "TRUST"},
                "body": {
                    "event_type": dice.choice(("ARRIVAL", "DEPARTURE")),
                    "train_id": f"{dice.randint(100, 999)}{dice.choice('ABCD')}{dice.randint(100000, 999999)}",
                    "loc_stanox": dice.choice(tuple(STATIONS)),
                    "variation_status": dice.choice(("ON TIME", "ON TIME", "EARLY", "LATE")),
                },
            }
            for _ in range(dice.randint(1, 6))
        ]
        yield Recorded(
            at, "/topic/TRAIN_MVT_ALL_TOC", {"content-type": "application/json"}, json.dumps(events).encode()
        )


def _darwin(dice: random.Random) -> Iterator[Recorded]:
    held: Recorded | None = None
    for number, at in enumerate(_times(dice, 4.0), FIRST):
        uid, station = f"{dice.choice('CLPWY')}{dice.randint(10000, 99999)}", dice.choice(tuple(STATIONS.values()))
        xml = (
            f'<Pport xmlns="http://www.thalesgroup.com/rtti/PushPort/v16" version="16.0"><uR updateOrigin="TD">'
            f'<TS rid="20261129{uid}" uid="{uid}" ssd="2026-11-29"><Location tpl="{station}"/></TS></uR></Pport>'
        )
        headers = {"MessageType": "TS", "PushPortSequence": str(number % MODULUS)}
        body = gzip.compress(xml.encode(), mtime=0)
        recorded = Recorded(at, "/topic/darwin.pushport-v16", headers, body[:-9] if number == DAMAGED else body)
        if number == SWAPPED:
            held = recorded
        elif number not in LOST:
            yield recorded
            if held is not None:
                yield held._replace(at=at)
                held = None


def _frequency(dice: random.Random) -> Iterator[Recorded]:
    for second in range(int(LENGTH)):
        if not SILENCE[0] <= second < SILENCE[1]:
            hertz = 50 + dice.gauss(0, 0.05)
            xml = f"<msg><subject>BMRA.SYSTEM.FREQ</subject><SF>{hertz:.3f}</SF></msg>"
            yield Recorded(float(second), "/topic/bmrs.frequency", {"content-type": "application/xml"}, xml.encode())


class Player(threading.Thread):
    """Plays the recording again and again, as the providers would, and sometimes restarts the broker.

    Args:
        broker: the embedded broker.
        recording: the file of the recording.
        speed: the factor by which to play faster.
        up: seconds between two restarts of the broker.
    """

    def __init__(self, broker: Broker, recording: Path, speed: float, up: float) -> None:
        super().__init__(name="player")
        self._broker, self._recording, self._speed, self._up = broker, recording, speed, up
        self._outage = time.monotonic() + up
        self._ending = threading.Event()

    def run(self) -> None:
        with Connection(
            f"failover:({self._broker.uri})?initialReconnectDelay=1000&maxReconnectDelay=1000", name="player"
        ) as connection:
            while not self._ending.is_set():
                self._play(connection)

    def _play(self, connection: Connection) -> None:
        began = time.time()
        for at, destination, headers, body in load(self._recording):
            due = began + at / self._speed
            if self._ending.wait(max(0.0, due - time.time())):
                return
            if time.monotonic() > self._outage:
                connection.flush()
                self._broker.restart(after=OUTAGE)
                self._outage = time.monotonic() + self._up
            # ActiveMQ and Artemis put the time of sending into each message; the embedded broker does not.
            timestamp = str(int(due * 1000))
            connection.send(destination, body, {**headers, "timestamp": timestamp, "persistent": "true"})

    def stop(self) -> None:
        """Stop playing, and wait for the end of the thread."""
        self._ending.set()
        self.join()
