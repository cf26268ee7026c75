"""The replacement for stomp.py's transport, which uses one :class:`stomplistener.Connection` after another."""

from __future__ import annotations

import errno  # noqa: F401  # programs that import * find these here
import math  # noqa: F401
import random  # noqa: F401
import selectors  # noqa: F401
import ssl
import sys
import threading
import time
from collections import deque  # noqa: F401
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO  # noqa: F401
from socket import IPPROTO_TCP, SOL_SOCKET  # noqa: F401
from ssl import SSLError  # noqa: F401
from time import monotonic  # noqa: F401
from types import MappingProxyType
from typing import Any

from stomplistener.compat.stomp import exception, log  # noqa: F401
from stomplistener.compat.stomp.arguments import with_old_ssl_arguments
from stomplistener.compat.stomp.base import BaseTransport
from stomplistener.compat.stomp.dialing import dial, socket_of
from stomplistener.compat.stomp.exception import ConnectFailedException, NotConnectedException, translation
from stomplistener.compat.stomp.hooks import HookEnded
from stomplistener.compat.stomp.life import Event, Life, Plan
from stomplistener.compat.stomp.listener import Publisher  # noqa: F401
from stomplistener.compat.stomp.outgoing import written
from stomplistener.compat.stomp.replaced import give_way, note_loss, note_use
from stomplistener.compat.stomp.settings import BrokerHost, HostAndPort, broker_uri, normal, ordered, passes
from stomplistener.compat.stomp.tls import Validator, context_of
from stomplistener.compat.stomp.utils import *  # noqa: F403
from stomplistener.compat.stomp.utils import Frame, convert_frame, encode, is_eol_default, pack
from stomplistener.connection import Connection
from stomplistener.errors import StompError
from stomplistener.failover import Broker
from stomplistener.options import ConnectOptions
from stomplistener.protocol import VERSIONS
from stomplistener.protocol import Frame as WireFrame
from stomplistener.transport import Transport as Bytes

try:
    from socket import SO_KEEPALIVE, SOL_TCP, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL  # noqa: F401

    LINUX_KEEPALIVE_AVAIL = True
except ImportError:
    LINUX_KEEPALIVE_AVAIL = False

stomp = sys.modules["stomplistener.compat.stomp"]
"""The package, whose attribute ``restore`` programs set. The package imports this module, so this module cannot import
it."""

MAC_KEEPALIVE_AVAIL = True
DEFAULT_SSL_VERSION = getattr(ssl, "PROTOCOL_TLS_CLIENT", None)

# The headers of CONNECT that have their own arguments.
_OURS = {"accept-version", "heart-beat", "host", "login", "passcode"}
_NOT_CONNECTED = "not connected: call connect()"
# After the program has disconnected, a listener may still connect in a loop. Its second attempt waits this number of
# seconds, and then ends the listener.
_PATIENCE_IN_LOOPS = 0.5


class _Calling(threading.local):
    """The state of each thread that calls hooks.

    Attributes:
        event: the event of the running hook; None if no hook runs.
        refusals: how often a ``connect()`` of the hook was refused, because the program has disconnected.
        has_asked: whether the hook for a connection loss has already checked the connection.
    """

    event: Event | None = None
    refusals = 0
    has_asked = False


class Transport(BaseTransport):
    """The connection behind a stomp.py connection, which describes the arguments.

    Attributes:
        vhost: the virtual host.
        restore: whether a lost connection is restored; takes effect at the next ``connect()``.
        proxy: as in the options of a broker URI; None for no proxy. Takes effect at the next ``connect()``.
    """

    _scheme = "tcp"
    _path = ""
    _http_headers: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self,
        host_and_ports: Iterable[HostAndPort] | None = None,
        prefer_localhost: bool = True,
        try_loopback_connect: bool = True,
        reconnect_sleep_initial: float = 0.1,
        reconnect_sleep_increase: float = 0.5,
        reconnect_sleep_jitter: float = 0.1,
        reconnect_sleep_max: float = 60.0,
        reconnect_attempts_max: float = 3,
        timeout: float | None = None,
        keepalive: Any = None,
        vhost: str | None = None,
        auto_decode: bool = True,
        encoding: str = "utf-8",
        recv_bytes: int = 1024,
        is_eol_fc: Callable[[bytes], bool] = is_eol_default,
        bind_host_port: HostAndPort | None = None,
    ) -> None:
        super().__init__(auto_decode, encoding, is_eol_fc)
        # The attributes have the names of stomp.py, because programs read and set them. A change takes effect at the
        # next connect().
        self.__host_and_ports = ordered(host_and_ports, prefer_localhost, try_loopback_connect)
        self.__reconnect_sleep_initial = reconnect_sleep_initial
        self.__reconnect_sleep_increase = reconnect_sleep_increase
        self.__reconnect_sleep_jitter = reconnect_sleep_jitter
        self.__reconnect_sleep_max = reconnect_sleep_max
        self.__reconnect_attempts_max = reconnect_attempts_max
        self.__timeout = timeout
        self.__keepalive = keepalive
        self.__bind_host_port = bind_host_port
        self.__ssl_params: dict[HostAndPort, dict[str, Any]] = {}
        self.vhost = vhost
        self.restore = bool(stomp.restore)
        self.proxy: str | None = None
        self._connect_headers: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._local = _Calling()
        self._life: Life | None = None
        self._is_called_off = False
        # Programs read the settings of this broker after disconnect(), which clears current_host_and_port.
        self._newest_place: HostAndPort | None = None

    # Attributes for programs

    @property
    def host_and_ports(self) -> list[HostAndPort]:
        """The brokers, in the order in which they are tried."""
        return self.__host_and_ports

    @property
    def engine(self) -> Connection:
        """See the attribute ``stomplistener`` of the connection."""
        life = self._alive()
        self._is_wanted(life)
        return life.engine

    @property
    def running(self) -> bool:
        return self._life is not None and self._life.is_alive

    @property
    def connected(self) -> bool:
        return self.is_connected()

    @property
    def connection_error(self) -> bool:
        return self._life is not None and self._life.is_refused

    @property
    def disconnecting(self) -> bool:
        return self._life is not None and self._life.is_ending

    @property
    def socket(self) -> Any:
        """The socket in use; None without a connection. Only inspect the socket: do not read from it or write to it."""
        return None if self._life is None else socket_of(self._life.bytes)

    @property
    def io_thread(self) -> Any:
        return None if self._life is None else self._life.thread

    @property
    def bind_host_port(self) -> Any:
        return self.__bind_host_port

    def is_connected(self) -> bool:
        """Whether the connection is ready now; False while the connection is being restored.

        In ``on_disconnected`` the first call returns False, even if the connection is ready again. Programs connect and
        subscribe in that hook while this is False, and may not have subscribed before the loss.
        """
        life = self._life
        if life is None:
            return False
        if self._is_told_of_loss() or not life.is_connected:
            life.use()
            return False
        if life.is_missed:
            self._is_wanted(life)
        return True

    def _is_told_of_loss(self) -> bool:
        """Whether this is the first call in ``on_disconnected``."""
        event = self._local.event
        if event is None or event.hook != "lost" or self._local.has_asked:
            return False
        self._local.has_asked = True
        return True

    def _is_wanted(self, life: Life) -> None:
        """Note that the program uses this connection.

        If the connection is ready again, another one no longer replaces it.
        """
        life.use()
        if life.is_missed and life.is_connected:
            life.is_missed = False
            note_use(self)

    def is_replaced_by(self, other: Transport, destination: str) -> bool:
        """End silently, and return True, if another connection has the same brokers, listener and subscription."""
        life = self._life
        if life is None or not life.is_missed or destination not in life.outgoing.destinations:
            return False
        theirs = {id(each) for each in other.listeners.values()}
        if other.host_and_ports != self.host_and_ports or theirs.isdisjoint(map(id, self.listeners.values())):
            return False
        log.info("not restored: another connection has the same listener and the same subscription to %s", destination)
        life.give_up(silently=True)
        return True

    @property
    def _is_escaped(self) -> bool:
        """Whether the headers of the program's frames are escaped, as in STOMP 1.1 and later."""
        return bool(self._connect_headers.get("accept-version", "1.0") != "1.0")

    # Connecting and disconnecting

    def _connect(self, headers: dict[str, Any]) -> None:
        """Connect, or wait until a connection is ready that another thread makes or that is being restored."""
        if self._is_over_for_hooks():
            return
        self._local.has_asked = True
        self._is_called_off = False
        self._connect_headers = headers
        while True:
            with self._lock:
                life, is_new = self._life, False
                if life is None or not life.is_alive:
                    life = self._life = self._new_life(None if life is None else life.last_loop)
                    is_new = True
            self._let_pass(life)
            try:
                if is_new:
                    life.start()
                    return
                if life.is_connected or life.join():
                    self._is_wanted(life)
                    return
            except ConnectFailedException:
                if self._is_over_for_hooks():
                    return
                raise

    def _let_pass(self, life: Life) -> None:
        """Let the hooks of the new connection run beside those of a lost one, which may wait for them."""
        newest, event = life.last_loop, self._local.event
        if newest is not None and not life.is_connected:
            newest.let_pass()
        if event is not None and not life.is_current(event.link):
            event.link.loop.let_pass()  # even if the connection is ready again

    def _new_life(self, after: Any) -> Life:
        version = self._connect_headers.get("accept-version", "1.0")
        hosts = self.__host_and_ports
        turns = passes(self.__reconnect_attempts_max, len(hosts))
        plan = Plan(
            uri=broker_uri(
                hosts,
                scheme=self._scheme,
                path=self._path,
                prefer_localhost=False,
                try_loopback_connect=False,
                reconnect_sleep_initial=self.__reconnect_sleep_initial,
                reconnect_sleep_increase=self.__reconnect_sleep_increase,
                reconnect_sleep_jitter=self.__reconnect_sleep_jitter,
                reconnect_sleep_max=self.__reconnect_sleep_max,
                reconnect_attempts_max=self.__reconnect_attempts_max,
                timeout=self.__timeout,
                keepalive=self.__keepalive,
                restore=self.restore,
                proxy=self.proxy,
            ),
            versions=tuple(each for each in VERSIONS if each <= version),
            heartbeat=(0.0, 0.0) if version == "1.0" else _heartbeat(self._connect_headers.get("heart-beat")),
            attempts=None if turns < 0 else turns * len(hosts),
            restores=self.restore,
            encoding=self._encoding,
            is_escaped=self._is_escaped,
        )
        return Life(
            plan, self._deliver, self._before_connect, self._dial, lambda run: self.create_thread_fc(run), after
        )

    def _is_over_for_hooks(self) -> bool:
        """Whether a hook tries to connect after the program has disconnected, which would undo the disconnect."""
        if not (self._is_called_off and self._is_in_hook):
            return False
        log.info("not connected by a listener: the program has called disconnect()")
        self._local.refusals += 1
        if self._local.refusals > 1:
            # The hook loops until it is connected, which will never happen.
            time.sleep(_PATIENCE_IN_LOOPS)
            raise HookEnded("the program has called disconnect()")
        return True

    def _disconnect(self, headers: dict[str, Any]) -> None:
        said = written(headers, self._is_escaped)
        life = self._life
        if life is not None:
            life.outgoing.ask(said.get("receipt"), True)
        self._end(said)

    def stop(self) -> None:
        """End the connection gracefully."""
        self._end({})

    def disconnect_socket(self) -> None:
        """End the connection at once."""
        self._end(None)

    def _end(self, headers: dict[str, str] | None) -> None:
        life = self._life
        if life is None or not life.is_alive:
            log.debug("not sending disconnect, already disconnected")
            return
        # A listener that disconnects may connect again later. A program that disconnects is about to end.
        self._is_called_off = not self._is_in_hook
        life.end(headers, self._is_in_hook)
        self.current_host_and_port = None

    def wait_for_connection(self, timeout: float | None = None) -> None:
        """Wait until the connection is ready and ``on_connected`` has run.

        Args:
            timeout: seconds to wait; None waits as long as ``connect()`` does.

        Raises:
            ConnectFailedException: the connection is not ready in time, or ``connect()`` was not called.
        """
        if self._is_called_off and self._is_in_hook:
            return
        life = self._life
        if life is None or not life.is_alive:
            error = None if life is None else life.error
            raise ConnectFailedException(str(error or "not connected: call connect()")) from error
        if timeout is not None and not life.wait_ready(timeout):
            raise ConnectFailedException(f"not connected within {timeout} s")
        if not life.is_connected:
            self._connect(self._connect_headers)
        life.wait_told()

    @property
    def _is_in_hook(self) -> bool:
        return self._local.event is not None

    # TLS

    @with_old_ssl_arguments
    def set_ssl(
        self,
        for_hosts: Iterable[HostAndPort] = (),
        key_file: str | None = None,
        cert_file: str | None = None,
        ca_certs: str | None = None,
        cert_validator: Validator | None = None,
        ssl_version: Any = DEFAULT_SSL_VERSION,
        password: Any = None,
        verify: bool = True,
    ) -> None:
        """Use TLS with these brokers, from the next connection attempt on.

        Args:
            for_hosts: pairs of host and port, as you gave them to the connection.
            key_file: the key of ``cert_file``, if that file does not contain it.
            cert_file: the client certificate.
            ca_certs: a file of certificate authorities to trust; None trusts those of the system.
            cert_validator: called with the broker's certificate and host; returns whether the certificate is valid, and
                the reason if it is not.
            ssl_version: a protocol of the ``ssl`` module, or an SSLContext, which is used unchanged.
            password: decrypts the key.
            verify: whether to check the certificate and, with PROTOCOL_TLS_CLIENT, the name in it.
        """
        for host_and_port in for_hosts:
            self.__ssl_params[host_and_port] = {
                "key_file": key_file,
                "cert_file": cert_file,
                "ca_certs": ca_certs,
                "cert_validator": cert_validator,
                "verify": verify,
                "ssl_version": ssl_version,
                "password": password,
            }

    def get_ssl(self, host_and_port: HostAndPort | None = None) -> dict[str, Any] | None:
        """Return the settings for a broker; None means the newest broker.

        Changes of the returned settings take effect.
        """
        return self.__ssl_params.get(host_and_port or self._newest_place or ("", 0))

    # Sending

    def transmit(self, frame: Frame) -> None:
        """Send a frame, which listeners may change in ``on_send``. If a listener raises there, nothing is sent."""
        if frame.cmd == "SUBSCRIBE" and self._is_called_off and self._is_in_hook:
            return
        self._hooks.call_with(self._calling, "send", frame, raises=True)
        if frame.cmd == "SEND":
            self._send_message(frame)
        elif frame.cmd in ("CONNECT", "STOMP"):
            self._connect(frame.headers)
        elif frame.cmd == "DISCONNECT":
            self._disconnect(frame.headers)
        else:
            self._send_frame(frame)

    def _send_message(self, frame: Frame) -> None:
        life = self._life
        if life is None:
            encode(frame.body or b"")  # raises if the body is not text or bytes, even without a connection
            raise NotConnectedException(_NOT_CONNECTED)
        if life.is_missed or not life.is_used:
            self._is_wanted(life)
        try:
            life.outgoing.send_message(frame)
        except StompError as error:
            raise translation(error) from error

    def _send_frame(self, frame: Frame) -> None:
        life = self._alive()
        if life.is_missed or not life.is_used:
            self._is_wanted(life)
        if not life.outgoing.knows(frame.cmd):
            # A heartbeat, or a command that only this broker knows.
            self.send(pack(convert_frame(frame)))
            return
        try:
            answered = life.outgoing.send(frame)
        except (StompError, ValueError) as error:
            raise translation(error) from error
        if frame.cmd == "SUBSCRIBE":
            give_way(self, frame.headers["destination"])
        if answered is not None:
            life.tell("receipt", WireFrame("RECEIPT", {"receipt-id": answered}))

    def send(self, encoded_frame: bytes) -> None:
        """Write bytes to the broker, after all earlier frames. The bytes are not checked.

        Raises:
            NotConnectedException: there is no connection.
        """
        life = self._alive()
        transport = life.bytes
        try:
            life.engine.flush()
        except StompError as error:
            raise translation(error) from error
        if transport is None or transport is not life.bytes:
            raise NotConnectedException("not connected")
        rest = memoryview(encoded_frame)
        while rest:
            rest = rest[transport.send(rest) :]

    def set_receipt(self, receipt_id: str, value: Any) -> None:
        """Call ``on_receipt`` for this receipt if ``value`` is true."""
        super().set_receipt(receipt_id, value)
        if self._life is not None:
            self._life.outgoing.ask(receipt_id, bool(value))

    def _alive(self) -> Life:
        life = self._life
        if life is None or not life.is_alive:
            raise NotConnectedException(_NOT_CONNECTED)
        return life

    # Calls of a life

    def _before_connect(self, options: ConnectOptions) -> None:
        said = written(self._connect_headers)
        host = self._connect_headers.get("host")
        options.login, options.passcode = said.get("login"), said.get("passcode")
        if not isinstance(host, BrokerHost):
            options.host = said.get("host")
        options.headers.update({key: value for key, value in said.items() if key not in _OURS})
        if said.get("accept-version") == "1.0" and "heart-beat" in said:
            # STOMP 1.0 does not define this header, so send it unchanged.
            options.headers["heart-beat"] = said["heart-beat"]
        options.http_headers.update(self._http_headers)

    def _dial(self, broker: Broker, **arguments: Any) -> Bytes:
        place = next((each for each in self.__host_and_ports if normal(each) == (broker.host, broker.port)), None)
        settings = self._ssl_params_of(broker)
        context = None if settings is None else context_of(settings)
        transport = dial(broker, self.__bind_host_port, context, arguments)
        self.current_host_and_port = self._newest_place = place or (broker.host, broker.port)
        return transport

    def _ssl_params_of(self, broker: Broker) -> dict[str, Any] | None:
        # If a program leaves out ``for_hosts``, its first argument is a file. Such keys are no addresses and have no
        # effect.
        places = (key for key in self.__ssl_params if isinstance(key, tuple) and len(key) == 2)
        return next((self.__ssl_params[key] for key in places if normal(key) == (broker.host, broker.port)), None)

    def _deliver(self, event: Event) -> None:
        """Call the hooks for one event, in the thread of a receiver loop."""
        local = self._local
        local.event, local.refusals = event, 0
        try:
            self._call_hooks(event)
        finally:
            local.event = None  # the thread may belong to an executor

    def _call_hooks(self, event: Event) -> None:
        hook, value = event.hook, event.value
        if hook == "message":
            frame = self._received(value.frame)
            event.link.unsettled.add(value, frame.original_headers)
            self._hooks.call_with(self._calling, "before_message", frame)
            self._hooks.call_with(self._calling, "message", frame)
        elif hook == "lost":
            event.link.unsettled.forget()
            self._note_loss()
            self._local.has_asked = False
            self.notify("receiver_loop_completed")
            self.notify("disconnected")
        elif hook == "connected":
            try:
                self.notify(hook, self._received(value))
            finally:
                event.link.is_told.set()
        else:
            self.notify(hook, self._received(value) if isinstance(value, WireFrame) else None)

    def _note_loss(self) -> None:
        life = self._life
        if life is not None and life.is_alive:
            life.is_missed = True
            note_loss(self)

    def _received(self, frame: WireFrame) -> Frame:
        body: str | bytes = frame.body
        if self._auto_decode:
            body = frame.body.decode(self._encoding, errors="replace")
        fields = frame.fields
        return Frame.received(frame.command, fields if isinstance(fields, dict) else frame.headers, body)


def _heartbeat(header: Any) -> tuple[float, float]:
    """Return the intervals in a heart-beat header of CONNECT, in seconds."""
    if not header:
        return (0.0, 0.0)
    ours, theirs = str(header).split(",")
    return (int(ours) / 1000, int(theirs) / 1000)
