"""A queue: messages in order, and consumers that compete for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from stomplistener.testing.messages import Stored


class Consumer(Protocol):
    """The receiver of a queue's messages."""

    def ready(self) -> bool:
        """Whether the consumer can take one more message now."""

    def wants(self, message: Stored) -> bool:
        """Whether the consumer's selector matches the message."""

    def deliver(self, message: Stored) -> None:
        """Take the message."""


class Queue:
    """Gives messages to the consumers in turn, except to those that are not ready. Call under the broker's lock."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: deque[Stored] = deque()
        self.consumers: deque[Consumer] = deque()

    def add(self, consumer: Consumer) -> None:
        self.consumers.append(consumer)
        self.dispatch()

    def remove(self, consumer: Consumer) -> None:
        if consumer in self.consumers:
            self.consumers.remove(consumer)

    def put(self, message: Stored) -> None:
        self.waiting.append(message)
        self.dispatch()

    def put_back(self, messages: Iterable[Stored]) -> None:
        """Return messages to their earlier positions."""
        back = sorted(messages, key=lambda message: message.number)
        if not back:
            return
        if not self.waiting or back[-1].number < self.waiting[0].number:
            self.waiting.extendleft(reversed(back))
        else:
            self.waiting = deque(sorted([*back, *self.waiting], key=lambda message: message.number))
        self.dispatch()

    def dispatch(self) -> None:
        """Deliver as many messages as the consumers can take."""
        if not self.consumers:
            return
        unwanted: list[Stored] = []
        while self.waiting:
            message = self.waiting.popleft()
            if message.expires and message.is_expired:
                continue
            consumer = self._next(message)
            if consumer is not None:
                consumer.deliver(message)
                continue
            unwanted.append(message)
            if not any(consumer.ready() for consumer in self.consumers):
                break
        self.waiting.extendleft(reversed(unwanted))

    def _next(self, message: Stored) -> Consumer | None:
        for _ in range(len(self.consumers)):
            consumer = self.consumers[0]
            self.consumers.rotate(-1)
            if consumer.ready() and consumer.wants(message):
                return consumer
        return None
