"""How long an import takes, in a fresh interpreter with its bytecode compiled."""

from __future__ import annotations

import subprocess
import sys

from bench.process import ROOT, Figures

_CODE = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"


def package(name: str, times: int) -> Figures:
    """The shortest of some: what disturbs an import only makes it longer."""
    command = [sys.executable, "-c", _CODE.format(name)]
    took = [float(subprocess.check_output(command, cwd=ROOT, text=True)) for _ in range(times)]
    return {"took": min(took) * 1e3}
