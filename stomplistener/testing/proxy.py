"""A proxy in front of any broker that breaks connections in all the ways of a network. For tests."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

from stomplistener._util import arguments
from stomplistener.errors import InvalidURI
from stomplistener.testing.link import WAYS, Conditions, Link, Mark, Way
from stomplistener.testing.listening import Listening
from stomplistener.testing.watch import Watch

T = TypeVar("T")


class FaultProxy:
    """Forward connections to a broker, and cause faults on request.

    ::

        with Broker() as broker, FaultProxy(broker.uri) as proxy:
            client.connect(proxy.uri)
            proxy.cut()

    The proxy knows nothing of STOMP or TLS: faults count bytes. The directions are ``"up"`` to the broker and
    ``"down"`` to the client. Any thread may call any method. A method that changes the conditions applies to open and
    new connections until it is undone.

    Args:
        target: the broker: ``tcp://host:port`` or another URI of one broker, or a pair of host and port.
        host: the address to listen on.
        port: 0 lets the system choose.

    Raises:
        InvalidURI: the target names no host and port.
    """

    def __init__(self, target: str | tuple[str, int], *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._target, self._uri = _target(target)
        self._watch = Watch()
        self._conditions = Conditions()
        self._links: dict[Link, None] = {}
        self._count = 0
        self._listening = Listening(host, port, self._serve, "proxy")

    # Life.

    def start(self) -> Self:
        """Listen; OSError if the port is taken. Does nothing if the proxy runs."""
        self._listening.open()
        return self

    def close(self) -> None:
        """Cut all connections and give up the port. Returns when every thread has ended."""
        self._listening.close()
        self._end_links()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port; before the first start, 0 if the system chooses it."""
        return self._listening.port

    @property
    def uri(self) -> str:
        """The URI for a client: the target's URI, including the login, with the proxy's address."""
        parts = urlsplit(self._uri)
        user, at, _ = parts.netloc.rpartition("@")
        host = f"[{self._listening.host}]" if ":" in self._listening.host else self._listening.host
        return urlunsplit(parts._replace(netloc=f"{user}{at}{host}:{self.port}"))

    def __repr__(self) -> str:
        return f"<FaultProxy on port {self.port} to {self._target[0]}:{self._target[1]}>"

    # The visible state.

    @property
    def connections(self) -> int:
        """The number of open connections."""
        with self._watch.lock:
            return len(self._links)

    @property
    def connection_count(self) -> int:
        """How many connections the proxy has accepted."""
        with self._watch.lock:
            return self._count

    def bytes(self, direction: Way) -> int:
        """Return how many bytes were carried in a direction, on all connections together."""
        with self._watch.lock:
            return self._conditions.passed[direction]

    def lost(self, direction: Way) -> int:
        """Return how many bytes were dropped in a direction, by ``half_close()`` and ``blackhole(lose=True)``."""
        with self._watch.lock:
            return self._conditions.lost[direction]

    def wait_for(self, condition: Callable[[], T], timeout: float = 5.0, what: str = "") -> T:
        """Wait up to ``timeout`` seconds until a condition on the proxy is true, and return its value.

        Raises:
            TimedOut: the condition did not become true; the text contains ``what``.
        """
        return self._watch.wait_for(condition, timeout, what, self._describe)

    def _describe(self) -> str:
        return f"{self.connections} connections of {self._count}, bytes {self._conditions.passed}"

    # Faults.

    def cut(self, *, reset: bool = False) -> int:
        """Cut every open connection, with FIN or RST on both sides. Return how many were cut."""
        with self._watch.lock:
            links = list(self._links)
            for link in links:
                link.cut(reset=reset)
            self._watch.changed()
        return len(links)

    def reset(self) -> int:
        """Do the same as ``cut()``, with RST."""
        return self.cut(reset=True)

    def cut_at(self, byte: int, direction: Way = "down", *, reset: bool = False, times: int = 1) -> None:
        """Cut the next connection after ``byte`` bytes, ``times`` times; these bytes still arrive.

        On an open connection the bytes are counted from this call, on a later one from its start.
        """
        arguments.count("byte", byte, 0)
        arguments.one_of("direction", direction, WAYS)
        with self._watch.lock:
            start = {link: link.passed[direction] for link in self._links}
            self._conditions.marks.append(Mark(byte, direction, reset, times, start))

    def half_close(self, direction: Way) -> None:
        """End the stream of one direction on every open connection; the other goes on."""
        arguments.one_of("direction", direction, WAYS)
        with self._watch.lock:
            for link in self._links:
                link.half_close(direction)

    def blackhole(self, direction: Way | None = None, *, lose: bool = False) -> None:
        """Forward nothing, in one direction or both, but keep all connections.

        Args:
            lose: drop the bytes, instead of keeping them until ``heal()``.
        """
        if direction is not None:
            arguments.one_of("direction", direction, WAYS)
        ways: tuple[Way, ...] = WAYS if direction is None else (direction,)
        with self._watch.lock:
            self._conditions.held.update(dict.fromkeys(ways, lose))
            self._watch.changed()

    def heal(self) -> None:
        """Undo ``blackhole()``, ``slow()``, ``delay()`` and ``cut_at()``."""
        with self._watch.lock:
            self._conditions.held.clear()
            self._conditions.marks.clear()
            self._conditions.rate = None
            self._conditions.delay = 0.0
            self._watch.changed()

    def slow(self, bytes_per_second: float | None) -> None:
        """Limit the rate of each direction of each connection; None for no limit."""
        if bytes_per_second is not None and not bytes_per_second > 0:
            raise ValueError("bytes_per_second must be more than 0; blackhole() lets nothing through")
        with self._watch.lock:
            self._conditions.rate = bytes_per_second

    def delay(self, seconds: float) -> None:
        """Delay each piece; bytes that arrive meanwhile form the next piece."""
        arguments.seconds("seconds", seconds)
        with self._watch.lock:
            self._conditions.delay = seconds

    def refuse(self) -> None:
        """Let the system refuse new connections. Open connections go on."""
        self._listening.refuse()

    def accept(self) -> None:
        """Undo ``refuse()``."""
        self._listening.open()

    def _serve(self, connected: socket.socket) -> None:
        with self._watch.lock:
            self._count += 1
            link = Link(connected, self._target, self._conditions, self._watch, self._forget)
            self._links[link] = None
            link.thread.start()
            self._watch.changed()

    def _forget(self, link: Link) -> None:
        with self._watch.lock:
            del self._links[link]
            for mark in self._conditions.marks:
                mark.start.pop(link, None)
            self._watch.changed()

    def _end_links(self) -> None:
        with self._watch.lock:
            links = list(self._links)
        self.cut()
        for link in links:
            link.thread.join()


def _target(target: str | tuple[str, int]) -> tuple[tuple[str, int], str]:
    if not isinstance(target, str):
        host, port = target
        return (host, port), f"tcp://{host}:{port}"
    parts = urlsplit(target)
    try:
        host, port = parts.hostname or "", parts.port or 0
    except ValueError as error:
        raise InvalidURI(f"the target of a FaultProxy: {error}") from None
    if not host or not port:
        raise InvalidURI("the target of a FaultProxy must be the URI of one broker with host and port")
    return (host, port), target
