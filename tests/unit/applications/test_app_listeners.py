"""Listeners that cannot work are refused where they are given, and those that work are accepted."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from client_support import QUEUE

from stomplistener import Connection, Frame, Listener, Message

pytestmark = pytest.mark.timeout(30)


# Functions whose call runs nothing of them.


async def coroutine(message: Message) -> None:
    """Needs an event loop."""


async def async_generator(message: Message) -> AsyncIterator[Message]:
    yield message


def generator(message: Message) -> Iterator[Message]:
    yield message


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorated as many decorators do it: a plain function that returns what the coroutine function returns."""

    @functools.wraps(function)
    def call(*args: Any, **keywords: Any) -> Any:
        return function(*args, **keywords)

    return call


class Methods:
    async def coroutine(self, message: Message) -> None:
        """Needs an event loop."""

    async def async_generator(self, message: Message) -> AsyncIterator[Message]:
        yield message

    def generator(self, message: Message) -> Iterator[Message]:
        yield message

    @classmethod
    async def of_the_class(cls, message: Message) -> None:
        """Needs an event loop."""

    @staticmethod
    async def static(message: Message) -> None:
        """Needs an event loop."""


class AsyncCallable:
    async def __call__(self, message: Message) -> None:
        """Needs an event loop."""


class GeneratorCallable:
    def __call__(self, message: Message) -> Iterator[Message]:
        yield message


class AsyncHook(Listener):
    async def on_message(self, message: Message) -> None:  # type: ignore[override]
        """Needs an event loop."""


class AsyncConnected(Listener):
    async def on_connected(self, frame: Frame) -> None:  # type: ignore[override]
        """Needs an event loop."""


class GeneratorHook:
    def on_message(self, message: Message) -> Iterator[Message]:
        yield message


NOT_RUN: dict[str, Any] = {
    "coroutine function": coroutine,
    "async generator": async_generator,
    "generator function": generator,
    "wrapped coroutine": wrapped(coroutine),
    "wrapped generator": wrapped(generator),
    "wrapped twice": wrapped(wrapped(async_generator)),
    "partial coroutine": functools.partial(coroutine),
    "partial of a partial": functools.partial(functools.partial(generator)),
    "partial of a method": functools.partial(Methods().coroutine),
    "bound coroutine": Methods().coroutine,
    "bound generator": Methods().generator,
    "bound async generator": Methods().async_generator,
    "class method": Methods.of_the_class,
    "static method": Methods.static,
    "async callable object": AsyncCallable(),
    "generator callable object": GeneratorCallable(),
    "bound __call__": AsyncCallable().__call__,
    "async on_message": AsyncHook(),
    "async on_connected": AsyncConnected(),
    "generator on_message": GeneratorHook(),
}


# Objects that are no listener, or not the one that was meant.


class Good(Listener):
    def on_message(self, message: Message) -> None:
        """Works."""


class Misspelt(Listener):
    def on_mesage(self, message: Message) -> None:
        """Nobody would call it."""


class MisspeltPlain:
    def on_message(self, message: Message) -> None:
        """Works."""

    def on_disconect(self) -> None:
        """Nobody would call it."""


class CamelCase:
    def onMessage(self, message: Message) -> None:
        """Nobody would call it."""


class OldSignature:
    def on_message(self, headers: Any, body: Any) -> None:
        """What other libraries of the field call."""


class OldError:
    def on_message(self, message: Message) -> None:
        """Works."""

    def on_error(self, headers: Any, body: Any) -> None:
        """What other libraries of the field call."""


class TooFew(Listener):
    def on_message(self) -> None:  # type: ignore[override]
        """Takes nothing."""


class KeywordOnly:
    def on_message(self, *, message: Message) -> None:
        """Hooks are called with positional arguments."""


class NotCallable:
    on_message = True


class NotCallableBesides:
    on_connected = "yes"

    def on_message(self, message: Message) -> None:
        """Works."""


REFUSED: dict[str, tuple[Any, str]] = {
    "a class": (Good, "instance|class"),
    "a class of another kind": (OldSignature, "instance|class"),
    "misspelt": (Misspelt(), "did you mean on_message"),
    "misspelt beside a good one": (MisspeltPlain(), "did you mean on_disconnected"),
    "camel case": (CamelCase(), "on_message"),
    "the signature of stomp.py": (OldSignature(), "on_message"),
    "the signature of stomp.py's errors": (OldError(), "on_error"),
    "no argument": (TooFew(), "on_message"),
    "a function without arguments": (lambda: None, "argument|Message"),
    "a function of two": (lambda headers, body: None, "argument|Message"),
    "keyword only": (KeywordOnly(), "on_message"),
    "not callable": (NotCallable(), "on_message"),
    "not callable, beside": (NotCallableBesides(), "on_connected"),
    "None": (None, "listener"),
    "a text": ("listener", "listener"),
    "a list": ([Good()], "listener"),
    "a dict": ({"on_message": print}, "listener"),
}

GIVE: dict[str, Callable[[Connection, Any], object]] = {
    "add_listener": lambda connection, listener: connection.add_listener(listener),
    "set_listener": lambda connection, listener: connection.set_listener("mine", listener),
    "subscribe": lambda connection, listener: connection.subscribe(QUEUE, listener),
}


def refused(give: str, listener: Any) -> str:
    """The text of the TypeError, after which nothing was registered."""
    connection = Connection("tcp://127.0.0.1:1")
    with pytest.raises(TypeError) as caught:
        GIVE[give](connection, listener)
    assert connection.session.subscriptions == ()
    assert connection.get_listener("mine") is None
    return str(caught.value)


@pytest.mark.parametrize("give", GIVE)
@pytest.mark.parametrize("listener", NOT_RUN.values(), ids=NOT_RUN.keys())
def test_what_would_not_run(listener: Any, give: str) -> None:
    text = refused(give, listener)
    assert "async" in text or "coroutine" in text or "generator" in text


@pytest.mark.parametrize("give", GIVE)
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_listener(case: str, give: str) -> None:
    listener, words = REFUSED[case]
    if listener is None and give == "subscribe":
        pytest.skip("None stands for the connection's listeners there")
    text = refused(give, listener)
    assert any(word in text for word in words.split("|")), text


class Flexible:
    def on_message(self, *args: Any, **keywords: Any) -> None:
        """Takes anything."""


class Defaults:
    def on_message(self, message: Message, retry: bool = False) -> None:
        """Takes more than is given."""


class NewHook:
    """A hook that a later version may have, and names that only look like one."""

    on = True
    only = "x"

    def on_message(self, message: Message) -> None:
        """Works."""

    def once(self) -> None:
        """No hook."""


ACCEPTED: dict[str, Any] = {
    "a Listener": Good(),
    "a Listener without hooks": Listener(),
    "a function": lambda message: None,
    "a builtin": print,
    "a method of a list": [].append,
    "a bound method": Good().on_message,
    "a partial": functools.partial(print, "message"),
    "any arguments": Flexible(),
    "defaults": Defaults(),
    "names like hooks": NewHook(),
    "a wrapped function": wrapped(lambda message: None),
}


@pytest.mark.parametrize("give", GIVE)
@pytest.mark.parametrize("listener", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_works_is_accepted(listener: Any, give: str) -> None:
    GIVE[give](Connection("tcp://127.0.0.1:1"), listener)


def test_threads_may_register_functions_written_in_c_at_the_same_time() -> None:
    """CPython up to 3.12 cannot read the signatures of these in two threads at once (its issue 106905)."""
    failed: list[BaseException] = []

    def register() -> None:
        try:
            for _ in range(300):
                connection.add_listener([].append, str(threading.get_ident()))
        except BaseException as error:
            failed.append(error)

    connection = Connection("tcp://127.0.0.1:1")
    threads = [threading.Thread(target=register) for _ in range(4)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert failed == []


class TakesTwo:
    def __call__(self, headers: dict[str, str], body: str) -> None: ...


class Awaits:
    async def __call__(self, message: Message) -> None: ...


@pytest.mark.parametrize("base", [TakesTwo, Awaits])
def test_an_object_that_inherits_what_cannot_work_is_refused(base: type) -> None:
    with pytest.raises(TypeError, match=r"cannot be called|asynchronous"):
        Connection("tcp://127.0.0.1:1").add_listener(type("Inherits", (base,), {})())


def test_mocks_are_listeners() -> None:
    connection = Connection("tcp://127.0.0.1:1")
    connection.add_listener(Mock())
    connection.add_listener(Mock(spec=lambda message: None))
    with pytest.raises(TypeError, match="asynchronous"):
        connection.add_listener(AsyncMock())
