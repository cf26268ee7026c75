"""Measure the rate and the cost of a message on real brokers.

A queue is filled first, and then emptied by one subscription with auto ack. If the broker limits the rate, the CPU time
of the client is the better measure.
"""

from __future__ import annotations

import os
import re
import socket
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from bench import clients, wire
from bench.process import ROOT, BenchError, Clock, Figures
from stomplistener import Connection, Message

_COMPOSE = ROOT / "docker-compose.yml"


def answering(uris: Sequence[str]) -> dict[str, str]:
    """Return the URIs of brokers that answer, by name: from ``NAME=URI``, otherwise from docker-compose.yml."""
    wanted = dict(uri.split("=", 1) for uri in uris) or _composed(_COMPOSE)
    found = {}
    for name, uri in wanted.items():
        try:
            Target(uri).raw().close()
        except (OSError, BenchError) as error:
            print(f"{name} is left out, because it does not answer ({error}): start it with `make brokers`.")
        else:
            found[name] = uri
    return found


def amqp(uri: str) -> str | None:
    """Return the AMQP URI of a broker of docker-compose.yml; None if it has no AMQP port or is not in that file."""
    target = Target(uri)
    for service in _services(_COMPOSE):
        port = re.search(r"127\.0\.0\.1:(\d+):5672\b", service)
        if port is not None and f"127.0.0.1:{target.address[1]}:" in service:
            return f"amqp://{target.login}:{target.passcode}@127.0.0.1:{port[1]}//"
    return None


def _services(path: Path) -> list[str]:
    """Return the text block of each service in the compose file, without a YAML library."""
    if not path.exists():
        return []
    text = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda match: os.environ.get(match[1], match[2]), path.read_text())
    return re.split(r"^  (?=[\w-]+:(?: &[\w-]+)?$)", text.partition("\nservices:\n")[2], flags=re.MULTILINE)


def _composed(path: Path) -> dict[str, str]:
    """Return the URIs of the brokers in the compose file."""
    found = {}
    for service in _services(path):
        stomp = re.search(r"x-stomp: \{tcp: (\d+),.*login: ([^,]+), passcode: ([^,]+)", service)
        if stomp is None or "profiles:" in service:
            continue
        port = re.search(rf"127\.0\.0\.1:(\d+):{stomp[1]}\b", service)
        if port is not None:
            found[service.partition(":")[0]] = f"tcp://{stomp[2]}:{stomp[3]}@127.0.0.1:{port[1]}"
    return found


class Target:
    """The address and login of a broker, from a URI."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        parts = urlsplit(uri)
        self.address = (parts.hostname or "localhost", parts.port or 61613)
        self.login = unquote(parts.username or "")
        self.passcode = unquote(parts.password or "")

    def raw(self) -> socket.socket:
        """Return a plain socket that is logged in."""
        sock = socket.create_connection(self.address, timeout=clients.LONG)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        login = f"login:{self.login}\npasscode:{self.passcode}\n" if self.login else ""
        sock.sendall(f"CONNECT\naccept-version:1.2\nhost:/\n{login}\n\0".encode())
        answer = sock.recv(65536)
        if not answer.lstrip().startswith(b"CONNECTED"):
            raise BenchError(f"{self.address} refused the login: {answer[:200]!r}")
        return sock


def fill(
    target: Target, destination: str, count: int, body: bytes = wire.BODY, headers: Mapping[str, str] | None = None
) -> None:
    """Put messages into a queue, in thousands, and one more with a receipt, which confirms all of them.

    Args:
        target: the broker.
        destination: the destination of the messages.
        count: the number of messages, rounded down to thousands; one more is sent.
        body: the body of each message.
        headers: more headers of each message.
    """
    sock = target.raw()
    more = "".join(f"{name}:{value}\n" for name, value in (headers or {}).items())
    head = b"SEND\ndestination:%b\ncontent-length:%d\n%b" % (destination.encode(), len(body), more.encode())
    frame = b"%b\n%b\0" % (head, body)
    for _ in range(count // 1000):
        sock.sendall(frame * 1000)
    sock.sendall(b"%breceipt:all\n\n%b\0" % (head, body))
    data = b""
    while b"receipt-id:all" not in data:
        received = sock.recv(65536)
        if not received:
            raise BenchError(f"{target.address} hung up: {data[-300:]!r}")
        data = data[-300:] + received
    sock.close()


def ours(uri: str, count: int) -> Figures:
    """Measure our client."""
    target, destination = Target(uri), new_queue()
    fill(target, destination, count)
    finish, left = clients.Finish(), count + 1

    def listener(_message: Message) -> None:
        nonlocal left
        left -= 1
        if not left:
            finish.set()

    connection = Connection(uri, host="/", heartbeat=(0.0, 0.0)).connect()
    clock = Clock()
    connection.subscribe(destination, listener)
    finish.wait()
    figures = clock.figures(count)
    connection.disconnect()
    return figures


def stomp_py(uri: str, count: int) -> Figures:
    """Measure stomp.py."""
    target, destination = Target(uri), new_queue()
    fill(target, destination, count)
    finish, left = clients.Finish(), count + 1

    def on_message(_frame: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            finish.set()

    connection = clients.stomp().Connection12([target.address], vhost="/")
    connection.set_listener("bench", clients.StompPyListener(on_message))
    connection.connect(target.login, target.passcode, wait=True)
    clock = Clock()
    connection.subscribe(destination, id="1", ack="auto")
    finish.wait()
    return clock.figures(count)


def raw(uri: str, count: int) -> Figures:
    """Measure a socket that receives the same bytes and counts frames."""
    target, destination = Target(uri), new_queue()
    fill(target, destination, count)
    sock = target.raw()
    buffer = bytearray(65536)
    clock = Clock()
    sock.sendall(b"SUBSCRIBE\ndestination:%b\nid:1\nack:auto\n\n\0" % destination.encode())
    frames = 0
    while frames < count + 1:
        size = sock.recv_into(buffer)
        if not size:
            raise BenchError(f"{target.address} hung up")
        frames += buffer.count(b"\0", 0, size)
    return clock.figures(count)


def new_queue() -> str:
    """Return a queue name that nothing uses yet."""
    return f"/queue/bench-{uuid.uuid4().hex[:8]}"
