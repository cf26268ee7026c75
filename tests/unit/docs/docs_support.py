"""What the tests of the manual share: its pages, its code blocks, and programs that run as processes."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
BROKER_URI = "tcp://localhost:61613"
"""What stands for the reader's broker in the blocks."""
BROKER_ADDRESS = '("localhost", 61613)'
"""The same for programs that name host and port."""
TLS_URI = "ssl://localhost:61614"

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>python|\{code-block\} python)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE
)
_YAML = re.compile(r"^```\{code-block\} yaml\n:caption: (?P<name>\S+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_OPTION = re.compile(r":(\w+): (.*)")


@dataclass(frozen=True)
class Block:
    """A Python block: its text, the line before it, its class (``""`` for a plain one) and its caption."""

    page: Path
    line: int
    text: str
    kind: str
    caption: str


def pages() -> list[Path]:
    """README and the pages of the manual."""
    return [ROOT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)]


def blocks(page: Path) -> list[Block]:
    """The Python blocks of a page, in order."""
    found = []
    text = page.read_text()
    for match in _FENCE.finditer(text):
        lines = [line.removeprefix(match["indent"]) for line in match["text"].splitlines()]
        options: dict[str, str] = {}
        while lines and (option := _OPTION.fullmatch(lines[0])):
            options[option[1]] = option[2]
            lines.pop(0)
        line = text.count("\n", 0, match.start()) + 1 + len(options)
        found.append(Block(page, line, "\n".join(lines) + "\n", options.get("class", ""), options.get("caption", "")))
    return found


def files(page: Path) -> dict[str, str]:
    """The texts of the YAML blocks of a page that have a caption, by that."""
    return {match["name"]: match["text"] for match in _YAML.finditer(page.read_text())}


def captioned(page: str, caption: str) -> str:
    """The text of the block with this caption on a page of the manual."""
    return next(block.text for block in blocks(DOCS / page) if block.caption == caption)


def load(name: str, directory: Path = DOCS) -> ModuleType:
    """A script of ``docs/``, or of another directory, as a module."""
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
    spec = importlib.util.spec_from_file_location(name, directory / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def run_pytest(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The tests of a directory, with nothing but what an installed package brings."""
    # Here the package may only lie in the tree, where nothing tells pytest of its plugin.
    installed = any(each.value == "stomplistener.testing.plugin" for each in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "stomplistener.testing.plugin"]
    return run_python(directory, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, *arguments)


def run_python(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python that runs to its end in a directory."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def typed(page: str, directory: Path, uri: str, answers: str = "") -> subprocess.CompletedProcess[str]:
    """Type the commands of a page into one shell, in their order, and see that all succeed.

    Args:
        uri: of the broker, in the place of the reader's.
        answers: what is typed when a command asks.
    """
    lines = re.findall(r"^\$ (.+)$", (DOCS / page).read_text(), re.MULTILINE)
    script = "\n".join(line for line in lines if line.startswith(("stomplistener ", "printf ", "export ")))
    command = shlex.join([sys.executable, "-m", "stomplistener.cli"])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f'stomplistener() {{ {command} "$@"; }}\n{script.replace(BROKER_URI, uri)}'],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(directory), "STOMP_URL": uri},
        input=answers,
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


class Program:
    """A Python program as a process, whose lines of output a test waits for."""

    def __init__(self, arguments: list[str], cwd: Path, **environment: str) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    def type(self, line: str) -> None:
        """Type a line into it."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def expect(self, line: str, times: int = 1, timeout: float = 15.0) -> None:
        """Wait until it has written a line so often."""
        self.wait_for(lambda lines: lines.count(line) >= times, timeout, f"{line!r} {times} times")

    def wait_for(
        self, holds: Callable[[list[str]], bool], timeout: float = 15.0, what: str = "what was expected"
    ) -> None:
        """Wait until something holds for its lines."""
        with self._changed:
            came = self._changed.wait_for(lambda: holds(self.lines), timeout)
        assert came, f"not {what} within {timeout} s; there were {self.lines}"

    def end(self, timeout: float = 15.0) -> int:
        """Wait for its end, and return its status."""
        status = self.process.wait(timeout)
        self._reader.join(timeout)
        return status


@contextmanager
def running(arguments: list[str], cwd: Path, **environment: str) -> Iterator[Program]:
    """A program that is killed at the end if it still runs."""
    program = Program(arguments, cwd, **environment)
    try:
        yield program
    finally:
        if program.process.poll() is None:
            program.process.kill()
        program.end()
        for stream in (program.process.stdin, program.process.stdout):
            if stream is not None:
                stream.close()


@contextmanager
def server(answer: Callable[[socket.socket], object]) -> Iterator[int]:
    """A server on loopback that answers each connection; gives its port."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connected, _ = listening.accept()
                except OSError:
                    return
                held.append(connected)
                answer(connected)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for connected in held:
                connected.close()


def eventually(path: Path, timeout: float = 10.0) -> None:
    """Wait for a file that another process makes."""
    end = time.monotonic() + timeout
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not come within {timeout} s"
        time.sleep(0.02)
