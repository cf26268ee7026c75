"""A worker in a process of its own, and what its handlers wrote down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

PATIENCE = 15.0

APPLICATION = """
import os
import time

from stomplistener.worker import Application

app = Application()
book = os.open(os.environ["BOOK"], os.O_WRONLY | os.O_APPEND)


@app.listener("/queue/work", workers=int(os.environ.get("WORKERS", "1")), headers={"prefetch": "20"})
def work(message):
    open("begun", "w").close()
    time.sleep(float(os.environ.get("WORK", "0.002")))
    os.write(book, f"{message.text} {os.getpid()} {message.redelivered}\\n".encode())
"""


class Line(NamedTuple):
    """One message that a handler ended."""

    text: str
    pid: int
    redelivered: bool


def eventually(condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
    """Wait for a condition that no event announces: it is another process that makes it true."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        time.sleep(0.01)


class ServerProcess:
    """A Python program in a directory that runs until it is told to end; a context manager that leaves none behind."""

    def __init__(self, directory: Path, *arguments: str, **variables: str) -> None:
        self.err = ""
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=directory,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.err += line

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for its end; the exit code."""
        code = self.process.wait(timeout)
        self._reader.join(timeout)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


class WorkerProcess(ServerProcess):
    """``stomplistener worker`` on an application in a directory.

    With ``run`` the program is called as a script, and calls ``app.run`` with these arguments. With ``command`` it is
    these arguments of Python that run it, whatever ``application`` is.
    """

    def __init__(
        self,
        directory: Path,
        uri: str,
        *options: str,
        run: str = "",
        application: str = APPLICATION,
        command: Sequence[str] = ("-m", "stomplistener.cli", "worker", "application:app"),
        **variables: str,
    ) -> None:
        self.directory = directory
        self.book = directory / "book"
        self.book.touch()
        script = f"{application}\n\nif __name__ == '__main__':\n    app.run({run})\n" if run else application
        (directory / "application.py").write_text(script)
        arguments = ["application.py"] if run else [*command, *options]
        super().__init__(directory, *arguments, STOMP_URL=uri, BOOK=str(self.book), **variables)

    @property
    def rows(self) -> list[list[str]]:
        """The words of each line of the book, without a line that is being written."""
        whole, _, _ = self.book.read_text().rpartition("\n")
        return [line.split() for line in whole.splitlines()]

    @property
    def lines(self) -> list[Line]:
        """What was handled so far, in order."""
        return [Line(text, int(pid), redelivered == "True") for text, pid, redelivered in self.rows]

    @property
    def has_begun(self) -> bool:
        """Whether a handler was called."""
        return (self.directory / "begun").exists()
