"""The programs with windows and the cells: what a listener shows is there, and the end closes the connection."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from docs_support import BROKER_URI, DOCS, blocks, captioned, running

from stomplistener.testing import Broker

NO_DISPLAY = sys.platform.startswith("linux") and not os.environ.get("DISPLAY")

WATCHED = """
def look():
    if shown["text"] == "42.0":
        print("shown 42.0", flush=True)
        close()
    else:
        window.after(50, look)
window.after(50, look)
"""
WATCHED_QT = """
from PySide6.QtCore import QTimer
def look():
    if shown.text() == "42.0":
        print("shown 42.0", flush=True)
        application.quit()
timer = QTimer()
timer.timeout.connect(look)
timer.start(50)
"""


def shows(program: Path, broker: Broker, **environment: str) -> None:
    with running([str(program)], program.parent, STOMP_URL=broker.uri, **environment) as process:
        broker.wait_for(lambda: broker.subscriptions, what="the subscription", timeout=30)
        broker.publish("/topic/prices", "42.0")
        process.expect("shown 42.0", timeout=30)
        assert process.end() == 0, process.lines
        assert not any("Traceback" in line for line in process.lines), process.lines
    broker.wait_for(lambda: not broker.connections, what="the end of the connection")


@pytest.mark.skipif(NO_DISPLAY or importlib.util.find_spec("tkinter") is None, reason="no display, or no Tkinter")
def test_tkinter_shows_a_message_and_ends(broker: Broker, tmp_path: Path) -> None:
    program = tmp_path / "prices_tk.py"
    text = captioned("howto/gui.md", "prices_tk.py")
    program.write_text(text.replace("window.mainloop()", f"{WATCHED}\nwindow.mainloop()"))
    shows(program, broker)


@pytest.mark.skipif(importlib.util.find_spec("PySide6") is None, reason="PySide6 is not installed")
def test_qt_shows_a_message_and_ends(broker: Broker, tmp_path: Path) -> None:
    program = tmp_path / "prices_qt.py"
    text = captioned("howto/gui.md", "prices_qt.py")
    program.write_text(text.replace("application.exec()", f"{WATCHED_QT}\napplication.exec()"))
    shows(program, broker, QT_QPA_PLATFORM="offscreen")


def test_a_cell_that_runs_twice_leaves_one_consumer(broker: Broker) -> None:
    [cell] = (block.text for block in blocks(DOCS / "howto" / "gui.md") if "globals()" in block.text)
    kernel: dict[str, Any] = {}
    for _ in range(2):
        exec(cell.replace(BROKER_URI, broker.uri), kernel)
    broker.wait_for(lambda: len(broker.connections) == len(broker.subscriptions) == 1, what="the end of the first cell")
    broker.publish("/topic/prices", "42.0")
    broker.wait_for(lambda: kernel["seen"] == ["42.0"], what="the price")
    kernel["prices"].close()
