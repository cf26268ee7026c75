"""Disable the handles of a parent's connection in the child of a fork."""

from __future__ import annotations

from typing import NoReturn

from stomplistener._util.locks import Changes
from stomplistener.errors import ClosedAfterFork

ADVICE = "this connection was made before fork(): call connect() in the child"


class ParentsLock:
    """Replaces a lock that a thread of the parent may hold. Taking the replacement raises."""

    def acquire(self, *_how: object, **_more: object) -> NoReturn:
        raise ClosedAfterFork(ADVICE)

    def __enter__(self) -> NoReturn:
        raise ClosedAfterFork(ADVICE)

    def __exit__(self, *_error: object) -> None: ...

    def _is_owned(self) -> bool:
        return False


def disown(*parts: object) -> None:
    """Make every method of these objects that takes a lock raise ``ClosedAfterFork``. Takes no lock."""
    for part in parts:
        for name, value in tuple(vars(part).items()):
            if isinstance(value, Changes):
                value.disown(ParentsLock())
            elif hasattr(value, "acquire"):
                setattr(part, name, ParentsLock())
