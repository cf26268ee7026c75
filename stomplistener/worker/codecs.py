"""How bodies are read and replies are written, by content-type."""

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
        content_type: its name, such as ``application/msgpack``.
        decode: makes plain values of a body: those that JSON has. Whatever it raises sends the message to the dead
            letters.
        encode: makes a body of what a handler returned.
        reply_type: the content-type of such a body.
    """

    content_type: str
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    reply_type: str

    @classmethod
    def of(
        cls, content_type: str, decode: Callable[[bytes], Any], encode: Callable[[Any], bytes] | None = None
    ) -> Codec:
        """Make a format; without ``encode`` replies are JSON."""
        if encode is None:
            return cls(content_type, decode, to_json, JSON_TYPE)
        return cls(content_type, decode, encode, content_type)


JSON = Codec.of(JSON_TYPE, json.loads, to_json)


class Codecs:
    """The formats that an application knows. What has another content-type, or none, is read as JSON."""

    def __init__(self) -> None:
        self._by_type: dict[str, Codec] = {}

    def add(self, codec: Codec) -> None:
        """Add a format, in the place of another one of the same content-type."""
        self._by_type[_bare(codec.content_type)] = codec

    def of(self, message: Message) -> Codec:
        """Return the format of a message."""
        return self._by_type.get(_bare(message.headers.get("content-type", "")), JSON)

    def decoded(self, message: Message) -> Any:
        """Return the plain values in a message.

        Raises:
            PayloadError: the body is not what its content-type says.
        """
        codec = self.of(message)
        try:
            return codec.decode(message.body)
        except Exception as error:
            kind = message.headers.get("content-type", "no content-type")
            what = "JSON" if codec is JSON else codec.content_type
            # The text of another package's error may quote the body; a line and a column do not.
            where = f": {error}" if isinstance(error, json.JSONDecodeError) else f" ({type(error).__name__})"
            raise PayloadError(f"the body is not {what}{where}; it came with {kind}") from None


def _bare(content_type: str) -> str:
    """Without parameters."""
    return content_type.partition(";")[0].strip().lower()
