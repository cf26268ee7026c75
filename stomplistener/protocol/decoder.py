"""Decode frames from bytes, which may arrive in pieces of any size.

The decoder cuts a whole, well-formed frame out of the bytes in one step. A frame in pieces or with errors takes a
second path. The second path stores each incomplete part, and how far it searched that part. So each byte is examined a
bounded number of times, even if the pieces are small. A body in pieces is gathered in the buffer that the frame
returns.

Brokers send frames that break the specification, and deliver a message again after each connection loss. So a MESSAGE,
RECEIPT or ERROR whose end is known is delivered with its readable parts, and ``Frame.problem`` describes what was
wrong. A frame is not delivered if its end is unknown or if it breaks a limit.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from stomplistener._util.masking import hidden_bytes, masked_lines
from stomplistener.errors import ProtocolError
from stomplistener.protocol.frame import HEARTBEAT, Fields, Frame
from stomplistener.protocol.limits import Limits
from stomplistener.protocol.spec import COMMANDS, NEWEST, UNESCAPED_COMMANDS, VERSIONS, Version, highest, version_rules

_COMMANDS = {command.encode(): command for command in COMMANDS}
_USUAL_COMMANDS = {line: command for line, command in _COMMANDS.items() if command not in UNESCAPED_COMMANDS}
_LONGEST_LINE = max(map(len, _COMMANDS)) + 2
_LENIENT_COMMANDS = frozenset({"MESSAGE", "RECEIPT", "ERROR"})
"""Frames that are delivered although they break the specification. CONNECTED is not lenient: it decides how to read all
other frames."""

_NUL, _LF, _CR = b"\0\n\r"
_EOL = b"\r\n"
_MOST_DIGITS = 18
"""The largest number of digits in a content-length."""
_EOLS = re.compile(rb"(?:\r?\n)++").match
_OTHER_LINES = rb"(?:\n(?!content-length:)[^\n:]++:.*+)*+"
_WELL_FORMED = re.compile(
    rb"\n?+([A-Z]++)(%b(?:\ncontent-length:([0-9]{1,18}+)(?=\n)%b)?+)\n\n" % (_OTHER_LINES, _OTHER_LINES)
).match
"""A whole head whose lines end in LF, after the end of line of another frame. The groups are the command, the header
lines and the digits of the content-length, which occurs at most once."""
_HEAD_ENDS = {False: re.compile(rb"\n\n"), True: re.compile(rb"\n\r?\n")}
_ERROR_ENDS = {False: re.compile(rb"\n\n|\0"), True: re.compile(rb"\n\r?\n|\0")}
"""The pattern for the end of a head; the key is whether lines may end in CR LF.

The head of an ERROR ends at the end of its frame at the latest."""
_JUNK_END = re.compile(rb"\0|\n(?=(?:MESSAGE|RECEIPT|ERROR)\r?\n)").search
_SHOWN_JUNK = 80
_EOL_CHARACTERS = re.compile(rb"[\r\n]*+").match
_MOST_REREADING = 4
"""How many times as many bytes as arrived may be read again, because frames had a false content-length.

A broker that counts characters instead of bytes needs one."""
_MESSAGE_IDS = frozenset({b"ack", b"message-id", b"subscription"})
"""The headers of a MESSAGE that an ACK returns byte for byte."""
_ACK_IDS = frozenset({b"id", b"message-id", b"subscription"})

_Match = re.Match[bytes]

_LINES = {key: f"\n{key}:" for key in ("ack", "destination", "message-id", "receipt-id", "subscription")}
"""The beginnings of the header lines that the engine reads in every message, without splitting the headers."""


class ReceivedFrame(Frame):
    """A received frame. The headers are split at their first use, since most listeners read few headers.

    Args:
        command: the command.
        block: the header lines, each with the LF before it; each has a name and a colon.
        body: the body.
        unescape: undoes the escapes in a name or value; None if there are none.
        problem: what was wrong with the frame.
    """

    __slots__ = ("_block", "_unescape")

    def __init__(
        self,
        command: str,
        block: str,
        body: bytes,
        unescape: Callable[[str], str] | None = None,
        problem: str | None = None,
    ) -> None:
        self.command = command
        self.body = body
        self.problem = problem
        self._headers = None
        self._block = block
        self._unescape = unescape

    @property
    def fields(self) -> Fields:  # type: ignore[override]
        unescape = self._unescape
        lines = self._block.split("\n")
        del lines[0]
        fields = {}
        for line in lines:
            key, _, value = line.partition(":")
            if unescape is not None and "\\" in line:
                key, value = unescape(key), unescape(value)
            fields[key] = value
        if len(fields) == len(lines):
            return fields
        # A header is repeated.
        undo = unescape or str
        return tuple((undo(key), undo(value)) for key, _, value in [line.partition(":") for line in lines])

    def header(self, key: str) -> str | None:
        line = _LINES.get(key)
        if line is None or self._headers is not None:
            return self.headers.get(key)
        block = self._block
        start = block.find(line)
        if start < 0:
            return None
        start += len(line)
        end = block.find("\n", start)
        value = block[start:] if end < 0 else block[start:end]
        return value if self._unescape is None else self._unescape(value)

    @property
    def size(self) -> int:
        return len(self.body) + len(self._block)


class _Offence(Exception):
    """The text of an error, and the bytes that caused the error."""

    def __init__(self, what: str, data: bytes | None) -> None:
        self._what, self._data = what, data

    def error(self, secrets: Iterable[str]) -> ProtocolError:
        data = None if self._data is None else hidden_bytes(masked_lines(self._data), secrets)
        return ProtocolError(self._what, data=data)


class _Head(NamedTuple):
    command: str
    block: str
    length: int | None
    offences: tuple[_Offence, ...] = ()


class Decoder:
    """Turn received bytes, in pieces of any size, into frames.

    A MESSAGE, RECEIPT or ERROR that breaks the specification is returned with its readable parts, if its end is known:
    ``Frame.problem`` describes what was wrong. All other frames that break the specification are refused.

    Not thread-safe: one thread feeds it.

    Args:
        version: the STOMP version whose rules apply; None until it is negotiated. A CONNECTED or CONNECT frame among
            the bytes sets the version, also for the bytes that follow; ``version`` may also be assigned.
        limits: the bounds on frames, which are checked before memory is used.
        secrets: texts that an exception must not show, even if the peer quotes them.
    """

    def __init__(self, version: str | None = None, limits: Limits | None = None, secrets: Iterable[str] = ()) -> None:
        self._secrets = tuple(secrets)
        self._limits = limits or Limits()
        # A block this short cannot break a limit on headers: the shortest header line has three bytes.
        self._harmless = min(self._limits.max_header_line, self._limits.max_header_bytes, 3 * self._limits.max_headers)
        self._head = _UnfinishedHead(self._limits)
        self._body: _UnfinishedBody | None = None
        # Bytes that were or are skipped; the next frame reports them.
        self._junk: _Junk | None = None
        # The next end of line belongs to the frame before it, and is not a heartbeat.
        self._behind_frame = False
        # The last frame was a broker's. Behind a broker's frame, bytes that begin no frame are skipped instead of
        # refused.
        self._in_step = False
        self._failed = False
        self._failure: ProtocolError | None = None
        # How many bytes arrived, and how many of them were gathered for a false content-length, and read again.
        self._fed = self._reread = 0
        self.version = version

    @property
    def version(self) -> str | None:
        """The STOMP version whose rules apply; None before the negotiation."""
        return self._version

    @version.setter
    def version(self, version: str | None) -> None:
        self._version = version
        # Only CONNECT and CONNECTED arrive before the negotiation. Only STOMP 1.2 allows CR LF in these frames.
        self._rules = NEWEST if version is None else version_rules(version)
        self._unescape = self._rules.unescape if self._rules.escapes else None

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and not ended."""
        is_skipping = self._junk is not None and self._junk.is_open
        return self._body is not None or is_skipping or bool(self._head.data)

    @property
    def missing(self) -> int:
        """The least number of bytes that the frame under way still needs; 0 if it is unknown."""
        return 0 if self._body is None else self._body.missing or 0

    def feed(self, data: bytes | bytearray | memoryview) -> list[Frame]:
        """Take bytes and return the frames that they complete; ``HEARTBEAT`` is an end of line between two frames.

        One end of line directly after a frame belongs to that frame and is not a heartbeat (1.2, Augmented BNF).

        Raises:
            TypeError: the data is not bytes, or another buffer of bytes, which is copied.
            ProtocolError: the bytes are not STOMP, or break a limit. ``frames`` of the exception has the good frames
                before the error. After this or any other exception, the decoder cannot be used again.
        """
        if self._failed:
            raise self._failure or ProtocolError("the decoder was ended or interrupted; use a new one")
        if type(data) is not bytes:
            data = memoryview(data).tobytes()
        if data == b"\n" and not self._behind_frame and not self.partial:
            return [HEARTBEAT]
        # Any exception below, including MemoryError, leaves a state that must not be used again.
        self._failed = True
        frames: list[Frame] = []
        try:
            position, size = 0, len(data)
            self._fed += size
            if self._body is not None or self._head.data or self._junk is not None:
                data, position = self._resume(data, frames)
                size = len(data)
            while position < size:
                if self._behind_frame or data[position] not in _EOL:
                    position = self._cut_well_formed(data, position, frames)
                    if position == size:
                        break
                eols = _EOLS(data, position)
                if eols is not None:
                    beats = data.count(b"\n", position, eols.end()) - self._behind_frame
                    self._behind_frame = False
                    frames.extend([HEARTBEAT] * beats)
                    position = eols.end()
                else:
                    data, position = self._cut_other(data, position, frames)
                    size = len(data)
            self._failed = False
            return frames
        except _Offence as offence:
            failure = offence.error(self._secrets)
        # Raise this outside the handler: otherwise its context would be the offence, which has the original bytes.
        failure.frames = frames
        self._failure = failure
        self._forget()
        raise failure

    def finish(self) -> Frame | None:
        """Return the readable part of an ERROR that the end of the stream cut off, or None.

        Call this when the peer has closed the connection: some brokers end an ERROR with the connection instead of a
        NUL.
        """
        cut = _Offence("the connection ended within ERROR", None)
        body, start = self._body, bytes(self._head.data)
        self._forget()
        if self._failed:
            return None
        self._failed = True
        if body is not None and body.head.command == "ERROR":
            head, text = body.head, body.value().partition(b"\0")[0]
        elif start.startswith((b"ERROR\n", b"ERROR\r\n")):
            try:
                head, text = self._read_head(b"ERROR", start[start.find(b"\n") :].rstrip(_EOL)), b""
            except _Offence:
                # The ERROR breaks a limit.
                return None
        else:
            return None
        return self._make(head._replace(offences=(*head.offences, cut)), text)

    def _forget(self) -> None:
        self._body = self._junk = None
        self._head.take()

    def _cut_well_formed(self, data: bytes, position: int, frames: list[Frame]) -> int:
        """Cut out the usual frames: whole frames in a row with nothing unusual in their heads.

        The first frame begins at ``position``, or after the end of line of the frame before.

        Returns:
            the position of the first byte after these frames.
        """
        size, first = len(data), position
        longest, max_body = self._harmless, self._limits.max_body
        unescape, undefined_escape = self._unescape, self._rules.undefined_escape
        # The frame after skipped bytes has to report them, which only the second path does.
        while self._junk is None:
            # A head ends before the next NUL. Without this bound, each frame without an empty line would be searched to
            # the end of the bytes.
            nul = data.find(b"\0", position)
            head = _WELL_FORMED(data, position, nul) if nul >= 0 else None
            if head is None:
                break
            line, raw, length = head.groups()
            command = _USUAL_COMMANDS.get(line)
            if command is None or len(raw) > longest:
                break
            try:
                block = raw.decode()
            except UnicodeDecodeError:
                break
            # Found in a str several times as fast as in bytes.
            if "\r" in block:
                break
            undo = unescape if "\\" in block else None
            if undo is not None and undefined_escape(block):
                break
            body = head.end()
            if length is None:
                stop = nul
            else:
                stop = body + int(length)
                if stop >= size or data[stop]:
                    break
            if stop - body > max_body:
                break
            frames.append(ReceivedFrame(command, block, data[body:stop], undo))
            position = stop + 1
        if position > first:
            self._in_step = frames[-1].command in _LENIENT_COMMANDS
            # Brokers write an end of line after the last frame, so it is usually the last byte of all.
            self._behind_frame = position + 1 != size or data[position] != _LF
            return position if self._behind_frame else size
        return position

    def _cut_other(self, data: bytes, position: int, frames: list[Frame]) -> tuple[bytes, int]:
        """Cut out one frame, which may be unfinished or malformed; store an unfinished one.

        Returns:
            the bytes to go on with, and the position in them.
        """
        size = len(data)
        if position + 1 == size and data[position] == _CR:
            # The bytes end in the middle of an end of line.
            self._head.begin(data[position:], self._rules)
            return data, size
        if not _begins_frame(data[position : position + _LONGEST_LINE], self._rules):
            if not self._in_step:
                raise _Offence("not a STOMP frame: it begins with an unknown command", data[position : position + 80])
            if self._junk is None:
                self._junk = _Junk(self._limits)
            return self._skip(self._junk, data, position)
        end = _end_of_head(data, position, self._rules)
        if end is None:
            self._head.begin(data[position:], self._rules)
            return data, size
        eol = data.find(b"\n", position)
        line, raw, body = data[position:eol].rstrip(b"\r"), data[eol : end.start()], end.end()
        if end[0] == b"\0":
            # The frame of this ERROR ends within its head.
            head, body = self._read_head(line, raw.rstrip(_EOL)), end.start()
            # The whole last line: its name decides whether its value is a secret.
            offence = _Offence("the head of ERROR does not end with an empty line", raw[raw.rfind(b"\n") + 1 :])
            head = head._replace(length=None, offences=(*head.offences, offence))
        else:
            head = self._read_head(line, raw)
        self._body = _UnfinishedBody(head, self._limits)
        return self._continue(self._body, data, body, frames)

    def _resume(self, data: bytes, frames: list[Frame]) -> tuple[bytes, int]:
        """Continue the unfinished frame. Return the bytes that are left."""
        if self._body is not None:
            return self._continue(self._body, data, 0, frames)
        if self._junk is not None and self._junk.is_open:
            return self._skip(self._junk, data, 0)
        if self._head.data:
            return (self._head.take(), 0) if self._head.add(data, self._rules) else (data, len(data))
        return data, 0

    def _skip(self, junk: _Junk, data: bytes, position: int) -> tuple[bytes, int]:
        rest = junk.add(data[position:])
        if rest is None:
            return data, len(data)
        self._behind_frame = junk.ended_with_nul
        return rest, 0

    def _continue(self, body: _UnfinishedBody, data: bytes, position: int, frames: list[Frame]) -> tuple[bytes, int]:
        """Add to the unfinished body. Return the bytes after the frame."""
        start = position
        position = body.add(data, start)
        if body.is_false:
            # Another byte stands at the place of the NUL, so the content-length is false. Read the body up to its first
            # NUL instead.
            gathered = body.value()
            if gathered:
                self._reread += len(gathered)
                if self._reread > _MOST_REREADING * self._fed:
                    raise _Offence("too many frames have a false content-length", gathered[:_SHOWN_JUNK])
                data, start = gathered + data[position:], 0
            self._body = body = _UnfinishedBody(self._without_length(body.head, data, start), self._limits)
            position = body.add(data, start)
        if body.is_whole:
            self._body = None
            frames.append(self._make(body.head, body.value()))
            self._behind_frame = True
        return data, position

    def _without_length(self, head: _Head, data: bytes, start: int) -> _Head:
        """Return the head of a frame with a false content-length, if the frame ends at the first NUL instead.

        Args:
            head: the head.
            data: has the body according to the content-length, and the byte after it, which is not a NUL.
            start: the position of the body.

        Raises:
            _Offence: the body has a NUL, but the bytes after that NUL are not the beginning of the next frame.
        """
        length = head.length or 0
        stop = start + length
        # Show only bytes that have arrived in any case, so that the text does not depend on the pieces.
        offence = _Offence(
            f"{head.command} has content-length {length}, but no NUL follows its body",
            data[max(stop - 20, start) : stop + 1],
        )
        nul = data.find(b"\0", start, stop)
        begin = 0 if nul < 0 else _EOL_CHARACTERS(data, nul + 1).end()  # type: ignore[union-attr]
        next_frame = data[begin : min(begin + _LONGEST_LINE, stop + 1)]
        is_clear = nul < 0 or head.command == "ERROR" or _begins_frame(next_frame, self._rules)
        if head.command not in _LENIENT_COMMANDS or not is_clear:
            raise offence
        return head._replace(length=None, offences=(*head.offences, offence))

    def _read_head(self, line: bytes, raw: bytes) -> _Head:
        """Read a command and header lines, well-formed or not."""
        command, rules = _COMMANDS[line], self._rules
        _check_limits(raw, self._limits)
        if rules.crlf:
            raw = (raw + b"\n").replace(b"\r\n", b"\n")[:-1]
        offences: dict[str, bytes] = {}
        lines = [_read_line(line, command, offences) for line in raw.split(b"\n")[1:]]
        kept = [line for line in lines if line is not None]
        block = "".join([f"\n{line}" for line in kept])
        try:
            length = _content_length(block)
        except ValueError as error:
            length, what = None, f"the content-length of {command} is not a number"
            offences[what] = str(error).encode(errors="surrogateescape")
        # Before the negotiation, it is unknown whether the peer escapes headers.
        if self._version is not None and self._unescape and command not in UNESCAPED_COMMANDS:
            bad = next((line for line in kept if rules.undefined_escape(line)), None)
            if bad is not None:
                defined = " ".join(rules.escapes.values())
                what = f"undefined escape in a header of {command}: STOMP {rules.name} defines {defined}"
                offences[what] = bad.encode(errors="surrogateescape")
        found = tuple(_Offence(what, data) for what, data in offences.items())
        if found and command not in _LENIENT_COMMANDS:
            raise found[0]
        return _Head(command, block, length, found)

    def _make(self, head: _Head, body: bytes) -> Frame:
        """Make the frame. A frame of the handshake also sets the version."""
        command = head.command
        offences = head.offences if self._junk is None else (self._junk.offence, *head.offences)
        self._junk = None
        problem = "; ".join([str(offence.error(self._secrets)) for offence in offences]) or None
        self._in_step = command in _LENIENT_COMMANDS
        if command not in UNESCAPED_COMMANDS:
            return ReceivedFrame(command, head.block, body, self._unescape if "\\" in head.block else None, problem)
        frame = ReceivedFrame(command, head.block, body, None, problem)
        if command == "CONNECTED":
            version = frame.headers.get("version", "1.0")
        else:
            version = highest(frame.headers.get("accept-version", "1.0").split(",")) or "1.0"
        # The session refuses a version that was never offered; the decoder must only be able to read on.
        self.version = version if version in VERSIONS else max(VERSIONS)
        return frame


class _UnfinishedHead:
    """The bytes of a head that has not ended, and how far they were searched for the end."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.data = bytearray()
        self._searched = self._line_start = self._lines = 0

    def begin(self, data: bytes, rules: Version) -> None:
        self._searched = self._line_start = self._lines = 0
        self.add(data, rules)

    def add(self, data: bytes, rules: Version) -> bool:
        """Add bytes. True if the head has ended, or if the bytes are no head."""
        head = self.data
        head += data
        searched, self._searched = self._searched, len(head)
        if head[0] == _CR:
            return len(head) > 1
        if searched <= _LONGEST_LINE and not _begins_frame(bytes(head[:_LONGEST_LINE]), rules):
            return True
        if _end_of_head(head, 0, rules, max(searched - 2, 0)) is not None:
            return True
        self._check(searched)
        return False

    def _check(self, searched: int) -> None:
        self._lines += self.data.count(b"\n", searched)
        newline = self.data.rfind(b"\n", searched)
        if newline >= 0:
            self._line_start = newline + 1
        limits = self._limits
        # Subtract the bytes that belong to no header: the command, and at most its end of line and the head's
        # "\r\n\r\n".
        for name, value, most in (
            ("max_header_bytes", len(self.data) - _LONGEST_LINE - 1, limits.max_header_bytes),
            ("max_headers", self._lines - 1, limits.max_headers),
            ("max_header_line", len(self.data) - self._line_start if self._lines else 0, limits.max_header_line),
        ):
            if value > most:
                raise _over_limit(name, most, bytes(self.data[:80]))

    def take(self) -> bytes:
        data = bytes(self.data)
        self.data = bytearray()
        return data


class _UnfinishedBody:
    """The received part of a body. At the end, the frame ``is_whole`` or its length ``is_false``."""

    def __init__(self, head: _Head, limits: Limits) -> None:
        self.head = head
        self.is_whole = self.is_false = False
        self.missing = head.length
        self._max = limits.max_body
        if head.length is not None and head.length > self._max:
            raise _over_limit("max_body", self._max, head.block.encode(errors="surrogateescape"))
        # getvalue() returns the buffer without a copy, if the buffer was not truncated and is not shared.
        self._gathered = io.BytesIO()

    def add(self, data: bytes, position: int) -> int:
        """Take the bytes of the body from here on. Return the position after the body and its NUL.

        A false body that is in ``data`` as a whole is not taken.
        """
        if self.missing is None:
            end = data.find(b"\0", position)
            stop = len(data) if end < 0 else end
            if self._gathered.tell() + stop - position > self._max:
                raise _over_limit("max_body", self._max, self.head.block.encode(errors="surrogateescape"))
            self.is_whole = end >= 0
        else:
            stop = min(position + self.missing, len(data))
            if stop < len(data):
                self.is_whole = data[stop] == _NUL
                self.is_false = not self.is_whole
                if self.is_false and not self._gathered.tell():
                    return stop
            self.missing -= stop - position
        self._gathered.write(memoryview(data)[position:stop])
        return stop + self.is_whole

    def value(self) -> bytes:
        return self._gathered.getvalue()


class _Junk:
    """Bytes after a frame that begin no frame. Such bytes end with a NUL, or before a broker's command line."""

    def __init__(self, limits: Limits) -> None:
        self.is_open = True
        self.ended_with_nul = False
        self._most = limits.max_header_bytes
        self._shown, self._kept, self._size = b"", b"", 0

    def add(self, data: bytes) -> bytes | None:
        """Take bytes. Return the bytes after the junk; None if the junk has not ended."""
        data = self._kept + data
        end = _JUNK_END(data)
        self.is_open = end is None
        if end is not None:
            self.ended_with_nul = end[0] == b"\0"
            stop = end.end()
        else:
            # The last line may be the beginning of a command.
            stop = data.rfind(b"\n", max(len(data) - len(b"\nMESSAGE\r"), 0))
            stop = len(data) if stop < 0 else stop
        rest = data[stop:]
        self._kept = rest if self.is_open else b""
        self._shown = (self._shown + data[: min(stop, _SHOWN_JUNK)])[:_SHOWN_JUNK]
        self._size += stop
        if self._size > self._most:
            what = f"the bytes behind a frame begin no frame and exceed Limits.max_header_bytes = {self._most:,}"
            raise _Offence(what, self._shown)
        return None if self.is_open else rest

    @property
    def offence(self) -> _Offence:
        return _Offence(f"{self._size:,} bytes before it belong to no frame", self._shown)


def _content_length(block: str) -> int | None:
    """Return the content-length among header lines, or None; ValueError with its text if it is no number."""
    start = block.find("\ncontent-length:")
    if start < 0:
        return None
    start += len("\ncontent-length:")
    end = block.find("\n", start)
    text = block[start:] if end < 0 else block[start:end]
    digits = text.strip(" ")
    # int() would also accept signs, underscores, digits of other scripts, and any number of digits.
    if len(digits) > _MOST_DIGITS or not (digits.isdigit() and digits.isascii()):
        raise ValueError(text)
    return int(digits)


def _begins_frame(start: bytes, rules: Version) -> bool:
    """Whether the bytes begin with a command line, or may do so when more bytes arrive."""
    line, newline, _ = start.partition(b"\n")
    end = b"\r" if rules.crlf else b""
    if newline:
        return line in _COMMANDS or line.removesuffix(end) in _COMMANDS
    return any((command + end).startswith(start) for command in _COMMANDS)


def _end_of_head(data: bytes | bytearray, position: int, rules: Version, start: int | None = None) -> _Match | None:
    """Find the end of the head that begins at ``position``; the end is not before ``start``."""
    ends = _ERROR_ENDS if data.startswith(b"ERROR", position) else _HEAD_ENDS
    return ends[rules.crlf].search(data, position if start is None else start)


def _read_line(line: bytes, command: str, offences: dict[str, bytes]) -> str | None:
    """Return one header line as text, None if it is not one. Add the problem of a bad line to ``offences``."""
    if line.find(b":") < 1:
        offences.setdefault(f"a header line of {command} has no name or no colon", line)
        return None
    try:
        return line.decode()
    except UnicodeDecodeError:
        name = line.partition(b":")[0]
    if command in ("ACK", "NACK") and name in _ACK_IDS:
        return line.decode(errors="surrogateescape")
    offences.setdefault(f"a header of {command} is not UTF-8", line)
    # All values except ids must be texts that can be printed and stored.
    return line.decode(errors="surrogateescape" if name in _MESSAGE_IDS else "replace")


def _check_limits(raw: bytes, limits: Limits) -> None:
    if len(raw) > limits.max_header_bytes:
        raise _over_limit("max_header_bytes", limits.max_header_bytes, raw)
    lines = raw.split(b"\n")
    if len(lines) - 1 > limits.max_headers:
        raise _over_limit("max_headers", limits.max_headers, raw)
    longest = max(lines, key=len)
    if len(longest) > limits.max_header_line:
        raise _over_limit("max_header_line", limits.max_header_line, longest)


def _over_limit(name: str, limit: int, data: bytes) -> _Offence:
    return _Offence(f"a frame exceeds Limits.{name} = {limit:,}", data)
