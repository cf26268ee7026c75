"""Completion for shells, made by click."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script with which a shell completes commands, options and profiles.

    \b
    Examples:
      eval "$(stomplistener completion bash)"            in ~/.bashrc
      eval "$(stomplistener completion zsh)"             in ~/.zshrc
      stomplistener completion fish | source             in config.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "stomplistener", "_STOMPLISTENER_COMPLETE").source())
