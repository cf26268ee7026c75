"""Mask secrets in every text that a person may read: by the names of headers, and by the values that we sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

_SECRET_NAME = re.compile(r"(?i)pass(code|word)|authorization|cookie|token|secret").search
"""In the names of headers that keep secrets: ``passcode``, ``Authorization``, ``x-access-token`` and what is alike."""

_SHORT = 4
"""Characters below which a secret is looked for as a word of its own only: it would mask half of any text."""

_WORDS = re.compile(r"[^\s;,=]+").findall


def masked(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The pairs with the values of secrets replaced, for every text that a person may read."""
    for key, value in pairs:
        yield key, "***" if _SECRET_NAME(key) else value


def secrets_in(headers: Mapping[str, str]) -> set[str]:
    """The values that a peer may quote of these headers, whole and each long word: tokens stand behind a scheme."""
    values = [value for key, value in headers.items() if _SECRET_NAME(key) and value]
    return {*values, *(word for value in values for word in _WORDS(value) if len(word) >= 2 * _SHORT)}


def without_secret(text: str, secret: str) -> str:
    """The text with a secret replaced wherever it stands; a short one only where it is no part of a word."""
    if len(secret) >= _SHORT:
        return text.replace(secret, "***")
    return re.sub(rf"(?<![^\W_]){re.escape(secret)}(?![^\W_])", "***", text)


def hidden(text: str, secrets: Iterable[str]) -> str:
    """What a peer said, with secrets replaced; where it was cut in the middle of one, also what is left of it there.

    Args:
        text: what is to be shown.
        secrets: what is not; the longest are looked for first, since others may be a part of them.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        text = without_secret(text, secret)
        for size in range(len(secret) - 1, _SHORT - 1, -1):
            if text.endswith(secret[:size]):
                text = text[:-size] + "***"
            if text.startswith(secret[-size:]):
                text = "***" + text[size:]
    return text


def hidden_bytes(data: bytes, secrets: Iterable[str]) -> bytes:
    """The same for bytes, whatever they are."""
    return hidden(data.decode(errors="surrogateescape"), secrets).encode(errors="surrogateescape")


def masked_lines(head: bytes) -> bytes:
    """The bytes of header lines, whole or not, with the values of secrets replaced."""
    return b"\n".join(map(_masked_line, head.split(b"\n")))


def _masked_line(line: bytes) -> bytes:
    key, colon, _ = line.partition(b":")
    return key + b":***" if colon and _SECRET_NAME(key.decode(errors="replace")) else line
