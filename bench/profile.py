"""``python -m bench.profile``: where the time of a message goes, stage by stage and function by function.

The stages are run by themselves, one after the other in one thread, on what the stage before gave: what is left between
their sum and a whole run is threads that wait for each other, and the system. pyinstrument then shows the functions of
the same stages.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import clients, wire
from bench.decode import CHUNK
from bench.machine import describe
from bench.process import serving
from bench.send import BODY
from stomplistener import Message
from stomplistener.protocol import Decoder, Frame

_ROUNDS = 50

Stage = tuple[str, float]


def receiving(functions: bool) -> list[Stage]:
    """Decode, session and hand-over, delivery, listener, in µs a message of 100 B with nine headers."""
    with serving("swallow") as server:
        connection = clients.ours(server.port, limits=clients.unlimited())

        def listener(message: Message) -> None:
            if message.body == wire.END_BODY:
                raise AssertionError

        connection.subscribe(wire.DESTINATION, listener, id="1", confirm=True)
        core: Any = connection._core
        data = wire.block(len(BODY))
        chunks = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
        decoder = Decoder("1.2")
        frames: list[list[Frame]] = []
        batches: list[list[Message]] = []
        core.lane.put = lambda batch, *_: batches.append(batch)

        def decode() -> None:
            frames[:] = [decoder.feed(chunk) for chunk in chunks]

        def pass_on() -> None:
            batches.clear()
            for some in frames:
                core._pass_on(some)

        def deliver() -> None:
            for batch in batches:
                core.delivery.run(batch)

        def listen() -> None:
            for batch in batches:
                for message in batch:
                    listener(message)

        count = wire.BLOCK
        decoding, passing, delivering = (_best(work, count) for work in (decode, pass_on, deliver))
        listening = _best(listen, count)
        if functions:
            print(_by_function(decode, pass_on, deliver))
        return [
            ("decode: bytes to frames", decoding),
            ("session and hand-over: whose message is it", passing),
            ("delivery: to the listener", delivering - listening),
            ("the listener of this benchmark", listening),
        ]


def sending(functions: bool) -> list[Stage]:
    """The call, and of it what encodes, in µs a message; writing is the system's."""
    with serving("swallow") as server:
        connection = clients.ours(server.port)
        core: Any = connection._core
        templates = core.shortcut.templates

        def send_all() -> None:
            for _ in range(wire.BLOCK):
                connection.send(wire.DESTINATION, BODY)

        def encode_all() -> None:
            for _ in range(wire.BLOCK):
                templates.send(wire.DESTINATION, BODY)

        encoding = _best(encode_all, wire.BLOCK)
        calling = _best(send_all, wire.BLOCK)
        if functions:
            print(_by_function(send_all))
        return [("send(): encode", encoding), ("send(): lock, line up, wake the writer", calling - encoding)]


def _best(work: Callable[[], object], count: int) -> float:
    """Microseconds a message, of the round that was disturbed least."""
    least = float("inf")
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - began)
    return least / count * 1e6


def _by_function(*stages: Callable[[], object]) -> str:
    pyinstrument: Any = importlib.import_module("pyinstrument")
    profiler = pyinstrument.Profiler(interval=0.0002)
    with profiler:
        for _ in range(5 * _ROUNDS):
            for stage in stages:
                stage()
    return str(profiler.output_text(color=sys.stdout.isatty(), show_all=True))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__.partition("\n")[0])
    parser.add_argument("--stages", action="store_true", help="only the stages, not their functions")
    parser.add_argument("--publish", type=Path, metavar="DIRECTORY", help="write the stages there, for the manual")
    arguments = parser.parse_args()
    functions, machine = not arguments.stages, describe()
    profile = {"receive": receiving(functions), "send": sending(functions)}
    for title, stages in profile.items():
        print(f"{title}, µs a message")
        for name, cost in stages:
            print(f"  {cost:5.2f}  {name}")
        print(f"  {sum(cost for _, cost in stages):5.2f}  together\n")
    if arguments.publish:
        document = json.dumps({"machine": machine, "stages": profile}, indent=1, ensure_ascii=False)
        (arguments.publish / "profile.json").write_text(f"{document}\n")
    sys.stdout.flush()
    clients.leave()


if __name__ == "__main__":
    main()
