"""Look at the messages of a queue without taking them, on the brokers that can show them over STOMP.

The broker answers a SUBSCRIBE that has ``browser:true`` with a copy of each waiting message. After the last copy, the
broker sends a MESSAGE with the header ``browser:end``. ActiveMQ Classic ends earlier, after its ``maxBrowsePageSize``.
A broker that does not know the header would deliver the messages to be consumed. With a broker that cannot browse, the
call raises before it sends anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from stomplistener._engine.log import ConnectionLog
from stomplistener._util.deadline import Deadline
from stomplistener.brokers import Dialect, Profile
from stomplistener.errors import ConnectionLost
from stomplistener.message import Message
from stomplistener.options import AckMode
from stomplistener.protocol import Frame
from stomplistener.statistics import SessionSnapshot
from stomplistener.subscription import Consumer


class Consuming(Protocol):
    """The methods of a :class:`stomplistener.Connection` that browsing needs."""

    @property
    def session(self) -> SessionSnapshot: ...
    @property
    def is_connected(self) -> bool: ...
    def wait_ready(self, timeout: float | None) -> None: ...
    def consume(
        self, destination: str, *, ack: AckMode, headers: dict[str, str], confirm: bool, timeout: float | None
    ) -> Consumer: ...


def browse(
    connection: Consuming,
    destination: str,
    *,
    selector: str | None = None,
    limit: int | None = None,
    idle: float = 1.0,
    timeout: float | None = 30.0,
    broker: str | None = None,
    log: ConnectionLog,
) -> Iterator[Message]:
    """Return copies of the messages that wait in a queue. No message is taken or acknowledged.

    Each call browses again. The subscription ends together with the iterator: when it is exhausted, when it is closed,
    or when an exception passes through. Only one thread may use the iterator.

    Args:
        connection: a connection that is ready, or being restored.
        destination: the queue, as the broker spells it.
        selector: an SQL 92 condition on headers.
        limit: the largest number of messages; None for all.
        idle: seconds without a message after which to stop, if the broker does not mark the end.
        timeout: seconds to wait for a connection and for the broker's answer to SUBSCRIBE; None waits forever.
        broker: the name of a broker's profile; None: the ``server`` header of CONNECTED selects it.
        log: the log of the connection.

    Returns:
        an iterator over the messages.

    Raises:
        ValueError: ``limit`` is less than 1, or ``idle`` is not more than 0.
        ProtocolError: the broker cannot browse, or cannot select; nothing was sent.
        TimedOut: no connection, or no answer to SUBSCRIBE, within ``timeout``.
        NotConnected: no connection exists and none is being restored.
        BrokerError: from the iterator; the broker refused.
        ConnectionLost: from the iterator; the connection was lost before the end, so that messages may be missing.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit!r}")
    if not idle > 0:
        raise ValueError(f"idle must be more than 0 seconds, not {idle!r}")
    deadline = Deadline(timeout)
    connection.wait_ready(deadline.remaining())
    # A dialect knows the broker by this header of CONNECTED, which is the only one in the public snapshot.
    connected = Frame("CONNECTED", {"server": connection.session.server})
    profile = Dialect(broker).profile(connected)
    headers = profile.headers("browse")
    if selector is not None:
        headers |= profile.headers("selector", condition=selector)
    return _browse(connection, destination, profile, headers, limit, idle, deadline, log)


def _browse(
    connection: Consuming,
    destination: str,
    profile: Profile,
    headers: dict[str, str],
    limit: int | None,
    idle: float,
    deadline: Deadline,
    log: ConnectionLog,
) -> Iterator[Message]:
    # Read the epoch before SUBSCRIBE: a connection loss between the two then counts as a loss while browsing.
    epoch = connection.session.epoch
    given = 0
    confirmed = connection.consume(destination, ack="auto", headers=headers, confirm=True, timeout=deadline.remaining())
    with confirmed as consumer:
        while limit is None or given < limit:
            message = consumer.receive(idle)
            # After a reconnect, the subscription is replayed, and the broker starts with the first message again.
            if connection.session.epoch != epoch or (message is None and not connection.is_connected):
                raise ConnectionLost(
                    f"browse of {destination}: the connection was lost after {given:,} messages; browse again"
                )
            if message is None:
                log.warning(
                    "browse of %s: the broker sent no end and no message for %s s; %d messages came",
                    destination,
                    idle,
                    given,
                )
                return
            if message.headers.get("browser") == "end":
                if profile.browse_page is not None and given >= profile.browse_page:
                    log.warning("browse of %s: %s %s", destination, profile.title, profile.options["browse"].note)
                return
            given += 1
            yield message
