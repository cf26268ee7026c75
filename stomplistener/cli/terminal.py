"""The output of commands: results to stdout, reports to stderr, and colour only if it is wanted."""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console


def _color() -> bool | None:
    # Do not rely on click's context: it belongs to one thread, and listeners run in others.
    return False if os.environ.get("NO_COLOR") else None


def show(text: str) -> None:
    """Write a result and a line end to stdout. Thread-safe."""
    click.echo(text, color=_color())


def say(text: str) -> None:
    """Write a report to stderr. Thread-safe."""
    click.echo(text, err=True, color=_color())


def console(*, stderr: bool = False) -> Console:
    """Return a console of rich, without styles if ``NO_COLOR`` is set."""
    from rich.console import Console

    return Console(stderr=stderr, color_system=None if os.environ.get("NO_COLOR") else "auto")


def encodes(text: str, stream: IO[str] | None = None) -> bool:
    """Whether the encoding of a stream has all characters of a text. None means stdout."""
    try:
        text.encode(getattr(stream or sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
