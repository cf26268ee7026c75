"""Receiving: measure from the first byte of the backlog to the last message in the listener."""

from __future__ import annotations

from typing import Any

from bench import clients, wire
from bench.process import Clock, Figures, serving
from stomplistener import Message


def ours(count: int, size: int, acks: bool = False, read: bool = False, escapes: bool = False) -> Figures:
    """Measure our client with a callable as listener. With ``read``, it reads the headers of every message."""
    with serving("flood", count=count, size=size, acks=acks, escapes=escapes) as server:
        finish = clients.Finish()

        def plain(message: Message) -> None:
            if message.body == wire.END_BODY:
                finish.set()

        def reading(message: Message) -> None:
            plain(message)
            message.headers.get("message-id")

        def acknowledging(message: Message) -> None:
            if message.body == wire.END_BODY:
                finish.set()
            else:
                message.ack()

        connection = clients.ours(server.port)
        listener = acknowledging if acks else reading if read else plain
        mode = "client-individual" if acks else "auto"
        connection.subscribe(wire.DESTINATION, listener, id="1", ack=mode, confirm=True)  # type: ignore[arg-type]
        clock = Clock()
        connection.send(wire.START)
        finish.wait()
        return clock.figures(count)


def stomp_py(count: int, size: int, acks: bool = False, escapes: bool = False) -> Figures:
    """Measure the same with stomp.py."""
    with serving("flood", count=count, size=size, acks=acks, escapes=escapes) as server:
        finish = clients.Finish()

        def plain(frame: Any) -> None:
            if frame.body == wire.END_BODY.decode():
                finish.set()

        def acknowledging(frame: Any) -> None:
            if frame.body == wire.END_BODY.decode():
                finish.set()
            else:
                connection.ack(frame.headers["ack"])

        connection = clients.stomp_py(server.port, listener=clients.StompPyListener(acknowledging if acks else plain))
        connection.subscribe(wire.DESTINATION, id="1", ack="client-individual" if acks else "auto")
        clock = Clock()
        connection.send(wire.START, "")
        finish.wait()
        return clock.figures(count)


def raw(count: int, size: int) -> Figures:
    """Measure a socket that receives the same bytes and counts frames."""
    with serving("flood", count=count, size=size) as server:
        sock = clients.raw(server.port)
        buffer = bytearray(65536)
        clock = Clock()
        clients.raw_start(sock)
        frames = 0
        while frames <= count:
            frames += buffer.count(b"\0", 0, sock.recv_into(buffer))
        return clock.figures(count)


def many(count: int, size: int, subscriptions: int) -> Figures:
    """Measure our client with many subscriptions; consecutive messages belong to different subscriptions."""
    with serving("flood", count=count, size=size, subscriptions=subscriptions) as server:
        finish = clients.Finish()

        def listener(message: Message) -> None:
            if message.body == wire.END_BODY:
                finish.set()

        connection = clients.ours(server.port)
        for number in range(1, subscriptions + 1):
            subscription = connection.subscribe(wire.DESTINATION, listener, id=str(number))
        subscription.wait_active()
        clock = Clock()
        connection.send(wire.START)
        finish.wait()
        return clock.figures(count)
