"""From bytes in any pieces to frames.

A frame is cut out of the bytes as soon as it is whole: its head ends at the first empty line, its body at the length
that the head promises or else at the first NUL. What has not arrived whole is remembered with how far it was searched,
so each byte is looked at a bounded number of times however small the pieces are, and a body in pieces is gathered in
the very buffer that is handed out.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from typing import NamedTuple

from stomplistener._util.masking import hidden_bytes, masked_lines
from stomplistener.errors import ProtocolError
from stomplistener.protocol.frame import HEARTBEAT, Frame, ReceivedFrame
from stomplistener.protocol.limits import Limits
from stomplistener.protocol.spec import COMMANDS, UNESCAPED_COMMANDS, VERSIONS, Version, highest, version_rules

_COMMANDS = {command.encode(): command for command in COMMANDS}
_LONGEST_COMMAND = max(map(len, _COMMANDS))
_NEWEST = VERSIONS[max(VERSIONS)]

_NUL, _LF, _CR, _BACKSLASH = b"\0\n\r\\"
_EOLS = re.compile(rb"\n++").match
_EOLS_CR = re.compile(rb"(?:\r?\n)++").match
_GOOD_BLOCK = re.compile(r"(?:\n[^\n:]++:.*+)*+").fullmatch
_PLAIN_HEAD = re.compile(rb"([A-Z]++)((?:\n[^\n:]++:.*+)*+)\n\n").match
"""A whole head, well-formed, its lines ending in LF: the usual one, recognised in one go."""
_PLAIN_MESSAGE = re.compile(
    rb"\n?+MESSAGE((?:\n(?:content-length:(?:(?(2)(?!)|([0-9]{1,18}+)(?=\n))|(.*+))|[^\n:]++:.*+))*+)\n\n"
).match
"""The same for what a broker sends most, behind another frame whose end of line may come first. Its groups are the
header lines, the digits of the content-length, and a content-length that is no number or not the first."""
_PLAIN_RECEIPT = re.compile(rb"\n?+RECEIPT(\nreceipt-id:[!-9;-\[\]-~]{1,64}+)\n\n\0").match
"""A whole RECEIPT for an id of the usual kind, which come in long rows to who sends confirmed messages."""


class _Head(NamedTuple):
    command: str
    block: str
    length: int | None


class Decoder:
    """Turn received bytes into frames, in any pieces.

    Not thread-safe: one thread feeds it.

    Args:
        version: whose rules hold; None until it is negotiated. A CONNECTED or CONNECT frame that passes through
            settles it, for the bytes behind it too; ``version`` may also be assigned.
        limits: bounds that hold before memory is spent.
        secrets: what an exception must not show though the peer quotes it.
    """

    def __init__(self, version: str | None = None, limits: Limits | None = None, secrets: Iterable[str] = ()) -> None:
        self._secrets = tuple(secrets)
        self._limits = limits or Limits()
        # A block this short cannot break a limit on heads: the shortest header line has three bytes.
        self._harmless = min(self._limits.max_header_line, self._limits.max_header_bytes, 3 * self._limits.max_headers)
        self._head = _UnfinishedHead(self._limits)
        self._body: _UnfinishedBody | None = None
        self._behind_frame = False
        self._failure: ProtocolError | None = None
        self.version = version

    @property
    def version(self) -> str | None:
        """The version whose rules hold, None before the negotiation."""
        return self._version

    @version.setter
    def version(self, version: str | None) -> None:
        self._version = version
        # Before the negotiation only CONNECT and CONNECTED come; 1.2 is the one that allows their CR LF.
        self._rules = _NEWEST if version is None else version_rules(version)

    @property
    def partial(self) -> bool:
        """Whether the beginning of a frame has come and its end has not."""
        return self._body is not None or bool(self._head.data)

    @property
    def missing(self) -> int:
        """How many bytes the frame that has begun still needs at least; 0 where that is not known."""
        return 0 if self._body is None else self._body.missing or 0

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes and return the frames that they complete, ``HEARTBEAT`` for an end of line between two.

        One end of line directly behind a frame belongs to that frame and is no heart-beat (1.2, Augmented BNF).

        Raises:
            ProtocolError: the bytes are not STOMP, or break a limit. ``frames`` of the exception has the good frames
                that came before. The decoder stays failed: each later call raises the same.
        """
        if self._failure is not None:
            raise self._failure
        if data == b"\n" and not self._behind_frame and not self.partial:
            return [HEARTBEAT]
        frames: list[Frame] = []
        try:
            if self._head.data:
                if not self._head.add(data, self._rules):
                    return frames
                data = self._head.take()
            position = self._continue_body(self._body, data, frames) if self._body is not None else 0
            if position < len(data):
                self._parse(data, position, frames)
            return frames
        except _Offence as offence:
            self._failure = offence.told(self._secrets)
        # Not from within the handler: the offence has the bytes as they came, and would go along as the context.
        self._failure.frames = frames
        self._body = None
        self._head.take()
        raise self._failure

    def _parse(self, data: bytes, position: int, frames: list[Frame]) -> None:
        """Cut frames out of data until it ends; keep what is unfinished."""
        size = len(data)
        # Where the next empty line is, size if there is none: kept over frames that end in CR LF and do not use it.
        blank = -1
        while position < size:
            if self._behind_frame or data[position] not in b"\n\r":
                position = self._take_answers(data, position, frames)
                if position == size:
                    return
            if data[position] in b"\n\r":
                position = self._skip_eols(data, position, frames)
                continue
            plain = _PLAIN_HEAD(data, position)
            if plain is not None and b"\r" not in plain[2]:
                body = plain.end()
                command, block, length = self._read_head(plain[1], plain[2], well_formed=True)
            else:
                if blank < position:
                    blank = data.find(b"\n\n", position)
                    if blank < 0:
                        blank = size
                end, body = blank, blank + 2
                if self._rules.crlf and (cr := data.find(b"\n\r\n", position, end + 1)) >= 0:
                    end, body = cr, cr + 3
                if end == size:
                    self._head.begin(data[position:], self._rules)
                    return
                eol = data.find(b"\n", position, end + 1)
                command, block, length = self._read_head(data[position:eol], data[eol:end], well_formed=False)
            max_body = self._limits.max_body
            if length is None:
                stop = data.find(b"\0", body)
                if stop - body > max_body:
                    raise _over_limit("max_body", max_body, block.encode())
            else:
                if length > max_body:
                    raise _over_limit("max_body", max_body, block.encode())
                stop = body + length
                if stop >= size:
                    stop = -1
                elif data[stop] != _NUL:
                    raise _not_terminated(command, length, data[stop : stop + 20])
            if stop < 0:
                self._body = _UnfinishedBody(_Head(command, block, length), max_body)
                self._continue_body(self._body, data[body:], frames)
                return
            if command == "MESSAGE" and "\\" not in block:
                frames.append(ReceivedFrame(command, block, data[body:stop]))
                self._behind_frame = True
            else:
                frames.append(self._finish(command, block, data[body:stop]))
            position = stop + 1

    def _take_answers(self, data: bytes, position: int, frames: list[Frame]) -> int:
        """Cut out what usually comes: MESSAGE and RECEIPT frames in a row, whole, with nothing special in their heads.

        The first of them begins here, unless the end of line of a frame before it does.

        Returns:
            the position of the first thing that needs a closer look.
        """
        size, first = len(data), position
        longest = self._harmless
        max_body = self._limits.max_body
        append = frames.append
        while True:
            head = _PLAIN_MESSAGE(data, position)
            if head is None:
                before = position
                while longest > 80 and (receipt := _PLAIN_RECEIPT(data, position)) is not None:
                    append(ReceivedFrame("RECEIPT", receipt[1].decode(), b""))
                    position = receipt.end()
                if position == before:
                    break
                continue
            raw, length, odd = head.groups()
            if len(raw) > longest or _CR in raw or odd is not None:
                break
            body = head.end()
            if length is not None:
                stop = body + int(length)
                if stop >= size or data[stop]:
                    break
            else:
                stop = data.find(b"\0", body)
            if not 0 <= stop - body <= max_body:
                break
            try:
                block = raw.decode()
            except UnicodeDecodeError:
                break
            if _BACKSLASH not in raw:
                append(ReceivedFrame("MESSAGE", block, data[body:stop]))
            else:
                append(self._escaped("MESSAGE", block, data[body:stop]))
            position = stop + 1
        if position > first:
            # The end of line behind the last one, as brokers write it, is usually the last byte of all.
            self._behind_frame = position + 1 != size or data[position] != _LF
            return position if self._behind_frame else size
        return position

    def _skip_eols(self, data: bytes, position: int, frames: list[Frame]) -> int:
        match = (_EOLS_CR if self._rules.crlf else _EOLS)(data, position)
        if match is None:
            if data[position:] == b"\r" and self._rules.crlf:
                self._head.begin(b"\r", self._rules)
                return len(data)
            raise _Offence("a frame begins with a carriage return", data[position : position + 80])
        beats = data.count(b"\n", position, match.end()) - self._behind_frame
        self._behind_frame = False
        frames.extend([HEARTBEAT] * beats)
        return match.end()

    def _read_head(self, line: bytes, raw: bytes, *, well_formed: bool) -> tuple[str, str, int | None]:
        command = _COMMANDS.get(line)
        if command is None:
            command = _command_of(line, self._rules)
        if len(raw) > self._harmless:
            _check_block(raw, self._limits)
        try:
            block = raw.decode()
        except UnicodeDecodeError:
            raise _Offence(f"a header of {command} is not UTF-8", raw) from None
        if not well_formed:
            if self._rules.crlf and "\r" in block:
                block = (block + "\n").replace("\r\n", "\n")[:-1]
            if not _GOOD_BLOCK(block):
                bad = next(line for line in block.split("\n")[1:] if line.find(":") < 1)
                raise _Offence(f"a header line of {command} has no name or no colon", bad.encode())
        return command, block, _content_length(command, block)

    def _continue_body(self, body: _UnfinishedBody, data: bytes, frames: list[Frame]) -> int:
        """Feed the unfinished body; return where the bytes behind its frame begin."""
        position = body.add(data)
        if body.whole:
            self._body = None
            frames.append(self._finish(body.head.command, body.head.block, body.value()))
        return position

    def _finish(self, command: str, block: str, body: bytes) -> Frame:
        self._behind_frame = True
        if command in UNESCAPED_COMMANDS:
            return self._finish_handshake(command, block, body)
        return self._escaped(command, block, body) if "\\" in block else ReceivedFrame(command, block, body)

    def _escaped(self, command: str, block: str, body: bytes) -> Frame:
        """A frame with a backslash in its head."""
        rules = self._rules
        if rules.escapes:
            if rules.good_escapes(block):
                return ReceivedFrame(command, block, body, rules.unescape)
            # The ERROR that refuses CONNECT is in a version that nobody told: better as it stands than not at all.
            if self._version is not None:
                raise _undefined_escape(command, block, rules)
        return ReceivedFrame(command, block, body)

    def _finish_handshake(self, command: str, block: str, body: bytes) -> Frame:
        frame = ReceivedFrame(command, block, body)
        if command == "CONNECTED":
            version = frame.headers.get("version", "1.0")
        else:
            version = highest(frame.headers.get("accept-version", "1.0").split(",")) or "1.0"
        # An answer that was never offered is the session's to refuse; here it must only not break the reading.
        self.version = version if version in VERSIONS else max(VERSIONS)
        return frame


class _Offence(Exception):
    """What is wrong with which bytes."""

    def __init__(self, what: str, data: bytes) -> None:
        self._what, self._data = what, data

    def told(self, secrets: Iterable[str]) -> ProtocolError:
        return ProtocolError(self._what, data=hidden_bytes(masked_lines(self._data), secrets))


class _UnfinishedHead:
    """The bytes of a head that has not ended, and how far they were searched for its end."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.data = bytearray()
        self._searched = self._line_start = self._lines = 0

    def begin(self, data: bytes, rules: Version) -> None:
        self._searched = self._line_start = self._lines = 0
        self.add(data, rules)

    def add(self, data: bytes, rules: Version) -> bool:
        """Add bytes; True when the head has ended among them, or there turns out to be none."""
        head = self.data
        head += data
        searched, self._searched = self._searched, len(head)
        if head[0] == 13:
            return len(head) > 1
        start = max(searched - 2, 0)
        if head.find(b"\n\n", start) >= 0 or (rules.crlf and head.find(b"\n\r\n", start) >= 0):
            return True
        if searched <= _LONGEST_COMMAND + 1:
            _check_first_line(bytes(head[: _LONGEST_COMMAND + 2]), rules)
        self._check(searched)
        return False

    def _check(self, searched: int) -> None:
        self._lines += self.data.count(b"\n", searched)
        newline = self.data.rfind(b"\n", searched)
        if newline >= 0:
            self._line_start = newline + 1
        limits = self._limits
        # Less what belongs to no header: the command, and of its end of line and the head's "\r\n\r" at most.
        for name, value, most in (
            ("max_header_bytes", len(self.data) - _LONGEST_COMMAND - 3, limits.max_header_bytes),
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
    """A body that has not arrived whole."""

    def __init__(self, head: _Head, max_body: int) -> None:
        self.head = head
        self.whole = False
        self._max = max_body
        self.missing = head.length
        # getvalue() hands out the buffer itself, without a copy, when nothing was cut off or is shared.
        self._gathered = io.BytesIO()

    def add(self, data: bytes) -> int:
        """Take what belongs to the body, return the position behind it and its NUL (len(data) if there is more)."""
        return self._add_until_nul(data) if self.missing is None else self._add_counted(data, self.missing)

    def _add_until_nul(self, data: bytes) -> int:
        end = data.find(b"\0")
        length = end if end >= 0 else len(data)
        if self._gathered.tell() + length > self._max:
            raise _over_limit("max_body", self._max, self.head.block.encode())
        self._gathered.write(memoryview(data)[:length])
        self.whole = end >= 0
        return length + self.whole

    def _add_counted(self, data: bytes, missing: int) -> int:
        size = len(data)
        if size <= missing:
            self._gathered.write(data)
            self.missing = missing - size
            return size
        self._gathered.write(memoryview(data)[:missing])
        if data[missing] != _NUL:
            raise _not_terminated(self.head.command, self.head.length or 0, data[missing : missing + 20])
        self.whole = True
        return missing + 1

    def value(self) -> bytes:
        return self._gathered.getvalue()


def _content_length(command: str, block: str) -> int | None:
    start = block.find("\ncontent-length:")
    if start < 0:
        return None
    end = block.find("\n", start + 16)
    text = (block[start + 16 :] if end < 0 else block[start + 16 : end]).strip(" ")
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise _Offence(f"the content-length of {command} is not a number", text.encode())
    return int(text)


def _command_of(line: bytes, rules: Version) -> str:
    if rules.crlf and line.endswith(b"\r") and line[:-1] in _COMMANDS:
        return _COMMANDS[line[:-1]]
    raise _Offence("not a STOMP frame: it begins with an unknown command", line)


def _check_first_line(start: bytes, rules: Version) -> None:
    """Refuse what is not STOMP at its first bytes, instead of when a limit is full."""
    line, newline, _ = start.partition(b"\n")
    if newline:
        if line not in _COMMANDS:
            _command_of(line, rules)
    elif not any((command + b"\r\n").startswith(line) for command in _COMMANDS):
        raise _Offence("not a STOMP frame: it begins with an unknown command", start)


def _check_block(raw: bytes, limits: Limits) -> None:
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


def _not_terminated(command: str, length: int, data: bytes) -> _Offence:
    return _Offence(f"{command} has content-length {length}, but no NUL follows its body", data)


def _undefined_escape(command: str, block: str, rules: Version) -> _Offence:
    bad = next(line for line in block.split("\n") if not rules.good_escapes(line))
    return _Offence(
        f"undefined escape in a header of {command}: STOMP {rules.name} defines {' '.join(rules.escapes.values())}",
        bad.encode(),
    )
