"""What differs between the STOMP versions, in one table.

Every question of the kind "may this version …?" is answered here, by name; no other module compares version strings.
Sources: the specifications at https://stomp.github.io/, stomp-specification-1.0, -1.1 and -1.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from types import MappingProxyType

from stomplistener._util.record import Record

_ESCAPE = re.compile(r"\\.", re.DOTALL).sub


class Version(Record):
    """The rules of one version of STOMP."""

    name: str
    escapes: Mapping[str, str]
    """Characters of a header key or value that are written as an escape; empty where there is no escaping."""
    crlf: bool
    """Whether a line may end in CR LF."""
    nack: bool
    host_required: bool
    """Whether CONNECT must name a virtual host."""
    subscription_id_required: bool
    ack_headers: tuple[tuple[str, str], ...]
    """ACK and NACK: (header to write, header of the MESSAGE to take it from)."""
    ack_modes: frozenset[str]

    @cached_property
    def undefined_escape(self) -> Callable[[str], re.Match[str] | None]:
        """Find a backslash that begins no escape of this version, and is not the second one of an escape."""
        second = "".join(re.escape(escaped[1]) for escaped in self.escapes.values())
        # The first of a run of backslashes, then pairs: an odd number, and behind it a character without an escape.
        return re.compile(rf"\\(?<!\\\\)(?:\\\\)*+(?![{second}])" if second else r"(?!)").search

    @cached_property
    def _unescapes(self) -> Mapping[str, str]:
        # The colon first: in most headers with an escape there is no other.
        return {escaped: plain for plain, escaped in sorted(self.escapes.items(), key=lambda pair: pair[0] != ":")}

    def unescape(self, text: str) -> str:
        """Undo the escapes of a text; a backslash that begins none stays."""
        if "\\" not in text:
            return text
        if "\\\\" in text:
            return _ESCAPE(lambda match: self._unescapes.get(match[0], match[0]), text)
        for escaped, plain in self._unescapes.items():
            if "\\" not in text:
                break
            text = text.replace(escaped, plain)
        return text


_ESCAPES_11 = {"\\": "\\\\", "\n": "\\n", ":": "\\c"}

_TABLE = (
    Version(
        name="1.0",
        escapes=MappingProxyType({}),
        crlf=False,
        nack=False,
        host_required=False,
        subscription_id_required=False,
        ack_headers=(("message-id", "message-id"),),
        ack_modes=frozenset({"auto", "client"}),
    ),
    Version(
        name="1.1",
        escapes=MappingProxyType(_ESCAPES_11),
        crlf=False,
        nack=True,
        host_required=True,
        subscription_id_required=True,
        ack_headers=(("message-id", "message-id"), ("subscription", "subscription")),
        ack_modes=frozenset({"auto", "client", "client-individual"}),
    ),
    Version(
        name="1.2",
        escapes=MappingProxyType({**_ESCAPES_11, "\r": "\\r"}),
        crlf=True,
        nack=True,
        host_required=True,
        subscription_id_required=True,
        ack_headers=(("id", "ack"),),
        ack_modes=frozenset({"auto", "client", "client-individual"}),
    ),
)

VERSIONS: Mapping[str, Version] = MappingProxyType({version.name: version for version in _TABLE})
"""The versions, oldest first."""

CLIENT_COMMANDS = frozenset(
    ["CONNECT", "STOMP", "SEND", "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK", "BEGIN", "COMMIT", "ABORT", "DISCONNECT"]
)
SERVER_COMMANDS = frozenset(["CONNECTED", "MESSAGE", "RECEIPT", "ERROR"])
COMMANDS = CLIENT_COMMANDS | SERVER_COMMANDS

UNESCAPED_COMMANDS = frozenset({"CONNECT", "STOMP", "CONNECTED"})
"""Written and read without escapes in every version, to stay readable for 1.0 (1.2, Value Encoding).

STOMP is to be handled in the same manner as CONNECT (1.2, Connecting)."""


def version_rules(name: str) -> Version:
    """The rules of a version; ValueError for one that does not exist."""
    try:
        return VERSIONS[name]
    except KeyError:
        raise ValueError(f"there is no STOMP version {name!r}; there are {', '.join(VERSIONS)}") from None


def highest(offered: Iterable[str]) -> str | None:
    """The newest version of those offered that exists, or None."""
    known = set(offered) & VERSIONS.keys()
    return max(known) if known else None
