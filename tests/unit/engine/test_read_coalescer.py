"""When bytes are let gather before the next read."""

from __future__ import annotations

from stomplistener._engine.read_coalescer import PAUSE_SECONDS, SMALL_BYTES, STREAM_READS, WAIT_FACTOR, ReadCoalescer


class Reader:
    """Reads on a clock of its own: so long to work off, so long to wait."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.coalescer = ReadCoalescer(lambda: self.now, self.slept.append)

    def read(
        self, times: int = 1, *, work: float = 1.0, wait: float = 1.0, size: int = 100, answers: bool = False
    ) -> None:
        for _ in range(times):
            self.now += work
            self.coalescer.before_read()
            self.now += wait
            self.coalescer.after_read(size, answers=answers)


def test_a_stream_of_small_reads_is_paused_in() -> None:
    reader = Reader()
    reader.read(STREAM_READS - 1)
    assert not reader.coalescer.pauses
    reader.read()
    assert reader.coalescer.pauses
    assert reader.slept == []
    reader.read(2)
    assert reader.slept == [PAUSE_SECONDS] * 2


def test_an_answer_ends_it_at_once() -> None:
    reader = Reader()
    reader.read(3 * STREAM_READS)
    reader.read(answers=True)
    assert not reader.coalescer.pauses


def test_large_reads_and_long_waits_are_no_stream() -> None:
    reader = Reader()
    reader.read(3 * STREAM_READS, size=SMALL_BYTES)
    reader.read(3 * STREAM_READS, wait=WAIT_FACTOR + 0.1)
    assert reader.slept == []


def test_a_gap_does_not_end_a_stream() -> None:
    reader = Reader()
    reader.read(2 * STREAM_READS)
    reader.read(wait=100.0)
    assert reader.coalescer.pauses
    reader.read(STREAM_READS, wait=100.0)
    assert not reader.coalescer.pauses
