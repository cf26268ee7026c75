"""``python -m bench.calls``: count the Python calls for one frame, and the files of the package with these calls.

The module counts all calls of functions of ``stomplistener``, in all threads, until no thread calls any function. Only
one frame is sent at a time. The calls for a burst are divided by the number of its frames. Heartbeats are off.
"""

from __future__ import annotations

import argparse
import math
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import stomplistener
from bench import wire
from bench.costs.names import NAMES
from bench.costs.server import Conversation
from bench.process import BenchError
from stomplistener import Connection
from stomplistener._util.locks import ReentrantLock

_PACKAGE = Path(stomplistener.__file__).parent
_PREFIX = f"{_PACKAGE}/"

# On some platforms, taking a lock is a Python function (see _util.locks). This function is not counted, so that all
# platforms give the same number.
_NO_STEP = getattr(ReentrantLock.__enter__, "__code__", None)

_WARM_UP = 8
_SAMPLES = 5
_QUIET_SECONDS = 0.02
_DEADLINE_SECONDS = 10.0
BURST = 100
"""The number of frames in a burst."""


@dataclass(frozen=True, kw_only=True)
class Called:
    """A function call, and the thread that made it."""

    thread: str
    code: CodeType

    @property
    def file(self) -> str:
        return self.code.co_filename.removeprefix(_PREFIX)

    def __str__(self) -> str:
        return f"{self.thread:28} {self.file}:{self.code.co_firstlineno} {self.code.co_qualname}"


class _Recorder:
    """A profile function for the current thread and for all threads that start inside the block ``installed``."""

    def __init__(self) -> None:
        self.calls: list[Called] = []

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_PREFIX) and frame.f_code is not _NO_STEP:
            # No lock: appending to a list is atomic.
            self.calls.append(Called(thread=threading.current_thread().name, code=frame.f_code))

    @contextmanager
    def installed(self) -> Iterator[None]:
        former = sys.getprofile()
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(former)
            threading.setprofile(None)

    def wait_until_quiet(self) -> None:
        """Wait until no thread has called a function for a while."""
        deadline = time.monotonic() + _DEADLINE_SECONDS
        before = -1
        while before != len(self.calls):
            if time.monotonic() > deadline:
                raise BenchError(f"after {_DEADLINE_SECONDS} s functions of the package are still called")
            before = len(self.calls)
            time.sleep(_QUIET_SECONDS)


class _Stage:
    """A connection to a server in a thread of this process, for one frame at a time."""

    def __init__(self, connection: Connection, conversation: Conversation) -> None:
        self.connection = connection
        self.conversation = conversation
        self.headers: dict[str, str] = NAMES["FIVE"]
        self._heard: list[object] = []

    @property
    def arrived(self) -> int:
        """The number of frames that arrived at the server plus messages that arrived at the listener."""
        return self.conversation.frames + len(self._heard)

    def subscribe(self, **arguments: Any) -> None:
        self.connection.subscribe(wire.DESTINATION, self._heard.append, id="1", confirm=True, **arguments)


def _nothing(_stage: _Stage) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Way:
    """The way of a frame.

    Attributes:
        name: a description of the frame.
        act: sends the frame, or lets the server send one.
        prepare: called once before the measurement.
        arrivals: the number of frames at the server plus messages at the listener at its end.
        frames: the number of frames by which the calls are divided.
        pause: seconds before each try.
        most_calls: the largest allowed number of Python calls.
        most_files: the largest allowed number of files.
    """

    name: str
    act: Callable[[_Stage], object]
    prepare: Callable[[_Stage], object] = _nothing
    arrivals: int = 1
    frames: int = 1
    pause: float = 0.0
    most_calls: int = 20
    most_files: int = 6


def _burst(stage: _Stage) -> None:
    for _ in range(BURST):
        stage.connection.send(wire.DESTINATION, wire.BODY)


def _transaction(stage: _Stage) -> None:
    with stage.connection.transaction() as transaction:
        for _ in range(BURST):
            transaction.send(wire.DESTINATION, wire.BODY)


WAYS: dict[str, Way] = {
    "send": Way(
        name="a SEND",
        act=lambda stage: stage.connection.send(wire.DESTINATION, wire.BODY),
    ),
    "send-headers": Way(
        name="a SEND with five headers",
        act=lambda stage: stage.connection.send(wire.DESTINATION, wire.BODY, stage.headers),
    ),
    "send-transaction": Way(
        name=f"a SEND in a transaction of {BURST}, with its share of BEGIN and COMMIT",
        act=_transaction,
        arrivals=BURST + 2,
        frames=BURST,
    ),
    "send-burst": Way(name="a SEND of a burst", act=_burst, arrivals=BURST, frames=BURST),
    "send-pause": Way(
        name="a SEND after a pause of 0.1 s",
        act=lambda stage: stage.connection.send(wire.DESTINATION, wire.BODY),
        pause=0.1,
    ),
    "confirmed": Way(
        name="a confirmed SEND and its RECEIPT",
        act=lambda stage: stage.connection.send(wire.DESTINATION, wire.BODY, confirm=True),
        most_calls=45,
        most_files=10,
    ),
    "message": Way(
        name="a MESSAGE to a listener",
        prepare=lambda stage: stage.subscribe(),
        act=lambda stage: stage.conversation.deliver(1),
        most_files=8,
    ),
    "settle": Way(
        name="a MESSAGE with settle=True and its ACK",
        prepare=lambda stage: stage.subscribe(ack="client-individual", settle=True),
        act=lambda stage: stage.conversation.deliver(1),
        arrivals=2,
        most_calls=40,
        most_files=10,
    ),
}


def count(what: str) -> tuple[int, int]:
    """Count the calls and files on the way of a frame.

    Args:
        what: a key of ``WAYS``.

    Returns:
        the number of Python calls for each frame, rounded up, and the number of files; the median of several tries.

    Raises:
        BenchError: the frame did not arrive.
    """
    calls = trace(what)
    return math.ceil(len(calls) / WAYS[what].frames), len({call.file for call in calls})


def trace(what: str) -> list[Called]:
    """Return the calls themselves in their order. Arguments and errors are the same as in :func:`count`."""
    way, recorder = WAYS[what], _Recorder()
    with recorder.installed(), _connected() as stage:
        way.prepare(stage)
        for _ in range(_WARM_UP):
            _once(way, stage, recorder)
        samples = [_once(way, stage, recorder) for _ in range(_SAMPLES)]
    return sorted(samples, key=len)[_SAMPLES // 2]


def _once(way: Way, stage: _Stage, recorder: _Recorder) -> list[Called]:
    recorder.wait_until_quiet()
    time.sleep(way.pause)
    expected = stage.arrived + way.arrivals
    recorder.calls.clear()
    way.act(stage)
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while stage.arrived < expected:
        if time.monotonic() > deadline:
            raise BenchError(f"{way.name} did not arrive within {_DEADLINE_SECONDS} s")
        time.sleep(0.001)
    recorder.wait_until_quiet()
    return list(recorder.calls)


@contextmanager
def _connected() -> Iterator[_Stage]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        conversations: list[Conversation] = []

        def serve() -> None:
            with listening.accept()[0] as channel:
                channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                conversations.append(Conversation(channel, server="bench/1.0", size=len(wire.BODY), headers=9, back=0))
                conversations[0].run()

        server = threading.Thread(target=serve)
        server.start()
        port = listening.getsockname()[1]
        with Connection(f"tcp://127.0.0.1:{port}", heartbeat=(0.0, 0.0)) as connection:
            yield _Stage(connection, conversations[0])
        server.join()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.calls", description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="*", help=f"one of {', '.join(WAYS)}; the default: all")
    parser.add_argument("--show", action="store_true", help="print each call")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a limit is exceeded")
    arguments = parser.parse_args()
    over = False
    for what in arguments.what or WAYS:
        way, calls = WAYS[what], trace(what)
        number, files = math.ceil(len(calls) / way.frames), len({call.file for call in calls})
        is_over = number > way.most_calls or files > way.most_files
        over |= is_over
        verdict = "OVER" if is_over else "ok"
        print(f"{number:4} / {files:2}   at most {way.most_calls} / {way.most_files:2}   {verdict:4}   {way.name}")
        if arguments.show:
            print("\n".join(f"    {call}" for call in calls))
    return bool(arguments.strict and over)


if __name__ == "__main__":
    sys.exit(main())
