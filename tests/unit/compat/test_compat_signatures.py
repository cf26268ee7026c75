"""Every public name of stomp.py 9 is there, with the same parameters and defaults."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
from types import ModuleType
from typing import Any

import pytest

import stomplistener.compat.stomp as ours

theirs: Any = importlib.import_module("stomp")
constants: Any = importlib.import_module("stomp.constants")

CLASSES = [
    *("Connection", "Connection10", "Connection11", "Connection12", "WSConnection", "WSStompConnection"),
    *("StompConnection10", "StompConnection11", "StompConnection12"),
    *("connect.BaseConnection", "protocol.Protocol10", "protocol.Protocol11", "protocol.Protocol12"),
    *("ConnectionListener", "StatsListener", "WaitingListener", "PrintingListener"),
    *("listener.TestListener", "listener.HeartbeatListener", "listener.Publisher", "utils.Frame"),
]
MODULES = ["utils", "log", "constants", "exception"]


def find(root: ModuleType, name: str) -> Any:
    found: Any = root
    for part in name.split("."):
        if not hasattr(found, part):
            found = importlib.import_module(f"{found.__name__}.{part}")
        else:
            found = getattr(found, part)
    return found


def parameters(function: Any) -> dict[str, tuple[Any, Any]]:
    return {each.name: (each.kind, each.default) for each in inspect.signature(function).parameters.values()}


def public(value: Any) -> dict[str, Any]:
    names = [name for name in dir(value) if not name.startswith("_")]
    return {name: getattr(value, name) for name in names if callable(getattr(value, name))} | {
        "__init__": value.__init__
    }


@pytest.mark.parametrize("name", CLASSES)
def test_the_methods_of_a_class_take_the_same(name: str) -> None:
    for method, function in public(find(theirs, name)).items():
        assert hasattr(find(ours, name), method), method
        wanted = parameters(function)
        if {"args", "kwargs"} <= wanted.keys() or "_" in wanted:
            continue  # it hands on whatever it gets, to what is compared elsewhere, or looks at nothing of it
        assert parameters(getattr(find(ours, name), method)) == wanted, method


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_the_same_names(name: str) -> None:
    mine, original = find(ours, name), find(theirs, name)
    for each, value in vars(original).items():
        if each.startswith("_") or inspect.ismodule(value):
            continue
        if each in vars(constants) and name != "constants":
            continue
        assert hasattr(mine, each), each
        if inspect.isfunction(value):
            assert list(parameters(getattr(mine, each))) == list(parameters(value)), each
        elif isinstance(value, (str, int)):
            assert getattr(mine, each) == value, each


def test_the_tls_settings_are_the_same() -> None:
    original = find(theirs, "transport.Transport").set_ssl
    mine = find(ours, "transport.Transport").set_ssl
    assert list(parameters(mine)) == list(parameters(original))
    for name, (_kind, default) in parameters(original).items():
        assert parameters(mine)[name][1] == (default or None if name != "for_hosts" else ()), name


def test_the_exceptions_have_one_base() -> None:
    for name in ("ConnectionClosedException", "NotConnectedException", "ConnectFailedException"):
        assert issubclass(getattr(ours.exception, name), ours.exception.StompException)


def test_the_names_of_the_package_are_there() -> None:
    names = {name for name in vars(theirs) if not name.startswith("_")}
    assert names <= set(ours.__all__)
    assert ours.tuple_version() == (9, 0, 0)
    assert ours.__version__ == importlib.metadata.version("stomp.py")
