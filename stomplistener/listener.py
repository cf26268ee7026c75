"""Listeners: the hooks that an application can have, and who hears what.

Hooks are called by the connection's dispatcher thread, in the order of the wire, never under a lock; they may block,
and call anything of the library. ``Listener`` names the exceptions.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from stomplistener.message import Message
from stomplistener.protocol.frame import Frame

_log = logging.getLogger(__name__)


class Listener:
    """Override what you need; each method does nothing. Any object with some of these methods will do as well.

    The connection's dispatcher thread calls all of them, one after the other, in the order of the wire, with two
    exceptions: ``on_send`` is called in the thread that sends; ``on_message`` and ``on_listener_error`` of a
    subscription with ``workers`` in those. No lock is held: a method may block, and call anything of the library.
    """

    def on_connecting(self, host_and_port: tuple[str, int]) -> None:
        """An attempt to connect to this broker begins."""

    def on_connected(self, frame: Frame) -> None:
        """The connection is ready, its subscriptions restored; ``frame`` is CONNECTED.

        A message that the broker delivers while they are restored comes before this call.
        """

    def on_disconnecting(self) -> None:
        """``disconnect()`` was called; messages can still be acknowledged."""

    def on_disconnected(self) -> None:
        """A connection that was ready has ended, once for each; told before the first attempt to restore it."""

    def on_reconnecting(self, attempt: int, delay: float) -> None:
        """The ``attempt``-th pass over the brokers since the loss begins in ``delay`` seconds."""

    def on_heartbeat_timeout(self) -> None:
        """The broker was silent for too long; the connection will be broken and restored."""

    def on_heartbeat(self) -> None:
        """A heart-beat came."""

    def on_send(self, frame: Frame) -> None:
        """A frame is about to be written; called in the thread that sends it.

        CONNECT and the frames that restore a connection are the library's own: the dispatcher tells of them, and they
        may be written by then.
        """

    def on_message(self, message: Message) -> None:
        """A message came."""

    def on_receipt(self, frame: Frame) -> None:
        """A RECEIPT came."""

    def on_error(self, frame: Frame) -> None:
        """An ERROR came."""

    def on_listener_error(self, message: Message, exception: Exception) -> None:
        """A listener raised on this message."""


HOOKS = tuple(name for name in vars(Listener) if name.startswith("on_"))

Hook = Callable[..., Any]
AnyListener = object
"""A Listener, an object with some of its methods, or a callable that takes a Message."""


def hooks_of(listener: AnyListener) -> dict[str, Hook]:
    """The hooks that a listener has; what it inherits from Listener untouched does not count.

    Raises:
        TypeError: it has none, and cannot be called.
    """
    hooks: dict[str, Hook] = {}
    for name in HOOKS:
        method = getattr(listener, name, None)
        if callable(method) and getattr(method, "__func__", None) is not getattr(Listener, name):
            hooks[name] = method
    if not hooks and not isinstance(listener, Listener):
        if not callable(listener):
            raise TypeError(f"{listener!r} is no listener: it has no on_… method and cannot be called")
        hooks["on_message"] = listener
    return hooks


class Listeners:
    """The listeners of a connection in order of registration. Thread-safe; a call sees the listeners of its start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[str, AnyListener] = {}
        self._hooks: dict[str, tuple[Hook, ...]] = {}
        self.on_message: tuple[Hook, ...] = ()
        self.on_send: tuple[Hook, ...] = ()

    def add(self, listener: AnyListener, name: str | None = None) -> str:
        """Register, or put in the place of the one with that name; returns the name."""
        hooks_of(listener)
        with self._lock:
            if name is None:
                name = f"listener-{id(listener):x}"
            self._listeners[name] = listener
            self._collect()
        return name

    def get(self, name: str) -> AnyListener | None:
        return self._listeners.get(name)

    def remove(self, name_or_listener: AnyListener) -> None:
        """Forget a listener, named or as the object; one that is not there is no error."""
        with self._lock:
            self._listeners = {
                name: listener
                for name, listener in self._listeners.items()
                if name != name_or_listener and listener is not name_or_listener
            }
            self._collect()

    def hear(self, hook: str) -> bool:
        """Whether anybody has this hook."""
        return hook in self._hooks

    def call(self, hook: str, *args: object) -> None:
        """Call a hook of all; what one raises is logged and the next one is called."""
        call_all(self._hooks.get(hook, ()), *args)

    def renew_lock(self) -> None:
        """In the child of a fork: a thread of the parent may have held it."""
        self._lock = threading.Lock()

    def _collect(self) -> None:
        # Replaced as a whole, never changed: a thread that is calling goes on with what it saw.
        hooks: dict[str, tuple[Hook, ...]] = {}
        for listener in self._listeners.values():
            for name, method in hooks_of(listener).items():
                hooks[name] = (*hooks.get(name, ()), method)
        self._hooks = hooks
        self.on_message = hooks.get("on_message", ())
        self.on_send = hooks.get("on_send", ())


def call_all(hooks: tuple[Hook, ...], *args: object) -> None:
    for hook in hooks:
        try:
            hook(*args)
        except Exception:
            _log.exception("%s raised", getattr(hook, "__qualname__", hook))
