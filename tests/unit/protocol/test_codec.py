"""The codec against bytes written by hand: nothing here was made by our own encoder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from stomplistener.errors import InvalidHeader, ProtocolError
from stomplistener.protocol import HEARTBEAT, Decoder, Frame, Limits, commands, encode

UNESCAPED = {"CONNECT", "STOMP", "CONNECTED"}


class Golden(NamedTuple):
    version: str
    command: str
    headers: list[tuple[str, str]]
    body: bytes
    wire: bytes

    @property
    def frame(self) -> Frame:
        return Frame(self.command, self.headers, self.body)

    def decoder(self) -> Decoder:
        return Decoder(None if self.command in UNESCAPED else self.version)


GOLDEN = [
    # 1.0, client
    Golden("1.0", "CONNECT", [], b"", b"CONNECT\n\n\0"),
    Golden(
        "1.0",
        "CONNECT",
        [("login", "guest"), ("passcode", "a:b\\n")],
        b"",
        b"CONNECT\nlogin:guest\npasscode:a:b\\n\n\n\0",
    ),
    Golden(
        "1.0", "SEND", [("destination", "/queue/a")], b"hello queue a", b"SEND\ndestination:/queue/a\n\nhello queue a\0"
    ),
    Golden(
        "1.0",
        "SEND",
        [("destination", "/q"), ("path", "C:\\temp\\c")],
        b"",
        b"SEND\ndestination:/q\npath:C:\\temp\\c\n\n\0",
    ),
    Golden(
        "1.0",
        "SEND",
        [("destination", "/q"), ("content-length", "3")],
        b"\0\n\0",
        b"SEND\ndestination:/q\ncontent-length:3\n\n\0\n\0\0",
    ),
    Golden(
        "1.0",
        "SUBSCRIBE",
        [("destination", "/queue/a"), ("ack", "client")],
        b"",
        b"SUBSCRIBE\ndestination:/queue/a\nack:client\n\n\0",
    ),
    Golden("1.0", "UNSUBSCRIBE", [("destination", "/queue/a")], b"", b"UNSUBSCRIBE\ndestination:/queue/a\n\n\0"),
    Golden(
        "1.0",
        "ACK",
        [("message-id", "ID:host:1"), ("transaction", "t")],
        b"",
        b"ACK\nmessage-id:ID:host:1\ntransaction:t\n\n\0",
    ),
    Golden("1.0", "BEGIN", [("transaction", "t1")], b"", b"BEGIN\ntransaction:t1\n\n\0"),
    Golden("1.0", "COMMIT", [("transaction", "t1")], b"", b"COMMIT\ntransaction:t1\n\n\0"),
    Golden("1.0", "ABORT", [("transaction", "t1")], b"", b"ABORT\ntransaction:t1\n\n\0"),
    Golden("1.0", "DISCONNECT", [], b"", b"DISCONNECT\n\n\0"),
    # 1.0, broker
    Golden("1.0", "CONNECTED", [("session", "ID:a:1")], b"", b"CONNECTED\nsession:ID:a:1\n\n\0"),
    Golden(
        "1.0",
        "MESSAGE",
        [("destination", "/queue/a"), ("message-id", "ID:host:1"), ("subscription", "s")],
        b"x\ny",
        b"MESSAGE\ndestination:/queue/a\nmessage-id:ID:host:1\nsubscription:s\n\nx\ny\0",
    ),
    Golden("1.0", "RECEIPT", [("receipt-id", "m-1")], b"", b"RECEIPT\nreceipt-id:m-1\n\n\0"),
    Golden("1.0", "ERROR", [("message", "malformed: no\\c")], b"why\n", b"ERROR\nmessage:malformed: no\\c\n\nwhy\n\0"),
    # 1.1, client
    Golden(
        "1.1",
        "CONNECT",
        [("accept-version", "1.0,1.1"), ("host", "a:b"), ("heart-beat", "0,5000")],
        b"",
        b"CONNECT\naccept-version:1.0,1.1\nhost:a:b\nheart-beat:0,5000\n\n\0",
    ),
    Golden(
        "1.1",
        "STOMP",
        [("accept-version", "1.1"), ("host", "/\\n")],
        b"",
        b"STOMP\naccept-version:1.1\nhost:/\\n\n\n\0",
    ),
    Golden(
        "1.1",
        "SEND",
        [("destination", "/q"), ("a:b\nc\\d", ":\n\\")],
        b"x",
        b"SEND\ndestination:/q\na\\cb\\nc\\\\d:\\c\\n\\\\\n\nx\0",
    ),
    Golden(
        "1.1",
        "SUBSCRIBE",
        [("id", "0"), ("destination", "/q"), ("ack", "client-individual")],
        b"",
        b"SUBSCRIBE\nid:0\ndestination:/q\nack:client-individual\n\n\0",
    ),
    Golden("1.1", "UNSUBSCRIBE", [("id", "0")], b"", b"UNSUBSCRIBE\nid:0\n\n\0"),
    Golden(
        "1.1",
        "ACK",
        [("subscription", "0"), ("message-id", "ID:1")],
        b"",
        b"ACK\nsubscription:0\nmessage-id:ID\\c1\n\n\0",
    ),
    Golden(
        "1.1", "NACK", [("subscription", "0"), ("message-id", "7")], b"", b"NACK\nsubscription:0\nmessage-id:7\n\n\0"
    ),
    Golden("1.1", "BEGIN", [("transaction", "t")], b"", b"BEGIN\ntransaction:t\n\n\0"),
    Golden("1.1", "COMMIT", [("transaction", "t"), ("receipt", "r")], b"", b"COMMIT\ntransaction:t\nreceipt:r\n\n\0"),
    Golden("1.1", "ABORT", [("transaction", "t")], b"", b"ABORT\ntransaction:t\n\n\0"),
    Golden("1.1", "DISCONNECT", [("receipt", "77")], b"", b"DISCONNECT\nreceipt:77\n\n\0"),
    # 1.1, broker
    Golden(
        "1.1",
        "CONNECTED",
        [("version", "1.1"), ("server", "a\\c/1:2")],
        b"",
        b"CONNECTED\nversion:1.1\nserver:a\\c/1:2\n\n\0",
    ),
    Golden(
        "1.1",
        "MESSAGE",
        [("subscription", "0"), ("message-id", "ID:h:1"), ("destination", "/q"), ("content-length", "4")],
        b"\0\0\n\n",
        b"MESSAGE\nsubscription:0\nmessage-id:ID\\ch\\c1\ndestination:/q\ncontent-length:4\n\n\0\0\n\n\0",
    ),
    Golden("1.1", "RECEIPT", [("receipt-id", "77")], b"", b"RECEIPT\nreceipt-id:77\n\n\0"),
    Golden(
        "1.1",
        "ERROR",
        [("receipt-id", "77"), ("message", "no: it is")],
        b"",
        b"ERROR\nreceipt-id:77\nmessage:no\\c it is\n\n\0",
    ),
    # 1.2, client
    Golden(
        "1.2",
        "CONNECT",
        [("accept-version", "1.0,1.1,1.2"), ("host", "h"), ("passcode", "p:\\q")],
        b"",
        b"CONNECT\naccept-version:1.0,1.1,1.2\nhost:h\npasscode:p:\\q\n\n\0",
    ),
    Golden(
        "1.2",
        "STOMP",
        [("accept-version", "1.2"), ("host", "a:b\\c")],
        b"",
        b"STOMP\naccept-version:1.2\nhost:a:b\\c\n\n\0",
    ),
    Golden("1.2", "SEND", [("a:b\nc\\d\r", ":\r\n\\n")], b"", b"SEND\na\\cb\\nc\\\\d\\r:\\c\\r\\n\\\\n\n\n\0"),
    Golden(
        "1.2",
        "SEND",
        [("destination", "/q"), ("leer", ""), ("é", " ü ")],
        b"\xff\xfe",
        b"SEND\ndestination:/q\nleer:\n\xc3\xa9: \xc3\xbc \n\n\xff\xfe\0",
    ),
    Golden(
        "1.2",
        "SUBSCRIBE",
        [("id", "0"), ("destination", "/q"), ("ack", "auto")],
        b"",
        b"SUBSCRIBE\nid:0\ndestination:/q\nack:auto\n\n\0",
    ),
    Golden("1.2", "UNSUBSCRIBE", [("id", "0")], b"", b"UNSUBSCRIBE\nid:0\n\n\0"),
    Golden("1.2", "ACK", [("id", "ID:h:1")], b"", b"ACK\nid:ID\\ch\\c1\n\n\0"),
    Golden("1.2", "NACK", [("id", "12345"), ("transaction", "tx1")], b"", b"NACK\nid:12345\ntransaction:tx1\n\n\0"),
    Golden("1.2", "BEGIN", [("transaction", "tx1")], b"", b"BEGIN\ntransaction:tx1\n\n\0"),
    Golden("1.2", "COMMIT", [("transaction", "tx1")], b"", b"COMMIT\ntransaction:tx1\n\n\0"),
    Golden("1.2", "ABORT", [("transaction", "tx1")], b"", b"ABORT\ntransaction:tx1\n\n\0"),
    Golden("1.2", "DISCONNECT", [("receipt", "77")], b"", b"DISCONNECT\nreceipt:77\n\n\0"),
    # 1.2, broker
    Golden(
        "1.2",
        "CONNECTED",
        [("version", "1.2"), ("session", "s\\r:1"), ("heart-beat", "0,0")],
        b"",
        b"CONNECTED\nversion:1.2\nsession:s\\r:1\nheart-beat:0,0\n\n\0",
    ),
    Golden(
        "1.2",
        "MESSAGE",
        [
            ("subscription", "0"),
            ("message-id", "007"),
            ("ack", "a:1"),
            ("content-length", "1"),
            ("foo", "1"),
            ("foo", "2"),
        ],
        b"\0",
        b"MESSAGE\nsubscription:0\nmessage-id:007\nack:a\\c1\ncontent-length:1\nfoo:1\nfoo:2\n\n\0\0",
    ),
    Golden("1.2", "MESSAGE", [("content-length", "0")], b"", b"MESSAGE\ncontent-length:0\n\n\0"),
    Golden("1.2", "RECEIPT", [("receipt-id", "\\")], b"", b"RECEIPT\nreceipt-id:\\\\\n\n\0"),
    Golden("1.2", "ERROR", [("message", "bad\r\n")], b"\n\n", b"ERROR\nmessage:bad\\r\\n\n\n\n\n\0"),
]
IDS = [f"{golden.version}-{golden.command}-{index}" for index, golden in enumerate(GOLDEN)]

# Legal to receive, though we write it otherwise: (version, headers, body, bytes).
RECEIVED = [
    # A carriage return is an octet like any other before 1.2; we write none, since it has no escape there.
    Golden("1.1", "MESSAGE", [("k", "carriage\rreturn")], b"", b"MESSAGE\nk:carriage\rreturn\n\n\0"),
    # A bare colon in a value is what real brokers of every version send.
    Golden("1.1", "MESSAGE", [("message-id", "ID:host:1")], b"", b"MESSAGE\nmessage-id:ID:host:1\n\n\0"),
    Golden(
        "1.2", "MESSAGE", [("message-id", "ID:host:1"), ("x", "::")], b"", b"MESSAGE\nmessage-id:ID:host:1\nx:::\n\n\0"
    ),
    Golden("1.2", "MESSAGE", [("content-length", "2")], b"\0\n", b"MESSAGE\r\ncontent-length:2\r\n\r\n\0\n\0"),
    Golden("1.2", "MESSAGE", [("a", "1"), ("b", "2"), ("c", "")], b"\r\n", b"MESSAGE\na:1\r\nb:2\nc:\r\n\n\r\n\0"),
    Golden("1.2", "MESSAGE", [("a", "1")], b"", b"MESSAGE\r\na:1\n\r\n\0"),
    Golden("1.2", "MESSAGE", [("a", "1")], b"\nb", b"MESSAGE\na:1\n\r\n\nb\0"),
    Golden("1.2", "MESSAGE", [("content-length", "1")], b"\n", b"MESSAGE\r\ncontent-length:1\r\n\r\n\n\0"),
    Golden("1.2", "MESSAGE", [("a", "1")], b"\n\n", b"MESSAGE\r\na:1\r\n\r\n\n\n\0"),
    Golden("1.2", "MESSAGE", [("a", "1")], b"\r\n\n", b"MESSAGE\na:1\n\n\r\n\n\0"),
    Golden("1.2", "MESSAGE", [("a", "\r")], b"", b"MESSAGE\na:\\r\r\n\n\0"),
    Golden("1.2", "RECEIPT", [], b"", b"RECEIPT\r\n\r\n\0"),
    Golden("1.2", "RECEIPT", [], b"", b"RECEIPT\r\n\n\0"),
    Golden("1.2", "RECEIPT", [], b"", b"RECEIPT\n\r\n\0"),
    Golden("1.2", "UNSUBSCRIBE", [("id", "1")], b"", b"UNSUBSCRIBE\r\nid:1\r\n\r\n\0"),
    Golden("1.2", "CONNECTED", [("version", "1.2")], b"", b"CONNECTED\r\nversion:1.2\r\n\r\n\0"),
    Golden(
        "1.2",
        "MESSAGE",
        [("content-length", "3"), ("content-length", "1")],
        b"abc",
        b"MESSAGE\ncontent-length:3\ncontent-length:1\n\nabc\0",
    ),
    # The first one counts, also where it is the unusual one.
    Golden(
        "1.2",
        "MESSAGE",
        [("content-length", " 3"), ("content-length", "1")],
        b"abc",
        b"MESSAGE\ncontent-length: 3\ncontent-length:1\n\nabc\0",
    ),
    Golden(
        "1.2",
        "MESSAGE",
        [("content-length", "3"), ("content-length", "?")],
        b"a\0c",
        b"MESSAGE\ncontent-length:3\ncontent-length:?\n\na\0c\0",
    ),
    Golden("1.0", "MESSAGE", [("content-length", " 1")], b"\0", b"MESSAGE\ncontent-length: 1\n\n\0\0"),
    Golden("1.2", "MESSAGE", [("content-length", "007")], b"1234567", b"MESSAGE\ncontent-length:007\n\n1234567\0"),
    Golden("1.0", "MESSAGE", [("a", "\\x"), ("b", "\\")], b"", b"MESSAGE\na:\\x\nb:\\\n\n\0"),
]
ALL = [*GOLDEN, *RECEIVED]
ALL_IDS = [*IDS, *(f"received-{index}" for index in range(len(RECEIVED)))]


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def feed(decoder: Decoder, *chunks: bytes) -> list[Frame]:
    return [frame for chunk in chunks for frame in decoder.feed(chunk)]


def failure(decoder: Decoder, *chunks: bytes) -> tuple[list[Frame], ProtocolError]:
    """What came out before the failure that must come, and the failure."""
    frames: list[Frame] = []
    for chunk in chunks:
        try:
            frames += decoder.feed(chunk)
        except ProtocolError as error:
            return frames + error.frames, error
    raise AssertionError(f"no failure, but {frames}")


def each_way(data: bytes) -> Iterator[list[bytes]]:
    """Whole, byte by byte, in two at every place."""
    yield [data]
    yield list(pieces(data, 1))
    for cut in range(len(data) + 1):
        yield [data[:cut], data[cut:]]


@pytest.mark.parametrize("golden", GOLDEN, ids=IDS)
def test_encodes_to_the_golden_bytes(golden: Golden) -> None:
    assert encode(golden.frame, golden.version) == golden.wire
    if golden.command in UNESCAPED:
        assert encode(golden.frame) == golden.wire


@pytest.mark.parametrize("golden", ALL, ids=ALL_IDS)
def test_decodes_the_golden_bytes_in_any_two_pieces(golden: Golden) -> None:
    for chunks in each_way(golden.wire):
        decoder = golden.decoder()
        assert feed(decoder, *chunks) == [golden.frame], chunks
        assert not decoder.partial


@pytest.mark.parametrize("golden", ALL, ids=ALL_IDS)
def test_what_follows_a_frame_stays_apart(golden: Golden) -> None:
    another = Frame("MESSAGE", {}, b"x")
    for tail, following, partial in (
        (b"\n", [], False),
        (b"\n\n\n", [HEARTBEAT, HEARTBEAT], False),
        (b"MESSA", [], True),
        (b"\nMESSAGE\na:", [], True),
        (b"MESSAGE\na:b\n\nbod", [], True),
        (b"\nMESSAGE\n\nx\0\n", [another], False),
    ):
        for size in (len(golden.wire + tail), 1):
            decoder = golden.decoder()
            assert feed(decoder, *pieces(golden.wire + tail, size)) == [golden.frame, *following], tail
            assert decoder.partial is partial


def test_every_command_of_every_version_has_golden_bytes() -> None:
    client = {"CONNECT", "SEND", "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "BEGIN", "COMMIT", "ABORT", "DISCONNECT"}
    broker = {"CONNECTED", "MESSAGE", "RECEIPT", "ERROR"}
    for version, more in (("1.0", set[str]()), ("1.1", {"STOMP", "NACK"}), ("1.2", {"STOMP", "NACK"})):
        assert {golden.command for golden in GOLDEN if golden.version == version} == client | broker | more


def test_the_first_of_repeated_headers_counts_and_all_are_kept() -> None:
    [frame] = Decoder("1.2").feed(b"MESSAGE\nfoo:World\nfoo:Hello\nbar:x\n\n\0")
    assert frame.headers["foo"] == "World"
    assert frame.header("foo") == "World"
    assert frame.headers.getall("foo") == ["World", "Hello"]
    assert dict(frame.headers) == {"foo": "World", "bar": "x"}


# Ends of line


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    "wire",
    [b"MESSAGE\r\na:1\r\n\r\n\0", b"MESSAGE\r\n\n\0", b"SEND\n\r\n\0", b"SEND\na:1\n\r\nb\n\n\0"],
)
def test_crlf_within_a_head_is_refused_before_1_2(version: str, wire: bytes) -> None:
    padded = wire + b"\n\n\0"
    failure(Decoder(version), padded)
    failure(Decoder(version), *pieces(padded, 1))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_carriage_return_before_1_2_is_part_of_the_value(version: str) -> None:
    [frame] = Decoder(version).feed(b"MESSAGE\na:1\r\n\n\0")
    assert frame.headers["a"] == "1\r"


@pytest.mark.parametrize("version", [None, "1.0", "1.1", "1.2"])
@pytest.mark.parametrize("wire", [b"\rMESSAGE\n\n\0", b"\n\rM", b"\n\r\r\n", b"\r\r\n", b"\n\n\n\rMESSAGE\n\n\0"])
def test_a_lone_carriage_return_between_frames_is_refused_in_any_pieces(version: str | None, wire: bytes) -> None:
    for chunks in each_way(wire):
        failure(Decoder(version), *chunks)


@pytest.mark.parametrize(
    ("version", "wire", "beats"),
    [
        ("1.0", b"\n", 1),
        ("1.1", b"\n\n\n", 3),
        ("1.2", b"\n\r\n\n", 3),
        ("1.2", b"\r\n", 1),
        ("1.0", b"\r\n", 1),
        ("1.1", b"RECEIPT\n\n\0\r\n\n\r\n", 2),
        (None, b"\r\n\n", 2),
        ("1.1", b"RECEIPT\n\n\0\n", 0),
        ("1.1", b"RECEIPT\n\n\0\n\n", 1),
        ("1.2", b"RECEIPT\n\n\0\r\n\r\n\n", 2),
        ("1.1", b"\nRECEIPT\n\n\0", 1),
        ("1.1", b"RECEIPT\n\n\0\nRECEIPT\n\n\0\n\n\nRECEIPT\n\n\0", 2),
        ("1.1", b"RECEIPT\n\n\0RECEIPT\n\n\0\n\n", 1),
    ],
)
def test_an_end_of_line_is_a_heartbeat_unless_it_is_directly_behind_a_frame(
    version: str | None, wire: bytes, beats: int
) -> None:
    for chunks in each_way(wire):
        frames = feed(Decoder(version), *chunks)
        assert sum(frame is HEARTBEAT for frame in frames) == beats, chunks
        assert [frame.command for frame in frames if frame is not HEARTBEAT] == ["RECEIPT"] * wire.count(b"RECEIPT")


def test_heartbeats_keep_their_place_between_frames() -> None:
    frames = Decoder("1.1").feed(b"\nRECEIPT\n\n\0\n\nERROR\n\n\0")
    assert [frame.command for frame in frames] == ["", "RECEIPT", "", "ERROR"]
    assert encode(HEARTBEAT) == encode(HEARTBEAT, "1.2") == b"\n"


def test_a_carriage_return_alone_is_half_an_end_of_line() -> None:
    decoder = Decoder("1.2")
    assert decoder.feed(b"RECEIPT\n\n\0\r") == [Frame("RECEIPT")]
    assert decoder.partial
    assert decoder.feed(b"\n\r") == []
    assert decoder.feed(b"\n") == [HEARTBEAT]
    assert not decoder.partial


# Escapes


@pytest.mark.parametrize(
    ("version", "escape"),
    [
        ("1.1", b"\\r"),
        *[
            (version, escape)
            for version in ("1.1", "1.2")
            for escape in (b"\\t", b"\\N", b"\\:", b"\\", b"\\0", b"\\\\\\")
        ],
    ],
)
def test_an_undefined_escape_of_a_client_is_refused(version: str, escape: bytes) -> None:
    for place in (b"%b:v", b"k:%b", b"k:a%b-b", b"k%b:"):
        wire = b"SEND\nx:y\n" + place % escape + b"\nz:z\n\n\0"
        _, error = failure(Decoder(version), wire)
        assert "escape" in str(error)
        assert version in str(error)
        failure(Decoder(version), *pieces(wire, 1))


@pytest.mark.parametrize(
    ("version", "raw", "value"),
    [
        ("1.0", b"\\n\\c\\\\\\r", "\\n\\c\\\\\\r"),
        ("1.1", b"\\n\\c\\\\", "\n:\\"),
        ("1.2", b"\\n\\c\\\\\\r", "\n:\\\r"),
        ("1.2", b"\\\\n\\\\\\c", "\\n\\:"),
    ],
)
def test_escapes_are_undone_once_in_keys_and_values(version: str, raw: bytes, value: str) -> None:
    [frame] = Decoder(version).feed(b"MESSAGE\n" + raw + b":" + raw + b"\n\n\0")
    assert frame.headers.pairs == ((value, value),)
    [frame] = Decoder(version).feed(b"MESSAGE\nk:" + raw + b"\n\n\0")
    assert frame.header("k") == value


def test_a_refusal_before_the_negotiation_is_readable_however_it_is_escaped() -> None:
    """Nobody knows the version of a broker that refuses CONNECT: its words must come through, not a complaint."""
    [frame] = Decoder().feed(b"ERROR\nmessage:no C:\\temp here\n\n\0")
    assert frame.headers["message"] == "no C:\\temp here"
    [frame] = Decoder().feed(b"ERROR\nmessage:no\\c bad login\n\n\0")
    assert frame.headers["message"] == "no: bad login"


@pytest.mark.parametrize("command", sorted(UNESCAPED))
@pytest.mark.parametrize("version", [None, "1.0", "1.1", "1.2"])
def test_the_handshake_has_no_escapes(command: str, version: str | None) -> None:
    frame = Frame(command, {"k": "a:b\\n\\x\\"})
    wire = command.encode() + b"\nk:a:b\\n\\x\\\n\n\0"
    assert encode(frame, version) == wire
    assert Decoder(version).feed(wire) == [frame]


@pytest.mark.parametrize(
    ("command", "version", "key", "value"),
    [
        *[(command, "1.2", "k", bad) for command in sorted(UNESCAPED) for bad in ("a\nb:c", "a\r", "\0")],
        *[(command, "1.2", "a:b", "v") for command in sorted(UNESCAPED)],
        *[("SEND", version, "k", "a\0b") for version in ("1.0", "1.1", "1.2")],
        *[("SEND", version, "", "v") for version in ("1.0", "1.1", "1.2")],
        ("SEND", "1.0", "k", "a\nb"),
        ("SEND", "1.0", "k", "a\r"),
        ("SEND", "1.0", "a:b", "c"),
        ("SEND", "1.0", "a\n", "c"),
        ("SEND", "1.1", "k", "a\r"),
        ("SEND", "1.1", "k\r", "a"),
        ("SEND", "1.2", "k", "\ud800"),
        ("SEND", None, "k", "a\0b"),
        ("ERROR", None, "k", "a\nb"),
    ],
)
def test_what_a_version_cannot_write_is_an_invalid_header(
    command: str, version: str | None, key: str, value: str
) -> None:
    with pytest.raises(InvalidHeader):
        encode(Frame(command, [("x", "y"), (key, value)]), version)


def test_without_a_version_a_client_writes_the_newest_and_a_broker_no_escapes() -> None:
    frame = Frame("SEND", {"path": "C:\\new"})
    assert encode(frame) == encode(frame, "1.2")
    assert b"C:\\new" in encode(Frame("ERROR", {"path": "C:\\new"}))


@pytest.mark.parametrize("version", ["9.9", 1.2])
def test_a_version_is_checked_whatever_the_headers(version: Any) -> None:
    with pytest.raises(ValueError, match="there is no STOMP version"):
        encode(Frame("SEND", {"destination": "/q"}), version)


def test_a_head_that_is_not_utf8_leaves_no_secret_in_the_context() -> None:
    with pytest.raises(InvalidHeader) as caught:
        encode(commands.connect(host="/", login="u", passcode="hunter2\udcff"))
    assert caught.value.__context__ is None


def test_an_injection_that_balances_the_counts_is_refused() -> None:
    """As many ends of line and colons as honest pairs have."""
    with pytest.raises(InvalidHeader):
        encode(Frame("SEND", [("a\nb", "c"), ("d", "e")]), "1.0")
    for pairs in ([("a\nb:c", "d")], [("a", "b\nc:d")], [("a", "b\n")], [("a\n", "b")]):
        with pytest.raises(InvalidHeader):
            encode(Frame("SEND", pairs), "1.0")


def test_an_unknown_command_and_a_body_that_lies_are_not_written() -> None:
    with pytest.raises(ProtocolError, match="HELLO"):
        encode(Frame("HELLO"), "1.2")
    with pytest.raises(ProtocolError):
        encode(Frame("SEND\n"), "1.2")
    with pytest.raises(InvalidHeader, match="content-length"):
        encode(Frame("SEND", {}, b"a\0b"), "1.2")
    with pytest.raises(InvalidHeader, match="content-length"):
        encode(Frame("SEND", {"content-length": "2"}, b"abc"), "1.2")
    with pytest.raises(InvalidHeader):
        encode(Frame("SEND", [("content-length", "2"), ("content-length", "3")], b"abc"), "1.2")


# Bad bytes

JUNK = [
    b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2p1\r\n",
    b"\x15\x03\x01\x00\x02\x02\x46",
    b"220 mail ESMTP\r\n",
    b"AMQP\x00\x00\x09\x01",
    b"\x00\x00\x00\xf0\x01ActiveMQ",
    b"<html>\n\n",
    b"\0",
    b"message\n\n\0",
    b" MESSAGE\n\n\0",
    b"MESSAGE \n\n\0",
    b"MESSAGES\n\n\0",
    b"MESSAGE\0\n\n\0",
    b"\xef\xbb\xbfMESSAGE\n\n\0",
    b"MESSAGE:\n\n\0",
    b"\xff\xfe",
]


@pytest.mark.parametrize("junk", JUNK)
def test_junk_is_refused_at_its_first_bytes(junk: bytes) -> None:
    for version in (None, "1.0", "1.1", "1.2"):
        _, error = failure(Decoder(version), junk)
        assert "not a STOMP frame" in str(error)
        failure(Decoder(version), *pieces(junk[:13], 1))


def test_junk_is_refused_at_the_first_byte_that_no_command_has() -> None:
    for junk in (b"H", b"SS", b"\x15", b"CONNECTX", b"UNSUBSCRIBEX", b"MESSAGE\rX", b"UNSUBSCRIBE\rX"):
        decoder = Decoder()
        for chunk in pieces(junk[:-1], 1):
            decoder.feed(chunk)
        with pytest.raises(ProtocolError):
            decoder.feed(junk[-1:])


@pytest.mark.parametrize(
    "line",
    [b"nocolon", b":novalue", b":", b":a:b", b"::", b" ", b"\xff:1", b"a:\xff", b"\xc3\x28:\xa0", b"a:\xed\xa0\x80"],
)
@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_bad_header_line_of_a_client_is_refused_in_any_pieces(version: str, line: bytes) -> None:
    wire = b"SEND\na:b\n" + line + b"\nc:d\n\nbody\0"
    for chunks in each_way(wire):
        frames, _ = failure(Decoder(version), *chunks)
        assert frames == []


@pytest.mark.parametrize(
    "length", [b"", b"-1", b"+1", b"1.5", b"0x1", b"1e3", b"1_0", b"\xd9\xa3", b"9" * 19, b"9" * 5000, b"1 1", b"a"]
)
def test_a_content_length_of_a_client_that_is_no_number_is_refused(length: bytes) -> None:
    failure(Decoder("1.1"), b"SEND\ncontent-length:" + length + b"\n\nbody\0")


@pytest.mark.parametrize(
    "wire",
    [
        b"SEND\ncontent-length:3\n\nabcd\0",
        b"SEND\ncontent-length:3\n\nabc\n\0",
        b"SEND\ncontent-length:0\n\na\0",
    ],
)
def test_a_body_of_a_client_longer_than_its_content_length_is_refused(wire: bytes) -> None:
    for chunks in each_way(wire):
        _, error = failure(Decoder("1.2"), *chunks)
        assert "content-length" in str(error)


def test_good_frames_before_the_bad_bytes_are_in_the_exception() -> None:
    good = b"RECEIPT\nreceipt-id:1\n\n\0\n\nRECEIPT\nreceipt-id:2\n\n\0"
    expected = [Frame("RECEIPT", {"receipt-id": "1"}), HEARTBEAT, Frame("RECEIPT", {"receipt-id": "2"})]
    for bad in (b"SEND\nnocolon\n\n\0", b"MESSAGE\ncontent-length:9\n\nab\0defghij", b"CONNECTED\n:x\n\n\0"):
        for chunks in each_way(good + bad):
            frames, error = failure(Decoder("1.1"), *chunks)
            assert frames == expected
            assert error.data


def test_a_failed_decoder_stays_failed() -> None:
    for bad in (b"junk", b"SEND\nnocolon\n\n\0", b"MESSAGE\n\n" + b"x" * 30, b"\rX"):
        decoder = Decoder("1.2", Limits(max_body=20))
        _, first = failure(decoder, bad)
        for chunk in (b"", b"\n", b"RECEIPT\n\n\0"):
            with pytest.raises(ProtocolError) as caught:
                decoder.feed(chunk)
            assert caught.value is first
        assert not decoder.partial


# Versions on the way


def test_connected_settles_the_version_for_the_bytes_behind_it() -> None:
    for version, value in (("1.0", "a\\cb"), ("1.1", "a:b"), ("1.2", "a:b")):
        wire = b"CONNECTED\nversion:" + version.encode() + b"\n\n\0\nMESSAGE\nk:a\\cb\n\n\0"
        for chunks in each_way(wire):
            decoder = Decoder()
            _, message = feed(decoder, *chunks)
            assert decoder.version == version
            assert message.headers["k"] == value
    decoder = Decoder()
    decoder.feed(b"CONNECTED\nsession:1\n\n\0")
    assert decoder.version == "1.0"


@pytest.mark.parametrize(
    ("offer", "version"),
    [
        (b"", "1.0"),
        (b"accept-version:1.1\n", "1.1"),
        (b"accept-version:1.0,1.2,1.1\n", "1.2"),
        (b"accept-version:9.9\n", "1.0"),
    ],
)
def test_connect_settles_the_version_of_a_broker(offer: bytes, version: str) -> None:
    for command in (b"CONNECT", b"STOMP"):
        decoder = Decoder()
        decoder.feed(command + b"\n" + offer + b"\n\0")
        assert decoder.version == version


def test_an_answer_in_an_unknown_version_can_still_be_read() -> None:
    decoder = Decoder()
    [frame] = decoder.feed(b"CONNECTED\nversion:3.0\n\n\0")
    assert frame.headers["version"] == "3.0"


def test_a_version_can_be_assigned_and_must_exist() -> None:
    decoder = Decoder()
    decoder.version = "1.0"
    assert decoder.feed(b"MESSAGE\na:\\c\n\n\0")[0].headers["a"] == "\\c"
    with pytest.raises(ValueError, match=r"1\.3"):
        decoder.version = "1.3"
    with pytest.raises(ValueError, match=r"1\.3"):
        Decoder("1.3")


# Cost


class Counted(bytes):
    """Bytes that count how far they are searched."""

    searched = 0

    def find(self, *args: object) -> int:
        found: int = bytes.find(self, *args)  # type: ignore[arg-type]
        start = args[1] if len(args) > 1 else 0
        end = args[2] if len(args) > 2 else len(self)
        assert isinstance(start, int)
        assert isinstance(end, int)
        Counted.searched += (found if found >= 0 else min(end, len(self))) - start
        return found


@pytest.mark.parametrize(
    "frame",
    [
        b"MESSAGE\na:b\n\nbody\0\n",
        b"MESSAGE\r\na:b\r\n\r\nbody\0\r\n",
        b"MESSAGE\r\ncontent-length:4\r\n\r\nbo\0y\0",
        b"MESSAGE\ncontent-length:6\n\nbo\r\n\r\n\0",
    ],
)
def test_many_frames_in_one_chunk_are_searched_a_bounded_number_of_times(frame: bytes) -> None:
    data = Counted(frame * 2000)
    Counted.searched = 0
    assert len(Decoder("1.2").feed(data)) == 2000
    assert Counted.searched < 8 * len(data)


def test_mixed_ends_of_line_are_searched_a_bounded_number_of_times() -> None:
    crlf, lf = b"MESSAGE\r\na:b\r\n\r\nbody\0", b"MESSAGE\na:b\n\nbody\0"
    for data in (Counted(crlf * 1000 + lf), Counted((crlf * 9 + lf) * 200), Counted(lf * 1000 + crlf)):
        Counted.searched = 0
        Decoder("1.2").feed(data)
        assert Counted.searched < 8 * len(data)


@pytest.mark.parametrize(
    ("head", "unit", "tail"),
    [
        pytest.param(b"MESSAGE\n\n", b"x", b"\0", id="body up to NUL"),
        pytest.param(b"MESSAGE\ncontent-length:%d\n\n", b"\0", b"\0", id="counted body"),
        pytest.param(b"MESSAGE\na:", b"x", b"\n\n\0", id="one header line"),
        pytest.param(b"MESSAGE\n", b"a:b\n", b"\n\0", id="header lines"),
    ],
)
def test_one_byte_feeds_take_linear_time(head: bytes, unit: bytes, tail: bytes) -> None:
    limits = Limits(max_header_line=10**9, max_headers=10**9, max_header_bytes=10**9)

    def seconds(size: int) -> float:
        body = unit * (size // len(unit))
        chunks = list(pieces((head % len(body) if b"%d" in head else head) + body + tail, 1))
        decoder = Decoder("1.2", limits)
        began = time.process_time()
        frames = feed(decoder, *chunks)
        took = time.process_time() - began
        assert len(frames) == 1
        return took

    _within(lambda: seconds(48_000) / seconds(6_000), 32.0)


def _within(ratio: Callable[[], float], most: float) -> None:
    """Eight times the input: linear is 8, quadratic 64. A machine that is busy elsewhere gets more tries."""
    tried = []
    for _ in range(5):
        tried.append(ratio())
        if tried[-1] < most:
            return
    raise AssertionError(f"eight times the input took {tried} times as long")


@pytest.mark.parametrize("counted", [True, False])
def test_a_large_body_in_pieces_costs_its_own_size(counted: bool) -> None:
    size, piece = 32 << 20, 64 << 10
    chunk = b"x" * piece
    decoder = Decoder("1.2")
    decoder.feed(b"MESSAGE\ncontent-length:%d\n\n" % size if counted else b"MESSAGE\n\n")
    tracemalloc = pytest.importorskip("tracemalloc", reason="this interpreter counts no memory")
    tracemalloc.start()
    try:
        for _ in range(size // piece):
            assert decoder.feed(chunk) == []
        [frame] = decoder.feed(b"\0")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(frame.body) == size
    assert type(frame.body) is bytes
    # The buffer grows by an eighth ahead of what is in it.
    assert peak < size * 9 // 8 + (3 << 20)


def test_messages_and_receipts_in_any_order_keep_it() -> None:
    message, receipt = b"MESSAGE\nmessage-id:%d\n\nx\0\n", b"RECEIPT\nreceipt-id:%d\n\n\0\n"
    order = [message, receipt, receipt, message, message, receipt, message]
    frames = Decoder("1.2").feed(b"".join(frame % number for number, frame in enumerate(order)))
    assert [(frame.command, *frame.headers.values()) for frame in frames] == [
        ("MESSAGE" if frame is message else "RECEIPT", str(number)) for number, frame in enumerate(order)
    ]


def test_what_a_counted_body_still_needs_is_told() -> None:
    decoder = Decoder("1.2")
    assert decoder.missing == 0
    decoder.feed(b"MESSAGE\ncontent-length:10\n\n123")
    assert decoder.missing == 7
    decoder.feed(b"4567890")
    assert decoder.missing == 0
    assert len(decoder.feed(b"\0MESSAGE\n\nno length")) == 1
    assert decoder.missing == 0


# Linear time. The sizes take minutes in quadratic time, and then the timeout of the test run ends them.


def test_errors_without_an_empty_line_take_linear_time() -> None:
    frames = Decoder("1.2").feed(b"ERROR\na:b\0" * 200_000)
    assert len(frames) == 200_000
    assert all(frame.problem for frame in frames)


def nested(count: int) -> bytes:
    """Frames that each claim all bytes after them as their body."""
    unit = b"MESSAGE\ncontent-length:%012d\n\n\0"
    size = len(unit % 0)
    return b"".join(unit % ((count - number - 1) * size + 5) for number in range(count)) + b"\n" * 10


def test_false_lengths_in_each_other_take_linear_time() -> None:
    frames = [frame for frame in Decoder("1.2").feed(nested(100_000)) if frame is not HEARTBEAT]
    assert len(frames) == 100_000


def test_a_peer_cannot_have_its_bytes_read_again_and_again() -> None:
    """Each piece shows that one length was false, and all bytes after it belong to the next such body."""
    unit, count = b"MESSAGE\ncontent-length:%012d\n\n\0", 100
    size = len(unit % 0)
    decoder = Decoder("1.2")
    decoder.feed(b"".join(unit % ((count - number - 1) * size + 10 * number + 5) for number in range(count)))
    for _ in range(4):
        decoder.feed(b"\n" * 10)
    with pytest.raises(ProtocolError, match="too many frames have a false content-length"):
        decoder.feed(b"\n" * 10)


def test_a_broker_that_counts_characters_is_read_to_the_end() -> None:
    decoder = Decoder("1.2")
    message = "MESSAGE\ncontent-length:4\n\näöüß\0\n".encode()
    wire = message * 2000
    pieces = [wire[start : start + 7] for start in range(0, len(wire), 7)]
    frames = [frame for piece in pieces for frame in decoder.feed(piece) if frame is not HEARTBEAT]
    assert [frame.body for frame in frames] == ["äöüß".encode()] * 2000


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_buffer_can_be_fed(kind: Any) -> None:
    wire = encode(Frame("MESSAGE", {"a": "b"}, b"body"), "1.2")
    decoder = Decoder("1.2")
    frames = [*decoder.feed(kind(wire[:9])), *decoder.feed(kind(wire[9:] + wire))]
    assert [type(frame.body) for frame in frames] == [bytes, bytes]


def test_a_secret_in_the_last_line_of_an_unfinished_head_is_masked() -> None:
    [frame] = Decoder("1.2").feed(b"ERROR\nmessage:bad\nauthorization:Basic dXNlcjpodW50ZXIyLWh1bnRlcjI=\0")
    assert "W50ZXIy" not in str(frame.problem)
