"""The kombu transport: it makes a STOMP connection for each connection of kombu, and wakes kombu for new messages."""

from __future__ import annotations

import ssl
from contextlib import suppress
from queue import Empty
from typing import Any

from kombu.transport import virtual

from stomplistener import __version__
from stomplistener._util.deadline import Deadline
from stomplistener.brokers.table import PROFILES, name_of
from stomplistener.connection import Connection
from stomplistener.contrib.kombu.bell import Bell
from stomplistener.contrib.kombu.channel import Channel, QueueFlags
from stomplistener.contrib.kombu.source import Mailbox
from stomplistener.errors import (
    BrokerError,
    ConnectFailed,
    ConnectionLost,
    NotConnected,
    ProtocolError,
    StompError,
    TimedOut,
)
from stomplistener.failover import parse

BURST = 50
"""The number of messages that are delivered before the event loop runs again."""
GOODBYE = 5.0
"""Seconds that the end of a connection waits for the broker."""


class Transport(virtual.Transport):
    """Kombu's transport over STOMP.

    The transport reports a connection loss to kombu, and kombu connects again with the brokers and delays of the URI.
    Celery thus learns that the broker will deliver its unacknowledged tasks again.
    """

    Channel = Channel
    can_parse_url = True
    driver_type = "stomp"
    driver_name = "stomplistener"
    implements = virtual.Transport.implements.extend(
        asynchronous=True, exchange_type=frozenset(("direct", "topic", "fanout")), heartbeats=False
    )
    connection_errors = (*virtual.Transport.connection_errors, ConnectFailed, ConnectionLost, NotConnected, TimedOut)
    channel_errors = (*virtual.Transport.channel_errors, BrokerError, ProtocolError)

    stomp: Connection
    """The connection, while there is one."""
    bell: Bell
    """Rings when there may be a new message, or a connection loss."""

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.queues: dict[str, QueueFlags] = {}
        self.mailboxes: dict[str, Mailbox] = {}
        self.broker_name: str | None = None
        self._loop: Any = None
        self._loss_told = False

    # Connecting and closing

    def establish_connection(self) -> Transport:
        """Connect.

        Raises:
            ConnectFailed, TimedOut: no broker of the URI could be reached within kombu's ``connect_timeout``.
        """
        loop = self._loop
        if self.channels:
            # Kombu connects again without closing the lost connection, whose channels and consumers have ended.
            self.close_connection(self)
        self._loss_told = False
        self.stomp = self.open()
        self.bell = Bell()
        self.broker_name = name_of(self.stomp.session.server)
        self.stomp.add_listener(_Ringing(self.bell))
        super().establish_connection()
        if loop is not None:
            # Kombu does not register the new descriptor with the event loop.
            self.register_with_event_loop(self, loop)
        return self

    def open(self) -> Connection:
        """Return another connection to the same broker, connected. The caller ends it."""
        client = self.client
        options: dict[str, Any] = {**client.transport_options.get("connection", {})}
        if client.ssl and "ssl_context" not in options:
            options["ssl_context"] = _ssl_context(client.ssl)
        password = client.password() if callable(client.password) else client.password
        stomp = Connection(client.hostname, client.userid, password, **options, reconnect=False)
        return stomp.connect(client.connect_timeout or None)

    @property
    def can_delay(self) -> bool:
        """Whether the broker itself can delay a message."""
        profile = PROFILES.get(self.broker_name or "")
        return profile is not None and profile.options["delay"].headers is not None

    def close_connection(self, connection: Transport) -> None:
        """Disconnect. The broker delivers unacknowledged messages again."""
        self.unregister_from_event_loop(connection, self._loop)
        super().close_connection(connection)
        # Declarations belong to the connection. Kombu declares queues and exchanges again on the next connection.
        self.state = virtual.BrokerState()
        self.queues.clear()
        self.mailboxes.clear()
        # In the child of a fork, the connection belongs to the parent.
        with suppress(NotConnected):
            self.stomp.disconnect(GOODBYE)
        self.bell.close()

    def verify_connection(self, connection: Transport) -> bool:
        """Whether the connection is ready, or its loss must still be reported by ``drain_events``.

        If this is false, kombu connects again without an error. Consumers end with their connection, and must learn of
        its loss first, otherwise they wait forever.
        """
        return self.stomp.is_connected or (any(each.consumes for each in self.channels) and not self._loss_told)

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """Return the broker's URI for display, without its secrets unless ``include_password`` is true."""
        return f"stomp+{uri if include_password else parse(uri)}"

    def driver_version(self) -> str:
        """Return the version of this library."""
        return __version__

    # Messages

    def drain_events(self, connection: Transport, timeout: float | None = None) -> None:
        """Deliver one message.

        Args:
            timeout: seconds to wait; None waits forever.

        Raises:
            TimeoutError: no message arrived within the timeout.
            ConnectionLost: the connection was lost.
        """
        deadline = Deadline(timeout)
        while not self._deliver_one():
            if not self.bell.wait(deadline.remaining()):
                raise TimeoutError("no message came")

    def _deliver_one(self) -> bool:
        try:
            self.cycle.get(self._deliver)
        except Empty:
            if not self.stomp.is_connected:
                self._loss_told = True
                raise self.stomp.last_error or NotConnected("the connection has ended") from None
            return False
        except StompError:
            self._loss_told = not self.stomp.is_connected
            raise
        return True

    def register_with_event_loop(self, connection: Transport, loop: Any) -> None:
        """Let kombu's event loop call ``on_readable`` when there may be messages."""
        self._loop = loop
        loop.add_reader(self.bell.fileno(), self.on_readable, connection, loop)

    def unregister_from_event_loop(self, connection: Transport, loop: Any) -> None:
        """Undo ``register_with_event_loop``."""
        if loop is not None:
            loop.remove_reader(self.bell.fileno())
        self._loop = None

    def on_readable(self, connection: Transport, loop: Any) -> None:
        """Deliver the messages that have arrived; the event loop calls this."""
        self.bell.wait(0)
        for _ in range(BURST):
            if not self._deliver_one():
                return
        self.bell.ring()


class _Ringing:
    """Wakes the draining thread when the connection is lost, with or without a subscription."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell

    def on_disconnected(self) -> None:
        self._bell.ring()


def _ssl_context(wanted: Any) -> ssl.SSLContext:
    """Make an SSL context from kombu's ``ssl``: True, or a dictionary with the names of the module ``ssl``."""
    given = wanted if isinstance(wanted, dict) else {}
    context = ssl.create_default_context(cafile=given.get("ca_certs"))
    if given.get("cert_reqs") == ssl.CERT_NONE:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if given.get("certfile"):
        context.load_cert_chain(given["certfile"], given.get("keyfile"))
    return context
