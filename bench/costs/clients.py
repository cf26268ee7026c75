"""The clients of the cost map, connected in the same way, with a common interface."""

from __future__ import annotations

import importlib
import queue
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, Protocol

from bench import clients, wire
from bench.brokers import Target
from bench.costs.row import Row
from bench.process import BenchError
from stomplistener import Connection
from stomplistener.protocol import commands, encode
from stomplistener.transport import connect as connect_transport

DONE = "/queue/bench-done"
"""The destination of the last frame of a round, a SEND with a receipt."""


class Address:
    """The address to which a client connects.

    Args:
        port: the port of the server on this machine; 0 with a real broker.
        ca: the path of the CA certificate for TLS.
    """

    def __init__(self, port: int, ca: str = "") -> None:
        self.port = port
        self.ca = ca


class CostClient(Protocol):
    """A connected client."""

    connection: Any

    def names(self) -> dict[str, Any]:
        """The names for statements besides those of ``bench.costs.names``."""

    def subscribe(self, row: Row, on_message: Callable[[Any], object], on_end: Callable[[], object]) -> None:
        """Subscribe as the row requires. ``on_end`` is called after the last message of a flood."""

    def flood(self, count: int) -> None:
        """Ask the server for messages."""

    def finish(self) -> None:
        """Wait until the server has read everything that was sent."""

    def close(self) -> None:
        """Close the client and release its resources."""


class Ours:
    """``stomplistener.Connection``."""

    def __init__(self, row: Row, address: Address, transport: Callable[..., Any] = connect_transport) -> None:
        context = ssl.create_default_context(cafile=address.ca) if address.ca else None
        self.connection = Connection(
            row.broker or row.uri.format(port=address.port),
            host="/",
            versions=(row.version,),
            heartbeat=(0.0, 0.0),
            ssl_context=context,
            transport=transport,
            **row.connect,  # type: ignore[arg-type]
        ).connect()

    def names(self) -> dict[str, Any]:
        return {"c": self.connection}

    def subscribe(self, row: Row, on_message: Callable[[Any], object], on_end: Callable[[], object]) -> None:
        more: Any = row.subscribe
        self.connection.subscribe(wire.DESTINATION, on_message, id="1", ack=row.ack, confirm=True, **more)  # type: ignore[arg-type]
        self.connection.subscribe("/end", lambda _message: on_end(), id=wire.END_ID)

    def flood(self, count: int) -> None:
        self.connection.send(f"{wire.FLOOD}{count}")

    def finish(self) -> None:
        self.connection.send(DONE, confirm=True)

    def close(self) -> None:
        self.connection.disconnect()


class _Listener:
    """A listener for stomp.py, which calls a method for every kind of frame."""

    def __init__(self, receipts: queue.SimpleQueue[str]) -> None:
        self.on_end: Callable[[], object] = lambda: None
        self.on_message: Callable[[Any], object] = lambda frame: None
        self._receipts = receipts

    def on_receipt(self, frame: Any) -> None:
        self._receipts.put(frame.headers["receipt-id"])

    def listen(self, on_message: Callable[[Any], object], on_end: Callable[[], object]) -> None:
        end = wire.END_BODY.decode()

        def listener(frame: Any) -> None:
            if frame.body == end:
                on_end()
            else:
                on_message(frame)

        self.on_message = listener


class StompPy:
    """stomp.py, or our package with the same API."""

    package = "stomp"

    def __init__(self, row: Row, address: Address) -> None:
        self._receipts: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._listener = _Listener(self._receipts)
        package: Any = importlib.import_module(self.package)
        target = Target(row.broker or f"tcp://127.0.0.1:{address.port}")
        name = "WSConnection" if row.transport == "ws" else f"Connection{row.version.replace('.', '')}"
        more = {"vhost": "/"} if row.version != "1.0" else {}
        self.connection: Any = getattr(package, name)([target.address], **more)
        if address.ca:
            self.connection.set_ssl([target.address], ca_certs=address.ca)
        self.connection.set_listener("bench", self._listener)
        self.connection.connect(target.login, target.passcode, wait=True)

    def names(self) -> dict[str, Any]:
        return {"c": self.connection, "receipts": self._receipts}

    def subscribe(self, row: Row, on_message: Callable[[Any], object], on_end: Callable[[], object]) -> None:
        self._listener.listen(on_message, on_end)
        self.connection.subscribe(wire.DESTINATION, id="1", ack=row.ack)
        self.connection.subscribe("/end", id=wire.END_ID, ack="auto")
        self.finish()

    def flood(self, count: int) -> None:
        self.connection.send(f"{wire.FLOOD}{count}", "")

    def finish(self) -> None:
        self.connection.send(DONE, "", receipt="done")
        try:
            while self._receipts.get(timeout=clients.LONG) != "done":
                pass
        except queue.Empty:
            raise BenchError(f"the receipt did not come within {clients.LONG} s") from None

    def close(self) -> None:
        self.connection.disconnect(receipt="bye")


class Compat(StompPy):
    """``stomplistener.compat.stomp``."""

    package = "stomplistener.compat.stomp"


class Raw:
    """A plain socket."""

    def __init__(self, row: Row, address: Address) -> None:
        self.connection: socket.socket = clients.raw(address.port)

    def names(self) -> dict[str, Any]:
        return {"c": self.connection, "encode": encode, "commands": commands}

    def subscribe(self, row: Row, on_message: Callable[[Any], object], on_end: Callable[[], object]) -> None:
        raise BenchError("a raw socket has no listeners")

    def flood(self, count: int) -> None:
        raise BenchError("a raw socket has no listeners")

    def finish(self) -> None:
        self.connection.sendall(b"SEND\ndestination:%b\nreceipt:done\n\n\0" % DONE.encode())
        data = b""
        while b"receipt-id:done" not in data:
            received = self.connection.recv(65536)
            if not received:
                raise BenchError("the server closed the connection")
            data = data[-100:] + received

    def close(self) -> None:
        self.connection.close()


CLIENTS: dict[str, Callable[[Row, Address], CostClient]] = {
    "ours": Ours,
    "compat": Compat,
    "stomp.py": StompPy,
    "raw sendall": Raw,
}


class End:
    """Lets the main thread wait for the last message of a flood, round after round."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.set = self._event.set

    def wait(self) -> None:
        if not self._event.wait(clients.LONG):
            raise BenchError(f"the last message did not come within {clients.LONG} s")
        self._event.clear()
