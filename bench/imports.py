"""How long an import takes, in a fresh interpreter with its bytecode compiled."""

from __future__ import annotations

import os
import subprocess
import sys

from bench.process import ROOT, Figures

_CODE = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"


def package(name: str, times: int) -> Figures:
    """The shortest of some: what disturbs an import only makes it longer."""
    command = [sys.executable, "-c", _CODE.format(name)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    took = [float(subprocess.check_output(command, cwd=ROOT, env=environment, text=True)) for _ in range(times + 1)]
    # The first one may have had to compile.
    return {"took": min(took[1:]) * 1e3}
