"""A topic has a queue for each subscription, so a slow one delays no other. Durable queues outlive consumers."""

from __future__ import annotations

from stomplistener.protocol import Headers
from stomplistener.testing.messages import Stored
from stomplistener.testing.queues import Queue
from stomplistener.testing.selector import EVERYTHING, Selector

DurableName = tuple[str, str]
"""The client-id and the name of a durable subscription."""


class Topic:
    """The queues of one topic. Call under the broker's lock."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._queues: dict[Queue, Selector] = {}
        self._durable: dict[DurableName, Queue] = {}

    @property
    def queues(self) -> list[Queue]:
        return list(self._queues)

    def publish(self, message: Stored) -> None:
        for queue, selector in list(self._queues.items()):
            if selector is EVERYTHING or selector(Headers(message.pairs)):
                queue.put(message.copy())

    def is_in_use(self, durable: DurableName) -> bool:
        return durable in self._durable and bool(self._durable[durable].consumers)

    def open(self, selector: Selector, durable: DurableName | None) -> Queue:
        """Return the queue of a subscription. An existing durable queue has the messages that arrived meanwhile."""
        queue = self._durable.get(durable) if durable else None
        if queue is None:
            queue = Queue(self.name)
            if durable:
                self._durable[durable] = queue
        self._queues[queue] = selector
        return queue

    def close(self, queue: Queue) -> None:
        """End a subscription. The queue of a durable subscription goes on collecting messages."""
        if queue not in self._durable.values():
            self._queues.pop(queue, None)

    def forget(self, durable: DurableName) -> bool:
        """Remove a durable subscription; False if it does not exist."""
        queue = self._durable.pop(durable, None)
        if queue is None:
            return False
        self._queues.pop(queue, None)
        return True
