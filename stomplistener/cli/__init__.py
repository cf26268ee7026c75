"""The command line ``stomplistener``: one module for each command.

``main`` needs only the library itself, so that it can name missing packages. The other modules need the extra ``cli``.
"""

from __future__ import annotations

import sys


def main() -> None:
    """The console entry point: run the command line and end the process with its exit code."""
    try:
        from stomplistener.cli.root import cli
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("click", "rich", "prompt_toolkit"):
            raise
        sys.exit("The command line needs packages that are not installed: pip install 'stomplistener[cli]'")
    cli(prog_name="stomplistener")
