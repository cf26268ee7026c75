"""Every wait of a connect ends by its deadline and by its interrupt, and whatever is refused is a failed attempt."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import pytest
from transport_servers import SOON, Background, Options, Place, deaf, eventually, listening, soon

from stomplistener.errors import ConnectFailed, StompError, TimedOut
from stomplistener.transport import ConnectInterrupted, Interrupt, connect, socket_errors, stream

pytest.importorskip("websockets")
pytest.importorskip("python_socks")

AT_ONCE = 3.0  # generous for a loaded machine, and far less than SOON


class Wait(NamedTuple):
    """A connect that waits for something, and how it calls that."""

    place: Place
    step: str


@contextmanager
def _name(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wait]:
    release = threading.Event()

    def hang(*args: Any, **kwargs: Any) -> None:
        release.wait(SOON)
        raise socket.gaierror(socket.EAI_AGAIN, "too late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield Wait(Place(host="mq.test", port=1), "the look-up of the name mq.test")
    release.set()
    eventually(lambda: not [each for each in threading.enumerate() if "look-up" in each.name])


@contextmanager
def _tcp(_: pytest.MonkeyPatch) -> Iterator[Wait]:
    with deaf() as port:
        yield Wait(Place(port=port), f"a TCP connection to 127.0.0.1:{port}")


@contextmanager
def _silent(scheme: str, step: str, proxy: str | None = None) -> Iterator[Wait]:
    with listening() as server:
        port = server.getsockname()[1]
        options = Options(proxy=proxy and f"{proxy}://127.0.0.1:{port}")
        place = Place(scheme, host="mq.test" if proxy else "127.0.0.1", port=port, options=options)
        yield Wait(place, step.format(port=port))


WAITS: dict[str, Callable[[pytest.MonkeyPatch], AbstractContextManager[Wait]]] = {
    "name": _name,
    "tcp": _tcp,
    "tls": lambda _: _silent("ssl", "the TLS handshake with ssl://127.0.0.1:{port}"),
    "websocket": lambda _: _silent("ws", "the WebSocket handshake with ws://127.0.0.1:{port}"),
    "http proxy": lambda _: _silent("tcp", "the answer of the proxy http://127.0.0.1:{port}", "http"),
    "socks proxy": lambda _: _silent("tcp", "the answer of the proxy socks5://127.0.0.1:{port}", "socks5"),
}


@pytest.fixture(params=WAITS)
def wait(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wait]:
    with WAITS[request.param](monkeypatch) as wait:
        yield wait


@pytest.fixture(params=[False, True], ids=["", "shutdown ends no wait"])
def _platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        monkeypatch.setattr(stream, "WAIT_PIECE_SECONDS", 0.05)
        monkeypatch.setattr(socket.socket, "shutdown", lambda *_: None)


@pytest.mark.usefixtures("_platform")
def test_the_deadline(wait: Wait) -> None:
    start = time.monotonic()
    with pytest.raises(TimedOut, match="in time"):
        connect(wait.place, deadline=start + 0.1)
    assert time.monotonic() - start < AT_ONCE


@pytest.mark.usefixtures("_platform")
def test_an_interrupt(wait: Wait) -> None:
    interrupt = Interrupt()
    attempt = Background(connect, wait.place, deadline=soon(), interrupt=interrupt)
    eventually(lambda: interrupt.step.startswith(wait.step))
    eventually(lambda: interrupt._actions)
    start = time.monotonic()
    interrupt.set()
    with pytest.raises(ConnectInterrupted):
        attempt.result()
    assert time.monotonic() - start < AT_ONCE
    assert not interrupt._actions


def test_what_is_waited_for_is_known_from_the_beginning() -> None:
    assert Interrupt().step == ""


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
def test_a_thread_that_is_refused_is_a_failed_attempt(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(ConnectFailed, match=r"mq\.test cannot be looked up: no thread could be started"):
        connect(Place(host="mq.test", port=1), deadline=soon())


@pytest.mark.parametrize("where", ["create_default_context", "SSLContext", "MemoryBIO"])
def test_memory_that_is_refused_is_a_failed_attempt(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(ssl, where, refuse)
    with listening() as server:
        with pytest.raises(ConnectFailed, match=r"cannot connect to ssl://.*: out of memory"):
            connect(Place("ssl", port=server.getsockname()[1]), deadline=soon())


def test_memory_that_is_refused_to_the_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(ConnectFailed, match="out of memory"):
        connect(Place(host="mq.test", port=1), deadline=soon())


def test_descriptors_that_are_refused_are_a_failed_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    for name in "socketpair", "socket":
        with monkeypatch.context() as patch:
            patch.setattr(socket, name, refuse)
            with pytest.raises(ConnectFailed, match=r"Too many open files \(this process .*ulimit -n\)"):
                connect(Place(port=1), deadline=soon())


class TestTexts:
    def test_advice_is_given_once_for_all_addresses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda _, *args, **kwargs: [real(host, *args, **kwargs)[0] for host in ("127.0.0.1", "127.0.0.2")],
        )
        with pytest.raises(ConnectFailed) as failure:
            connect(Place(host="mq.test", port=1), deadline=soon())
        assert str(failure.value).count("Connection refused") == 2
        assert str(failure.value).count("does the broker run") == 1

    @pytest.mark.parametrize(
        ("error", "told"),
        [
            (
                ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
                "Connection refused (no program listens there: ",
            ),
            (socket.gaierror(socket.EAI_NONAME, "Name unknown"), "Name unknown (is the name spelled correctly"),
            (socket.gaierror(socket.EAI_FAIL, "Failed"), "Failed"),
            (OSError(errno.EBADF, "Bad file descriptor"), "Bad file descriptor"),
            (OSError("just words"), "just words"),
            (OSError(), "OSError"),
            (StompError("ours"), "ours"),
            (MemoryError(), "out of memory"),
        ],
    )
    def test_told(self, error: Exception, told: str) -> None:
        text = socket_errors.told(error)
        assert text.startswith(told)
        assert text == told or "(" in told
