"""Run commands of click under ``manage.py``. Django's parser lists the options of a command, and click checks them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click
from django.conf import settings
from django.core.management.base import BaseCommand


class ClickCommand(BaseCommand):
    """A Django command that runs the click command ``command`` with its options.

    It returns if all is done, so that ``call_command`` does, and otherwise ends with click's exit code.
    """

    command: click.Command

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        for option in self._options:
            action = "store_true" if option.is_flag else "append" if option.multiple else "store"
            more: dict[str, Any] = (
                {} if option.is_flag else {"metavar": option.make_metavar(click.Context(self.command))}
            )
            parser.add_argument(*option.opts, dest=option.name, action=action, default=None, help=option.help, **more)

    @property
    def _options(self) -> list[click.Option]:
        return [option for option in self.command.params if isinstance(option, click.Option)]

    def handle(self, *_arguments: str, **values: Any) -> None:
        # A project with LOGGING configures its own logs. Without LOGGING, Django would show no log of a worker.
        defaults = {"log_format": "program"} if settings.LOGGING else {}
        name = f"manage.py {self.command.name}"
        words = list(self._words(values))
        try:
            code = self.command.main(words, prog_name=name, default_map=defaults, standalone_mode=False)
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except click.Abort:
            code = 1
        if code:
            sys.exit(code)

    def _words(self, values: Mapping[str, Any]) -> Iterator[str]:
        for option in self._options:
            given, word = values.get(option.name or ""), option.opts[-1]
            if option.is_flag:
                yield from [word] if given else []
            elif given is not None:
                for each in given if option.multiple else [given]:
                    yield from (word, str(each))
