"""Measure the time of an import, in a new interpreter with compiled bytecode."""

from __future__ import annotations

import os
import subprocess
import sys

from bench.process import ROOT, Figures

_CODE = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"


def package(name: str, times: int) -> Figures:
    """Return the shortest of several imports, since noise only makes an import longer."""
    command = [sys.executable, "-c", _CODE.format(name)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    took = [float(subprocess.check_output(command, cwd=ROOT, env=environment, text=True)) for _ in range(times + 1)]
    # The first import may have compiled the bytecode.
    return {"took": min(took[1:]) * 1e3}
