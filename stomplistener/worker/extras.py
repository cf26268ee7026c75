"""Optional packages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stomplistener.transport import MissingExtra


@contextmanager
def needed_for(purpose: str, extra: str) -> Iterator[None]:
    """Import a package inside this block.

    If a package is missing, the error names its purpose and the command to install it.

    Raises:
        MissingExtra: the package is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtra(purpose, extra) from error
