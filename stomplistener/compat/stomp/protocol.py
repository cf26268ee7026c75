"""The commands of each version make frames of the calls of a program; ``outgoing`` sends the frames.

Any header may be given in ``headers`` or as a keyword. An argument that stomp.py requires raises AssertionError if it
is None.
"""

from __future__ import annotations

from typing import Any

from stomplistener.compat.stomp.arguments import warn_of
from stomplistener.compat.stomp.base import BaseTransport
from stomplistener.compat.stomp.constants import (
    CMD_ABORT,
    CMD_ACK,
    CMD_BEGIN,
    CMD_COMMIT,
    CMD_CONNECT,
    CMD_DISCONNECT,
    CMD_NACK,
    CMD_SEND,
    CMD_STOMP,
    CMD_SUBSCRIBE,
    CMD_UNSUBSCRIBE,
)
from stomplistener.compat.stomp.exception import ConnectFailedException  # noqa: F401  # programs find it here
from stomplistener.compat.stomp.listener import *  # noqa: F403
from stomplistener.compat.stomp.listener import ConnectionListener, HeartbeatListener
from stomplistener.compat.stomp.settings import BrokerHost
from stomplistener.compat.stomp.utils import Frame, get_uuid, merge_headers

Headers = dict[str, Any] | None

_UNESCAPED = (CMD_CONNECT, CMD_STOMP)
_ESCAPES_11 = str.maketrans({"\\": "\\\\", "\n": "\\n", ":": "\\c"})
_ESCAPES_12 = {**_ESCAPES_11, **str.maketrans({"\r": "\\r"})}


def required(**arguments: Any) -> None:
    for name, value in arguments.items():
        if value is None:
            raise AssertionError(f"'{name}' is required")


class _Commands:
    """The common part of all versions."""

    transport: Any
    auto_content_length: bool
    version: str

    def start(self) -> None:
        """Do nothing. Up to stomp.py 5, programs had to call it before ``connect()``."""
        warn_of("start()", "connect() is enough")

    def send_frame(self, cmd: str, headers: Headers = None, body: Any = "") -> None:
        """Send any frame. A frame whose command STOMP does not define is sent unchanged."""
        self.transport.transmit(Frame(cmd, headers, body))

    def _say(self, cmd: str, headers: Headers, keyword_headers: dict[str, Any], **own: Any) -> None:
        given = {name.replace("_", "-"): value for name, value in own.items() if value is not None}
        self.send_frame(cmd, merge_headers([headers, keyword_headers, given]))

    def _connect(self, cmd: str, username: Any, passcode: Any, wait: bool, headers: Headers, keywords: Any) -> None:
        own = {"accept_version": self.version, "host": self._host(), "login": username, "passcode": passcode}
        self._say(cmd, headers, keywords, **own)
        if wait:
            self.transport.wait_for_connection()

    def _host(self) -> str | None:
        """The ``host`` header that overrides the program's; None leaves the header to the program."""
        return None

    def begin(self, transaction: str | None = None, headers: Headers = None, **keyword_headers: Any) -> str:
        """Begin a transaction, and return its id. If ``transaction`` is None, the id is generated."""
        transaction = transaction or get_uuid()
        self._say(CMD_BEGIN, headers, keyword_headers, transaction=transaction)
        return transaction

    def commit(self, transaction: str | None = None, headers: Headers = None, **keyword_headers: Any) -> None:
        """Commit a transaction, and wait for the receipt.

        Raises ConnectionClosedException if the connection was lost.
        """
        required(transaction=transaction)
        self._say(CMD_COMMIT, headers, keyword_headers, transaction=transaction)

    def abort(self, transaction: str, headers: Headers = None, **keyword_headers: Any) -> None:
        """Abort a transaction."""
        required(transaction=transaction)
        self._say(CMD_ABORT, headers, keyword_headers, transaction=transaction)

    def disconnect(self, receipt: str | None = None, headers: Headers = None, **keyword_headers: Any) -> None:
        """End the connection gracefully, in a limited time. Do nothing if there is no connection."""
        self._say(CMD_DISCONNECT, headers, keyword_headers, receipt=receipt)

    def _settle(self, cmd: str, headers: dict[str, Any], transaction: str | None, receipt: str | None) -> None:
        if transaction:
            headers["transaction"] = transaction
        if receipt:
            headers["receipt"] = receipt
        self.send_frame(cmd, headers)

    def send(
        self,
        destination: str,
        body: str | bytes,
        content_type: str | None = None,
        headers: Headers = None,
        **keyword_headers: Any,
    ) -> None:
        """Send a message. With a ``receipt`` header, it is resent after a connection loss until the receipt arrives."""
        if destination is None or body is None:
            required(destination=destination, body=body)
        merged = dict(headers) if headers else {}
        if keyword_headers:
            merged.update(keyword_headers)
        merged["destination"] = destination
        if content_type:
            merged["content-type"] = content_type
        if self.auto_content_length and body and "content-length" not in merged:
            merged["content-length"] = len(body)
        self.send_frame(CMD_SEND, merged, body)


class Protocol10(_Commands, ConnectionListener):
    """The commands of STOMP 1.0."""

    version = "1.0"

    def __init__(self, transport: BaseTransport, auto_content_length: bool = True) -> None:
        self.transport = transport
        self.auto_content_length = auto_content_length
        transport.set_listener("protocol-listener", self)

    def connect(
        self,
        username: str | None = None,
        passcode: str | None = None,
        wait: bool = False,
        headers: Headers = None,
        **keyword_headers: Any,
    ) -> None:
        """Connect; see :meth:`Protocol11.connect`."""
        self._connect(CMD_CONNECT, username, passcode, wait, headers, keyword_headers)

    def subscribe(
        self, destination: str, id: Any = None, ack: str = "auto", headers: Headers = None, **keyword_headers: Any
    ) -> None:
        """Subscribe; see :meth:`Protocol11.subscribe`."""
        required(destination=destination)
        self._say(CMD_SUBSCRIBE, headers, keyword_headers, destination=destination, id=id or None, ack=ack)

    def unsubscribe(
        self, destination: str | None = None, id: Any = None, headers: Headers = None, **keyword_headers: Any
    ) -> None:
        """End a subscription, given by its id or, if it has no id, by its destination."""
        if id is None and destination is None:
            raise AssertionError("'id' or 'destination' is required")
        self._say(CMD_UNSUBSCRIBE, headers, keyword_headers, destination=destination or None, id=id or None)

    def ack(self, id: str, transaction: str | None = None, receipt: str | None = None) -> None:
        """Acknowledge the message with this message-id."""
        required(id=id)
        self._settle(CMD_ACK, {"message-id": id}, transaction, receipt)


class Protocol11(_Commands, HeartbeatListener):
    """The commands of STOMP 1.1."""

    version = "1.1"
    _escapes = _ESCAPES_11

    def __init__(
        self,
        transport: BaseTransport,
        heartbeats: tuple[int, int] = (0, 0),
        auto_content_length: bool = True,
        heart_beat_receive_scale: float = 1.5,
    ) -> None:
        HeartbeatListener.__init__(self, transport, heartbeats, heart_beat_receive_scale)
        self.auto_content_length = auto_content_length
        transport.set_listener("protocol-listener", self)

    def send_frame(self, cmd: str, headers: Headers = None, body: Any = "") -> None:
        """Send any frame, as in 1.0.

        Its headers are escaped in place, so that ``on_send`` gets them as they are written.
        """
        headers = {} if headers is None else headers
        if cmd not in _UNESCAPED:
            self._escape_headers(headers)
        self.transport.transmit(Frame(cmd, headers, body))

    def _escape_headers(self, headers: dict[str, Any]) -> None:
        for key, value in headers.items():
            if type(value) is str and not (":" in value or "\\" in value or "\n" in value or "\r" in value):
                continue
            if isinstance(value, str):
                headers[key] = value.translate(self._escapes)

    def _host(self) -> str | None:
        return self.transport.vhost or None

    def connect(
        self,
        username: str | None = None,
        passcode: str | None = None,
        wait: bool = False,
        headers: Headers = None,
        with_connect_command: bool = False,
        **keyword_headers: Any,
    ) -> None:
        """Connect. If a lost connection is being restored, wait until it is ready.

        In 1.0 and 1.1, ``host`` is sent only if there is a vhost. In 1.2, ``host`` defaults to the host of the broker.

        Args:
            username: the login; it overrides the header.
            passcode: the passcode; it overrides the header.
            wait: whether to raise if the login fails, and to return only after ``on_connected`` has run.
            headers: more headers for CONNECT, now and after each connection loss.
            with_connect_command: has no effect: the command is always CONNECT, which every broker knows.
            keyword_headers: more headers.

        Raises:
            ConnectFailedException: no broker could be reached in ``reconnect_attempts_max`` attempts. A connection that
                was lost before is then no longer restored. With ``wait`` it is also raised if the broker refused the
                login, or if the server is no STOMP broker.
        """
        cmd = CMD_CONNECT if with_connect_command else CMD_STOMP
        self._connect(cmd, username, passcode, wait, headers, keyword_headers)

    def subscribe(
        self, destination: str, id: Any, ack: str = "auto", headers: Headers = None, **keyword_headers: Any
    ) -> None:
        """Subscribe on this and every later connection. A second equal call does nothing."""
        required(destination=destination, id=id)
        self._say(CMD_SUBSCRIBE, headers, keyword_headers, destination=destination, id=id, ack=ack)

    def unsubscribe(self, id: Any, headers: Headers = None, **keyword_headers: Any) -> None:
        """End a subscription."""
        required(id=id)
        self._say(CMD_UNSUBSCRIBE, headers, keyword_headers, id=id)

    def ack(self, id: str, subscription: Any, transaction: str | None = None, receipt: str | None = None) -> None:
        """Acknowledge the message with this message-id."""
        required(id=id, subscription=subscription)
        self._settle(CMD_ACK, {"message-id": id, "subscription": subscription}, transaction, receipt)

    def nack(
        self,
        id: str,
        subscription: Any,
        transaction: str | None = None,
        receipt: str | None = None,
        **keyword_headers: Any,
    ) -> None:
        """Reject the message with this message-id."""
        required(id=id, subscription=subscription)
        headers = {**keyword_headers, "message-id": id, "subscription": subscription}
        self._settle(CMD_NACK, headers, transaction, receipt)


class Protocol12(Protocol11):
    """The commands of STOMP 1.2."""

    version = "1.2"
    _escapes = _ESCAPES_12

    def _host(self) -> str | None:
        hosts = getattr(self.transport, "host_and_ports", None)
        return self.transport.vhost or (BrokerHost(hosts[0][0] or "localhost") if hosts else None)

    def ack(self, id: str, transaction: str | None = None, receipt: str | None = None) -> None:  # type: ignore[override]
        """Acknowledge the message with this ``ack`` header or message-id."""
        required(id=id)
        self._settle(CMD_ACK, {"id": id}, transaction, receipt)

    def nack(  # type: ignore[override]
        self, id: str, transaction: str | None = None, receipt: str | None = None, **keyword_headers: Any
    ) -> None:
        """Reject the message with this ``ack`` header or message-id."""
        required(id=id)
        self._settle(CMD_NACK, {**keyword_headers, "id": id}, transaction, receipt)
