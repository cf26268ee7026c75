"""A file whose age tells an orchestrator whether a worker is alive."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from stomplistener._util.loggers import library_logger

_log = library_logger("stomplistener.worker")

FRESH = 5.0
"""The age in seconds at which a file counts as stale. A worker that works touches its file every second."""


class AliveFile:
    """A file that is touched while the worker works, and removed at the end. One thread uses it.

    Args:
        path: the file; None for no file.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._has_failed = False

    def touch(self) -> None:
        """Set the time of the file to now. An error is logged only once: a full disk must not end a worker."""
        if self._path is None:
            return
        try:
            self._path.touch()
            self._has_failed = False
        except OSError as error:
            if not self._has_failed:
                _log.error("the alive-file cannot be touched: %s", error)
            self._has_failed = True

    def remove(self) -> None:
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    @property
    def is_fresh(self) -> bool:
        """Whether the file was touched within the last five seconds."""
        try:
            return self._path is not None and time.time() - self._path.stat().st_mtime < FRESH
        except OSError:
            return False
