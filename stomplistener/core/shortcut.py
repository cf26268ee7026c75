"""The short ways out: for a SEND with nothing but a destination and a body, and for the ACK of a message as it came.

Nearly all that applications say is one of these. Each way says False where only the long one is open (see ``saying``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stomplistener.message import Message
from stomplistener.protocol.templates import Templates
from stomplistener.threads.brief import take

if TYPE_CHECKING:
    from stomplistener.core.answer import Answer
    from stomplistener.core.shared import Shared


class Shortcut:
    """Of one epoch, from when everybody may say anything until somebody may not. Thread-safe.

    It holds what it needs itself: when nothing was sent for a moment all memory is far away, and an attribute among the
    many of the core costs as much as a step.
    """

    __slots__ = ("_core", "_listeners", "_long_texts", "_outbox", "templates")

    def __init__(self, core: Shared, *, long_texts: bool) -> None:
        """
        Args:
            long_texts: whether a text may go without a content-length, which is the long way.
        """
        self._core = core
        self._outbox = core.outbox
        self._listeners = core.listeners
        self._long_texts = long_texts
        self.templates = Templates(core.session.version or "")

    def send(self, destination: str, body: object) -> bool:
        """Say a SEND that nobody waits for. The session has nothing to note of it, so that it need not be asked."""
        if self._listeners.on_send or (self._long_texts and not self._core.counted(body, None)):
            return False
        outbox, templates = self._outbox, self.templates
        data = templates.send(destination, body)
        if data is None:
            return False
        if not (outbox.gathers or outbox.batching) and outbox.write_alone(data, templates):
            return True
        core = self._core
        take(core.lock)
        try:
            if outbox.templates is not templates or outbox.is_full:
                return False
            core.messages_sent += 1
            if outbox.put(data):
                return True
        finally:
            core.lock.release()
        outbox.nudge()
        return True

    def confirm(self, destination: str, body: object, answer: Answer) -> bool:
        """Say a SEND that is kept until its receipt has come."""
        core, outbox, templates = self._core, self._outbox, self.templates
        if self._listeners.on_send or (self._long_texts and not core.counted(body, None)):
            return False
        if isinstance(body, str):
            size = len(body.encode())
        elif type(body) is bytes:
            size = len(body)
        else:
            return False
        take(core.lock)
        try:
            if outbox.templates is not templates or outbox.is_full or core.window_is_full():
                return False
            session = core.session
            receipt = session.new_id()
            # Before it is noted: a destination that cannot be written must leave nothing behind.
            data = templates.send(destination, body, receipt)
            assert data is not None
            session.send_plain(destination, body, size, receipt, answer)
            core.messages_sent += 1
            if outbox.put(data):
                return True
        finally:
            core.lock.release()
        outbox.nudge()
        return True

    def acknowledge(self, message: Message) -> bool:
        """ACK a message."""
        core, outbox, templates = self._core, self._outbox, self.templates
        if self._listeners.on_send or (data := templates.ack(message.frame)) is None:
            return False
        take(core.lock)
        try:
            if outbox.templates is not templates or message.epoch != core.session.epoch or outbox.is_full:
                return False
            if message.settled is True:
                return True
            message.settled = True
            if outbox.put(data):
                return True
        finally:
            core.lock.release()
        outbox.nudge()
        return True
