"""Reading that is lent to the dispatcher: when it is, when it ends, and that nobody notices."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
from client_support import (
    QUEUE,
    Collector,
    ScriptedServer,
    eventually,
    failover,
    in_thread,
    nothing_left_behind,
    own_threads,
    reconnected,
)

from stomplistener import Connection, Limits, Message
from stomplistener.testing import Broker
from stomplistener.threads import lending
from stomplistener.threads.dispatcher import Bound
from stomplistener.threads.lending import PATIENCE, TRUST, LendingLane

pytestmark = pytest.mark.usefixtures("_leave_nothing_behind")


@pytest.fixture
def _leave_nothing_behind() -> Iterator[None]:
    with nothing_left_behind():
        yield


class Lane(LendingLane[str]):
    """A lane of words whose listener can be held."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.told: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.limits = Bound(10, 10)
        super().__init__(self.listen, lambda batch: (len(batch), len(batch)), self.limits, "stomp-lane")

    def listen(self, words: Sequence[str]) -> None:
        assert self.may_go_on.wait(10)
        self.heard += words
        self.told.put(None)


@pytest.fixture
def lane() -> Iterator[Lane]:
    lane = Lane()
    yield lane
    lane.stop()


def feed(lane: Lane, count: int, pause: float = 0.0) -> None:
    """Put words one by one, each when the one before was heard."""
    for number in range(count):
        lane.put([str(number)])
        lane.told.get(timeout=10)
        time.sleep(pause)


def trusted(lane: Lane) -> Lane:
    """Until it is; a machine that stalls may break the row."""
    end = time.monotonic() + 10
    while not lane.is_quick:
        assert time.monotonic() < end, "never was it quick"
        feed(lane, 1)
    return lane


def test_a_row_of_quick_batches_is_trusted(lane: Lane) -> None:
    feed(lane, TRUST - 1)
    assert not lane.is_quick
    trusted(lane)


def test_what_comes_now_and_then_is_not_trusted(lane: Lane) -> None:
    feed(lane, TRUST + 1, pause=2 * PATIENCE)
    assert not lane.is_quick


def test_a_slow_listener_is_not_trusted_any_more(lane: Lane) -> None:
    trusted(lane).may_go_on.clear()
    lane.put(["slow"])
    time.sleep(2 * PATIENCE)
    lane.may_go_on.set()
    eventually(lambda: "slow" in lane.heard and not lane.is_quick, "the end of the trust")


def test_the_thread_of_the_lane_reads_until_it_gives_the_reading_back(lane: Lane) -> None:
    readers: list[str] = []

    def read() -> None:
        readers.append(threading.current_thread().name)
        lane.put([f"read {len(readers)}"])
        if len(readers) == 3:
            lane.give_back()

    lane.lend(read)
    assert readers == ["stomp-lane"] * 3
    eventually(lambda: lane.heard == ["read 1", "read 2", "read 3"], "what was read")


def test_who_lends_again_after_the_end_finds_a_thread(lane: Lane) -> None:
    trusted(lane).stop()
    eventually(lambda: lane.is_over, "the end of the thread")
    lane.restart()
    lane.lend(lane.give_back)


def held(lane: Lane) -> Callable[[], None]:
    """A ``read`` that brings a word whose listener does not come back."""

    def read() -> None:
        lane.may_go_on.clear()
        lane.put(["held"])

    return read


def test_a_listener_that_stays_away_loses_the_reading(lane: Lane) -> None:
    lane.lend(held(lane))
    assert lane.heard == []
    assert not lane.is_quick
    lane.may_go_on.set()
    eventually(lambda: lane.heard == ["held"], "the word")


@pytest.mark.parametrize("wanted", ["receipt", "end"])
def test_who_waits_for_a_receipt_or_the_end_does_not_wait_for_a_listener(
    lane: Lane, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lending, "PATIENCE", 60.0)
    lender = in_thread(partial(lane.lend, held(lane)))
    eventually(lambda: lane._began is not None, "the listener")
    if wanted == "receipt":
        lane.limits.waiting_for_receipt(+1)
    else:
        lane.limits.interrupt()
    lender.done()
    lane.may_go_on.set()


# The client


class Loans:
    """Counts them, and makes them as early as may be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        lend = LendingLane.lend

        def counted(lane: LendingLane[object], read: Callable[[], object]) -> None:
            self.count += 1
            lend(lane, read)

        monkeypatch.setattr(lending, "TRUST", 1)
        monkeypatch.setattr(LendingLane, "lend", counted)


@pytest.fixture
def loans(monkeypatch: pytest.MonkeyPatch) -> Loans:
    return Loans(monkeypatch)


class Inbox(Collector):
    """Tells of each message, and of the thread that brought it."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[threading.Thread] = set()
        self._told: queue.SimpleQueue[None] = queue.SimpleQueue()

    def __call__(self, message: Message) -> None:
        self.threads.add(threading.current_thread())
        super().__call__(message)
        self._told.put(None)

    def stream_from(self, broker: Broker, condition: Callable[[], bool]) -> None:
        """Publish one message after the other, each when the one before was heard."""
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, "the stream did not bring it about"
            broker.publish(QUEUE, str(len(self.messages)))
            self._told.get(timeout=10)


def test_a_stream_is_read_by_the_dispatcher_in_which_all_listeners_run(broker: Broker, loans: Loans) -> None:
    inbox = Inbox()
    with Connection(broker.uri) as connection:
        connection.subscribe(QUEUE, inbox, confirm=True)
        inbox.stream_from(broker, lambda: loans.count > 0 and len(inbox.messages) > 100)
        assert own_threads(connection._config.name) == [
            f"{connection._config.name}-receiver",
            connection._config.name,
        ]
    assert inbox.texts == [str(number) for number in range(len(inbox.texts))]
    assert {thread.name for thread in inbox.threads} == {connection._config.name}
    assert len(inbox.threads) == 1


def test_a_listener_that_blocks_in_a_stream_holds_up_no_reading(broker: Broker, loans: Loans) -> None:
    inbox = Inbox()
    with Connection(broker.uri) as connection:
        connection.subscribe(QUEUE, inbox, confirm=True)
        inbox.stream_from(broker, lambda: loans.count > 0)
        inbox.release.clear()
        count = len(inbox.messages)
        for number in range(10):
            broker.publish(QUEUE, f"held {number}")
        eventually(lambda: connection.statistics().pending == 10, "all ten in the hand-off")
        connection.send("/queue/other", "goes on", confirm=True)
        inbox.release.set()
        eventually(lambda: inbox.texts[count:] == [f"held {number}" for number in range(10)], "all, in order")


def test_a_loss_in_a_stream_is_restored_while_a_listener_blocks(broker: Broker, loans: Loans) -> None:
    inbox = Inbox()
    with Connection(failover(broker.uri)) as connection:
        connection.subscribe(QUEUE, inbox, confirm=True)
        for loss in range(1, 6):
            before = loans.count
            inbox.stream_from(broker, lambda: loans.count > before)  # noqa: B023
            inbox.release.clear()
            broker.drop_connections()
            reconnected(connection, loss)
            inbox.release.set()
        inbox.stream_from(broker, lambda: len(inbox.messages) > 100)
    assert inbox.texts == [str(number) for number in range(len(inbox.texts))]


@pytest.mark.parametrize("end", ["disconnect", "close"])
def test_a_listener_ends_the_connection_in_a_stream(broker: Broker, loans: Loans, end: str) -> None:
    ended = threading.Event()
    connection = Connection(broker.uri).connect()

    class Ending(Inbox):
        def __call__(self, message: Message) -> None:
            super().__call__(message)
            if message.text == "end":
                getattr(connection, end)()
                ended.set()

    inbox = Ending()
    connection.subscribe(QUEUE, inbox, confirm=True)
    inbox.stream_from(broker, lambda: loans.count > 0)
    broker.publish(QUEUE, "end")
    assert ended.wait(10)
    eventually(lambda: own_threads(connection._config.name) == [], "the end of all threads")


def test_a_listener_may_wait_for_receipts_in_a_stream(broker: Broker, loans: Loans) -> None:
    done: list[str] = []
    with Connection(broker.uri, limits=Limits(max_pending_messages=50)) as connection:

        def forward(message: Message) -> None:
            connection.send("/queue/next", message.body, confirm=True)
            done.append(message.text)

        connection.subscribe(QUEUE, forward, ack="client-individual", settle=True, confirm=True)
        for number in range(300):
            broker.publish(QUEUE, str(number))
        eventually(lambda: len(done) == 300, "all")
    assert [message.text for message in broker.messages("/queue/next")] == [str(number) for number in range(300)]


def test_what_others_put_in_line_is_heard_while_nothing_comes(broker: Broker, loans: Loans) -> None:
    inbox, heard = Inbox(), threading.Event()
    with Connection(broker.uri) as connection:
        connection.subscribe(QUEUE, inbox, confirm=True)
        inbox.stream_from(broker, lambda: loans.count > 0)
        connection._core.call(heard.set)
        assert heard.wait(5)


def test_nothing_is_lent_where_others_wait_for_what_is_received(broker: Broker, loans: Loans) -> None:
    inbox = Inbox()
    with Connection(broker.uri) as connection:
        connection.subscribe(QUEUE, inbox, confirm=True)
        with connection.consume("/queue/other"):
            inbox.stream_from(broker, lambda: len(inbox.messages) == 50)
            assert loans.count == 0
        inbox.stream_from(broker, lambda: loans.count > 0)


def test_bytes_that_break_the_protocol_end_a_stream_like_any_connection(loans: Loans) -> None:
    """What came before them is delivered; the next connection goes on."""

    def serve(sock: socket.socket, number: int) -> None:
        while b"SUBSCRIBE" not in (data := sock.recv(65536)):
            if b"CONNECT" in data:
                sock.sendall(b"CONNECTED\nversion:1.2\n\n\0")
        receipt = data.partition(b"receipt:")[2].partition(b"\n")[0]
        sock.sendall(b"RECEIPT\nreceipt-id:%b\n\n\0" % receipt)
        for count in range(100):
            sock.sendall(b"MESSAGE\nsubscription:1\nmessage-id:%d\ndestination:/q\n\n%d\0" % (count, number))
            time.sleep(0.0005)
        if number < 3:
            sock.sendall(b"NONSENSE\n\n\0")
        sock.recv(65536)

    inbox = Collector()
    with ScriptedServer(serve) as server, Connection(failover(server.uri)) as connection:
        connection.subscribe(QUEUE, inbox, id="1")
        eventually(lambda: len(inbox.messages) == 300, "the messages of three connections")
        assert connection.statistics().reconnects == 2
        assert loans.count > 0
        connection.close()
    assert inbox.texts == ["1"] * 100 + ["2"] * 100 + ["3"] * 100
