"""Call the hooks of listeners: those of stomp.py 9, and those of its versions before 7."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable
from typing import Any

from stomplistener._util.callables import code_flags
from stomplistener.compat.stomp import log
from stomplistener.compat.stomp.listener import ConnectionListener
from stomplistener.compat.stomp.utils import Frame

# The hooks that get a frame.
_WITH_A_FRAME = ("connected", "before_message", "message", "receipt", "error", "receiver_loop_completed", "send")

# Kinds of hooks: does nothing, takes a frame, takes headers and body.
_IDLE, _TAKES_A_FRAME, _TAKES_TWO = range(3)
_DO_NOTHING = {getattr(ConnectionListener, f"on_{name}"): _IDLE for name in _WITH_A_FRAME}
_MANY = 1000


class HookEnded(SystemExit):
    """Raised by a call from a hook that would otherwise loop forever."""


class HookCaller:
    """Calls hooks, and logs their exceptions.

    Up to stomp.py 6, the hooks that now take a frame took headers and body. The signature of a hook shows which form it
    has.
    """

    def __init__(self) -> None:
        self._known: dict[Any, int] = dict(_DO_NOTHING)
        self._has_warned = False

    def look_at(self, listener: Any) -> None:
        """Warn, once, about a listener that was written for versions before 7."""
        for name in _WITH_A_FRAME:
            hook = getattr(listener, f"on_{name}", None)
            if hook is not None and self._kind(hook) == _TAKES_TWO:
                self._warn(listener, stacklevel=5)

    def call(self, listeners: Iterable[tuple[str, Any]], name: str) -> None:
        """Call a hook without arguments on all listeners that have it.

        Args:
            listeners: with their names, for the log.
            name: of the hook, without ``on_``.
        """
        self._call_each(listeners, name, ())

    def call_connecting(self, listeners: Iterable[tuple[str, Any]], host_and_port: Any) -> None:
        """Call ``on_connecting`` of all listeners that have it."""
        self._call_each(listeners, "connecting", (host_and_port,))

    def call_with(
        self, listeners: Iterable[tuple[str, Any]], name: str, frame: Frame | None, *, raises: bool = False
    ) -> None:
        """Call a hook that takes a frame on all listeners that have it. A program calls this for each frame.

        Args:
            listeners: with their names, for the log.
            name: of the hook, without ``on_``.
            frame: the frame, as a hook of stomp.py 9 gets it.
            raises: whether to raise the exception of a hook instead of logging it.
        """
        attribute, known = f"on_{name}", self._known
        for listener_name, listener in listeners:
            # Look up the hook each time: programs replace the hooks of a registered listener.
            hook = getattr(listener, attribute, None)
            if hook is None:
                continue
            try:
                kind = known[getattr(hook, "__func__", hook)]
            except (KeyError, TypeError):
                kind = self._kind(hook)
            if kind == _IDLE:
                continue
            try:
                if kind == _TAKES_A_FRAME:
                    hook(frame)
                else:
                    self._warn(listener, stacklevel=3)
                    _call_with_headers_and_body(hook, name, frame)
            except (Exception, SystemExit) as error:
                if raises:
                    raise
                _log_failure(listener_name, name, error)

    def _call_each(self, listeners: Iterable[tuple[str, Any]], name: str, args: tuple[Any, ...]) -> None:
        for listener_name, listener in listeners:
            hook = getattr(listener, f"on_{name}", None)
            if hook is None:
                continue
            try:
                hook(*args)
            except (Exception, SystemExit) as error:
                _log_failure(listener_name, name, error)

    def _kind(self, hook: Any) -> int:
        key = getattr(hook, "__func__", hook)
        try:
            known = self._known.get(key)
        except TypeError:  # the callable is not hashable
            return _TAKES_TWO if _takes_two(hook) else _TAKES_A_FRAME
        if known is None:
            if len(self._known) > _MANY:
                # Limit the table: a program may make new hooks at every connect.
                self._known = dict(_DO_NOTHING)
            known = self._known[key] = _TAKES_TWO if _takes_two(hook) else _TAKES_A_FRAME
        return known

    def _warn(self, listener: Any, stacklevel: int) -> None:
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"{type(listener).__name__} takes (headers, body), as listeners of stomp.py before 7 did; "
                "take a frame, and read frame.headers and frame.body",
                DeprecationWarning,
                stacklevel,
            )


def _log_failure(listener_name: str, name: str, error: BaseException) -> None:
    if isinstance(error, HookEnded):
        log.debug("listener %r: on_%s was ended: %s", listener_name, name, error)
    else:
        log.error("listener %r: on_%s raised", listener_name, name, exc_info=error)


def _takes_two(hook: Any) -> bool:
    if not code_flags(hook):  # written in C: reading such signatures is not thread-safe
        return False
    try:
        signature = inspect.signature(hook)
    except (TypeError, ValueError):
        return False
    return not _binds(signature, 1) and _binds(signature, 2)


def _binds(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _call_with_headers_and_body(hook: Any, name: str, frame: Frame | None) -> None:
    if frame is None:
        hook(None, None)
        return
    changed = hook(frame.headers, frame.body)
    # Before version 7, the return value of this hook replaced the headers and body for the other hooks.
    if name == "before_message" and isinstance(changed, tuple) and len(changed) == 2:
        frame.headers, frame.body = changed
