"""The protocol layer is sans-I/O: it knows no socket, thread, clock, log or dice, nor anything above it."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import stomplistener.protocol

FOLDER = Path(stomplistener.protocol.__file__).parent
MODULES = sorted(module.name for module in pkgutil.iter_modules([str(FOLDER)]))
IMPURE = ["socket", "ssl", "threading", "_thread", "queue", "concurrent", "asyncio", "time", "datetime", "logging"]
IMPURE += ["select", "selectors", "random", "secrets", "uuid", "os", "signal", "subprocess"]
BELOW = (
    "stomplistener.protocol",
    "stomplistener.errors",
    "stomplistener._util.masking",
    "stomplistener._util.record",
    "stomplistener._util.text",
    "stomplistener.states",
)


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that this test can read them"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_no_module_says_that_it_imports_the_world(path: Path) -> None:
    for name in imported(path):
        assert name.partition(".")[0] not in IMPURE, name
        assert not name.startswith("stomplistener") or name.startswith(BELOW), f"{name} is a layer above"


PROGRAM = """
import sys

# re and enum, which all of it needs, may have what they like: the protocol must not ask for it itself.
import collections.abc, contextlib, enum, functools, io, itertools, re, types, typing

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(name + " is blocked")

for name in {blocked!r}:
    if name not in ("os", "_thread", "time"):  # the interpreter itself has these
        for loaded in [key for key in sys.modules if key.partition(".")[0] == name]:
            del sys.modules[loaded]
sys.meta_path.insert(0, Block())

package = type(sys)("stomplistener")
package.__path__ = [{package!r}]
sys.modules["stomplistener"] = package  # the layer alone, without what the package itself brings
from stomplistener.protocol import *
for name in {modules!r}:
    __import__("stomplistener.protocol." + name)

session = Session()
decoder = Decoder()
encode(session.connect(host="/"))
[frame] = decoder.feed(b"CONNECTED\\nversion:1.2\\n\\n\\0")
session.receive(frame)
session.restored()
encode(session.disconnect(), session.version)
print("ran", sorted(set({blocked!r}) & sys.modules.keys() - {{"os", "_thread", "time"}}))
"""


def test_the_layer_runs_where_the_world_cannot_be_imported() -> None:
    program = PROGRAM.format(blocked=IMPURE, package=str(FOLDER.parent), modules=MODULES)
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr == ""
    assert done.stdout == "ran []\n"


def test_every_public_name_is_there() -> None:
    for name in stomplistener.protocol.__all__:
        assert hasattr(stomplistener.protocol, name)
