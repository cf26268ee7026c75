"""From frames to bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from stomplistener.errors import InvalidHeader, ProtocolError
from stomplistener.protocol.frame import HEARTBEAT, Frame
from stomplistener.protocol.spec import COMMANDS, UNESCAPED_COMMANDS, VERSIONS, Version, version_rules

_NUL = b"\0"
_UNUSUAL = re.compile("[\\\\\n\r:\0]").search


def encode(frame: Frame, version: str | None = None) -> bytes:
    """The bytes of a frame as a version writes it.

    Pure and thread-safe.

    Args:
        frame: what to write; ``HEARTBEAT`` gives one end of line.
        version: whose escapes hold; None before the negotiation, for CONNECT.

    Raises:
        InvalidHeader: a header holds what this version cannot write, or contradicts the body.
        ProtocolError: there is no such command.
    """
    if frame is HEARTBEAT:
        return b"\n"
    command = frame.command
    if command not in COMMANDS:
        raise ProtocolError(f"there is no STOMP command {command!r}", frame=frame)
    body = frame.body
    headers = frame.headers
    _check_length(frame, headers.get("content-length"))
    return b"%b%b\n\n%b\0" % (command.encode(), encode_block(command, headers.pairs, version), body)


def encode_block(command: str, pairs: Iterable[tuple[str, str]], version: str | None) -> bytes:
    """The header lines, each with the end of line before it."""
    pairs = tuple(pairs)
    block = "".join([f"\n{key}:{value}" for key, value in pairs])
    # One look at the whole instead of one at each part: only a block with an unusual character is taken apart.
    if (
        "\\" in block
        or "\r" in block
        or "\0" in block
        or block.count("\n") != len(pairs)
        or block.count(":") != len(pairs)
        or "\n:" in block
    ):
        rules = VERSIONS["1.0"] if version is None or command in UNESCAPED_COMMANDS else version_rules(version)
        block = "".join([f"\n{_escape(command, k, rules, key=True)}:{_escape(command, v, rules)}" for k, v in pairs])
    try:
        return block.encode()
    except UnicodeEncodeError as error:
        raise InvalidHeader(f"a header of {command} cannot be written as UTF-8: {error}") from None


def _escape(command: str, text: str, rules: Version, *, key: bool = False) -> str:
    if key and not text:
        raise InvalidHeader(f"{command} has a header without a name")
    if not _UNUSUAL(text):
        return text
    what = f"header name {text!r}" if key else "header value"
    for plain, escaped in rules.escapes.items():
        text = text.replace(plain, escaped)
    # Where a character has no escape it would end the line, and what follows would count as a header of its own.
    for character, name in (("\n", "a line feed"), ("\r", "a carriage return"), ("\0", "a NUL")):
        if character in text:
            raise InvalidHeader(f"{command}: a {what} holds {name}, which {_who(command, rules)} cannot write")
    if key and ":" in text:
        raise InvalidHeader(f"{command}: a {what} holds a colon, which {_who(command, rules)} cannot write")
    return text


def _who(command: str, rules: Version) -> str:
    return f"the {command} frame" if command in UNESCAPED_COMMANDS else f"STOMP {rules.name}"


def _check_length(frame: Frame, length: str | None) -> None:
    body = frame.body
    if length is None:
        if _NUL in body:
            raise InvalidHeader(f"{frame.command}: a body with a NUL needs its content-length")
    elif length != str(len(body)):
        raise InvalidHeader(f"{frame.command}: content-length is {length}, but the body has {len(body)} bytes")
