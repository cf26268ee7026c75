"""Mask secrets in every text that a person may read: by the names of headers, and by the values that were sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

_SECRET_NAME = re.compile(r"(?i)pass(code|word)|authorization|cookie|token|secret").search
"""Parts of the names of secret headers: ``passcode``, ``Authorization``, ``x-access-token`` and similar ones."""

_SHORT = 4
"""A secret with fewer characters than this is masked only as a separate word: otherwise it would mask half of any
text."""

_WORDS = re.compile(r"[^\s;,=]+").findall


def masked(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Replace the values of secret headers in the pairs, for every text that a person may read."""
    for key, value in pairs:
        yield key, "***" if _SECRET_NAME(key) else value


def secrets_in(headers: Mapping[str, str]) -> set[str]:
    """Return the secrets in these headers that a peer may quote: whole values, and each long word, such as a token."""
    values = [value for key, value in headers.items() if _SECRET_NAME(key) and value]
    return {*values, *(word for value in values for word in _WORDS(value) if len(word) >= 2 * _SHORT)}


def without_secret(text: str, secret: str) -> str:
    """Replace a secret everywhere in the text; a short one only if it is not part of a word."""
    if len(secret) >= _SHORT:
        return text.replace(secret, "***")
    return re.sub(rf"(?<![^\W_]){re.escape(secret)}(?![^\W_])", "***", text)


def hidden(text: str, secrets: Iterable[str]) -> str:
    """Replace secrets in a text from a peer, including parts of a secret at the ends of the text.

    Args:
        text: the text to show.
        secrets: the values to replace. The longest value is replaced first, since others may be part of it.
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
    """Replace secrets in bytes of any kind."""
    return hidden(data.decode(errors="surrogateescape"), secrets).encode(errors="surrogateescape")


def masked_lines(head: bytes) -> bytes:
    """Replace the values of secrets in header lines, which may be incomplete."""
    return b"\n".join(map(_masked_line, head.split(b"\n")))


def _masked_line(line: bytes) -> bytes:
    key, colon, _ = line.partition(b":")
    return key + b":***" if colon and _SECRET_NAME(key.decode(errors="replace")) else line
