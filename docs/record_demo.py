"""Record ``make demo`` as the picture that README shows: a real run, in the colours of a terminal.

.venv/bin/python docs/record_demo.py        writes docs/_static/demo.svg
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "_static" / "demo.svg"
WIDTH = 50
"""Columns of the terminal. So many can be read on a phone."""
COMMAND = "make demo"
LOGGED = 2
"""Lines of the log that the picture shows."""


def run() -> str:
    """What a terminal shows at the end of the demo."""
    # What is to be installed first is not what one wants to see.
    subprocess.run(["make", ".venv/.ready"], cwd=ROOT, check=True)
    ours, its = pty.openpty()
    with subprocess.Popen(COMMAND.split(), cwd=ROOT, stdout=its, stderr=its) as process:
        os.close(its)
        written = b""
        try:
            while some := os.read(ours, 4096):
                written += some
        except OSError:
            pass  # What Linux says at the end of a terminal.
        os.close(ours)
    if process.returncode:
        raise SystemExit(f"{COMMAND} ended with {process.returncode}:\n{written.decode()}")
    # A carriage return goes back to the start of the line: what was written there last is what one sees.
    lines = written.decode().replace("\r\n", "\n").split("\n")
    return "\n".join(shortened([next(filter(None, reversed(line.split("\r"))), "") for line in lines]))


def shortened(lines: list[str]) -> list[str]:
    """The lines without most of the log, which says ten times that a connection was lost and restored."""
    logged = [number for number, line in enumerate(lines) if line.startswith(("producer: ", "consumer: "))]
    left_out = logged[LOGGED:]
    if left_out:
        lines[left_out[0]] = f"... and {len(left_out)} more lines of the log"
    return [line for number, line in enumerate(lines) if number not in left_out[1:]]


def picture(shown: str) -> str:
    """An SVG of it."""
    text = Text.assemble(("$ ", "dim"), (COMMAND, "bold"), "\n", shown)
    text.highlight_regex(r"#+", "green")
    text.highlight_regex(r"(?m)^missing +0$", "bold green")
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115
    console.print(text)
    svg = console.export_svg(title="every connection cut five times", unique_id="demo")
    # A picture must not ask another site for its font. The title has letters as large as the text, which are the least
    # that can be read on a phone.
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("font-size: 18px", "font-size: 20px")


def main() -> None:
    PICTURE.write_text(picture(run()))
    print(PICTURE.relative_to(ROOT))


if __name__ == "__main__":
    main()
