"""``stomplistener shell``: keep a connection open, and run one command per line on it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stomplistener import StompError
from stomplistener.cli.interpreter import Interpreter, Mistake
from stomplistener.cli.target import Target, with_target

if TYPE_CHECKING:
    from prompt_toolkit.completion import Completer


@click.command()
@with_target
def shell(target: Target) -> None:
    """Run commands on a connection, one per line: subscribe, send, browse, acknowledge; "help" lists the commands.

    Messages are shown as they arrive. The tab key completes a line, and ~/.local/state/stomplistener/history keeps the
    lines for the next session. With a file or a pipe as input, the shell runs line after line, and ends at the first
    failure.

    \b
    Examples:
      stomplistener shell
      stomplistener shell --url tcp://localhost:61613
      printf 'send /queue/a hello\\nbrowse /queue/a\\n' | stomplistener shell

    Exit codes: 0 "quit", Ctrl-D or the end of the file; 1 a line of a file failed; 2 wrong use; 3 no connection;
    4 no answer in time.
    """
    with target.connection(name="shell") as connection:
        interpreter = Interpreter(connection, target, click.echo)
        connection.add_listener(interpreter)
        if sys.stdin.isatty():
            _interact(interpreter)
        else:
            _run(interpreter)


def _run(interpreter: Interpreter) -> None:
    for number, line in enumerate(sys.stdin, 1):
        try:
            if not interpreter.do(line):
                return
        except Mistake as mistake:
            raise click.ClickException(f"line {number}: {mistake}") from None


def _interact(interpreter: Interpreter) -> None:
    interpreter.write = _print
    with ExitStack() as stack:
        for line in _lines(interpreter, stack):
            try:
                if not interpreter.do(line):
                    return
            except (Mistake, StompError) as error:
                _print(click.style(str(error), fg="red"))
            except KeyboardInterrupt:
                _print("given up")


def _lines(interpreter: Interpreter, stack: ExitStack) -> Iterator[str]:
    """Yield the lines that a user types. Ctrl-C cancels a line, and Ctrl-D on an empty line ends."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.patch_stdout import patch_stdout
    from prompt_toolkit.shortcuts import CompleteStyle

    session: PromptSession[str] = PromptSession(
        history=FileHistory(str(_history())),
        completer=_completer(interpreter),
        # As in readline, the tab key completes at once, and no menu appears while the user types.
        complete_style=CompleteStyle.READLINE_LIKE,
        complete_while_typing=False,
        reserve_space_for_menu=0,
    )
    # Output of listeners appears above the line that the user is typing.
    stack.enter_context(patch_stdout(raw=True))
    _print(f'connected to {interpreter.target.uri}; "help" lists the commands, Ctrl-D ends')
    while True:
        try:
            yield session.prompt("stomp> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return


def _print(text: str) -> None:
    # Do not print with click: it does not know the stream with which prompt_toolkit replaces stdout.
    print(click.unstyle(text) if os.environ.get("NO_COLOR") else text, flush=True)


def _history() -> Path:
    directory = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "stomplistener"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return Path(os.devnull)
    return directory / "history"


def _completer(interpreter: Interpreter) -> Completer:
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document

    class Words(Completer):
        """Completes commands first, then destinations that were used before."""

        def get_completions(self, document: Document, _event: CompleteEvent) -> Iterator[Completion]:
            before = document.text_before_cursor.split(" ")
            known = interpreter.names if len(before) == 1 else sorted(interpreter.destinations)
            for each in known:
                if each.startswith(before[-1]):
                    yield Completion(f"{each} ", start_position=-len(before[-1]))

    return Words()
