"""The output forms of messages, and the options that choose one."""

from __future__ import annotations

import functools
import itertools
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from stomplistener import Message
from stomplistener.cli import bodies, templates

Form = Callable[[Message], str]

_SHOWN_ELSEWHERE = frozenset(
    ("destination", "message-id", "content-type", "content-length", "subscription", "ack", "redelivered")
)


def pretty(message: Message) -> str:
    """Return a message in a readable form: a summary line, its headers and its body."""
    lines = [click.style(_headline(message), bold=True, fg="cyan")]
    for name, value in message.headers.items():
        if name not in _SHOWN_ELSEWHERE:
            lines.append(click.style(bodies.printable(f"{name}: {value}").replace("\n", "\\n"), dim=True))
    return "\n".join([*lines, bodies.pretty(message), ""])


def _headline(message: Message) -> str:
    about = [message.destination, message.id, message.headers.get("content-type", ""), f"{len(message.body):,} B"]
    if message.redelivered:
        about.append("redelivered")
    return bodies.printable("  ".join(filter(None, about)))


def bare(message: Message) -> str:
    """Return only the body, as text if it is text."""
    text = bodies.decoded(message)
    return _safe(bodies.content(message).hex() if text is None else text)


def _safe(text: str) -> str:
    """Remove control characters from output to a terminal. A pipe gets every character."""
    return bodies.printable(text) if sys.stdout.isatty() else text


def by_template(text: str) -> Form:
    """Return the form that a template describes, which counts the messages that it shows."""
    text = templates.unescaped(text)
    numbers = itertools.count(1)

    def show(message: Message) -> str:
        number = next(numbers)
        return _safe(templates.fill(text, lambda name: _value(message, name, number)))

    return show


def _value(message: Message, name: str, number: int) -> str:
    """Return the value of a field. Any other name is the name of a header."""
    if name == "body":
        return bare(message)
    if name == "headers":
        return json.dumps(dict(message.headers), ensure_ascii=False)
    if name == "size":
        return str(len(message.body))
    if name == "n":
        return str(number)
    if name == "id":
        return message.id
    if name == "now":
        return datetime.now(UTC).isoformat(timespec="milliseconds")
    return message.headers.get(name, "")


def form_options(json_option: str = "--json") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options for output forms to a command, and call it with ``show=``.

    Args:
        json_option: the name of the option for JSON, if ``--json`` has another meaning in the command.
    """
    options = (
        click.option(json_option, "as_json_lines", is_flag=True, help="Show each message as one line of JSON."),
        click.option("--body", "as_body", is_flag=True, help="Show only the bodies, one per line."),
        click.option(
            "--format", "template", metavar="TEMPLATE",
            help=r"Show each message by this template. Its fields are {body}, {id}, {destination}, {headers}, {size}, "
            r"{n}, {now}, and {NAME} for the header NAME; \n and \t as usual.",
        ),
    )  # fmt: skip

    def with_form(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def wrapped(*args: Any, as_json_lines: bool, as_body: bool, template: str | None, **values: Any) -> Any:
            if as_json_lines + as_body + (template is not None) > 1:
                raise click.UsageError(f"{json_option}, --body and --format are three ways to show a message: give one")
            show = bodies.as_json if as_json_lines else bare if as_body else pretty
            return command(*args, show=by_template(template) if template is not None else show, **values)

        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return with_form
