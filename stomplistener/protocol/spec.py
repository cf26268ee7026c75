"""The differences between the STOMP versions, in one table.

The questions "may this version …?" are answered here, by name; no other module compares version strings.
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
    """The characters of a header name or value that are written as an escape; empty if there is no escaping."""
    crlf: bool
    """Whether a line may end in CR LF."""
    nack: bool
    host_required: bool
    """Whether CONNECT must name a virtual host."""
    subscription_id_required: bool
    ack_headers: tuple[tuple[str, str], ...]
    """The headers of ACK and NACK, as pairs: the header to write, the header of the MESSAGE to copy."""
    ack_modes: frozenset[str]

    @cached_property
    def undefined_escape(self) -> Callable[[str], re.Match[str] | None]:
        """Find a backslash that begins no escape of this version, and is not the second one of an escape."""
        second = "".join(re.escape(escaped[1]) for escaped in self.escapes.values())
        # Match the first of a run of backslashes, then pairs. So the run is odd, and a character without an escape
        # follows it.
        return re.compile(rf"\\(?<!\\\\)(?:\\\\)*+(?![{second}])" if second else r"(?!)").search

    @cached_property
    def _unescapes(self) -> Mapping[str, str]:
        # The colon comes first: most headers with an escape have no other one.
        return {escaped: plain for plain, escaped in sorted(self.escapes.items(), key=lambda pair: pair[0] != ":")}

    def unescape(self, text: str) -> str:
        """Undo the escapes of a text; a backslash that begins no escape stays."""
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

NEWEST = VERSIONS[max(VERSIONS)]
"""The rules of the newest version."""

CLIENT_COMMANDS = frozenset(
    ["CONNECT", "STOMP", "SEND", "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK", "BEGIN", "COMMIT", "ABORT", "DISCONNECT"]
)
SERVER_COMMANDS = frozenset(["CONNECTED", "MESSAGE", "RECEIPT", "ERROR"])
COMMANDS = CLIENT_COMMANDS | SERVER_COMMANDS

UNESCAPED_COMMANDS = frozenset({"CONNECT", "STOMP", "CONNECTED"})
"""Frames without escapes in every version, so that STOMP 1.0 can read them (1.2, Value Encoding).

STOMP is handled in the same manner as CONNECT (1.2, Connecting)."""


def version_rules(name: str) -> Version:
    """Return the rules of a version; ValueError if the version does not exist."""
    try:
        return VERSIONS[name]
    except KeyError:
        raise ValueError(f"there is no STOMP version {name!r}; there are {', '.join(VERSIONS)}") from None


def highest(offered: Iterable[str]) -> str | None:
    """Return the newest known version among those offered, or None."""
    known = set(offered) & VERSIONS.keys()
    return max(known) if known else None
