"""The engine under both targets: atheris, and where that cannot be installed hypothesis, which knows of no coverage."""

from __future__ import annotations

import importlib
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Target = Callable[[bytes], None]

MEMORY_LIMIT = 512
"""MiB that the whole process may hold: the interpreter, the engine's corpus, and what an input makes us hold."""

LONGEST = 256
"""Bytes of one input. The targets' limits on frames are smaller still: inputs of this size reach all of them."""


def _atheris() -> Any:
    try:
        return importlib.import_module("atheris")
    except ImportError:
        return None


@contextmanager
def instrumented(*modules: str) -> Iterator[None]:
    """Those of our modules that are imported inside report their coverage to the engine; it costs most of the time."""
    atheris = _atheris()
    if atheris is None:
        yield
    else:
        with atheris.instrument_imports(include=[f"stomplistener.{module}" for module in modules]):
            yield


def fuzz(target: Target) -> None:
    """Feed inputs to the target as the command line says; never returns normally.

    The command line is libFuzzer's: ``-runs=N``, ``-max_total_time=S``, folders of inputs. Of these the fallback
    understands the first two.
    """
    atheris = _atheris()
    if atheris is None:
        print("NO ATHERIS: inputs come from hypothesis, blindly, without looking at coverage", flush=True)
        sys.exit(_blindly(target))
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


def _blindly(target: Target) -> int:
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    runs, seconds = _option("runs"), _option("max_total_time")
    # Pieces of frames beside bytes of any kind: bytes alone hardly ever make a frame.
    pieces = st.sampled_from([word.encode() for word in WORDS])
    streams = st.lists(st.one_of(pieces, st.binary(max_size=20)), max_size=30).map(b"".join)
    done, began = 0, time.monotonic()
    while (not runs or done < runs) and (not seconds or time.monotonic() - began < seconds):

        @settings(
            max_examples=min(1000, runs - done) if runs else 1000,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.binary(min_size=3, max_size=3), streams)
        def batch(control: bytes, stream: bytes) -> None:
            nonlocal done
            done += 1
            target((control + stream)[:LONGEST])

        batch()
    # As libFuzzer prints it, for one reader of both.
    print(f"stat::number_of_executed_units: {done}")
    print(f"stat::peak_rss_mb: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}")
    return 0


def _option(name: str) -> int:
    found = re.search(rf"(?:^| )-{name}=(\d+)", " ".join(sys.argv[1:]))
    return int(found[1]) if found else 0


WORDS = (
    "CONNECTED\n", "MESSAGE\n", "RECEIPT\n", "ERROR\n", "CONNECT\n", "SEND\n", "\n", "\r\n", "\n\n", "\n\r\n", "\0",
    "\\n", "\\c", "\\\\", "\\r", "\\t", ":", "version:1.0\n", "version:1.1\n", "version:1.2\n", "version:2.0\n",
    "heart-beat:0,0\n", "heart-beat:10,10\n", "heart-beat:-1,1\n", "heart-beat:99999999999999999999,9\n",
    "content-length:0\n", "content-length:5\n", "content-length:-1\n", "content-length:99999999999999999\n",
    "subscription:auto\n", "subscription:one\n", "subscription:many\n", "subscription:?\n", "destination:/queue/a\n",
    "message-id:1\n", "ack:1\n", "receipt-id:1\n", "receipt-id:2\n", "receipt-id:3\n", "receipt-id:4\n", "session:s\n",
    "server:ActiveMQ/5\n", "redelivered:true\n", "content-type:text/plain;charset=x\n", "message:no\n", "\xff", "é",
)  # fmt: skip
"""What the grammar gives a meaning, for the fallback and, through ``run.py``, for libFuzzer's dictionary."""
