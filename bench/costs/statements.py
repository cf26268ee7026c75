"""Compile statements of the table to functions, as ``timeit`` does, so that no statement costs an extra call."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

from bench.costs.clients import CostClient
from bench.costs.names import NAMES
from bench.costs.row import Row, Side

_LOOP = "def loop(first, last):\n    for i in range(first, last):\n{statement}"
_LISTENER = "def listener(m):\n{statement}"


class Scope:
    """The namespace of the statements of one side. Making the namespace runs ``setup``.

    Args:
        more: more names, besides those of the client and of ``bench.costs.names``.
    """

    def __init__(self, row: Row, side: Side, client: CostClient, **more: Any) -> None:
        self._row = row
        self._statement = side.statement
        self._names: dict[str, Any] = {**NAMES, **client.names(), **more}
        self._run(side.setup, "setup")

    def loop(self) -> Callable[[int, int], object]:
        """Return a function that runs the statement for each number in a range."""
        return self._function("loop", _LOOP, " " * 8)

    def listener(self) -> Callable[[Any], object]:
        """Return a function that runs the statement for a message."""
        return self._function("listener", _LISTENER, " " * 4)

    def value(self, name: str) -> Any:
        """Return the value of a name after the setup."""
        return self._names[name]

    def _function(self, name: str, template: str, indent: str) -> Callable[..., object]:
        self._run(template.format(statement=textwrap.indent(self._statement, indent)), name)
        function: Callable[..., object] = self._names[name]
        return function

    def _run(self, source: str, what: str) -> None:
        exec(compile(source, f"<{what} of {self._row.key}>", "exec"), self._names)
