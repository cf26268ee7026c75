"""What makes the broker answer ERROR."""

from __future__ import annotations

from collections.abc import Sequence


class Refusal(Exception):
    """A frame cannot be obeyed.

    Attributes:
        message: the header of that name.
        body: the longer text.
        close: whether the connection ends; None as the broker's options say.
        headers: more headers for the ERROR.
    """

    def __init__(
        self, message: str, body: str = "", *, close: bool | None = None, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.body = body or message
        self.close = close
        self.headers = tuple(headers)
