"""Where the receiver lets small pieces gather, and where it never does."""

from __future__ import annotations

from client_support import QUEUE, Collector, eventually
from hypothesis import given
from hypothesis import strategies as st

from stomplistener import Connection
from stomplistener.testing import Broker
from stomplistener.threads.gathering import AT_ONCE, PAUSE, SMALL, STREAM, Gathering

QUICK = (100, 0.0, False)
LATE = (100, AT_ONCE, False)
LARGE = (SMALL, 0.0, False)
ANSWER = (100, 0.0, True)


def after(*reads: tuple[int, float, bool]) -> float:
    gathering = Gathering()
    for size, waited, answers in reads:
        gathering.has_read(size, waited, answers=answers)
    return gathering.pause


def test_a_stream_of_small_reads_is_let_gather() -> None:
    assert after(*[QUICK] * STREAM) == PAUSE
    assert after(*[QUICK] * 1000, LATE, LARGE) == PAUSE


def test_an_answer_never_waits() -> None:
    assert after(*[QUICK] * 1000, ANSWER) == 0


def test_a_stream_ends() -> None:
    assert after(*[QUICK] * 1000, *[LATE] * STREAM) == 0
    assert after(*[QUICK] * 1000, *[LARGE] * STREAM) == 0


@given(st.lists(st.sampled_from([QUICK, LATE, LARGE, ANSWER])))
def test_nothing_waits_without_a_stream_before_it(reads: list[tuple[int, float, bool]]) -> None:
    since = reads[len(reads) - reads[::-1].index(ANSWER) :] if ANSWER in reads else reads
    if since.count(QUICK) < STREAM:
        assert after(*reads) == 0


def test_the_receiver_tells_what_it_read(broker: Broker) -> None:
    class Noted(Gathering):
        def has_read(self, size: int, waited: float, *, answers: bool) -> None:
            reads.append((size, answers))

    reads: list[tuple[int, bool]] = []
    inbox = Collector()
    with Connection(broker.uri, heartbeat=(0, 0)) as connection:
        connection.subscribe(QUEUE, inbox, confirm=True)
        connection._core._gathering = Noted()
        for number in range(2):
            broker.publish(QUEUE, "x" * 100)
            eventually(lambda: len(inbox.texts) == number + 1, "the message")  # noqa: B023
        assert [answers for _, answers in reads[1:2]] == [False]
        # On a machine that stalls an echo may be there before the sender has noted when it wrote.
        for number in range(3, 13):
            connection.send(QUEUE, "y" * 100)
            eventually(lambda: len(inbox.texts) == number, "the echo")  # noqa: B023
    assert all(size > 100 for size, _ in reads[:3])
    assert any(answers for _, answers in reads[2:])


def test_a_pause_loses_nothing(broker: Broker) -> None:
    class Always(Gathering):
        pause = PAUSE

    inbox = Collector()
    with Connection(broker.uri) as connection:
        connection.subscribe(QUEUE, inbox)
        connection._core._gathering = Always()
        for number in range(300):
            broker.publish(QUEUE, str(number))
        eventually(lambda: inbox.texts == [str(number) for number in range(300)], "all, in order")
