"""The differences between brokers, as a form that each broker's file fills in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stomplistener._util.record import Record
from stomplistener.errors import ProtocolError


class Spelling(NamedTuple):
    """The headers for one option, with ``{…}`` for its value; None if the broker does not support it.

    Attributes:
        headers: the headers.
        source: where this is documented.
        note: what is special on this broker, or why it does not support the option.
    """

    headers: Mapping[str, str] | None
    source: str
    note: str = ""


class Declaring(NamedTuple):
    """The headers of a SEND that declare a queue. Delivered messages repeat these headers.

    Attributes:
        type: the headers for the type of the queue.
        limits: the headers for all other properties.
    """

    type: frozenset[str] = frozenset()
    limits: frozenset[str] = frozenset()


class Profile(Record):
    """One broker.

    Attributes:
        name: the name for ``Connection(broker=…)``.
        title: the name in texts.
        server: the beginning of its ``server`` header, in lower case.
        options: the spelling of each option, by the option's name.
        client_id: whether a durable subscription belongs to the connection's ``client-id``, and so requires one.
        named_by_id: whether the subscription's id is the name of a durable subscription.
        forget: the headers of each UNSUBSCRIBE that is needed to delete a durable subscription.
        reply_to: the destination for replies, with ``{name}`` for a unique name.
        length_means_bytes: whether a message with content-length becomes a JMS BytesMessage, and one without it a
            TextMessage.
        browse_page: how many messages of a queue a browser gets by default; None for all.
        settles_in_transactions: whether an ACK is part of its transaction. If so, COMMIT settles and sends in one step,
            and the receipt of COMMIT means that both effects are stored.
        acks_at_once: whether an ACK in a transaction counts even if the transaction is aborted.
        origin: the headers of a dead letter that name its earlier destination, with ``{value}`` for the value, in
            addition to ``original-destination``.
        default_host: the virtual host that exists unless it was deleted; None if any name works.
        replies_by_itself: whether the broker subscribes the sender to ``reply-to`` without a SUBSCRIBE.
        commit_confirms: whether the answer to COMMIT means that the messages are stored.
        declaring: the headers of a SEND that declare the queue of the destination.
        stores_in_turn: whether the broker writes each message with a receipt to disk before it reads the next message
            of that connection. A transaction waits for the disk only once.
        reject: the headers of a NACK without which the broker would deliver the message again at once, forever.
        redeliveries: the header that counts earlier deliveries of a message; None if there is none.
        renames_redelivered: whether a redelivered message has another message-id.
        unknown: why the broker is not known, and what to do about it; empty if it is known. What differs from broker to
            broker has its default then, and no option can be spelled.
    """

    name: str
    title: str
    server: str
    options: Mapping[str, Spelling]
    client_id: bool = False
    named_by_id: bool = False
    forget: Sequence[Mapping[str, str]] = ({},)
    reply_to: str = "/temp-queue/{name}"
    length_means_bytes: bool = False
    browse_page: int | None = None
    settles_in_transactions: bool = False
    origin: Mapping[str, str] = {}
    default_host: str | None = None
    replies_by_itself: bool = False
    hints: Mapping[str, str] = {}
    commit_confirms: bool = True
    stores_in_turn: bool = False
    declaring: Declaring = Declaring()
    reject: Mapping[str, str] = {}
    redeliveries: str | None = None
    renames_redelivered: bool = False
    acks_at_once: bool = False
    unknown: str = ""

    def headers(self, option: str, **values: object) -> dict[str, str]:
        """Return the headers for an option on this broker.

        Raises:
            ProtocolError: the broker does not support the option, or is not known. The text names the broker and the
                reason.
        """
        self.check_known(option)
        spelling = self.options[option]
        if spelling.headers is None:
            raise ProtocolError(f"{self.title} cannot do {option}: {spelling.note} ({spelling.source})")
        return {key: template.format_map(values) for key, template in spelling.headers.items()}

    def check_known(self, what: str) -> None:
        """Raise ProtocolError if the broker is not known, which ``what`` requires."""
        if self.unknown:
            raise ProtocolError(f"{what}: {self.unknown}")

    def reject_headers(self, headers: Mapping[str, str] | None) -> Mapping[str, str]:
        """Return the headers of a NACK; the application's headers win."""
        return {**self.reject, **headers} if headers else self.reject

    def delivery_number(self, headers: Mapping[str, str]) -> int | None:
        """Return the number of this delivery of a message, from 1, by the broker's own count; None if it has none."""
        told = headers.get(self.redeliveries) if self.redeliveries else None
        return int(told) + 1 if told is not None and told.isdecimal() and told.isascii() else None
