"""Encode frames as bytes."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from stomplistener._util.masking import masked
from stomplistener.errors import InvalidHeader, ProtocolError
from stomplistener.protocol.frame import HEARTBEAT, Frame
from stomplistener.protocol.spec import (
    COMMANDS,
    NEWEST,
    SERVER_COMMANDS,
    UNESCAPED_COMMANDS,
    VERSIONS,
    Version,
    version_rules,
)

_Items = Collection[tuple[str, str]]
_UNESCAPED = VERSIONS["1.0"]


def encode(frame: Frame, version: str | None = None) -> bytes:
    """Return the bytes of a frame in the form of a STOMP version.

    Pure and thread-safe.

    Args:
        frame: the frame to write; ``HEARTBEAT`` gives one end of line.
        version: the STOMP version whose escapes apply. None before the negotiation: the newest version for the frames
            of a client, and no escapes for those of a broker, whose client cannot know the version.

    Raises:
        TypeError: a header is not a ``str``.
        ValueError: the version does not exist.
        InvalidHeader: this version cannot express a header, or a header contradicts the body.
        ProtocolError: the command does not exist.
    """
    if frame is HEARTBEAT:
        return b"\n"
    command, body, fields = frame.command, frame.body, frame.fields
    if isinstance(fields, dict):
        items: _Items = fields.items()
        length = fields.get("content-length")
    else:
        items, length = fields, frame.headers.get("content-length")
    if command not in COMMANDS:
        raise ProtocolError(f"there is no STOMP command {command!r}", frame=frame)
    if version is not None and version not in VERSIONS:
        version_rules(version)
    head = _head(command, items, version)
    if length is None:
        if 0 in body:
            raise InvalidHeader(f"{command}: a body with a NUL needs its content-length")
    elif length != str(len(body)):
        raise InvalidHeader(f"{command}: content-length is {length!r}, but the body has {len(body)} bytes")
    return b"".join((head, b"\n\n", body, b"\0"))


def encode_block(command: str, items: _Items, version: str | None) -> bytes:
    """Return only the header lines, each with the end of line before it; raises as ``encode`` does."""
    return _head(command, items, version)[len(command) :]


def _head(command: str, items: _Items, version: str | None) -> bytes:
    """Return the command and header lines, without the end of the last line."""
    # join takes a subclass of str, such as an enum, by its value, and refuses any other type.
    try:
        head = "\n".join([command, *map(":".join, items)])
    except TypeError:
        raise _wrong_type(command, items) from None
    count = len(items)
    # One check of the whole head replaces a check of each name and value: most heads have no unusual character. There
    # is one LF and one colon for each header, so a larger number means that a name or a value has one.
    if (
        head.count("\n") != count
        or head.count(":") != count
        or "\\" in head
        or "\r" in head
        or "\0" in head
        or "\n:" in head
    ):
        head = _escaped(command, items, version)
    try:
        return head.encode()
    except UnicodeEncodeError as error:
        reason = error.reason
    if command in ("ACK", "NACK"):
        # The id of a MESSAGE that was not UTF-8 is returned byte for byte, as the decoder kept it.
        with suppress(UnicodeEncodeError):
            return head.encode(errors="surrogateescape")
    # Outside the handler: the context of the exception would show the whole head, and so the passcode.
    raise InvalidHeader(f"a header of {command} cannot be written as UTF-8: {reason}")


def _escaped(command: str, items: _Items, version: str | None) -> str:
    """Return a head with escapes in its names and values; InvalidHeader if the version has none for a character.

    Such a character would end the line, and the text after it would count as another header.
    """
    if command in UNESCAPED_COMMANDS or (version is None and command in SERVER_COMMANDS):
        rules = _UNESCAPED
    else:
        rules = NEWEST if version is None else version_rules(version)
    escapes, count = rules.escapes.items(), len(items)
    # A NUL stands for the colon between name and value until the other colons are escaped: no version can express a
    # NUL.
    lines = list(map("\0".join, items))
    head = "\n".join([command, *lines])
    if head.count("\n") == count:
        # Every LF begins a header line.
        for plain, escaped in escapes:
            if plain != "\n" and plain in head:
                head = head.replace(plain, escaped)
    else:
        for plain, escaped in escapes:
            lines = [line.replace(plain, escaped) for line in lines]
        head = "\n".join([command, *lines])
    if head.count("\n") != count or head.count("\0") != count or "\r" in head or "\n\0" in head:
        raise _unwritable(command, items, rules)
    if ":" in head and any(":" in name for name, _ in items):
        raise _unwritable(command, items, rules)
    return head.replace("\0", ":")


def _unwritable(command: str, items: _Items, rules: Version) -> InvalidHeader:
    """Make the error that names the invalid header. The value of the header may be a secret, so it is not shown."""
    who = f"the {command} frame" if command in UNESCAPED_COMMANDS else f"STOMP {rules.name}"
    for key, value in items:
        if not key:
            return InvalidHeader(f"{command} has a header without a name")
        for what, text, bad in ("name", key, "\n\r\0:"), ("value", value, "\n\r\0"):
            for character in bad:
                if character in text and character not in rules.escapes:
                    holds = f"the {what} of header {key!r} holds {_CHARACTERS[character]}"
                    return InvalidHeader(f"{command}: {holds}, which {who} cannot write")
    return InvalidHeader(f"{command}: a header cannot be written")  # pragma: no cover


def _wrong_type(command: str, items: _Items) -> TypeError:
    """Make the error that names the header whose name or value is not a ``str``."""
    for key, value in items:
        if not isinstance(key, str):
            return TypeError(f"{command}: the header name {key!r} must be a str, not {type(key).__name__}")
        if not isinstance(value, str):
            [(_, shown)] = masked([(key, repr(value))])
            hint = _HINTS.get(type(value), "").format(shown)
            return TypeError(f"{command}: header {key!r} must be a str, not {type(value).__name__}{hint}")
    return TypeError(f"{command}: its headers must be a mapping of str to str")  # pragma: no cover


_CHARACTERS = {"\n": "a line feed", "\r": "a carriage return", "\0": "a NUL", ":": "a colon"}
_HINTS: dict[type, str] = {
    **dict.fromkeys((int, float, bool), "; write str({})"),
    bytes: "; decode() it",
    type(None): "; leave it out",
}
