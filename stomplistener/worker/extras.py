"""Packages that an application may do without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stomplistener.transport import MissingExtra


@contextmanager
def needed_for(purpose: str, extra: str) -> Iterator[None]:
    """Import a package inside; if it is missing, say what for it is needed and how to install it.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtra(purpose, extra) from error
