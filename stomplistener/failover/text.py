"""A text whose parts know their positions. Every exception about a URI names the position, and shows no secret."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote

from stomplistener.errors import InvalidURI

# All modules of this package compile here only the patterns that every URI needs; re compiles other patterns at first
# use.
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NAME = r"[A-Za-z][A-Za-z0-9_.+-]{0,39}"
_SECRET_OPTION = r"(?i)(?:password|proxy)="


class Piece(NamedTuple):
    """The part of ``source`` from ``start`` up to ``end``. For a decoded source, ``fixed`` is its position."""

    source: str
    start: int
    end: int
    fixed: int | None = None

    @classmethod
    def of(cls, source: str, *, fixed: int | None = None) -> Piece:
        """Return the whole text as a piece."""
        return cls(source, 0, len(source), fixed)

    @property
    def text(self) -> str:
        """The characters of the piece."""
        return self.source[self.start : self.end]

    def cut(self, start: int, end: int | None = None) -> Piece:
        """Return the part from ``start`` up to ``end``, both counted within this piece."""
        return Piece(self.source, self.start + start, self.end if end is None else self.start + end, self.fixed)

    def partition(self, separator: str) -> tuple[Piece, Piece | None]:
        """Return the parts before and after the first separator; None for the second if there is no separator."""
        at = self.text.find(separator)
        return (self, None) if at < 0 else (self.cut(0, at), self.cut(at + len(separator)))

    def split(self, places: Iterable[int]) -> list[Piece]:
        """Return the parts between the characters at these positions, including empty parts."""
        parts, start = [], 0
        for place in places:
            parts.append(self.cut(start, place))
            start = place + 1
        return [*parts, self.cut(start)]

    def decoded(self) -> str:
        """Return the text without its percent-encoding; a plus sign stays a plus sign.

        Raises:
            InvalidURI: the encoding is broken, or is not UTF-8.
        """
        if stray := _STRAY_PERCENT.search(self.text):
            raise self.error(
                "a % without two hexadecimal digits", offset=stray.start(), hint="a % itself is written %25"
            )
        try:
            return unquote(self.text, errors="strict")
        except UnicodeDecodeError:
            pass
        # Raise outside the handler: the UnicodeDecodeError contains the bytes, which may be a passcode.
        raise self.error("percent-encoded bytes that are not UTF-8")

    def error(self, what: str, *, offset: int = 0, hint: str = "") -> InvalidURI:
        """Make the exception. Texts of the URI may appear in ``what`` only as ``quoted`` returns them."""
        place = self.start + offset if self.fixed is None else self.fixed
        return InvalidURI(f"{what} at position {place}" + (f": {hint}" if hint else ""))

    @property
    def quoted(self) -> str:
        """A space and the text in quotes; empty if the text might be part of a secret without percent-encoding."""
        exposed = (
            self.fixed is None
            and re.fullmatch(_NAME, self.text)
            and "@" not in self.source[self.start :]
            and not re.search(_SECRET_OPTION, self.source[: self.start])
        )
        return f" {self.text!r}" if exposed else ""
