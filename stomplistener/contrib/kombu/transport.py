"""The kombu transport: one STOMP connection for each of kombu's, and when to look for messages."""

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
"""How many messages are handed on before the event loop gets its turn."""
GOODBYE = 5.0
"""Seconds that the end of a connection waits for the broker."""


class Transport(virtual.Transport):
    """Kombu's transport over STOMP.

    The transport reports a connection loss to kombu. Kombu makes the next connection, by the brokers and delays of the
    URI. So Celery knows that the broker will deliver its unacknowledged tasks again.
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
    """Rung when there is something to look for."""

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.queues: dict[str, QueueFlags] = {}
        self.mailboxes: dict[str, Mailbox] = {}
        self.broker_name: str | None = None
        self._loop: Any = None
        self._loss_told = False

    # The connection's life

    def establish_connection(self) -> Transport:
        """Connect.

        Raises:
            ConnectFailed, TimedOut: no broker of the URI could be reached within kombu's ``connect_timeout``.
        """
        loop = self._loop
        if self.channels:
            # Kombu connects again without closing what it found lost: its channels are over, and their consumers.
            self.close_connection(self)
        self._loss_told = False
        self.stomp = self.open()
        self.bell = Bell()
        self.broker_name = name_of(self.stomp.session.server)
        self.stomp.add_listener(_Ringing(self.bell))
        super().establish_connection()
        if loop is not None:
            # Nor does it register again what it has registered once.
            self.register_with_event_loop(self, loop)
        return self

    def open(self) -> Connection:
        """A further connection to the same broker, connected. The caller ends it."""
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
        """Disconnect; the broker gets back what was not acknowledged."""
        self.unregister_from_event_loop(connection, self._loop)
        super().close_connection(connection)
        # Declarations belong to the connection: the next one makes them again.
        self.state = virtual.BrokerState()
        self.queues.clear()
        self.mailboxes.clear()
        # In the child of a fork the connection is its parent's.
        with suppress(NotConnected):
            self.stomp.disconnect(GOODBYE)
        self.bell.close()

    def verify_connection(self, connection: Transport) -> bool:
        """Whether the connection is ready, or ``drain_events`` still has to report its loss.

        Kombu quietly connects again where this is false. Consumers must learn of the loss first: consumers end
        with their connection, and would wait forever.
        """
        return self.stomp.is_connected or (any(each.consumes for each in self.channels) and not self._loss_told)

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """The broker's URI for people, without its secrets unless asked for them."""
        return f"stomp+{uri if include_password else parse(uri)}"

    def driver_version(self) -> str:
        """The version of this library."""
        return __version__

    # Messages

    def drain_events(self, connection: Transport, timeout: float | None = None) -> None:
        """Hand on one message.

        Args:
            timeout: seconds to wait; None waits forever.

        Raises:
            TimeoutError: none came.
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
        """Let kombu's event loop call for messages when there are some."""
        self._loop = loop
        loop.add_reader(self.bell.fileno(), self.on_readable, connection, loop)

    def unregister_from_event_loop(self, connection: Transport, loop: Any) -> None:
        """Undo ``register_with_event_loop``."""
        if loop is not None:
            loop.remove_reader(self.bell.fileno())
        self._loop = None

    def on_readable(self, connection: Transport, loop: Any) -> None:
        """Hand on what is there; the event loop calls it."""
        self.bell.wait(0)
        for _ in range(BURST):
            if not self._deliver_one():
                return
        self.bell.ring()


class _Ringing:
    """Wakes the thread that drains when the connection is lost, with or without a subscription."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell

    def on_disconnected(self) -> None:
        self._bell.ring()


def _ssl_context(wanted: Any) -> ssl.SSLContext:
    """Kombu's ``ssl`` (True, or a dictionary in the names of the module ssl) as a context that verifies."""
    given = wanted if isinstance(wanted, dict) else {}
    context = ssl.create_default_context(cafile=given.get("ca_certs"))
    if given.get("cert_reqs") == ssl.CERT_NONE:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if given.get("certfile"):
        context.load_cert_chain(given["certfile"], given.get("keyfile"))
    return context
