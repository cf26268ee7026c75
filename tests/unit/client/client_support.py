"""What the tests of the running client share: waiting, recording, and brokers that are worse than the embedded one."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

from stomplistener import Connection, Frame, Listener, Message
from stomplistener.protocol import Decoder, encode
from stomplistener.transport import connect as connect_transport

QUEUE = "/queue/test"
QUICK = "initialReconnectDelay=1&maxReconnectDelay=20"


def eventually(condition: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
    """Wait for a condition that no event announces."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        time.sleep(0.005)


def failover(*uris: str, options: str = QUICK) -> str:
    """A failover URI over brokers in this order, that tries again quickly."""
    return f"failover:({','.join(uris)})?randomize=false&{options}"


def reconnected(connection: Connection, times: int = 1) -> None:
    """Wait until the connection was restored so many times in all."""
    eventually(lambda: connection.statistics().reconnects >= times and connection.is_connected, f"{times} reconnects")


@contextmanager
def nothing_left_behind(seconds: float = 5.0) -> Iterator[None]:
    """Fail if a thread of the library outlives the block by more than this."""
    before = set(threading.enumerate())
    yield
    end = time.monotonic() + seconds
    while left := [
        thread.name
        for thread in threading.enumerate()
        if thread not in before and thread.name.startswith(("stomp-", "stomplistener-"))
    ]:
        assert time.monotonic() < end, f"left behind: {left}"
        time.sleep(0.005)


def sockets() -> int:
    """How many sockets this process has open."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count


def own_threads(name: str) -> list[str]:
    """The threads of the connection of this name."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(name)]


class Recorder(Listener):
    """Notes every hook but heartbeats, sends and receipts, with when it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.times: list[float] = []

    def _note(self, *call: object) -> None:
        self.times.append(time.monotonic())
        self.calls.append(call)

    @property
    def names(self) -> list[str]:
        return [call[0] for call in self.calls]

    def count(self, name: str) -> int:
        return self.names.count(name)

    def args(self, name: str) -> list[Any]:
        """The arguments of each call of that name."""
        return [call[1:] for call in list(self.calls) if call[0] == name]

    def on_connecting(self, host_and_port: tuple[str, int]) -> None:
        self._note("connecting", host_and_port)

    def on_connected(self, frame: Frame) -> None:
        self._note("connected", frame)

    def on_disconnecting(self) -> None:
        self._note("disconnecting")

    def on_disconnected(self) -> None:
        self._note("disconnected")

    def on_reconnecting(self, attempt: int, delay: float) -> None:
        self._note("reconnecting", attempt, delay)

    def on_heartbeat_timeout(self) -> None:
        self._note("heartbeat_timeout")

    def on_error(self, frame: Frame) -> None:
        self._note("error", frame)

    def on_listener_error(self, message: Message, exception: Exception) -> None:
        self._note("listener_error", message.text, exception)


class Collector:
    """A listener that keeps the texts of what it gets, and may block until it is released; then it calls ``then``."""

    def __init__(self, *, ack: bool = False, block: bool = False, then: Callable[[], object] = lambda: None) -> None:
        self.messages: list[Message] = []
        self.settled: list[tuple[str, bool]] = []
        self.begun = threading.Event()
        self.release = threading.Event()
        self._ack = ack
        self._then = then
        if not block:
            self.release.set()

    def __call__(self, message: Message) -> None:
        self.begun.set()
        assert self.release.wait(30), "the test did not release its listener"
        self.messages.append(message)
        if self._ack:
            self.settled.append((message.text, message.ack()))
        self._then()

    @property
    def answers(self) -> list[bool]:
        """What each acknowledgement returned."""
        return [answer for _text, answer in list(self.settled)]

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.messages]


class Thread(threading.Thread):
    """A thread that keeps what its function returned or raised."""

    def __init__(self, function: Callable[[], object]) -> None:
        super().__init__(daemon=True, name=f"test-{next(_numbers)}")
        self._function = function
        self.result: object = None
        self.error: BaseException | None = None
        self.seconds = 0.0
        self.start()

    def run(self) -> None:
        begin = time.monotonic()
        try:
            self.result = self._function()
        except BaseException as error:
            self.error = error
        self.seconds = time.monotonic() - begin

    def done(self, timeout: float = 10.0) -> Thread:
        """Wait for its end."""
        self.join(timeout)
        assert not self.is_alive(), f"a call still blocks after {timeout} s"
        return self

    def value(self, timeout: float = 10.0) -> object:
        """What the function returned; raises what it raised."""
        self.done(timeout)
        if self.error is not None:
            raise self.error
        return self.result


_numbers = itertools.count(1)


def in_thread(function: Callable[[], object]) -> Thread:
    return Thread(function)


class Dialer:
    """Stands for the network: refuses whom it is told to refuse, and notes every attempt.

    Give it to ``Connection(transport=…)``.
    """

    def __init__(self, refuse: Callable[[str], bool] = lambda _broker: False) -> None:
        self.refuse = refuse
        self.tried: list[str] = []
        self.times: list[float] = []

    def __call__(self, broker: Any, **arguments: Any) -> Any:
        self.tried.append(f"{broker.host}:{broker.port}")
        self.times.append(time.monotonic())
        if self.refuse(f"{broker.host}:{broker.port}"):
            raise ConnectionRefusedError(f"no entrance to {broker.host}:{broker.port}")
        return connect_transport(broker, **arguments)

    @property
    def ports(self) -> list[int]:
        return [int(name.rpartition(":")[2]) for name in self.tried]


class ScriptedServer:
    """Gives each connection, numbered from 1, to a function in a thread of its own; for what no broker would do."""

    def __init__(self, script: Callable[[socket.socket, int], object]) -> None:
        self._script = script
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.connections = 0
        self._lock = threading.Lock()

    @property
    def uri(self) -> str:
        return f"tcp://127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def open(self) -> int:
        with self._lock:
            return len(self._open)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_error: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._lock:
            for connected in self._open:
                with suppress(OSError):
                    connected.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _start(self, function: Callable[..., object], *args: object) -> None:
        thread = threading.Thread(target=function, args=args, daemon=True, name="scripted")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connected, _ = self._socket.accept()
                with self._lock:
                    self._open.add(connected)
                    self.connections += 1
                    number = self.connections
                self._start(self._serve, connected, number)

    def _serve(self, connected: socket.socket, number: int) -> None:
        with suppress(OSError), connected:
            self._script(connected, number)
        with self._lock:
            self._open.discard(connected)


class Refuser(ScriptedServer):
    """A broker that confirms everything, and refuses some frames by an ERROR that does not say which, or by none."""

    def __init__(self, refuses: Callable[[Frame], bool], *, silently: bool = False) -> None:
        super().__init__(self._answer)
        self._refuses = refuses
        self._silently = silently
        self.received: dict[int, list[Frame]] = {}

    def _answer(self, connected: socket.socket, number: int) -> None:
        decoder, frames = Decoder(), self.received.setdefault(number, [])
        while data := connected.recv(65536):
            for frame in decoder.feed(data):
                frames.append(frame)
                if frame.command == "CONNECT":
                    connected.sendall(encode(Frame("CONNECTED", {"version": "1.2"})))
                elif self._refuses(frame):
                    if not self._silently:
                        connected.sendall(encode(Frame("ERROR", {"message": "not for you"}), "1.2"))
                    return
                elif "receipt" in frame.headers:
                    connected.sendall(encode(Frame("RECEIPT", {"receipt-id": frame.headers["receipt"]}), "1.2"))


class Relay(ScriptedServer):
    """Passes bytes on to a broker; ``hang_up`` ends the client's side only, so the broker believes it still there."""

    def __init__(self, port: int) -> None:
        super().__init__(self._relay)
        self._port = port
        self._clients: list[socket.socket] = []
        self._behind: list[socket.socket] = []

    def __exit__(self, *error: object) -> None:
        self.let_go()
        super().__exit__(*error)

    def hang_up(self) -> None:
        """End the clients' connections; those to the broker stay open and silent."""
        clients, self._clients = self._clients, []
        for client in clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def let_go(self) -> None:
        """End the connections to the broker whose client is gone."""
        behind, self._behind = self._behind, []
        for each in behind:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _relay(self, client: socket.socket, _number: int) -> None:
        broker = socket.create_connection(("127.0.0.1", self._port))
        self._behind.append(broker)
        self._clients.append(client)
        self._start(self._pump, broker, client)
        with suppress(OSError):
            while data := client.recv(65536):
                broker.sendall(data)

    def _pump(self, broker: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := broker.recv(65536):
                with suppress(OSError):
                    client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)


@contextmanager
def refusing_port() -> Iterator[str]:
    """The URI of a port that is taken and refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"tcp://127.0.0.1:{bound.getsockname()[1]}"


def commands(frames: Sequence[Frame]) -> list[str]:
    return [frame.command for frame in frames]
