"""Our decoder beside stompest's and stomp.py's on valid streams, made by hand from values: so who is right is known.

A stream has frames of one version with one feature of the grammar. All three read it, in pieces; what they find is
compared with what was written. Ours has to find it always. Where the others do not, the specification says:

- *Several ends of line between frames*: stomp.py takes two for the end of a head and loses the frame behind them. EOLs
  may follow a frame in any number (1.2, Augmented BNF), and each heartbeat is one.
- *CR LF between frames*: stompest takes the CR for a command and fails. An EOL of 1.2 is ``[CR] LF`` there, too.
- *Which EOLs are heartbeats* is not compared: stompest counts the one that may end a frame, ours does not.
- *UTF-8 in 1.0*: stompest reads 1.0 as ASCII and fails. 1.0 names no encoding; brokers write UTF-8.
- *A backslash in 1.0*, and *in CONNECTED*: stomp.py undoes escapes in every version and frame. 1.0 has none, and
  CONNECTED is exempt from them in 1.1 and 1.2 (1.2, Value Encoding).
- *A carriage return in a value, 1.0 and 1.1*: stomp.py takes it for a part of the end of line, which only 1.2 has; in a
  value of 1.1 it is an octet like others (1.1, Augmented BNF).
"""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

from stomplistener.protocol import HEARTBEAT, VERSIONS, Decoder

STREAMS = 300
"""For each feature in each version."""

ESCAPES = {"1.0": {}, "1.1": {"\\": "\\\\", "\n": "\\n", ":": "\\c"}}
ESCAPES["1.2"] = ESCAPES["1.1"] | {"\r": "\\r"}


class Plain(NamedTuple):
    """A frame as values, the first of repeated headers alone."""

    command: str
    headers: dict[str, str]
    body: bytes


Reader = Callable[[str, list[bytes]], list[Plain]]


class Feature(NamedTuple):
    """A part of the grammar: where it exists and the characters of values that show it."""

    characters: str = "abcXYZ019-_/."
    versions: tuple[str, ...] = ("1.0", "1.1", "1.2")
    command: str | None = None
    length: bool | None = None
    end: str = "\n"
    repeated: bool = False
    behind: tuple[str, ...] = ("", "\n")
    tolerated: tuple[str, ...] = ()


FEATURES = {
    "plain": Feature(),
    "body until NUL": Feature(length=False),
    "body with NULs": Feature(length=True),
    "UTF-8": Feature(characters="aéλ\u2028\U0001f600", tolerated=("stompest",)),
    "escapes": Feature(characters="a\\:\n", versions=("1.1", "1.2")),
    "escaped carriage return": Feature(characters="a\r\n\\", versions=("1.2",)),
    "lines that end in CR LF": Feature(end="\r\n", versions=("1.2",)),
    "CR LF between frames": Feature(behind=("", "\r\n"), versions=("1.2",), tolerated=("stompest",)),
    "several EOLs between frames": Feature(behind=("\n\n", "\n\n\n"), tolerated=("stomp.py",)),
    "repeated headers": Feature(repeated=True),
    "spaces": Feature(characters=" \ta"),
    "colon in a value of 1.0": Feature(characters="a:", versions=("1.0",)),
    "backslash in 1.0": Feature(characters="\\nc", versions=("1.0",), tolerated=("stomp.py",)),
    "backslash in CONNECTED": Feature(characters="\\nc", command="CONNECTED", tolerated=("stomp.py",)),
    "carriage return in a value": Feature(characters="a\r", versions=("1.0", "1.1"), tolerated=("stomp.py",)),
}


def written(version: str, feature: Feature, dice: random.Random) -> tuple[bytes, Plain]:
    """One frame, as bytes and as what they mean."""
    command = feature.command or dice.choice(("MESSAGE", "ERROR", "RECEIPT"))
    escapes = {} if command == "CONNECTED" else ESCAPES[version]
    pairs = [("version", version)] if command == "CONNECTED" else []
    for number in range(dice.randint(1, 6)):
        value = "".join(dice.choices(feature.characters, k=dice.randint(0, 8)))
        pairs.append((f"h{0 if feature.repeated else number}", value))
    body = b""
    if command in ("MESSAGE", "ERROR"):
        alphabet = b"a\n\r:\xff" + (b"\0" if feature.length else b"")
        body = bytes(dice.choices(alphabet, k=dice.randint(0, 20)))
        if feature.length or (feature.length is None and dice.random() < 0.5):
            pairs.append(("content-length", str(len(body))))
    lines = [command] + [
        "".join(escapes.get(c, c) for c in key) + ":" + "".join(escapes.get(c, c) for c in value)
        for key, value in pairs
    ]
    head = feature.end.join([*lines, "", ""]).encode()
    meant = Plain(command, dict(reversed(pairs)), body)
    return head + body + b"\0" + dice.choice(feature.behind).encode(), meant


def ours(version: str, pieces: list[bytes]) -> list[Plain]:
    decoder = Decoder(version)
    frames = [frame for piece in pieces for frame in decoder.feed(piece)]
    return [Plain(f.command, dict(f.headers), f.body) for f in frames if f is not HEARTBEAT]


def stompest(version: str, pieces: list[bytes]) -> list[Plain]:
    protocol: Any = importlib.import_module("stompest.protocol")
    parser = protocol.StompParser(version)
    for piece in pieces:
        parser.add(piece)
    frames = []
    while parser.canRead():
        frame = parser.get()
        if frame:
            frames.append(Plain(frame.command, frame.headers, frame.body))
    return frames


def stomp_py(_version: str, pieces: list[bytes]) -> list[Plain]:
    transport: Any = importlib.import_module("stomp.transport")
    utils: Any = importlib.import_module("stomp.utils")
    reader = transport.BaseTransport(auto_decode=False)
    reader.running = True
    rest = iter(pieces)
    reader.receive = lambda: next(rest)
    raw: list[bytes] = []
    # The reading of frames is a private method of its transport: name mangling apart, there is no other way in.
    try:
        while True:
            raw += reader._BaseTransport__read()
    except Exception as end:
        if not isinstance(end, transport.exception.ConnectionClosedException):
            raise
    parsed = [utils.parse_frame(each) for each in raw if each.strip(b"\r\n")]
    return [Plain(f.cmd, f.headers, f.body) for f in parsed if f is not None]


READERS: dict[str, Reader] = {"ours": ours, "stompest": stompest, "stomp.py": stomp_py}


def pieces_of(data: bytes, dice: random.Random) -> list[bytes]:
    edges = [0, *sorted(dice.randrange(len(data)) for _ in range(dice.randint(0, 4))), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if start < end]


def compare(feature: Feature, dice: random.Random) -> dict[str, int]:
    """How many streams each reads otherwise than they were meant."""
    wrong = dict.fromkeys(READERS, 0)
    for version in feature.versions:
        for _ in range(STREAMS):
            frames = [written(version, feature, dice) for _ in range(dice.randint(1, 4))]
            pieces = pieces_of(b"".join(data for data, _ in frames), dice)
            for name, reader in READERS.items():
                try:
                    same = reader(version, pieces) == [meant for _, meant in frames]
                except Exception:
                    same = False
                wrong[name] += not same
    return wrong


def main() -> int:
    assert set(ESCAPES) == set(VERSIONS)
    dice = random.Random(6)
    code = 0
    print(f"{'read otherwise than meant':28}" + "".join(f"{name:>10}" for name in READERS) + "   of")
    for name, feature in FEATURES.items():
        wrong = compare(feature, dice)
        unexpected = [each for each in wrong if wrong[each] and each not in feature.tolerated]
        code |= bool(unexpected)
        streams = STREAMS * len(feature.versions)
        note = f"   UNEXPECTED: {', '.join(unexpected)}" if unexpected else ""
        print(f"{name:28}" + "".join(f"{count:10}" for count in wrong.values()) + f"{streams:5}{note}")
    return code


if __name__ == "__main__":
    sys.exit(main())
