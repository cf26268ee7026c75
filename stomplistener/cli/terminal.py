"""What commands write: results to stdout, everything about them to stderr, colour only where it is wanted."""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console


def _color() -> bool | None:
    # Not left to click's context: that belongs to one thread, and listeners run in others.
    return False if os.environ.get("NO_COLOR") else None


def show(text: str) -> None:
    """Write a result, and a line's end, to stdout. Thread-safe."""
    click.echo(text, color=_color())


def say(text: str) -> None:
    """Write something about the work to stderr. Thread-safe."""
    click.echo(text, err=True, color=_color())


def console(*, stderr: bool = False) -> Console:
    """A console of rich, without any style where ``NO_COLOR`` is set."""
    from rich.console import Console

    return Console(stderr=stderr, color_system=None if os.environ.get("NO_COLOR") else "auto")


def encodes(text: str, stream: IO[str] | None = None) -> bool:
    """Whether the encoding of a stream, stdout if None, has all characters of a text."""
    try:
        text.encode(getattr(stream or sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
