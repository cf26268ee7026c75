"""The directory that a supervisor and its children share. The files of a child are named by its slot."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stomplistener.worker.alive import AliveFile

SLOT = "STOMPLISTENER_WORKER_SLOT"
DIRECTORY = "STOMPLISTENER_WORKER_DIRECTORY"

DUMP = b"d"
"""The bytes that a supervisor writes to a child to make it write all its stacks to stderr."""


@dataclass(frozen=True)
class Slot:
    """The place of one child: its number and its files."""

    directory: Path
    number: int

    @classmethod
    def of_this_process(cls) -> Slot | None:
        """Return the slot of this process, if a supervisor started it. Child processes do not inherit the slot."""
        number, directory = os.environ.pop(SLOT, None), os.environ.pop(DIRECTORY, None)
        return None if number is None or directory is None else cls(Path(directory), int(number))

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that give the slot to the child."""
        return {SLOT: str(self.number), DIRECTORY: str(self.directory)}

    @property
    def alive(self) -> AliveFile:
        """The file that the child touches while all its connections are ready."""
        return AliveFile(self.directory / f"{self.number}.alive")

    def write_port(self, port: int) -> None:
        """Write the port of the child's metrics endpoint; called in the child."""
        self._port.write_text(str(port))

    def read_port(self) -> int | None:
        """Return the port of the child's metrics endpoint, or None; called in the supervisor."""
        with suppress(OSError, ValueError):
            return int(self._port.read_text())
        return None

    @property
    def _port(self) -> Path:
        return self.directory / f"{self.number}.port"

    def clear(self) -> None:
        """Remove the files of a child that has ended; called in the supervisor."""
        self._port.unlink(missing_ok=True)
        self.alive.remove()

    @staticmethod
    def watch(gone: Callable[[], object], dump: Callable[[], object]) -> None:
        """Read commands of the supervisor, and call ``gone`` when it has ended. Run this in a separate thread."""
        # Do not use sys.stdin: a daemon thread must not hold its lock when the interpreter ends.
        while data := os.read(0, 1024):
            if DUMP in data:
                dump()
        gone()
