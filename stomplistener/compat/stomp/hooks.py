"""How a listener's hooks are called: those of stomp.py 9, and those of its versions before 7."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable
from typing import Any

from stomplistener.compat.stomp import log
from stomplistener.compat.stomp.listener import ConnectionListener
from stomplistener.compat.stomp.utils import Frame

# The hooks that get a frame, as listeners have them that do not override them.
_IDLE = {
    name: getattr(ConnectionListener, f"on_{name}")
    for name in ("connected", "before_message", "message", "receipt", "error", "receiver_loop_completed", "send")
}
_MANY = 1000


class HookEnded(SystemExit):
    """Raised out of a call that would let a hook loop for ever."""


class HookCaller:
    """Calls hooks; what one raises is logged.

    Up to version 6 a hook that takes a frame today took its headers and its body. Which of the two a hook takes its
    signature tells.
    """

    def __init__(self) -> None:
        self._takes_two: dict[Any, bool] = {}
        self._has_warned = False

    def look_at(self, listener: Any) -> None:
        """Warn, once, of a listener written for the versions before 7."""
        for name in _IDLE:
            hook = getattr(listener, f"on_{name}", None)
            if hook is not None and self._takes_headers_and_body(hook):
                self._warn(listener, stacklevel=5)

    def call(self, listeners: Iterable[tuple[str, Any]], name: str, args: tuple[Any, ...]) -> None:
        """Call one hook of all listeners that have it.

        Args:
            listeners: with their names, for the log.
            name: of the hook, without ``on_``.
            args: what a hook of stomp.py 9 gets.
        """
        attribute, idle, may_take_two = f"on_{name}", _IDLE.get(name), name in _IDLE
        for listener_name, listener in listeners:
            # Looked up each time: programs replace the hooks of a listener while it is registered.
            hook = getattr(listener, attribute, None)
            if hook is None or getattr(hook, "__func__", None) is idle is not None:
                continue
            try:
                if may_take_two and self._takes_headers_and_body(hook):
                    self._warn(listener, stacklevel=3)
                    _call_with_headers_and_body(hook, name, args[0])
                else:
                    hook(*args)
            except HookEnded as ended:
                log.debug("listener %r: on_%s was ended: %s", listener_name, name, ended)
            except (Exception, SystemExit):
                log.error("listener %r: on_%s raised", listener_name, name, exc_info=True)

    def _takes_headers_and_body(self, hook: Any) -> bool:
        key = getattr(hook, "__func__", hook)
        try:
            known = self._takes_two.get(key)
        except TypeError:  # a callable that cannot be a key
            return _takes_two(hook)
        if known is None:
            if len(self._takes_two) > _MANY:
                # A program may make its hooks anew at every connect.
                self._takes_two.clear()
            known = self._takes_two[key] = _takes_two(hook)
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


def _takes_two(hook: Any) -> bool:
    try:
        signature = inspect.signature(hook)
    except (TypeError, ValueError):  # written in C
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
    # This one hook returned what the others were to get.
    if name == "before_message" and isinstance(changed, tuple) and len(changed) == 2:
        frame.headers, frame.body = changed
