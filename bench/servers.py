"""Plain servers that write prepared bytes, each in its own process, so that only the client limits the rate.

``python -m bench.servers NAME '{"argument": …}'`` prints its port and serves until its stdin ends. A connection begins
with a setup in which CONNECT and every frame with a receipt are answered. A SEND to ``wire.START`` ends the setup. The
servers count frames by their NULs, in C.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable

from bench import wire
from bench.costs.server import answering

_CONNECT = re.compile(rb"(?:CONNECT|STOMP)\n")
_RECEIPT = re.compile(rb"\nreceipt:([^\n]+)")
_START = f"destination:{wire.START}\n".encode()
_WHOLE = 1 << 20

Server = Callable[..., None]

_open: list[socket.socket] = []
"""Connections that stay open after the work of a server, because their clients may still be reading."""


class Peer:
    """A connection to the client that is set up and ready for a measurement."""

    def __init__(self, connection: socket.socket, heart_beat: str = "0,0") -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        _open.append(connection)
        self._buffer = bytearray(_WHOLE)
        self.rest = self._set_up(heart_beat)

    def _set_up(self, heart_beat: str) -> bytes:
        data = b""
        while True:
            received = self.connection.recv(_WHOLE)
            if not received:
                raise SystemExit(0)
            data += received
            whole, _, data = data.rpartition(b"\0")
            setting_up, started, rest = whole.partition(_START)
            answers = [wire.connected(heart_beat)] if _CONNECT.match(setting_up.lstrip(b"\n")) else []
            answers += [b"RECEIPT\nreceipt-id:%b\n\n\0\n" % id for id in _RECEIPT.findall(setting_up)]
            self.connection.sendall(b"".join(answers))
            if started:
                return (rest + b"\0" + data).partition(b"\0")[2]

    def count(self) -> int:
        """Receive data, and return the number of frames that ended in it; -1 at the end of the connection."""
        if self.rest:
            rest, self.rest = self.rest, b""
            if frames := rest.count(b"\0"):
                return frames
        size = self.connection.recv_into(self._buffer)
        return self._buffer.count(b"\0", 0, size) if size else -1

    def count_to(self, frames: int) -> None:
        while frames > 0:
            new = self.count()
            if new < 0:
                raise SystemExit(0)
            frames -= new

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.connection.sendall(part)


def flood(
    listening: socket.socket, count: int, size: int, subscriptions: int = 1, escapes: bool = False, acks: bool = False
) -> None:
    """Write ``count`` messages as fast as the client reads. With ``acks``, wait until all are acknowledged."""
    names = [str(number) for number in range(1, subscriptions + 1)]
    many = [
        wire.block(size, names[start : start + wire.BLOCK], escapes=escapes)
        for start in range(0, len(names), wire.BLOCK)
    ]
    peer = Peer(listening.accept()[0])

    def write() -> None:
        for number in range(count // wire.BLOCK):
            peer.send(many[number % len(many)])

    if acks:
        writer = threading.Thread(target=write)
        writer.start()
        peer.count_to(count)
        writer.join()
    else:
        write()
    peer.send(wire.end())


def confirm(listening: socket.socket, count: int) -> None:
    """Answer every frame with its receipt. The ids are consecutive numbers that may start at any number."""
    answers, offsets = wire.receipts(count + 1000)
    peer = Peer(listening.accept()[0])
    while (first := _RECEIPT.search(peer.rest)) is None:
        peer.rest += peer.connection.recv(_WHOLE)
    done = int(first[1]) - 1
    last = done + count
    while done < last and (new := peer.count()) >= 0:
        peer.send(answers[offsets[done] : offsets[done + new]])
        done += new
    peer.count()


def echo(listening: socket.socket, size: int) -> None:
    """Answer every frame with the same message."""
    answer = wire.message(1, size)
    peer = Peer(listening.accept()[0])
    while (frames := peer.count()) >= 0:
        peer.send(answer * frames)


def one(listening: socket.socket, size: int) -> None:
    """Write one message with a body of ``size`` bytes."""
    peer = Peer(listening.accept()[0])
    piece = bytes(_WHOLE)
    head = b"MESSAGE\nack:1\nmessage-id:1\ndestination:/end\nsubscription:1\ncontent-length:%d\n\n" % size
    peer.send(head, *[piece] * (size // _WHOLE), b"\0")
    peer.count()


def beats(listening: socket.socket, interval: float) -> None:
    """Serve any number of idle connections, with a heartbeat to each every ``interval`` seconds."""
    milliseconds = round(interval * 1000)
    welcome = wire.connected(f"{milliseconds},{milliseconds}")
    with selectors.DefaultSelector() as selector:
        selector.register(listening, selectors.EVENT_READ)
        clients: dict[socket.socket, bool] = {}
        due = time.monotonic() + interval
        while True:
            for key, _ in selector.select(max(0.0, due - time.monotonic())):
                if key.fileobj is listening:
                    client = listening.accept()[0]
                    clients[client] = False
                    selector.register(client, selectors.EVENT_READ)
                    continue
                client = key.fileobj  # type: ignore[assignment]
                data = client.recv(_WHOLE)
                if not data:
                    selector.unregister(client)
                    del clients[client]
                elif not clients[client] and b"\0" in data:
                    clients[client] = True
                    client.sendall(welcome)
            if time.monotonic() >= due:
                due += interval
                for client, welcomed in clients.items():
                    if welcomed:
                        client.send(b"\n")


def cut(listening: socket.socket, after: float) -> None:
    """Break the connection ``after`` seconds after its setup, and print the time."""
    peer = Peer(listening.accept()[0])
    time.sleep(after)
    now = time.monotonic()
    peer.connection.shutdown(socket.SHUT_RDWR)
    print(now, flush=True)


def welcome(listening: socket.socket, subscriptions: int) -> None:
    """Answer CONNECT and the SUBSCRIBE frames, and write a message after the last receipt."""
    client = listening.accept()[0]
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data, connected, missing = b"", False, subscriptions
    while missing:
        received = client.recv(_WHOLE)
        if not received:
            return
        whole, nul, data = (data + received).rpartition(b"\0")
        if not nul:
            continue
        if not connected:
            connected = True
            client.sendall(wire.connected())
        ids = _RECEIPT.findall(whole)
        missing -= len(ids)
        client.sendall(b"".join(b"RECEIPT\nreceipt-id:%b\n\n\0\n" % id for id in ids))
    client.sendall(wire.end())
    client.recv(_WHOLE)


SERVERS: dict[str, Server] = {
    server.__name__: server for server in (flood, confirm, echo, one, beats, cut, welcome, answering)
}


def main() -> None:
    server = SERVERS[sys.argv[1]]
    arguments = json.loads(sys.argv[2])
    threading.Thread(target=_end_with_input, daemon=True).start()
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        print(listening.getsockname()[1], flush=True)
        try:
            server(listening, **arguments)
        except ConnectionError:
            return
        threading.Event().wait()


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
