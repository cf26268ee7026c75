"""A STOMP frame as a value: a command, headers that may repeat, a body of bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NoReturn

from stomplistener._util.masking import hidden, masked, without_secret
from stomplistener._util.text import printable, shorten

Fields = dict[str, str] | tuple[tuple[str, str], ...]
"""The headers of a frame in the form that the codec uses: a dict, or pairs if a header is repeated."""


class Headers(dict[str, str]):
    """The headers of a frame: an immutable mapping in which the first of repeated headers counts.

    STOMP 1.2, Repeated Header Entries: only the first entry is to be used; the others are visible in ``pairs``. This
    class is a ``dict``, so reading a header is as cheap as reading a ``dict``. Methods that change a dict raise.
    """

    __slots__ = ("_pairs",)

    def __init__(self, headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        self._pairs: tuple[tuple[str, str], ...] | None = None
        if type(headers) is dict:
            dict.update(self, headers)
            return
        if isinstance(headers, Headers):
            headers = headers.pairs
        self._pairs = headers = tuple(headers.items() if isinstance(headers, Mapping) else headers)
        dict.update(self, headers)
        if len(self) != len(headers):
            # A dict keeps the first position and the last value of a repeated key. So the first value is set last.
            dict.update(self, reversed(self.pairs))

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Each header in the order of the frame, repeated ones included."""
        pairs = self._pairs
        if pairs is None:
            pairs = self._pairs = tuple(self.items())
        return pairs

    def getall(self, key: str) -> list[str]:
        """Return every value of a header in the order of the frame; only the first value counts."""
        return [value for name, value in self.pairs if name == key]

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("the headers of a frame cannot be changed; dict(headers) gives a copy that can")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[Headers], tuple[object, ...]]:
        # The default way copies and unpickles a dict item by item, through the methods that raise here.
        return Headers, (self.pairs,)

    def __repr__(self) -> str:
        return f"Headers({dict(masked(self.items()))!r})"


def without(frame: Frame, secrets: Iterable[str]) -> Frame:
    """Return a copy of an ERROR without the secrets that the peer quotes, and without its content-length.

    Args:
        frame: a frame of any command; only an ERROR is changed.
        secrets: the texts to replace. A text comes before any other text that is part of it.
    """
    if frame.command != "ERROR" or not secrets:
        return frame
    body, pairs = frame.body, [pair for pair in frame.headers.pairs if pair[0] != "content-length"]
    for secret in secrets:
        text = body.decode(errors="surrogateescape")
        body = without_secret(text, secret).encode(errors="surrogateescape")
        pairs = [(without_secret(key, secret), without_secret(value, secret)) for key, value in pairs]
    return Frame(frame.command, pairs, body, frame.problem and hidden(frame.problem, secrets))


class Frame:
    """One STOMP frame. Immutable by convention; threads may share it.

    Args:
        command: ``SEND``, ``MESSAGE``, …
        headers: a mapping, or pairs if a header repeats; copied.
        body: bytes. Other types than ``bytes`` are copied, so the caller may reuse a bytearray.
        problem: what was wrong with a received frame that was readable nevertheless; None if nothing was.

    Raises:
        TypeError: the body is not bytes.
    """

    __slots__ = ("_headers", "body", "command", "fields", "problem")

    fields: Fields
    """The headers for the encoder; never changed."""
    _headers: Headers | None

    def __init__(
        self,
        command: str,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes | bytearray | memoryview = b"",
        problem: str | None = None,
    ) -> None:
        self.command = command
        self.fields = headers.copy() if type(headers) is dict else _fields_of(headers)
        self.body = body if type(body) is bytes else as_bytes(body)
        self.problem = problem
        self._headers = None

    @property
    def headers(self) -> Headers:
        """The headers in the order of the wire, including repeated ones; made at the first use."""
        headers = self._headers
        if headers is None:
            # Two threads may run this line at the same time. Both make equal values, so either value may be stored.
            headers = self._headers = Headers(self.fields)
        return headers

    def header(self, key: str) -> str | None:
        """Return one header, or None. Cheaper than ``headers`` while no other header of the frame was read."""
        fields = self.fields
        return fields.get(key) if isinstance(fields, dict) else self.headers.get(key)

    def adding(self, key: str, value: str) -> Frame:
        """Return the same frame with one more header, which replaces any header of that name."""
        fields = self.fields
        if isinstance(fields, dict):
            return Frame(self.command, {**fields, key: value}, self.body, self.problem)
        pairs = [pair for pair in fields if pair[0] != key]
        return Frame(self.command, [*pairs, (key, value)], self.body, self.problem)

    @property
    def size(self) -> int:
        """The length of headers and body, in bytes or characters."""
        fields = self.fields
        if isinstance(fields, dict):
            return len(self.body) + sum(map(len, fields)) + sum(map(len, fields.values()))
        return len(self.body) + sum(len(key) + len(value) for key, value in fields)

    @property
    def info(self) -> str:
        """The frame for a log line, without secrets and with at most 60 bytes of the body."""
        body = f" body={shorten(self.body)}" if self.body else ""
        problem = f" problem={printable(self.problem)}" if self.problem else ""
        return f"{self.command} {self._head}{body}{problem}".rstrip()

    @property
    def heading(self) -> str:
        """The frame for a log line above DEBUG: without secrets, and without the content of the body."""
        body = f" body of {len(self.body):,} bytes" if self.body else ""
        return f"{self.command} {self._head}{body}".rstrip()

    @property
    def _head(self) -> str:
        return printable(" ".join(f"{key}:{value}" for key, value in masked(self.headers.pairs)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frame):
            return NotImplemented
        return self.command == other.command and self.headers.pairs == other.headers.pairs and self.body == other.body

    def __reduce__(self) -> tuple[type[Frame], tuple[object, ...]]:
        return Frame, (self.command, self.headers.pairs, self.body, self.problem)

    __hash__ = None  # type: ignore[assignment]  # equal by value, and values may be long

    def __repr__(self) -> str:
        body = f", body={shorten(self.body)}" if self.body else ""
        return f"Frame({self.command!r}, {dict(masked(self.headers.items()))!r}{body})"


def _fields_of(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> Fields:
    if isinstance(headers, Headers):
        return headers.pairs
    return dict(headers) if isinstance(headers, Mapping) else tuple((key, value) for key, value in headers)


def as_bytes(body: object) -> bytes:
    """Convert a body that is not ``bytes`` to bytes.

    Raises:
        TypeError: the object has no buffer, so it cannot be a body.
    """
    try:
        # bytes(body) would be wrong: it turns a number into as many NULs, and a list of numbers into bytes. The view is
        # released at once: outside CPython, the caller's buffer could otherwise not be resized for a while.
        with memoryview(body) as view:  # type: ignore[arg-type]
            return view.tobytes()
    except TypeError:
        kind = type(body).__name__
    if isinstance(body, str):
        raise TypeError("the body of a Frame must be bytes, not str: encode() it")
    if body is None:
        raise TypeError('body must be bytes or str, not None: give b"" for an empty one')
    advice = f"write str({body!r})" if isinstance(body, (int, float)) else "json.dumps() it"
    raise TypeError(f"body must be bytes or str, not {kind}: {advice}, or use json=")


HEARTBEAT: Final = Frame("")
"""The decoder's value for an end of line between two frames. Compare by identity."""
