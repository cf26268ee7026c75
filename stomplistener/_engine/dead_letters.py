"""A message that is given up goes to its subscription's error destination, with what happened in headers.

It must neither vanish nor be there twice if that can be helped. Where the broker's answer to COMMIT says that it is
done, copy and acknowledgement are one transaction. RabbitMQ answers before the messages are stored: there the copy is
confirmed by itself, and acknowledged afterwards.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping

from stomplistener._engine.context import Context
from stomplistener._engine.receipts import Receipt
from stomplistener._engine.sender import Sender
from stomplistener.message import OF_A_DELIVERY, Message
from stomplistener.protocol import VERSIONS, Frame, Session, TransactionEntry, commands

_LONGEST_ERROR = 1000
_LONGEST_TRACEBACK = 4000
"""Characters of the two headers that tell of the error."""


class DeadLetters:
    """Forwards messages.

    Args:
        context: of the connection.
        sender: the way out.
        new_receipt: makes a future.
    """

    def __init__(self, context: Context, sender: Sender, new_receipt: Callable[[], Receipt]) -> None:
        self._context = context
        self._sender = sender
        self._new_receipt = new_receipt

    def forward(self, message: Message, destination: str, error: BaseException) -> Receipt | None:
        """Send a copy of the message and acknowledge the message, both or neither.

        Returns:
            what becomes the broker's answer; None if the message is stale, so that the broker delivers it again.

        Raises:
            StompError: nothing was sent.
        """
        headers = self._headers(message, error)
        # What was a text stays one.
        counted = "content-length" in message.headers or b"\0" in message.body
        if self._context.commit_confirms:
            return self._in_transaction(message, destination, headers, counted)
        return self._confirmed(message, destination, headers, counted)

    def _in_transaction(
        self, message: Message, destination: str, headers: Mapping[str, str], counted: bool
    ) -> Receipt | None:
        timeout = self._context.config.timeout
        entries: list[TransactionEntry] = []

        def begin(session: Session) -> Frame | None:
            if message.epoch != session.epoch:
                return None
            entry, frame = session.begin()
            entries.append(entry)
            return frame

        if self._sender.transmit(None, timeout, "BEGIN", note=begin) is None:
            return None
        entry = entries[0]
        try:
            frame = commands.send(destination, message.body, headers, transaction=entry.id, auto_content_length=counted)
            self._sender.send_in(entry, frame, timeout, None)
            if not self._sender.settle(message, entry, None, negative=False, timeout=timeout):
                self._sender.transmit_now(lambda session: session.abort(entry))
                return None
            receipt = self._new_receipt()
            self._sender.transmit(
                None,
                timeout,
                "COMMIT",
                note=lambda session: session.commit(entry, context=receipt),
                begun=True,
                context=receipt,
            )
        except BaseException:
            self._sender.transmit_now(lambda session: session.abort(entry))
            raise
        return receipt

    def _confirmed(
        self, message: Message, destination: str, headers: Mapping[str, str], counted: bool
    ) -> Receipt | None:
        receipt = self._new_receipt()
        frame = commands.send(destination, message.body, headers, auto_content_length=counted)
        self._sender.send_confirmed(frame, receipt, self._context.config.timeout, wait=False)
        return receipt

    def _headers(self, message: Message, error: BaseException) -> dict[str, str]:
        # Artemis obeys destination-type: what came by a topic would vanish on its way to a queue.
        headers = {name: value for name, value in message.headers.items() if name not in OF_A_DELIVERY}
        rules = VERSIONS[self._context.session.version or "1.0"]

        def writable(text: str) -> str:
            text = text.replace("\r", "").replace("\0", "").encode(errors="replace").decode()
            # 1.0 has no way to write a line feed.
            return text if "\n" in rules.escapes else text.replace("\n", " | ")

        story = "".join(traceback.format_exception(error))
        return headers | {
            "original-destination": message.destination,
            "original-message-id": message.id,
            "error": writable(f"{type(error).__name__}: {error}".replace("\n", " "))[:_LONGEST_ERROR],
            "error-traceback": writable(story)[-_LONGEST_TRACEBACK:],
            "attempts": str(message.attempts + 1),
        }
