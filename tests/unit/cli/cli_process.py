"""The command line, in a process of its own and inside the test's."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
from click.testing import CliRunner, Result

from stomplistener.cli.root import cli

COMMAND = shlex.join([sys.executable, "-m", "stomplistener.cli"])


def run(*arguments: str, stdin: str | bytes | None = None, **variables: str) -> Result:
    """Run the command line inside this process."""
    return CliRunner().invoke(cli, arguments, input=stdin, env=variables, prog_name="stomplistener")


def terminal(*arguments: str, columns: int, **variables: str) -> str:
    """What the command shows in a terminal of so many columns."""
    line = shlex.join([sys.executable, "-m", "stomplistener.cli", *arguments])
    environment = {**os.environ, **variables}
    with pexpect.spawn(line, env=environment, dimensions=(30, columns), timeout=25, encoding="utf-8") as child:
        child.expect(pexpect.EOF)
        return (child.before or "").replace("\r\n", "\n")


def shell(line: str, uri: str, *, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which $C is the command; a pipe fails if any part of it does."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line.replace('$C', COMMAND)}"],
        env={**os.environ, "STOMP_URL": uri},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
    )


@contextmanager
def started(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The command as a process, which is killed at the end of the block if it still runs."""
    with subprocess.Popen([sys.executable, "-m", "stomplistener", *arguments], **options) as process:
        try:
            yield process
        finally:
            process.kill()
