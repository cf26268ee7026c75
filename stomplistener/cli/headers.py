"""Headers on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


class HeaderType(click.ParamType[tuple[str, str]]):
    """``name:value``, as a frame has it."""

    name = "name:value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """A pair of the two."""
        if isinstance(value, tuple):
            return value
        name, colon, rest = value.partition(":")
        if not (name and colon):
            self.fail(f"{value!r} is no header: write name:value", param, ctx)
        return name, rest.strip()


def header_option(text: str) -> Callable[[Any], Any]:
    """The option ``-H``, with its help."""
    return click.option("-H", "--header", "headers", type=HeaderType(), multiple=True, help=text)
