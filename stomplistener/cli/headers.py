"""Headers on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


class HeaderType(click.ParamType[tuple[str, str]]):
    """A header written ``name:value``, as in a frame."""

    name = "name:value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return the pair of name and value."""
        if isinstance(value, tuple):
            return value
        name, colon, rest = value.partition(":")
        if not (name and colon):
            self.fail(f"{value!r} is not a header: write name:value", param, ctx)
        return name, rest.strip()


def header_option(text: str) -> Callable[[Any], Any]:
    """Return the option ``-H`` with this help text."""
    return click.option("-H", "--header", "headers", type=HeaderType(), multiple=True, help=text)
