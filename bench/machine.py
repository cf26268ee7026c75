"""Describe the machine of a measurement in one line."""

from __future__ import annotations

import os
import platform


def describe() -> str:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python} on {platform.system()}, {os.cpu_count()} cores, load {load} at the start."
