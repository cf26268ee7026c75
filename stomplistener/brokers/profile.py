"""What differs from one broker to another: the form that each broker's file fills in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stomplistener._util.record import Record
from stomplistener.errors import ProtocolError


class Spelling(NamedTuple):
    """The headers for one option, with ``{…}`` for its value; None where the broker cannot do it.

    Attributes:
        headers: the headers.
        source: where that is documented.
        note: what is different on this broker; why not, where it cannot.
    """

    headers: Mapping[str, str] | None
    source: str
    note: str = ""


class Declaring(NamedTuple):
    """The headers of a SEND that declare a queue. Delivered messages carry them without being described by them.

    Attributes:
        type: which kind of queue.
        limits: everything else.
    """

    type: frozenset[str] = frozenset()
    limits: frozenset[str] = frozenset()


class Profile(Record):
    """One broker.

    Attributes:
        name: for ``Connection(broker=…)``.
        title: for people.
        server: how its ``server`` header begins, in lower case.
        options: the spelling of each option, by its name.
        client_id: whether a durable subscription belongs to the connection's ``client-id``, which is needed then.
        named_by_id: whether the subscription's id is the name of a durable subscription.
        forget: the headers of each UNSUBSCRIBE that it takes to delete a durable subscription.
        reply_to: the destination for replies, with ``{name}`` for a name that no other has.
        length_means_bytes: whether it makes a JMS BytesMessage of what has a content-length, a TextMessage of the rest.
        browse_page: how many messages of a queue a browser is shown, unless the broker is configured otherwise; None
            for all of them.
        settles_in_transactions: whether an ACK belongs to its transaction, so that COMMIT takes and sends at once, and
            its receipt says that both are stored.
        acks_at_once: whether an ACK in a transaction counts although the transaction is aborted.
        origin: headers of a dead letter that name where the message was before, with ``{value}`` for theirs, beside
            ``original-destination``.
        default_host: the virtual host that exists unless it was deleted; None if any name works.
        replies_by_itself: whether the broker subscribes the sender to ``reply-to`` without a SUBSCRIBE.
        commit_confirms: whether the answer to COMMIT says that the messages are stored.
        declaring: the headers of a SEND by which it declares the queue of the destination.
        stores_in_turn: whether it waits for the disk after each message that asks for a receipt, before it reads the
            next one of that connection; a transaction waits once.
        reject: the headers of a NACK without which the broker would deliver the message again at once, forever.
        redeliveries: the header that counts how often a message was delivered before; None where there is none.
        renames_redelivered: whether a message that is delivered again has another message-id.
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

    def headers(self, option: str, **values: object) -> dict[str, str]:
        """The headers that say an option here.

        Raises:
            ProtocolError: the broker cannot do it; the message names it and says why.
        """
        spelling = self.options[option]
        if spelling.headers is None:
            raise ProtocolError(f"{self.title} cannot do {option}: {spelling.note} ({spelling.source})")
        return {key: template.format_map(values) for key, template in spelling.headers.items()}
