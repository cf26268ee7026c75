"""Listeners: the hooks of an application, and the listeners that are called for an event.

The connection's dispatcher thread calls the hooks in the order of the wire, without holding a lock. Hooks may block and
may call any function of the library. ``Listener`` names the hooks that other threads call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

from stomplistener._util.arguments import did_you_mean
from stomplistener._util.callables import code_flags, name_of, refuse_unawaited, refuse_unrun
from stomplistener._util.locks import ReentrantLock
from stomplistener.message import Message
from stomplistener.protocol.frame import Frame


class Listener:
    """The base class of listeners. Override the methods that you need; all other methods do nothing.

    An object with some of these methods works, too.

    The connection's dispatcher thread calls the methods one at a time, in the order of the wire. Two calls come from
    other threads. The thread that sends a frame calls ``on_send``. The worker threads of a subscription with
    ``workers`` call ``on_message`` and ``on_listener_error``. No lock is held: a method may block, and may call any
    function of the library.
    """

    def on_connecting(self, host_and_port: tuple[str, int]) -> None:
        """An attempt to connect to this broker begins."""

    def on_connected(self, frame: Frame) -> None:
        """The connection is ready, and its subscriptions are restored. ``frame`` is CONNECTED.

        A message that arrives while subscriptions are restored is delivered before this call.
        """

    def on_disconnecting(self) -> None:
        """``disconnect()`` was called; messages can still be acknowledged."""

    def on_connection_lost(self, error: Exception) -> None:
        """A ready connection was lost for the reason ``error``. Called before ``on_disconnected``.

        Not called when the program ends the connection with ``disconnect()`` or ``close()``.
        """

    def on_disconnected(self) -> None:
        """A ready connection has ended. Called once for each, before the first attempt to reconnect."""

    def on_reconnecting(self, attempt: int, delay: float) -> None:
        """Pass number ``attempt`` over the brokers since the loss begins in ``delay`` seconds."""

    def on_heartbeat_timeout(self) -> None:
        """The broker was silent for too long; the client will end the connection and reconnect."""

    def on_heartbeat(self) -> None:
        """A heartbeat arrived."""

    def on_send(self, frame: Frame) -> None:
        """A frame is about to be written. The thread that sends the frame calls this method.

        The library sends CONNECT and the frames that restore a connection. The dispatcher reports such frames, perhaps
        after they were written.
        """

    def on_message(self, message: Message) -> None:
        """A message arrived."""

    def on_receipt(self, frame: Frame) -> None:
        """A RECEIPT arrived that the application had requested with its own ``receipt`` header."""

    def on_error(self, frame: Frame) -> None:
        """An ERROR arrived."""

    def on_listener_error(self, message: Message, exception: Exception) -> None:
        """A listener raised ``exception``, which may be any BaseException, while it handled this message."""


HOOKS = tuple(name for name in vars(Listener) if name.startswith("on_"))

Hook = Callable[..., Any]
Report = Callable[..., object]
"""Logs an error: a text, its values, and the exception as ``exc_info``."""
AnyListener = object
"""A Listener, an object with some of its methods, or a callable that takes a Message."""

_ARGUMENTS = {name: getattr(Listener, name).__code__.co_argcount - 1 for name in HOOKS}


def hooks_of(listener: AnyListener) -> dict[str, Hook]:
    """Return the hooks of a listener, without those that it only inherits from Listener.

    Raises:
        TypeError: the object cannot work as a listener; the text has the reason.
    """
    if isinstance(listener, type):
        raise TypeError(f"{listener.__name__} is a class: give an instance of it as the listener")
    hooks: dict[str, Hook] = {}
    for name in HOOKS:
        method = getattr(listener, name, None)
        if method is None or getattr(method, "__func__", None) is getattr(Listener, name):
            continue
        if not callable(method):
            raise TypeError(f"{name} of {listener!r} is not a method, but {type(method).__name__}")
        hooks[name] = method
    _refuse_misspelt(listener, hooks)
    if not hooks and not isinstance(listener, Listener):
        if not callable(listener):
            hint = _hint_for_camel_case(listener)
            raise TypeError(f"{listener!r} is not a listener: it has no on_… method and cannot be called{hint}")
        hooks["on_message"] = listener
    for name, hook in hooks.items():
        _refuse_unfit(name, hook)
    return hooks


def _refuse_misspelt(listener: AnyListener, hooks: dict[str, Hook]) -> None:
    for name in dir(listener):
        if name.startswith("on_") and name not in HOOKS and callable(getattr(listener, name, None)):
            hint = did_you_mean(name, (hook for hook in HOOKS if hook not in hooks))
            if hint:
                raise TypeError(f"{type(listener).__name__}.{name} would never be called{hint}")


def _hint_for_camel_case(listener: AnyListener) -> str:
    for name in dir(listener):
        snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
        if name != snake and snake in HOOKS:
            return f"; did you mean {snake}, written {name}?"
    return ""


def _refuse_unfit(name: str, hook: Hook) -> None:
    refuse_unrun(hook)
    if not code_flags(hook):
        # The hook is written in C. To read its signature, Python parses a text. Up to Python 3.12, two threads must not
        # parse at the same time: one thread would get a SystemError (CPython issue 106905).
        return
    import inspect  # slow: its import takes longer than that of the whole protocol layer

    try:
        signature = inspect.signature(hook)
    except (TypeError, ValueError):
        return  # it has no signature
    try:
        signature.bind(*[None] * _ARGUMENTS[name])
    except TypeError:
        wanted = str(inspect.signature(getattr(Listener, name))).replace("(self, ", "(").replace("(self)", "()")
        raise TypeError(
            f"{name_of(hook)}{signature} cannot be called as {name}{wanted.partition(' ->')[0]}; listeners written as "
            "(headers, body) work with stomplistener.compat.stomp"
        ) from None


def is_same(one: AnyListener, other: AnyListener) -> bool:
    """Whether two listeners are the same object, or the same method of the same object."""
    if isinstance(one, MethodType) and isinstance(other, MethodType):
        return one.__func__ is other.__func__ and one.__self__ is other.__self__
    return one is other


class Listeners:
    """The listeners of a connection, in order of registration. Thread-safe: a call uses the listeners at its start."""

    def __init__(self) -> None:
        self._lock = ReentrantLock()
        self._listeners: dict[str, AnyListener] = {}
        self._hooks: dict[str, tuple[Hook, ...]] = {}
        self.report: Report
        """Logs the exception of a hook; the connection in use sets it."""
        self.on_message: tuple[Hook, ...] = ()
        self.on_send: tuple[Hook, ...] = ()

    def add(self, listener: AnyListener, name: str | None = None) -> str:
        """Register a listener, or replace the one with that name. Return the name."""
        hooks_of(listener)
        with self._lock:
            if name is None:
                name = f"listener-{id(listener):x}"
            self._listeners = {**self._listeners, name: listener}
            self._collect()
        return name

    def get(self, name: str) -> AnyListener | None:
        """Return the listener of that name, or None."""
        return self._listeners.get(name)

    def remove(self, name_or_listener: AnyListener) -> None:
        """Remove a listener, given by name or as the object. An unknown listener is ignored."""
        with self._lock:
            self._listeners = self._without(name_or_listener)
            self._collect()

    def _without(self, name_or_listener: AnyListener) -> dict[str, AnyListener]:
        return {
            name: listener
            for name, listener in self._listeners.items()
            if name != name_or_listener and not is_same(listener, name_or_listener)
        }

    def __iter__(self) -> Iterator[AnyListener]:
        return iter(tuple(self._listeners.values()))

    def hear(self, hook: str) -> bool:
        """Whether any listener has this hook."""
        return hook in self._hooks

    def call(self, hook: str, *args: object) -> None:
        """Call a hook of all listeners. If one raises, the exception is logged, and the next one is called."""
        call_all(self._hooks.get(hook, ()), *args, report=self.report)

    def renew_lock(self) -> None:
        """Replace the lock in the child of a fork: a thread of the parent may have held it."""
        self._lock = ReentrantLock()

    def _collect(self) -> None:
        # The tuples are replaced as a whole and never changed: a thread that calls hooks keeps its tuple.
        hooks: dict[str, tuple[Hook, ...]] = {}
        for listener in self._listeners.values():
            for name, method in hooks_of(listener).items():
                hooks[name] = (*hooks.get(name, ()), method)
        self._hooks = hooks
        self.on_message = hooks.get("on_message", ())
        self.on_send = hooks.get("on_send", ())


def call_all(hooks: tuple[Hook, ...], *args: object, report: Report) -> None:
    """Call hooks in order. If one raises any exception, the exception is logged, and the next hook is called.

    Args:
        hooks: the hooks to call.
        args: the arguments of each call.
        report: logs an exception.

    Raises:
        KeyboardInterrupt: in the main thread, where it probably comes from the user.
    """
    interrupt: KeyboardInterrupt | None = None
    for hook in hooks:
        try:
            if (returned := hook(*args)) is not None:
                refuse_unawaited(hook, returned)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                interrupt = error
            else:
                report("%s raised", name_of(hook), exc_info=error)
    if interrupt is not None:
        raise interrupt
