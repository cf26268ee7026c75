"""What stands in the place of stomp.py's transport: a :class:`stomplistener.Connection`, and its listeners."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from stomplistener.compat.stomp import log
from stomplistener.compat.stomp.exception import ConnectFailedException, translated
from stomplistener.compat.stomp.listener import Publisher
from stomplistener.compat.stomp.outgoing import Outgoing, written
from stomplistener.compat.stomp.settings import HostAndPort, broker_uri
from stomplistener.compat.stomp.threads import Call, ListenerThread
from stomplistener.compat.stomp.tls import TLSSettings, Validator
from stomplistener.compat.stomp.unsettled import Unsettled
from stomplistener.compat.stomp.utils import Frame
from stomplistener.connection import Connection
from stomplistener.errors import BrokerError, ConnectFailed, StompError
from stomplistener.failover import Broker
from stomplistener.listener import Listener
from stomplistener.message import Message
from stomplistener.options import ConnectOptions
from stomplistener.protocol import VERSIONS
from stomplistener.protocol import Frame as WireFrame
from stomplistener.states import ConnectionState
from stomplistener.transport import Transport as Bytes
from stomplistener.transport import connect as connect_transport

_SECURE = {"tcp": "ssl", "ws": "wss"}
_TIMEOUT = 30.0
_OURS = {"accept-version", "host", "login", "passcode"}


class Transport(Publisher):
    """The connection behind a stomp.py connection. The other arguments are those of stomp.py's connections.

    Attributes:
        listeners: by name; they are called in the order of their names.
        current_host_and_port: of the broker that was reached last, None without a connection.
        vhost: the virtual host.
    """

    def __init__(
        self,
        host_and_ports: Iterable[HostAndPort] | None = None,
        *,
        version: str,
        scheme: str = "tcp",
        path: str = "",
        http_headers: Mapping[str, str] | None = None,
        heartbeats: tuple[int, int] = (0, 0),
        vhost: str | None = None,
        auto_decode: bool = True,
        encoding: str = "utf-8",
        bind_host_port: HostAndPort | None = None,
        **reconnecting: Any,
    ) -> None:
        if bind_host_port is not None:
            raise ValueError("bind_host_port: the local address cannot be chosen here; leave it out")
        self.listeners: dict[str, Any] = {}
        self.current_host_and_port: HostAndPort | None = None
        self.vhost = vhost
        self._tls: dict[HostAndPort, TLSSettings] = {}
        self._http_headers = dict(http_headers or {})
        self._connect_headers: dict[str, str] = {}
        self._auto_decode = auto_decode
        self._encoding = encoding
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._ending = False
        self._over = False
        self._refused: StompError | None = None
        self._local = threading.local()
        self._listener_thread: ListenerThread | None = None
        self._connection = Connection(
            broker_uri(host_and_ports, scheme=scheme, path=path, **reconnecting),
            host=vhost,
            versions=[each for each in VERSIONS if each <= version],
            heartbeat=(heartbeats[0] / 1000, heartbeats[1] / 1000),
            before_connect=self._before_connect,
            timeout=_TIMEOUT,
            transport=self._dial,
        )
        self._connection.add_listener(_Incoming(self))
        self.unsettled = Unsettled()
        self.outgoing = Outgoing(self._connection, self.unsettled, self._tell_receipt, encoding)

    # Listeners

    def set_listener(self, name: str, listener: Any) -> None:
        if listener is None:
            raise AssertionError("'listener' is required")
        with self._lock:
            self.listeners[name] = listener

    def remove_listener(self, name: str) -> None:
        with self._lock:
            del self.listeners[name]

    def get_listener(self, name: str) -> Any:
        return self.listeners.get(name)

    def notify(self, frame_type: str, *args: Any) -> None:
        """Call a hook of all listeners; what one raises is logged, and the next one is called."""
        with self._lock:
            listeners = sorted(self.listeners.items())
        for name, listener in listeners:
            hook = getattr(listener, f"on_{frame_type}", None)
            if hook is None:
                continue
            try:
                hook(*args)
            except (Exception, SystemExit):
                log.error("listener %r: on_%s raised", name, frame_type, exc_info=True)

    def tell(self, frame_type: str, *args: Any) -> None:
        """The same, in the thread of the listeners; from the dispatcher."""
        if self._listener_thread is None or self._is_in_listener:
            self._tell_here(frame_type, *args)
        else:
            self._listener_thread.call(lambda: self._tell_here(frame_type, *args))

    def _tell_here(self, frame_type: str, *args: Any) -> None:
        before, self._local.in_listener = self._is_in_listener, True
        try:
            self.notify(frame_type, *args)
        finally:
            self._local.in_listener = before

    @property
    def _is_in_listener(self) -> bool:
        return getattr(self._local, "in_listener", False)

    def override_threading(self, create_thread_fc: Callable[[Call], object]) -> None:
        """Call listeners in a thread of the program's own making; before ``connect()``.

        Args:
            create_thread_fc: is called with a function at each connect, and has to have it run elsewhere.
        """
        self._listener_thread = ListenerThread(create_thread_fc)

    # Life

    def connect(self, headers: dict[str, Any]) -> None:
        """Connect, or wait until the connection that is being restored is ready."""
        if self._is_called_off():
            return
        self._over = False
        self._refused = None
        self._connect_headers = written(headers)
        if self._listener_thread is not None:
            self._listener_thread.start()
        try:
            self._connection.connect(timeout=None)
        except StompError as error:
            if self._is_called_off():
                return
            self._stop_listener_thread()
            if not (isinstance(error, ConnectFailed) and any(isinstance(e, BrokerError) for _, e in error.attempts)):
                raise ConnectFailedException(str(error)) from error
            # The listeners hear it; who waits for the connection is told then.
            self._refused = error

    def _is_called_off(self) -> bool:
        """Whether this is a listener that restores what the program has just ended: that would undo its end."""
        if self._over and self._is_in_listener:
            log.info("not restored by a listener: the program has called disconnect()")
            return True
        return False

    def disconnect(self, headers: dict[str, Any]) -> None:
        """End gracefully, and tell the listeners."""
        said = written(headers)
        self.outgoing.ask(said.get("receipt"), True)
        self._end(lambda: self._connection.disconnect(headers=said))

    def stop(self) -> None:
        """End gracefully."""
        self.disconnect({})

    def disconnect_socket(self) -> None:
        """End at once."""
        self._end(self._connection.close)

    def _end(self, end: Call) -> None:
        if not self._is_alive:
            log.debug("not sending disconnect, already disconnected")
            return
        # A listener that disconnects may want to connect anew; a program that does is about to end.
        self._over = not self._is_in_listener
        self._ending = True
        try:
            if self._listener_thread is not None and self._listener_thread.is_mine:
                self._listener_thread.elsewhere(end)
            else:
                end()
        finally:
            self._ending = False
        self.outgoing.ended()
        self.current_host_and_port = None
        self.lost(self._tell_here)
        if not self._is_alive:
            self._stop_listener_thread()

    def _stop_listener_thread(self) -> None:
        if self._listener_thread is not None:
            self._listener_thread.stop()

    def lost(self, tell: Callable[..., None]) -> None:
        """A connection has ended: tell the listeners, once for each that they were told of."""
        with self._lock:
            was_ready = self._ready.is_set()
            self._ready.clear()
        self.unsettled.forget()
        if was_ready:
            tell("receiver_loop_completed", None)
            tell("disconnected")

    @property
    def _is_alive(self) -> bool:
        """Whether there is a connection, or one is being made or restored."""
        return self._connection.state not in (ConnectionState.NEW, ConnectionState.CLOSED)

    def is_connected(self) -> bool:
        """Whether the connection is ready now."""
        return self._connection.is_connected

    def wait_for_connection(self, timeout: float | None = None) -> None:
        """Wait until the connection is ready.

        Args:
            timeout: seconds to wait; None waits for ever.

        Raises:
            ConnectFailedException: it is not ready by then, or nobody has called ``connect()``.
        """
        if self.is_connected() or (self._over and self._is_in_listener):
            return
        if not self._is_alive:
            raise ConnectFailedException(str(self._refused or "not connected: call connect()")) from self._refused
        if timeout is None:
            self.connect(self._connect_headers)
        elif not self._ready.wait(timeout):
            raise ConnectFailedException(f"not connected within {timeout} s")

    # TLS

    def set_ssl(
        self,
        for_hosts: Iterable[HostAndPort] = (),
        key_file: str | None = None,
        cert_file: str | None = None,
        ca_certs: str | None = None,
        cert_validator: Validator | None = None,
        ssl_version: int = ssl.PROTOCOL_TLS_CLIENT,
        password: Any = None,
        verify: bool = True,
    ) -> None:
        """Speak TLS with these brokers, from the next attempt on.

        Args:
            for_hosts: pairs of host and port, as they were given to the connection.
            key_file: the key to ``cert_file``, where that has none.
            cert_file: our own certificate.
            ca_certs: a file of authorities to trust; those of the system where None.
            cert_validator: called with the broker's certificate and host; returns whether it is good, and why not.
            ssl_version: a protocol of the ``ssl`` module.
            password: opens the key.
            verify: check the certificate, and with PROTOCOL_TLS_CLIENT the name in it.
        """
        settings = TLSSettings(
            key_file=key_file,
            cert_file=cert_file,
            ca_certs=ca_certs,
            cert_validator=cert_validator,
            verify=verify,
            ssl_version=ssl_version,
            password=password,
        )
        self._tls.update({(host.lower(), int(port)): settings for host, port in for_hosts})

    def get_ssl(self, host_and_port: HostAndPort | None = None) -> dict[str, Any] | None:
        """What ``set_ssl`` was told for a broker, that of the connection where None."""
        place = host_and_port or self.current_host_and_port
        settings = None if place is None else self._tls.get((place[0].lower(), int(place[1])))
        return None if settings is None else settings.as_dict()

    # Sending

    def transmit(self, frame: Frame) -> None:
        """Send a frame; listeners may change it before."""
        if frame.cmd == "SUBSCRIBE" and self._is_called_off():
            return
        self.notify("send", frame)
        if frame.cmd in ("CONNECT", "STOMP"):
            self.connect(frame.headers)
        elif frame.cmd == "DISCONNECT":
            self.disconnect(frame.headers)
        else:
            with translated():
                answered = self.outgoing.say(frame)
            if answered is not None:
                self._tell_here("receipt", self._receipt(answered))

    def set_receipt(self, receipt_id: str, value: Any) -> None:
        """Have ``on_receipt`` tell of this receipt; with a false value, not."""
        self.outgoing.ask(receipt_id, bool(value))

    # What the connection asks and tells: the receiver and the dispatcher

    def _before_connect(self, options: ConnectOptions) -> None:
        said = self._connect_headers
        options.login, options.passcode = said.get("login"), said.get("passcode")
        options.host = said.get("host", options.host)
        options.headers.update({key: value for key, value in said.items() if key not in _OURS})
        options.http_headers.update(self._http_headers)

    def _dial(self, broker: Broker, **arguments: Any) -> Bytes:
        settings = self._tls.get((broker.host, broker.port))
        if settings is not None:
            broker = broker.replace(scheme=_SECURE[broker.scheme])
            arguments["ssl_context"] = settings.context()
        transport = connect_transport(broker, **arguments)
        self.current_host_and_port = (broker.host, broker.port)
        return transport

    def _tell_receipt(self, receipt: str) -> None:
        self.tell("receipt", self._receipt(receipt))

    def _receipt(self, receipt: str) -> Frame:
        return self.received(WireFrame("RECEIPT", {"receipt-id": receipt}))

    def ready(self, frame: WireFrame) -> None:
        """A connection is ready: tell the listeners."""
        with self._lock:
            self._ready.set()
        self.tell("connecting", self.current_host_and_port)
        self.tell("connected", self.received(frame))

    def received(self, frame: WireFrame) -> Frame:
        """A frame of the broker as listeners get it."""
        body: str | bytes = frame.body
        if self._auto_decode:
            body = frame.body.decode(self._encoding, errors="replace")
        return Frame(frame.command, dict(frame.headers), body)

    @property
    def is_ending(self) -> bool:
        return self._ending


class _Incoming(Listener):
    """Hears what the connection does, in its dispatcher thread."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def on_connected(self, frame: WireFrame) -> None:
        self._transport.ready(frame)

    def on_disconnecting(self) -> None:
        self._transport.tell("disconnecting")

    def on_disconnected(self) -> None:
        if not self._transport.is_ending:
            self._transport.lost(self._transport.tell)

    def on_heartbeat(self) -> None:
        self._transport.tell("heartbeat")

    def on_heartbeat_timeout(self) -> None:
        self._transport.tell("heartbeat_timeout")

    def on_message(self, message: Message) -> None:
        frame = self._transport.received(message.frame)
        self._transport.unsettled.add(message)
        self._transport.tell("before_message", frame)
        self._transport.tell("message", frame)

    def on_receipt(self, frame: WireFrame) -> None:
        if self._transport.outgoing.is_asked(frame.headers.get("receipt-id", "")):
            self._transport.tell("receipt", self._transport.received(frame))

    def on_error(self, frame: WireFrame) -> None:
        self._transport.tell("error", self._transport.received(frame))
