"""Make the bodies and headers of messages to send, from arguments, files and stdin."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import click

from stomplistener.cli import templates
from stomplistener.cli.headers import header_option
from stomplistener.cli.terminal import say


@dataclass(frozen=True, kw_only=True)
class Composer:
    """The body, headers and options that a command got for sending.

    Attributes:
        message: the body as an argument; None if it comes from ``file`` or stdin.
        file: the file to read the body from; None reads stdin.
        headers: pairs of name and value.
        content_type: the MIME type; None derives it from the body.
        as_json: whether the body must be JSON.
        as_bytes: whether to send the body as bytes even if it is text.
        expand: whether to fill in fields in braces; with None, only texts on the command line are filled in.
    """

    message: str | None
    file: IO[bytes] | None
    headers: tuple[tuple[str, str], ...]
    content_type: str | None
    as_json: bool
    as_bytes: bool
    expand: bool | None

    def source(self, *, lines: bool = False) -> IO[bytes]:
        """Return the file, or stdin. If stdin is a terminal, print how to end the input."""
        if self.file is not None:
            return self.file
        if sys.stdin.isatty():
            what = "each line is a message" if lines else "the body"
            say(f"reading from the terminal ({what}); Ctrl-D at the start of a line ends the input, Ctrl-C cancels")
        return sys.stdin.buffer

    def body(self) -> bytes:
        """Return the whole body, as it was given."""
        # Bytes that are not text in this locale are restored as they were typed.
        return self.source().read() if self.message is None else _encoded(self.message)

    def compose(self, data: bytes, number: int) -> tuple[bytes | str, dict[str, Any]]:
        """Make one message.

        Args:
            data: the body, as it was given.
            number: the number of the message, from 1.

        Returns:
            the body, and the headers and the content-type as keywords for ``Connection.send`` and similar calls.

        Raises:
            UsageError: the body must be JSON, but is not.
        """
        value_of = templates.outgoing(number)
        body: bytes | str = data
        if not self.as_bytes and b"\0" not in data:
            try:
                body = data.decode()
            except UnicodeDecodeError:
                body = data
        if isinstance(body, str) and (self.message is not None if self.expand is None else self.expand):
            body = templates.fill(body, value_of)
        headers = self.headers
        if self.expand is not False:
            headers = tuple((name, templates.fill(value, value_of)) for name, value in headers)
        if self.as_json:
            _check_json(body, number)
        content_type = self.content_type or ("application/json" if self.as_json else None)
        return body, {"headers": dict(headers) or None, "content_type": content_type}


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text)


def _check_json(body: bytes | str, number: int) -> None:
    try:
        json.loads(body)
    except ValueError as error:
        raise click.UsageError(f"--json: the body of message {number:,} is not JSON: {error}") from None


def lines_of(source: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines without their line ends."""
    for line in source:
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def count_of(source: IO[bytes]) -> int | None:
    """Return the number of lines of a file; None if it can be read only once."""
    if not source.seekable():
        return None
    start = source.tell()
    count = sum(1 for _ in source)
    source.seek(start)
    return count


def with_composer(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for sending to a command with an argument ``message``, and call it with ``composer=``."""

    @functools.wraps(command)
    def wrapped(*args: Any, **values: Any) -> Any:
        composer = Composer(**{name: values.pop(name) for name in Composer.__dataclass_fields__})
        if composer.message is not None and composer.file is not None:
            raise click.UsageError("give MESSAGE or --file, not both")
        if composer.as_json and composer.as_bytes:
            raise click.UsageError("JSON is text: give --json or --bytes, not both")
        return command(*args, composer=composer, **values)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def _told(_ctx: click.Context, _param: click.Parameter, given: bool) -> None:
    if given:
        say("--text is the default now; leave it out")


_OPTIONS = (
    click.option("-f", "--file", type=click.File("rb"), help="Read the body from a file; - is stdin."),
    header_option("A header; may be repeated."),
    click.option("-t", "--content-type", metavar="TYPE", help="The MIME type of the body."),
    click.option("--json", "as_json", is_flag=True, help="The body is JSON: check it, and set its content-type."),
    click.option("--bytes", "as_bytes", is_flag=True, help="Send the body as bytes, even if it is text."),
    click.option(
        "--template/--no-template", "expand", default=None,
        help="Fill in {n}, {uuid} and {now} in a file and stdin, too, or nowhere. The default: in MESSAGE and headers.",
    ),
    click.option("--text", is_flag=True, hidden=True, expose_value=False, callback=_told),
)  # fmt: skip
