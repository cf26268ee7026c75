"""The compared clients, all connected in the same way, and the common part of their listeners."""

from __future__ import annotations

import importlib
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

from bench import wire
from bench.process import BenchError
from stomplistener import Connection

LONG = 60.0


def ours(port: int, **arguments: Any) -> Connection:
    """Return our connection, connected."""
    arguments.setdefault("heartbeat", (0.0, 0.0))
    return Connection(f"tcp://127.0.0.1:{port}", **arguments).connect()


def stomp() -> Any:
    """Return the package stomp.py, which has no types."""
    return importlib.import_module("stomp")


def stomp_py(port: int, heartbeats: tuple[int, int] = (0, 0), listener: object = None) -> Any:
    """Return a connection of stomp.py, connected."""
    connection = stomp().Connection12([("127.0.0.1", port)], heartbeats=heartbeats)
    if listener is not None:
        connection.set_listener("bench", listener)
    connection.connect(wait=True)
    return connection


def raw(port: int) -> socket.socket:
    """Return a plain socket that has sent CONNECT."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(b"CONNECT\naccept-version:1.2\nhost:bench\n\n\0")
    if not sock.recv(65536).startswith(b"CONNECTED"):
        raise BenchError("the server did not answer CONNECT")
    return sock


def raw_start(sock: socket.socket) -> None:
    """End the setup of a raw connection."""
    sock.sendall(b"SEND\ndestination:%b\n\n\0" % wire.START.encode())


def leave() -> None:
    """End this process at once: the threads of a peer may never end."""
    os._exit(0)


class Finish:
    """Lets the main thread wait for the last message of a server."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.set = self._event.set

    def wait(self) -> None:
        if not self._event.wait(LONG):
            raise BenchError(f"the last message did not come within {LONG} s")


class StompPyListener:
    """A listener for stomp.py, which calls a method for every kind of frame."""

    def __init__(self, on_message: Callable[[Any], object]) -> None:
        self.on_message = on_message
