"""Destinations: each name belongs to a queue or a topic."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import count

from stomplistener.testing.messages import Stored
from stomplistener.testing.queues import Queue
from stomplistener.testing.topics import Topic

_TEMPORARY = ("/temp-queue/", "/temp-topic/")
# The second header is that of Artemis, so that this broker can replace Artemis in tests.
_DUPLICATE_HEADERS = ("duplicate-id", "_AMQ_DUPL_ID")
_MOST_PUBLISHED = 10_000
_MOST_PUBLISHED_BYTES = 64 * 1024 * 1024
_REMOTE = ("/remote-temp-queue/", "/remote-temp-topic/")


class Destinations:
    """Every queue and topic. Call all methods under the broker's lock.

    A temporary destination, ``/temp-queue/name``, belongs to one connection. The other connections know this
    destination by another name, ``/remote-temp-queue/SESSION.name``, as in ActiveMQ. The broker stores the destination
    under the second name.
    """

    def __init__(self, dead_letters: str) -> None:
        self._dead_letters = dead_letters
        self._numbers = count(1)
        self._found: dict[str, Queue | Topic] = {}
        self._sessions: set[str] = set()
        self._known: set[tuple[str, str]] = set()
        self._published: deque[Stored] = deque()
        self._published_bytes = 0

    def find(self, name: str) -> Queue | Topic:
        """Return the queue or topic of this name; it is made at its first use."""
        found = self._found.get(name)
        if found is None:
            is_topic = name.startswith(("/topic/", "/remote-temp-topic/"))
            found = self._found[name] = Topic(name) if is_topic else Queue(name)
        return found

    def queues(self, name: str) -> list[Queue]:
        """Return the existing queues of a name. A topic has a queue for each subscription."""
        found = self._found.get(name)
        return [] if found is None else [found] if isinstance(found, Queue) else found.queues

    def topics(self) -> list[Topic]:
        return [found for found in self._found.values() if isinstance(found, Topic)]

    @property
    def names(self) -> list[str]:
        return list(self._found)

    def message(self, destination: str, pairs: Iterable[tuple[str, str]], body: bytes) -> Stored:
        return Stored(next(self._numbers), destination, pairs, body)

    def put(self, message: Stored) -> None:
        """Store a message, unless its destination has seen one with the same ``duplicate-id``."""
        id = next((value for name, value in message.pairs if name in _DUPLICATE_HEADERS), None)
        if id is not None:
            if (message.destination, id) in self._known:
                return
            self._known.add((message.destination, id))
        self._note(message)
        found = self.find(message.destination)
        if isinstance(found, Topic):
            found.publish(message)
        else:
            found.put(message)

    def published(self, name: str) -> list[Stored]:
        """Return copies of the messages put into a destination; the oldest comes first."""
        return [message for message in self._published if message.destination == name]

    def _note(self, message: Stored) -> None:
        """Remember a copy: the message itself counts its deliveries."""
        self._published.append(message.copy())
        self._published_bytes += len(message.body)
        while len(self._published) > _MOST_PUBLISHED or (
            self._published_bytes > _MOST_PUBLISHED_BYTES and len(self._published) > 1
        ):
            self._published_bytes -= len(self._published.popleft().body)

    def _forget(self, name: str | None) -> None:
        kept = [message for message in self._published if name is not None and message.destination != name]
        self._published = deque(kept)
        self._published_bytes = sum(len(message.body) for message in kept)

    def bury(self, message: Stored) -> None:
        """Move a message to the dead letters."""
        name = self._dead_letters.replace("{name}", message.destination.rpartition("/")[2])
        pairs = [("original-destination", message.destination), *message.pairs]
        self.put(self.message(name, pairs, message.body))

    def clear(self, name: str | None = None) -> None:
        """Drop the waiting messages, and forget the published ones."""
        self._forget(name)
        for each in self.names if name is None else [name]:
            for queue in self.queues(each):
                queue.waiting.clear()

    def add_session(self, session: str) -> None:
        self._sessions.add(session)

    def end_session(self, session: str) -> None:
        """Drop the temporary destinations of a connection that has ended."""
        self._sessions.discard(session)
        for name in self.names:
            if owner(name) == session:
                del self._found[name]

    def is_gone(self, name: str) -> bool:
        """Whether this is a temporary destination whose connection has ended."""
        session = owner(name)
        return session is not None and session not in self._sessions


def owner(name: str) -> str | None:
    """Return the session that a temporary destination belongs to; None for other destinations."""
    if not name.startswith(_REMOTE):
        return None
    return name.split("/", 2)[2].partition(".")[0]


def absolute(name: str, session: str) -> str:
    """Return the global name of a destination from the name that this session uses."""
    if not name.startswith(_TEMPORARY):
        return name
    _, kind, own = name.split("/", 2)
    return f"/remote-{kind}/{session}.{own}"


def local(name: str, session: str) -> str:
    """Return the name that this session uses for a destination."""
    if owner(name) != session:
        return name
    _, kind, own = name.split("/", 2)
    return f"/{kind.removeprefix('remote-')}/{own.partition('.')[2]}"
