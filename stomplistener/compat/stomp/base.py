"""The common part of all transports: the listeners, and the attributes of stomp.py's transports."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from stomplistener.compat.stomp import log
from stomplistener.compat.stomp.constants import CMD_DISCONNECT
from stomplistener.compat.stomp.hooks import HookCaller
from stomplistener.compat.stomp.listener import Publisher
from stomplistener.compat.stomp.utils import Frame, default_create_thread, is_eol_default

_WITHOUT_A_FRAME = frozenset({"heartbeat", "heartbeat_timeout", "disconnected", "disconnecting"})
_RECEIVED = ("connected", "message", "receipt", "error", "heartbeat")


class BaseTransport(Publisher):
    """A registry of listeners, without a network: see :class:`~stomplistener.compat.stomp.transport.Transport`.

    Args:
        auto_decode: whether listeners get bodies as ``str``.
        encoding: the encoding of these bodies.
        is_eol_fc: has no effect.

    Attributes:
        listeners: the listeners by name, which are called in the order of their names.
        current_host_and_port: the address of the broker that was reached last; None at first and after
            ``disconnect()``.
        create_thread_fc: starts the threads that call the listeners.
        connection_error: whether the last login was refused.
        running, connected, disconnecting, socket, io_thread: as in stomp.py, read-only.
        blocking, send_queue, sel, bind_host_port, notified_on_disconnect: exist, but have no meaning.
    """

    running: Any = False
    connected: Any = False
    connection_error: Any = False
    disconnecting: Any = False
    socket: Any = None
    io_thread: Any = None
    blocking = True
    send_queue = None
    sel = None
    bind_host_port: Any = None
    notified_on_disconnect = False
    vhost: str | None = None
    current_host_and_port: Any = None

    def __init__(
        self, auto_decode: bool = True, encoding: str = "utf-8", is_eol_fc: Callable[[bytes], bool] = is_eol_default
    ) -> None:
        self.listeners: dict[str, Any] = {}
        self.create_thread_fc: Callable[[Any], Any] = default_create_thread
        self._auto_decode = auto_decode
        self._encoding = encoding
        self._receipts: dict[str, Any] = {}
        self._hooks = HookCaller()
        self._listeners_lock = threading.RLock()
        self._calling: tuple[tuple[str, Any], ...] = ()

    # Listeners

    def set_listener(self, name: str, listener: Any) -> None:
        """Register a listener under a name, in place of an earlier listener of this name."""
        if listener is None:
            raise AssertionError("'listener' is required")
        self._hooks.look_at(listener)
        with self._listeners_lock:
            self.listeners[name] = listener
            self._calling = tuple(sorted(self.listeners.items(), key=_name))

    def remove_listener(self, name: str) -> None:
        """Remove the listener of this name. Raises KeyError if there is none."""
        with self._listeners_lock:
            del self.listeners[name]
            self._calling = tuple(sorted(self.listeners.items(), key=_name))

    def get_listener(self, name: str) -> Any:
        """Return the listener of this name, or None."""
        return self.listeners.get(name)

    def notify(self, frame_type: str, frame: Frame | None = None) -> None:
        """Call a hook of all listeners. If one raises, the exception is logged and the next listener is called."""
        if frame_type == "connecting":
            self._hooks.call_connecting(self._calling, self.current_host_and_port)
        elif frame_type in _WITHOUT_A_FRAME:
            self._hooks.call(self._calling, frame_type)
        else:
            if frame_type == "receipt" and frame is not None:
                self._receipts.pop(frame.headers.get("receipt-id", ""), None)
            self._hooks.call_with(self._calling, frame_type, frame)

    def process_frame(self, f: Frame, frame_str: bytes | None) -> None:
        """Pass a frame to the listeners, as if it had been received."""
        frame_type = (f.cmd or "").lower()
        if frame_type not in _RECEIVED:
            log.warning("unknown response frame type: %r (frame length was %d)", frame_type, len(frame_str or b""))
            return
        if frame_type == "message":
            self.notify("before_message", f)
        self.notify(frame_type, f)

    def override_threading(self, create_thread_fc: Callable[[Any], Any]) -> None:
        """Call listeners in threads that the program makes, from the next connection on.

        Args:
            create_thread_fc: takes a function and must run it in a thread, an executor or a greenlet. The function
                returns when its connection has ended.
        """
        self.create_thread_fc = create_thread_fc

    # Methods of stomp.py that programs may call, but need not

    def start(self) -> None:
        """Do nothing: ``connect()`` does all the work."""

    def stop(self) -> None:
        """Do nothing."""

    def is_connected(self) -> bool:
        """Whether the connection is ready now."""
        return bool(self.connected)

    def set_connected(self, connected: bool) -> None:
        """Do nothing: the connection sets its own state."""

    def set_receipt(self, receipt_id: str, value: Any) -> None:
        """Call ``on_receipt`` for this receipt if ``value`` is true."""
        if value:
            self._receipts[receipt_id] = value
        else:
            self._receipts.pop(receipt_id, None)

    def transmit(self, frame: Frame) -> None:
        """Call ``on_send`` of the listeners for a frame that will be sent."""
        self.notify("send", frame)
        self.disconnecting = frame.cmd == CMD_DISCONNECT

    def send(self, encoded_frame: bytes) -> None:
        """Do nothing."""

    def receive(self) -> bytes | None:
        """Do nothing: received frames go to the listeners."""
        return None

    def cleanup(self) -> None:
        """Do nothing: a lost connection is cleaned up automatically."""

    def attempt_connection(self) -> None:
        """Do nothing: ``connect()`` makes the connection."""

    def disconnect_socket(self) -> None:
        """Do nothing."""

    def wait_for_connection(self, timeout: float | None = None) -> None:
        """Do nothing."""

    def shutdown_queue(self) -> None:
        """Do nothing: there is no queue."""


def _name(item: tuple[str, Any]) -> str:
    return item[0]
