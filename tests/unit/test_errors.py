"""Exceptions travel: between processes, as multiprocessing and Celery send them, and as copies."""

from __future__ import annotations

import copy
import importlib
import pickle
import pkgutil
from collections.abc import Callable, Iterator

import pytest

import stomplistener
from stomplistener import BrokerError, ConnectFailed, ConnectionLost, Frame, ProtocolError, StompError, TimedOut
from stomplistener.protocol import Decoder
from stomplistener.testing.containers import ContainerError
from stomplistener.transport.extras import MissingExtra

REFUSED = Frame("ERROR", [("message", "no"), ("message", "really")], b"words")

ALL = [
    BrokerError("refused", frame=REFUSED),
    ConnectFailed("nobody", [("tcp://a:1", ConnectionRefusedError(111, "refused")), ("b", TimedOut("late"))]),
    ConnectionLost("cut", outcome_unknown=True),
    MissingExtra("ws://", "websocket"),
    ProtocolError("bad", frame=REFUSED, data=b"x" * 200),
    TimedOut("late"),
    ContainerError("no engine"),
]

WAYS: dict[str, Callable[[StompError], StompError]] = {
    "pickle": lambda error: pickle.loads(pickle.dumps(error)),
    "oldest pickle": lambda error: pickle.loads(pickle.dumps(error, 0)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def shape(error: BaseException) -> object:
    """All that it says and holds, comparable."""
    held = {
        name: [(text, shape(each)) for text, each in value] if name == "attempts" else value
        for name, value in vars(error).items()
    }
    return type(error), str(error), repr(error), error.args, held


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_an_exception_arrives_as_it_left(error: StompError, way: str) -> None:
    error.add_note("seen in worker 3")
    there = WAYS[way](error)
    assert there is not error
    assert shape(there) == shape(error)


def kinds(parent: type[StompError] = StompError) -> Iterator[type[StompError]]:
    for kind in parent.__subclasses__():
        yield kind
        yield from kinds(kind)


def test_no_exception_needs_arguments_to_travel_that_this_file_does_not_try() -> None:
    """Every class of the package either is tried above, or is made of nothing but its message."""
    for module in pkgutil.walk_packages(stomplistener.__path__, "stomplistener."):
        if not module.name.endswith("__main__") and ".contrib." not in module.name and ".cli" not in module.name:
            importlib.import_module(module.name)
    tried = {type(error) for error in ALL}
    for kind in kinds():
        if kind not in tried and kind.__module__.startswith("stomplistener."):
            assert str(pickle.loads(pickle.dumps(kind("the message")))) == "the message"


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2", None])
def test_a_received_frame_travels(version: str | None) -> None:
    (frame,) = Decoder(version).feed(b"MESSAGE\nname:a\\cb\nname:2\n\nbody\0")
    for there in (pickle.loads(pickle.dumps(frame)), copy.copy(frame), copy.deepcopy(frame)):
        assert there == frame
