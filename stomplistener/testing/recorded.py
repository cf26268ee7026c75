"""A message without a connection, for tests of listeners and handlers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count
from typing import Any

from stomplistener._util import arguments
from stomplistener.message import Message
from stomplistener.options import SendOptions, json_body
from stomplistener.protocol import Frame, TransactionEntry
from stomplistener.protocol.frame import as_bytes
from stomplistener.states import MessageState

_numbers = count(1)


class RecordedMessage(Message):
    """A message that records whether it was acknowledged, rejected and answered.

    Attributes:
        replies: ``(body, headers)`` of each reply.
    """

    def __init__(self, frame: Frame) -> None:
        self.replies: list[tuple[Any, dict[str, str]]] = []
        super().__init__(frame, None, 1, _Recorder(self.replies))

    @property
    def acked(self) -> bool:
        """Whether the message was acknowledged."""
        return self.state is MessageState.ACKED

    @property
    def nacked(self) -> bool:
        """Whether the message was rejected."""
        return self.state is MessageState.NACKED


class _Recorder:
    """Replaces the connection of a message."""

    def __init__(self, replies: list[tuple[Any, dict[str, str]]]) -> None:
        self._replies = replies

    def settle(
        self,
        message: Message,
        _transaction: TransactionEntry | None,
        _headers: Mapping[str, str] | None,
        *,
        negative: bool,
        timeout: float | None,  # noqa: ARG002 (a connection needs it)
    ) -> bool:
        wanted = MessageState.NACKED if negative else MessageState.ACKED
        if message.state is MessageState.UNSETTLED:
            message.state = wanted
        return message.state is wanted

    def reply(
        self,
        message: Message,
        body: Any,
        headers: Mapping[str, str] | None,
        _timeout: float | None,
        options: SendOptions,
    ) -> None:
        if message.reply_to is None:
            raise ValueError(f"{message!r} has no reply-to, so it expects no answer")
        own: dict[str, str] = {}
        if "json" in options:
            body, own = json_body(options["json"]), {"content-type": "application/json"}
        if (content_type := options.get("content_type")) is not None:
            own["content-type"] = content_type
        if not isinstance(body, str):
            # A test must fail with a body that a connection would refuse.
            as_bytes(body)
        self._replies.append((body, {**own, **arguments.headers(headers)}))


def message(
    body: str | bytes | Mapping[str, Any] | list[Any] = b"",
    headers: Mapping[str, str] | None = None,
    destination: str = "/queue/test",
) -> RecordedMessage:
    """Make a message as a listener gets it, without a broker.

    Args:
        body: text, bytes, or a value that is converted to JSON.
        headers: additional headers; they win over the generated ones.
        destination: the destination of the message.

    Returns:
        a message that records the calls of ``ack()`` and ``nack()``, as ``acked`` and ``nacked``, and its replies.
    """
    number = str(next(_numbers))
    own = {"destination": destination, "message-id": number, "subscription": "test", "ack": number}
    if isinstance(body, str):
        data, own["content-type"] = body.encode(), "text/plain;charset=utf-8"
    elif isinstance(body, (bytes, bytearray, memoryview)):
        data = bytes(body)
    else:
        data, own["content-type"] = json.dumps(body).encode(), "application/json"
    return RecordedMessage(Frame("MESSAGE", {**own, "content-length": str(len(data)), **(headers or {})}, data))
