"""Every name that stomp.py's modules and objects have is there, so whatever a program imports or reads is found."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest

from stomplistener.compat.stomp import transport as ours

theirs: Any = importlib.import_module("stomp")

# The command line and multicast are not there; nor is the library that stomp.py uses for WebSocket.
LEFT_OUT = {"__main__", "adapter.multicast"}
NOT_THERE = {"adapter": {"multicast", "stomp"}, "adapter.ws": {"websocket"}}
MODULES = sorted(
    {each.name.removeprefix("stomp.") for each in pkgutil.walk_packages(theirs.__path__, "stomp.")} - LEFT_OUT
)
PLACES = [("127.0.0.1", 61613)]


def load(package: str, name: str) -> Any:
    return importlib.import_module(f"{package}.{name}" if name else package)


def names(value: Any) -> set[str]:
    return {name for name in dir(value) if not name.startswith("_")}


@pytest.mark.parametrize("name", ["", *MODULES])
def test_a_module_has_all_names(name: str) -> None:
    wanted = names(load("stomp", name)) - NOT_THERE.get(name, set())
    assert wanted - names(load("stomplistener.compat.stomp", name)) == set()


@pytest.mark.parametrize("name", ["", *MODULES])
def test_what_star_imports_bring_is_the_same(name: str) -> None:
    def imported(package: str) -> set[str]:
        brought: dict[str, Any] = {}
        exec(f"from {package}{'.' if name else ''}{name} import *", brought)
        return {each for each in brought if not each.startswith("_")}

    assert imported("stomp") - NOT_THERE.get(name, set()) - imported("stomplistener.compat.stomp") == set()


@pytest.mark.parametrize(
    "make",
    [
        *(lambda stomp, kind=kind: getattr(stomp, kind)(PLACES) for kind in ("Connection10", "Connection12")),
        lambda stomp: stomp.Connection(PLACES),
        lambda stomp: stomp.WSConnection(PLACES, ws_path="/stomp"),
        lambda stomp: stomp.Connection(PLACES).transport,
        lambda stomp: stomp.WSConnection(PLACES).transport,
        lambda stomp: stomp.transport.BaseTransport(),
        lambda stomp: stomp.transport.Transport(host_and_ports=PLACES),
        lambda stomp: stomp.ConnectionListener(),
        lambda stomp: stomp.StatsListener(),
        lambda stomp: stomp.PrintingListener(),
        lambda stomp: stomp.WaitingListener("receipt"),
        lambda stomp: stomp.listener.TestListener("receipt"),
        lambda stomp: stomp.listener.HeartbeatListener(None, (1, 2)),
        lambda stomp: stomp.listener.Publisher(),
        lambda stomp: stomp.utils.Frame("SEND"),
        lambda stomp: stomp.utils.HEARTBEAT_FRAME,
        lambda stomp: stomp.exception.ConnectFailedException(),
    ],
)
def test_an_object_has_all_names(make: Any) -> None:
    original, mine = make(theirs), make(importlib.import_module("stomplistener.compat.stomp"))
    assert names(original) - names(mine) == set()
    assert {name for name in vars(original) if not name.startswith("_")} - names(mine) == set()


@pytest.mark.parametrize("kind", ["Connection10", "Connection", "Connection12"])
def test_the_private_names_that_programs_reach_for(kind: str) -> None:
    places = [("far", 1), ("localhost", "2")]
    settings = {"timeout": 7, "reconnect_attempts_max": 5, "keepalive": True}
    for package in ("stomp", "stomplistener.compat.stomp"):
        conn = getattr(importlib.import_module(package), kind)(places, **settings)
        transport = conn.transport
        assert transport._Transport__host_and_ports == [("localhost", "2"), ("far", 1)]
        assert transport._Transport__ssl_params == {}
        assert (transport._Transport__timeout, transport._Transport__reconnect_attempts_max) == (7, 5)
        conn.set_ssl([("far", 1)], ca_certs="file")
        assert transport._Transport__ssl_params[("far", 1)]["ca_certs"] == "file"
        assert transport._Transport__ssl_params[("far", 1)] is conn.get_ssl(("far", 1))
        assert (transport.socket, transport.current_host_and_port, transport.io_thread) == (None, None, None)
        assert transport.create_thread_fc.__name__ == "default_create_thread"


def test_a_websocket_knows_its_path_and_its_brokers() -> None:
    for package in ("stomp", "stomplistener.compat.stomp"):
        transport = importlib.import_module(package).WSConnection(PLACES, ws_path="/stomp", header={"a": "b"}).transport
        assert (transport.ws_path, transport.header) == ("/stomp", {"a": "b"})
        assert transport._WSTransport__host_and_ports == PLACES


def test_without_the_protocols_of_the_system_the_module_still_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("ssl.PROTOCOL_TLS_CLIENT")
    monkeypatch.delattr("socket.SOL_TCP", raising=False)
    try:
        again = importlib.reload(ours)
        assert again.DEFAULT_SSL_VERSION is None
        assert not again.LINUX_KEEPALIVE_AVAIL
    finally:
        monkeypatch.undo()
        importlib.reload(ours)


def test_a_base_transport_does_nothing() -> None:
    """Programs derive from it, and call what they do not override."""
    for package in ("stomp", "stomplistener.compat.stomp"):
        stomp: Any = importlib.import_module(package)
        transport, heard = stomp.transport.BaseTransport(), stomp.StatsListener()
        transport.set_listener("", heard)
        for command in ("error", "message", "unknown"):
            transport.process_frame(stomp.utils.Frame(command, {}, "body"), None)
        assert (heard.errors, heard.messages) == (1, 1)
        assert transport.send(b"") is None
        assert transport.receive() is None
        transport.attempt_connection()
        transport.cleanup()
        transport.disconnect_socket()
        transport.set_receipt("r", None)
        assert not transport.is_connected()
