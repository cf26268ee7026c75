"""``python -m bench.profile``: show the time of a message by stage and by function.

The stages are public parts of the library: decoder, headers, command, encoder. The stages run one after the other in
one thread. A whole call is measured on a connection, in CPU time of the process, so that all threads count. The rest of
a whole call is the cost of the session, the threads and the system. pyinstrument then shows the functions of whole
calls, in the thread that sends and in the thread that runs listeners.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import clients, wire
from bench.costs.clients import Address, End, Ours
from bench.costs.names import NAMES
from bench.costs.rows import rows
from bench.decode import CHUNK
from bench.machine import describe
from bench.process import serving
from stomplistener import Message
from stomplistener.protocol import Decoder, Frame, commands, encode

Stage = tuple[str, float]
Sampler = AbstractContextManager[object]


@dataclass(frozen=True)
class Meter:
    """Measures the costs of a message in µs.

    Attributes:
        rounds: the number of rounds of a stage.
        messages: the number of messages for a whole call, whose threads need time to reach a steady state.
    """

    rounds: int
    messages: int

    def stage(self, work: Callable[[], object]) -> float:
        """Return the cost of work on a block of messages, in CPU time of the fastest round."""
        least = float("inf")
        for _ in range(self.rounds):
            began = time.process_time()
            work()
            least = min(least, time.process_time() - began)
        return least / wire.BLOCK * 1e6

    def whole(self, play: Callable[[], object]) -> float:
        """Return the cost of whole calls, in CPU time of all threads. The first round is not measured."""
        play()
        began = time.process_time()
        play()
        return (time.process_time() - began) / self.messages * 1e6


_THOROUGH, _QUICK = Meter(rounds=20, messages=20 * wire.BLOCK), Meter(rounds=2, messages=wire.BLOCK)


def receiving(meter: Meter, sampler: Sampler) -> list[Stage]:
    """Return the costs, in µs, of a 100-byte message with nine headers: decode, read headers, whole receive."""
    data = wire.block(len(wire.BODY))
    chunks = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    decoder = Decoder("1.2")
    frames: list[Frame] = []

    def decode() -> None:
        frames[:] = [frame for chunk in chunks for frame in decoder.feed(chunk)]

    def read() -> None:
        # A frame splits its headers only once, so use new frames.
        decode()
        for frame in frames:
            dict(frame.headers)

    decoding, decoding_and_reading = meter.stage(decode), meter.stage(read)
    return [
        ("decode: bytes to frames", decoding),
        ("headers: all of them read", decoding_and_reading - decoding),
        ("a whole receive to a listener that reads them", _receive_whole(meter, sampler)),
    ]


def _receive_whole(meter: Meter, sampler: Sampler) -> float:
    """Return the CPU time of the process from the socket to a listener that reads all headers."""
    row = next(row for row in rows() if row.key == "receive-9-all")
    with serving("answering") as server:
        client, end = Ours(row, Address(server.port)), End()
        left = 0

        def listener(message: Message) -> None:
            nonlocal left
            if left == meter.messages:
                sampler.__enter__()
            left -= 1
            dict(message.headers)
            if not left:
                sampler.__exit__(None, None, None)

        client.subscribe(row, listener, end.set)

        def play() -> None:
            nonlocal left
            left = meter.messages
            client.flood(meter.messages)
            end.wait()

        cost = meter.whole(play)
        client.close()
        return cost


def sending(meter: Meter, sampler: Sampler) -> list[Stage]:
    """Return the costs, in µs, of a 100-byte message with five headers: make the command, encode, whole send."""
    headers = NAMES["FIVE"]
    frame = commands.send(wire.DESTINATION, wire.BODY, headers)

    def command() -> None:
        for _ in range(wire.BLOCK):
            commands.send(wire.DESTINATION, wire.BODY, headers)

    def encode_all() -> None:
        for _ in range(wire.BLOCK):
            encode(frame, "1.2")

    making, encoding = meter.stage(command), meter.stage(encode_all)
    row = next(row for row in rows() if row.key == "send-5-same")
    with serving("answering") as server:
        client = Ours(row, Address(server.port))

        def play() -> None:
            with sampler:
                for _ in range(meter.messages):
                    client.connection.send(wire.DESTINATION, wire.BODY, headers)
            client.finish()

        whole = meter.whole(play)
        client.close()
    return [
        ("commands.send: check and make the frame", making),
        ("encode: the frame to bytes", encoding),
        ("a whole send", whole),
    ]


class _Functions:
    """Samples the functions of the thread that enters it, once or several times."""

    def __init__(self) -> None:
        pyinstrument: Any = importlib.import_module("pyinstrument")
        self._profiler = pyinstrument.Profiler(interval=0.0002)

    def __enter__(self) -> None:
        self._profiler.start()

    def __exit__(self, *_: object) -> None:
        self._profiler.stop()

    def __str__(self) -> str:
        return str(self._profiler.output_text(color=sys.stdout.isatty(), show_all=True))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__.partition("\n")[0])
    parser.add_argument("--stages", action="store_true", help="only the stages, not their functions")
    parser.add_argument("--quick", action="store_true", help="few messages, only for a test run")
    parser.add_argument(
        "--publish", type=Path, metavar="DIRECTORY", help="write the stages to this file, for the manual"
    )
    arguments = parser.parse_args()
    machine, meter = describe(), _QUICK if arguments.quick else _THOROUGH
    # Measure the figures first, because sampling costs time.
    profile = {"receive": receiving(meter, nullcontext()), "send": sending(meter, nullcontext())}
    if not arguments.stages:
        for measure in (receiving, sending):
            functions = _Functions()
            measure(meter, functions)
            print(functions)
    for title, stages in profile.items():
        print(f"{title}, µs a message")
        for name, cost in stages:
            print(f"  {cost:6.2f}  {name}")
    if arguments.publish:
        document = json.dumps({"machine": machine, "stages": profile}, indent=1, ensure_ascii=False)
        (arguments.publish / "profile.json").write_text(f"{document}\n")
    sys.stdout.flush()
    clients.leave()


if __name__ == "__main__":
    main()
