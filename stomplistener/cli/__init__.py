"""The command line ``stomplistener``: one module for each command.

``main`` needs only the library itself, so that it can name missing packages. The other modules need the extra ``cli``.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """The console entry point: run the command line and end the process with its exit code."""
    for name in ("stdout", "stderr"):
        # For a stream that the shell closed, as with >&-, Python has None.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # it stays open until the process ends
    try:
        from stomplistener.cli.root import cli
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("click", "rich", "prompt_toolkit"):
            raise
        sys.exit("The command line needs packages that are not installed: pip install 'stomplistener[cli]'")
    cli(prog_name="stomplistener")
