"""The exception that makes the broker answer ERROR."""

from __future__ import annotations

from collections.abc import Sequence


class Refusal(Exception):
    """A frame cannot be obeyed.

    Attributes:
        message: the ``message`` header of the ERROR.
        body: the longer text.
        close: whether the connection ends; None: the broker's options decide.
        headers: additional headers for the ERROR.
    """

    def __init__(
        self, message: str, body: str = "", *, close: bool | None = None, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.body = body or message
        self.close = close
        self.headers = tuple(headers)
