"""The bytes of the benchmarks, made before any measurement and without the measured library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

BLOCK = 1000
"""The number of different messages in a prepared block, more than any cache of a client holds."""

START = "/start"
"""A SEND to this destination ends the setup of a connection and starts the measurement."""

DESTINATION = "/queue/bench"

END_BODY = b"the end"

END_ID = "end"
"""The subscription that gets the last message of the cost map's server."""

FLOOD = "/flood/"
"""A SEND to this destination plus a number requests this number of messages from the cost map's server."""

BODY = b"x" * 100
"""The body of a message whose size does not matter."""


def connected(heart_beat: str = "0,0") -> bytes:
    return b"CONNECTED\nversion:1.2\nheart-beat:%b\nserver:bench/1.0\nsession:1\n\n\0\n" % heart_beat.encode()


def message(number: int, size: int, subscription: str = "1", *, escapes: bool = False) -> bytes:
    """Return a MESSAGE with nine headers, as current brokers write it.

    Args:
        number: makes the ids of the message unique.
        size: the size of the body in bytes.
        subscription: the id of the subscription.
        escapes: whether the ids have colons, as in ActiveMQ, which are escaped on the wire.
    """
    colon = r"\c" if escapes else "-"
    id = f"ID{colon}broker.example.org-39281-1700000000000-3{colon}2{colon}-1{colon}1{colon}{number}"
    head = (
        f"MESSAGE\nack:{id}\nmessage-id:{id}\ndestination:{DESTINATION}\nsubscription:{subscription}\n"
        f"content-type:text/plain\ncontent-length:{size}\ntimestamp:{1700000000000 + number}\npriority:4\nexpires:0\n\n"
    )
    return head.encode() + b"x" * size + b"\0\n"


def message_of(number: int, size: int, headers: int, subscription: str) -> bytes:
    """Return a MESSAGE with 3 headers, or with 9 or more. The tenth and later ones are application headers."""
    if headers == 3:
        head = f"MESSAGE\nmessage-id:m-{number}\ndestination:{DESTINATION}\nsubscription:{subscription}\n\n"
        return head.encode() + b"x" * size + b"\0\n"
    more = "".join(f"x-header-{each}:value {each} of {number}\n" for each in range(9, headers))
    return message(number, size, subscription).replace(b"\n", f"\n{more}".encode(), 1)


def block(size: int, subscriptions: Sequence[str] = ("1",), *, escapes: bool = False) -> bytes:
    """Return ``BLOCK`` messages, spread over the subscriptions."""
    return b"".join(
        message(number, size, subscriptions[number % len(subscriptions)], escapes=escapes) for number in range(BLOCK)
    )


def end(subscription: str = "1") -> bytes:
    """Return the MESSAGE that tells a client that the server has written or read everything."""
    return b"MESSAGE\nack:end\nmessage-id:end\ndestination:/end\nsubscription:%b\ncontent-length:%d\n\n%b\0\n" % (
        subscription.encode(),
        len(END_BODY),
        END_BODY,
    )


def receipts(most: int) -> tuple[bytes, list[int]]:
    """Return the RECEIPT frames for the ids 1, 2, 3 … as one piece, with the start of each and the end of the last."""
    frames = [b"RECEIPT\nreceipt-id:%d\n\n\0\n" % number for number in range(1, most + 1)]
    return b"".join(frames), list(_offsets(frames))


def _offsets(frames: list[bytes]) -> Iterator[int]:
    position = 0
    yield position
    for frame in frames:
        position += len(frame)
        yield position
