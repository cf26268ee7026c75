"""``stomplistener`` on the command line: one module for each of its commands.

``main`` needs nothing that is not installed with the library, to be able to say what is missing; the rest needs the
extra ``cli``.
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
