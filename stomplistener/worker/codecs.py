"""Codecs read bodies and write replies, by content-type."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stomplistener.message import Message
from stomplistener.worker.payload import PayloadError, to_json

JSON_TYPE = "application/json"


@dataclass(frozen=True)
class Codec:
    """A format of bodies.

    Attributes:
        content_type: the content-type, such as ``application/msgpack``.
        decode: turns a body into JSON-like values. If ``decode`` raises, the message becomes a dead letter.
        encode: turns the return value of a handler into a body.
        reply_type: the content-type of the reply.
    """

    content_type: str
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    reply_type: str

    @classmethod
    def of(
        cls, content_type: str, decode: Callable[[bytes], Any], encode: Callable[[Any], bytes] | None = None
    ) -> Codec:
        """Make a codec. Without ``encode``, its replies are JSON."""
        if encode is None:
            return cls(content_type, decode, to_json, JSON_TYPE)
        return cls(content_type, decode, encode, content_type)


JSON = Codec.of(JSON_TYPE, json.loads, to_json)


class Codecs:
    """The codecs of an application. A body with another content-type, or none, is read as JSON."""

    def __init__(self) -> None:
        self._by_type: dict[str, Codec] = {}

    def add(self, codec: Codec) -> None:
        """Add a codec, in place of an earlier codec of the same content-type."""
        self._by_type[_bare(codec.content_type)] = codec

    def of(self, message: Message) -> Codec:
        """Return the codec for a message."""
        return self._by_type.get(_bare(message.headers.get("content-type", "")), JSON)

    def decoded(self, message: Message) -> Any:
        """Return the plain values in a message.

        Raises:
            PayloadError: the body cannot be decoded as its content-type.
        """
        codec = self.of(message)
        try:
            return codec.decode(message.body)
        except Exception as error:
            kind = message.headers.get("content-type", "not given")
            what = "JSON" if codec is JSON else codec.content_type
            # The error text of another package may quote the body. A line and a column reveal no content.
            where = f": {error}" if isinstance(error, json.JSONDecodeError) else f" ({type(error).__name__})"
            raise PayloadError(f"the body is not valid {what}{where}; its content-type is {kind}") from None


def _bare(content_type: str) -> str:
    """Return the content-type without parameters."""
    return content_type.partition(";")[0].strip().lower()
