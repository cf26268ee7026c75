"""What a supervisor and its children share: a directory in which each child has files named by its slot."""

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
"""What a supervisor writes to a child to have it write all its stacks to stderr."""


@dataclass(frozen=True)
class Slot:
    """One child's place."""

    directory: Path
    number: int

    @classmethod
    def of_this_process(cls) -> Slot | None:
        """The place of this process, if a supervisor started it. Its own children will not take it for theirs."""
        number, directory = os.environ.pop(SLOT, None), os.environ.pop(DIRECTORY, None)
        return None if number is None or directory is None else cls(Path(directory), int(number))

    @property
    def variables(self) -> dict[str, str]:
        """How the child is told."""
        return {SLOT: str(self.number), DIRECTORY: str(self.directory)}

    @property
    def alive(self) -> AliveFile:
        """Touched by the child while all its connections live."""
        return AliveFile(self.directory / f"{self.number}.alive")

    def write_port(self, port: int) -> None:
        """Called in the child: note the port on which it answers Prometheus."""
        self._port.write_text(str(port))

    def read_port(self) -> int | None:
        """In the supervisor; None where the child has none."""
        with suppress(OSError, ValueError):
            return int(self._port.read_text())
        return None

    @property
    def _port(self) -> Path:
        return self.directory / f"{self.number}.port"

    def clear(self) -> None:
        """In the supervisor: the child has ended."""
        self._port.unlink(missing_ok=True)
        self.alive.remove()

    @staticmethod
    def watch(gone: Callable[[], object], dump: Callable[[], object]) -> None:
        """Read what the supervisor writes, until it has ended; then call ``gone``. Run this in a thread of its own."""
        # Not sys.stdin, whose lock a daemon thread must not hold when the interpreter ends.
        while data := os.read(0, 1024):
            if DUMP in data:
                dump()
        gone()
