"""One connection through the proxy: two threads, one for each direction of the bytes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from stomplistener.testing.watch import Watch
from stomplistener.testing.wire import Wire

Way = Literal["up", "down"]
"""``up`` is from the client to the broker; ``down`` is from the broker to the client."""

WAYS: tuple[Way, ...] = ("up", "down")

_CONNECT_TIMEOUT = 5.0
_PIECES_A_SECOND = 50


@dataclass
class Mark:
    """Cuts a connection after a number of bytes, counted from ``start`` if the connection was open before the mark."""

    byte: int
    way: Way
    reset: bool
    times: int
    start: dict[Link, int] = field(default_factory=dict)


@dataclass
class Conditions:
    """The current conditions for the bytes of all connections. Changed under the proxy's lock.

    Attributes:
        held: the directions without any traffic, and whether their bytes are lost (True) or only wait.
        rate: bytes per second for each connection and direction; None for no limit.
        delay: the delay of each piece in seconds.
        passed, lost: the bytes that went through, and the dropped bytes, by direction.
    """

    held: dict[Way, bool] = field(default_factory=dict)
    rate: float | None = None
    delay: float = 0.0
    marks: list[Mark] = field(default_factory=list)
    passed: dict[Way, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    lost: dict[Way, int] = field(default_factory=lambda: {"up": 0, "down": 0})


class Link:
    """The connection of a client, and the connection to the broker that was made for it.

    The thread of the direction ``up`` connects, starts the thread of the other direction, waits for that thread and
    closes the sockets.
    """

    def __init__(
        self,
        client: socket.socket,
        target: tuple[str, int],
        conditions: Conditions,
        watch: Watch,
        at_end: Callable[[Link], None],
    ) -> None:
        self.passed: dict[Way, int] = {"up": 0, "down": 0}
        self.thread = threading.Thread(target=self._run, name="proxy-up", daemon=True)
        self._client = Wire(client)
        self._broker: Wire | None = None
        self._target = target
        self._conditions = conditions
        self._watch = watch
        self._at_end = at_end
        self._cut = False
        self._ended: set[Way] = set()

    def cut(self, *, reset: bool) -> None:
        """End both connections. Called under the lock."""
        self._cut = True
        self._client.cut(reset=reset)
        if self._broker is not None:
            self._broker.cut(reset=reset)

    def half_close(self, way: Way) -> None:
        """End the stream of one direction; later bytes of it are dropped. Call under the lock."""
        self._ended.add(way)
        sink = self._client if way == "down" else self._broker
        if sink is not None:
            sink.half_close()

    def _run(self) -> None:
        try:
            self._connect()
            if self._broker is not None:
                down = threading.Thread(
                    target=self._carry, args=("down", self._broker, self._client), name="proxy-down", daemon=True
                )
                down.start()
                self._carry("up", self._client, self._broker)
                down.join()
                self._broker.close()
        finally:
            self._client.close()
            self._at_end(self)

    def _connect(self) -> None:
        try:
            broker = socket.create_connection(self._target, _CONNECT_TIMEOUT)
        except OSError:
            # The client's connection is already accepted, so it cannot be refused. A reset is the closest alternative.
            self._client.cut(reset=True)
            return
        with self._watch.lock:
            self._broker = Wire(broker)
            if self._cut:
                self._broker.cut(reset=False)
            elif "up" in self._ended:
                self._broker.half_close()

    def _carry(self, way: Way, source: Wire, sink: Wire) -> None:
        """Carry bytes until their stream ends, then end the stream on the other side."""
        try:
            while data := source.receive():
                for piece in self._pieces(data):
                    if not self._pass(way, piece, sink):
                        return
            self._wait_until_open(way)
            with self._watch.lock:
                # A cut also ends the streams, and may have to end them with RST instead.
                if not self._cut:
                    sink.half_close()
        except OSError:
            # An error on one side breaks both sides.
            with self._watch.lock:
                self.cut(reset=True)

    def _pieces(self, data: bytes) -> list[bytes]:
        rate = self._conditions.rate
        if rate is None:
            return [data]
        size = max(1, int(rate / _PIECES_A_SECOND))
        return [data[start : start + size] for start in range(0, len(data), size)]

    def _pass(self, way: Way, piece: bytes, sink: Wire) -> bool:
        """Let one piece through under the current conditions; False if the connection was cut."""
        conditions = self._conditions
        if conditions.delay:
            self._sleep(conditions.delay)
        if conditions.rate:
            self._sleep(len(piece) / conditions.rate)
        self._wait_until_open(way)
        with self._watch.lock:
            if self._cut:
                return False
            if conditions.held.get(way) or way in self._ended:
                conditions.lost[way] += len(piece)
                self._watch.changed()
                return True
            mark = self._mark_within(way, len(piece))
            if mark is not None:
                piece = piece[: max(0, mark.start.get(self, 0) + mark.byte - self.passed[way])]
            self.passed[way] += len(piece)
            conditions.passed[way] += len(piece)
        try:
            sink.send(piece)
        except OSError:
            # half_close() ended this direction meanwhile; the other one goes on.
            if way not in self._ended:
                raise
        if mark is not None:
            with self._watch.lock:
                self.cut(reset=mark.reset)
        self._watch.changed()
        return mark is None

    def _mark_within(self, way: Way, size: int) -> Mark | None:
        """Return the first mark that the next bytes reach, and count the mark as used once."""
        for mark in self._conditions.marks:
            if mark.way == way and self.passed[way] + size >= mark.start.get(self, 0) + mark.byte:
                mark.times -= 1
                if not mark.times:
                    self._conditions.marks.remove(mark)
                return mark
        return None

    def _wait_until_open(self, way: Way) -> None:
        self._watch.pause(lambda: self._cut or self._conditions.held.get(way) is not False)

    def _sleep(self, seconds: float) -> None:
        self._watch.pause(lambda: self._cut, seconds)
