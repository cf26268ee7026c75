"""What all transports have: listeners, and the state that stomp.py's transports show."""

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
    """A registry of listeners and no network; :class:`~stomplistener.compat.stomp.transport.Transport` has one.

    Args:
        auto_decode: bodies are ``str`` for listeners.
        encoding: of those.
        is_eol_fc: has no effect.

    Attributes:
        listeners: by name; they are called in the order of their names.
        current_host_and_port: of the broker that was reached last, None at first and after ``disconnect()``.
        create_thread_fc: makes the threads that call the listeners.
        connection_error: whether the last login was refused.
        running, connected, disconnecting, socket, io_thread: as in stomp.py, to be read.
        blocking, send_queue, sel, bind_host_port, notified_on_disconnect: are there, and say nothing.
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
        """Register a listener under a name, in the place of an older one."""
        if listener is None:
            raise AssertionError("'listener' is required")
        self._hooks.look_at(listener)
        with self._listeners_lock:
            self.listeners[name] = listener
            self._calling = tuple(sorted(self.listeners.items(), key=_name))

    def remove_listener(self, name: str) -> None:
        """Forget the listener of that name; KeyError if there is none."""
        with self._listeners_lock:
            del self.listeners[name]
            self._calling = tuple(sorted(self.listeners.items(), key=_name))

    def get_listener(self, name: str) -> Any:
        """The listener of that name, or None."""
        return self.listeners.get(name)

    def notify(self, frame_type: str, frame: Frame | None = None) -> None:
        """Call a hook of all listeners; what one raises is logged, and the next one is called."""
        if frame_type == "connecting":
            self._hooks.call_connecting(self._calling, self.current_host_and_port)
        elif frame_type in _WITHOUT_A_FRAME:
            self._hooks.call(self._calling, frame_type)
        else:
            if frame_type == "receipt" and frame is not None:
                self._receipts.pop(frame.headers.get("receipt-id", ""), None)
            self._hooks.call_with(self._calling, frame_type, frame)

    def process_frame(self, f: Frame, frame_str: bytes | None) -> None:
        """Tell the listeners of a frame, as if it had been received."""
        frame_type = (f.cmd or "").lower()
        if frame_type not in _RECEIVED:
            log.warning("unknown response frame type: %r (frame length was %d)", frame_type, len(frame_str or b""))
            return
        if frame_type == "message":
            self.notify("before_message", f)
        self.notify(frame_type, f)

    def override_threading(self, create_thread_fc: Callable[[Any], Any]) -> None:
        """Call listeners in threads of the program's own making, from the next connection on.

        Args:
            create_thread_fc: is given a function, and has to have it run elsewhere, in a thread, an executor or a
                greenlet. The function returns when its connection has ended.
        """
        self.create_thread_fc = create_thread_fc

    # What a program may call though nothing needs it

    def start(self) -> None:
        """Do nothing: ``connect()`` does it all."""

    def stop(self) -> None:
        """Do nothing."""

    def is_connected(self) -> bool:
        """Whether the connection is ready now."""
        return bool(self.connected)

    def set_connected(self, connected: bool) -> None:
        """Do nothing: the connection itself knows."""

    def set_receipt(self, receipt_id: str, value: Any) -> None:
        """Have ``on_receipt`` called for this receipt; with a false value, not."""
        if value:
            self._receipts[receipt_id] = value
        else:
            self._receipts.pop(receipt_id, None)

    def transmit(self, frame: Frame) -> None:
        """Tell the listeners that a frame is about to be sent."""
        self.notify("send", frame)
        self.disconnecting = frame.cmd == CMD_DISCONNECT

    def send(self, encoded_frame: bytes) -> None:
        """Do nothing."""

    def receive(self) -> bytes | None:
        """Do nothing: what is received goes to the listeners."""
        return None

    def cleanup(self) -> None:
        """Do nothing: a lost connection is cleaned up automatically."""

    def attempt_connection(self) -> None:
        """Do nothing: ``connect()`` does it."""

    def disconnect_socket(self) -> None:
        """Do nothing."""

    def wait_for_connection(self, timeout: float | None = None) -> None:
        """Do nothing."""

    def shutdown_queue(self) -> None:
        """Do nothing: there is none."""


def _name(item: tuple[str, Any]) -> str:
    return item[0]
