"""Listeners: the hooks that an application can have, and which listener is called for which event.

Hooks are called by the connection's dispatcher thread, in the order of the wire, never under a lock; they may block,
and call anything of the library. ``Listener`` names the exceptions.
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
    """Override the methods that you need; by default each does nothing. An object with some of them works, too.

    The connection's dispatcher thread calls all of them, one after the other, in the order of the wire, with two
    exceptions: ``on_send`` is called in the thread that sends; ``on_message`` and ``on_listener_error`` of a
    subscription with ``workers`` are called in its worker threads. No lock is held: a method may block, and call
    anything of the library.
    """

    def on_connecting(self, host_and_port: tuple[str, int]) -> None:
        """An attempt to connect to this broker begins."""

    def on_connected(self, frame: Frame) -> None:
        """The connection is ready, its subscriptions restored; ``frame`` is CONNECTED.

        A message that the broker delivers while they are restored comes before this call.
        """

    def on_disconnecting(self) -> None:
        """``disconnect()`` was called; messages can still be acknowledged."""

    def on_connection_lost(self, error: Exception) -> None:
        """A connection that was ready was lost, for this reason; called before ``on_disconnected``.

        Not called when the program itself ended it by ``disconnect()`` or ``close()``.
        """

    def on_disconnected(self) -> None:
        """A connection that was ready has ended. Called once for each, before the first attempt to restore it."""

    def on_reconnecting(self, attempt: int, delay: float) -> None:
        """The ``attempt``-th pass over the brokers since the loss begins in ``delay`` seconds."""

    def on_heartbeat_timeout(self) -> None:
        """The broker was silent for too long; the client will end the connection and reconnect."""

    def on_heartbeat(self) -> None:
        """A heartbeat arrived."""

    def on_send(self, frame: Frame) -> None:
        """A frame is about to be written; called in the thread that sends it.

        CONNECT and the frames that restore a connection belong to the library: the dispatcher reports them, and they
        may already be written.
        """

    def on_message(self, message: Message) -> None:
        """A message arrived."""

    def on_receipt(self, frame: Frame) -> None:
        """A RECEIPT arrived that the application asked for with a ``receipt`` header of its own."""

    def on_error(self, frame: Frame) -> None:
        """An ERROR arrived."""

    def on_listener_error(self, message: Message, exception: Exception) -> None:
        """A listener raised an exception on this message; it may be any BaseException."""


HOOKS = tuple(name for name in vars(Listener) if name.startswith("on_"))

Hook = Callable[..., Any]
Report = Callable[..., object]
"""Logs an error: a text, its values, and the exception as ``exc_info``."""
AnyListener = object
"""A Listener, an object with some of its methods, or a callable that takes a Message."""

_ARGUMENTS = {name: getattr(Listener, name).__code__.co_argcount - 1 for name in HOOKS}


def hooks_of(listener: AnyListener) -> dict[str, Hook]:
    """The hooks that a listener has; what it inherits from Listener untouched does not count.

    Raises:
        TypeError: it cannot work as a listener; the message says why.
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
        # Written in C. To read its signature Python parses a text, which threads must not do at the same time: up to
        # 3.12 one of them gets a SystemError (CPython issue 106905).
        return
    import inspect  # only here: it takes longer to import than all of this package's protocol layer

    try:
        signature = inspect.signature(hook)
    except (TypeError, ValueError):
        return  # it does not say
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
    """The listeners of a connection in order of registration. Thread-safe; a call sees the listeners of its start."""

    def __init__(self) -> None:
        self._lock = ReentrantLock()
        self._listeners: dict[str, AnyListener] = {}
        self._hooks: dict[str, tuple[Hook, ...]] = {}
        self.report: Report
        """Logs what a hook raised; the connection in use sets it."""
        self.on_message: tuple[Hook, ...] = ()
        self.on_send: tuple[Hook, ...] = ()

    def add(self, listener: AnyListener, name: str | None = None) -> str:
        """Register, or put in the place of the one with that name; returns the name."""
        hooks_of(listener)
        with self._lock:
            if name is None:
                name = f"listener-{id(listener):x}"
            self._listeners = {**self._listeners, name: listener}
            self._collect()
        return name

    def get(self, name: str) -> AnyListener | None:
        """The listener of that name, or None."""
        return self._listeners.get(name)

    def remove(self, name_or_listener: AnyListener) -> None:
        """Forget a listener, named or as the object; one that is not there is no error."""
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
        """Whether a listener has this hook."""
        return hook in self._hooks

    def call(self, hook: str, *args: object) -> None:
        """Call a hook of all; what one raises is logged and the next one is called."""
        call_all(self._hooks.get(hook, ()), *args, report=self.report)

    def renew_lock(self) -> None:
        """In the child of a fork: a thread of the parent may have held it."""
        self._lock = ReentrantLock()

    def _collect(self) -> None:
        # Replaced as a whole, never changed: a thread that is calling goes on with what it saw.
        hooks: dict[str, tuple[Hook, ...]] = {}
        for listener in self._listeners.values():
            for name, method in hooks_of(listener).items():
                hooks[name] = (*hooks.get(name, ()), method)
        self._hooks = hooks
        self.on_message = hooks.get("on_message", ())
        self.on_send = hooks.get("on_send", ())


def call_all(hooks: tuple[Hook, ...], *args: object, report: Report) -> None:
    """Call hooks one after the other; what one raises is logged, whatever it is, and the next one is called.

    Args:
        hooks: to call.
        args: for each of them.
        report: logs what one raised.

    Raises:
        KeyboardInterrupt: in the main thread, where it is most likely the user's.
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
