"""The exception for an optional package that is missing."""

from __future__ import annotations

from stomplistener.errors import StompError


class MissingExtra(StompError, ImportError):
    """A scheme or an option needs a package that is not installed; the text has the command that installs it."""

    def __init__(self, purpose: str, extra: str) -> None:
        super().__init__(f"{purpose} needs a package that is not installed: pip install 'stomplistener[{extra}]'")
