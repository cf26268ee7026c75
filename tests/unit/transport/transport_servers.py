"""Small servers on the loopback, and waits with a deadline."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

SOON = 5.0  # no test waits longer for something that must happen


@dataclass
class Options:
    tcp_no_delay: bool = True
    keep_alive: bool = True
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    key_password: str | None = None
    verify_hostname: bool = True
    proxy: str | None = None


@dataclass
class Place:
    """An endpoint by hand, the more strictly typed one being tested with failover."""

    scheme: str = "tcp"
    host: str = "127.0.0.1"
    port: int = 0
    path: str = ""
    options: Options = field(default_factory=Options)


def soon() -> float:
    return time.monotonic() + SOON


def eventually(condition: Callable[[], object]) -> None:
    """Wait until the condition holds, and fail if it does not soon."""
    deadline = soon()
    while not condition():
        assert time.monotonic() < deadline, "this never became true"
        time.sleep(0.005)


class Background:
    """A call in a thread of its own: what it returned or raised, and how long it took after ``mark``."""

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(function, args, kwargs), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            self.value = function(*args, **kwargs)
        except BaseException as error:
            self.error = error

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def result(self) -> Any:
        self._thread.join(SOON)
        assert not self._thread.is_alive(), "still blocked"
        if self.error is not None:
            raise self.error
        return self.value


@contextmanager
def listening(family: int = socket.AF_INET, backlog: int = 5) -> Iterator[socket.socket]:
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        server.listen(backlog)
        server.settimeout(SOON)
        yield server


@contextmanager
def deaf() -> Iterator[int]:
    """A port on which every connection attempt hangs: its backlog is full, so the kernel drops each SYN."""
    with listening(backlog=0) as server:
        fillers = []
        try:
            for _ in range(4):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(server.getsockname())
                fillers.append(filler)
            yield server.getsockname()[1]
        finally:
            for filler in fillers:
                filler.close()


def refused() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
