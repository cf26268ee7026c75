"""The client for Twisted, on the real reactor."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from client_support import QUEUE, in_thread, nothing_left_behind
from loop_support import BACKLOG, BEATS, a_clean_end, publish, uri
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.logger import LogEvent, globalLogPublisher
from twisted_support import hold, pause, reactor, run, until

from stomplistener import BrokerError, ConnectFailed, Limits, Message, NotConnected, TimedOut
from stomplistener.contrib.loops import LoopTransaction
from stomplistener.contrib.twisted import TwistedConnection
from stomplistener.testing import Broker

OTHER = "/queue/other"
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _clean_end(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    errors: list[LogEvent] = []

    def note(event: LogEvent) -> None:
        if event["log_level"].name in ("error", "critical"):
            errors.append(event)

    publisher: Any = globalLogPublisher
    publisher.addObserver(note)
    with a_clean_end(caplog, "twisted"):
        yield
    publisher.removeObserver(note)
    # Also Deferreds whose failure nobody took: they speak when they are collected.
    assert not errors


async def cancelled(deferred: Deferred[Any]) -> None:
    deferred.cancel()
    with pytest.raises(CancelledError):
        await deferred


def test_listeners_are_called_in_the_reactor_thread_and_settle_when_their_deferred_fires(broker: Broker) -> None:
    publish(broker, QUEUE, 2)
    threads: list[threading.Thread] = []
    tried: list[tuple[str, bool]] = []

    async def main() -> None:
        go_on: Deferred[None] = Deferred()

        def handle(message: Message) -> Deferred[None]:
            threads.append(threading.current_thread())
            tried.append((message.text, message.redelivered))
            return Deferred.fromCoroutine(settle(message.redelivered))

        async def settle(again: bool) -> None:
            if not go_on.called:
                await go_on
            if not again:
                raise ValueError("once")

        connection = TwistedConnection(broker.uri)
        await connection.connect()
        await connection.subscribe(QUEUE, handle, prefetch=1)
        await until(lambda: tried)
        assert [message.text for message in broker.unacknowledged(QUEUE)] == ["0"]
        assert not broker.frames(command="ACK")
        go_on.callback(None)
        await until(lambda: len(tried) == 4 and not broker.unacknowledged(QUEUE))
        await connection.disconnect()

    run(main)
    assert {thread.name for thread in threads} == {"reactor"}
    assert sorted(tried) == [("0", False), ("0", True), ("1", False), ("1", True)]
    assert len(broker.frames(command="NACK")) == len(broker.frames(command="ACK")) == 2
    assert broker.frames(command="DISCONNECT")


def test_what_deferreds_fail_with_is_what_the_calls_of_a_thread_raise(broker: Broker) -> None:
    async def main() -> None:
        connection = TwistedConnection(broker.uri)
        with pytest.raises(NotConnected):
            await connection.send(QUEUE, "too early", confirm=True)
        broker.stop()
        with pytest.raises(ConnectFailed):
            await connection.connect()
        broker.start()
        await connection.connect()
        broker.error_next("SEND", "not this one")
        with pytest.raises(BrokerError, match="not this one"):
            await connection.send(QUEUE, "refused", confirm=True)
        await until(lambda: connection.connection.is_connected)
        broker.error_next("SUBSCRIBE", "not here")
        with pytest.raises(BrokerError, match="not here"):
            await connection.subscribe(QUEUE, print)
        await until(lambda: connection.connection.is_connected)
        broker.withhold_receipts("SEND")
        with pytest.raises(TimedOut, match="no receipt"):
            await connection.send(QUEUE, "unanswered", confirm=True, timeout=0.05)
        await connection.close()

    run(main)


def test_receiving_and_sending_go_on_through_a_restart(broker: Broker) -> None:
    async def main() -> list[str]:
        received: list[str] = []
        connection = TwistedConnection(uri(broker))
        await connection.connect()
        await connection.subscribe(QUEUE, lambda message: received.append(message.text))
        broker.stop()
        await until(lambda: not connection.connection.is_connected)
        sending = await hold(gatherResults([connection.send(QUEUE, str(n), confirm=n % 2 == 0) for n in range(6)]))
        broker.start()
        await sending
        await until(lambda: len(received) == 6)
        await connection.disconnect()
        return received

    assert sorted(run(main)) == [str(n) for n in range(6)]
    assert broker.depth(QUEUE) == 0


def test_what_is_cancelled_is_not_sent(broker: Broker) -> None:
    async def main() -> None:
        connection = TwistedConnection(uri(broker))
        await connection.connect()
        broker.stop()
        await until(lambda: not connection.connection.is_connected)
        doomed = [await hold(connection.send(QUEUE, "cancelled", confirm=confirm)) for confirm in (True, False)]
        kept = await hold(connection.send(QUEUE, "kept"))
        for each in doomed:
            await cancelled(each)
        broker.start()
        await kept
        broker.withhold_receipts("SEND")
        await cancelled(await hold(connection.send(QUEUE, "written", confirm=True)))
        assert connection.connection.statistics().unconfirmed == 0
        await connection.disconnect()

    run(main)
    assert [message.text for message in broker.messages(QUEUE)] == ["kept", "written"]


def test_connecting_can_be_cancelled(broker: Broker) -> None:
    broker.go_silent()

    async def main() -> None:
        connection = TwistedConnection(broker.uri)
        await cancelled(await hold(connection.connect()))
        broker.speak()
        await connection.connect()
        await connection.disconnect()

    with nothing_left_behind():
        run(main)


def test_a_busy_reactor_loses_nothing_and_holds_little() -> None:
    with Broker(heartbeat=BEATS, prefetch=BACKLOG) as broker:

        async def main() -> None:
            received: list[str] = []
            limits = Limits(max_pending_messages=50)
            connection = TwistedConnection(broker.uri, heartbeat=BEATS, limits=limits)
            await connection.connect()
            await connection.subscribe(QUEUE, lambda message: received.append(message.text))
            publishing = in_thread(lambda: publish(broker, QUEUE, BACKLOG))
            time.sleep(1.5)
            assert 0 < connection.connection.statistics().pending < BACKLOG / 2
            await until(lambda: len(received) == BACKLOG)
            assert received == publishing.value()
            assert connection.connection.statistics().reconnects == 0
            await connection.disconnect()

        run(main)
        assert broker.connection_count == 1
        assert broker.depth(QUEUE) == 0


def test_the_end_waits_for_listeners_but_not_for_ever(broker: Broker) -> None:
    publish(broker, QUEUE, 5)
    begun: list[str] = []
    waits: list[Deferred[None]] = []

    def handle(message: Message) -> Deferred[None]:
        begun.append(message.text)
        waits.append(Deferred())
        return waits[-1]

    async def main() -> None:
        connection = TwistedConnection(broker.uri)
        await connection.connect()
        subscription = await connection.subscribe(QUEUE, handle, concurrency=2)
        await until(lambda: len(begun) == 2)
        ending = await hold(subscription.unsubscribe())
        for each in waits:
            each.callback(None)
        await ending
        await until(lambda: broker.depth(QUEUE) == 3)
        await connection.subscribe(QUEUE, handle)
        await until(lambda: len(begun) == 3)
        await connection.disconnect(timeout=0.1)
        waits[-1].callback(None)

    run(main)
    assert begun == ["0", "1", "2"]
    broker.wait_for(lambda: broker.depth(QUEUE) == 3)


def test_a_request_is_answered(broker: Broker) -> None:
    async def main() -> None:
        connection = TwistedConnection(broker.uri, broker="activemq")
        await connection.connect()
        await connection.subscribe(OTHER, lambda message: connection.reply(message, message.body.upper()))
        answers = await gatherResults([connection.request(OTHER, text) for text in "abc"])
        assert [message.text for message in answers] == ["A", "B", "C"]
        await connection.disconnect()

    run(main)


def test_a_transaction_commits_or_aborts(broker: Broker) -> None:
    async def commit(transaction: LoopTransaction) -> None:
        await transaction.send(OTHER, "committed")

    async def abort(transaction: LoopTransaction) -> None:
        await transaction.send(OTHER, "aborted")
        await pause(0)
        raise ValueError("no")

    async def main() -> None:
        connection = TwistedConnection(broker.uri)
        await connection.connect()
        await connection.transaction(commit)
        with pytest.raises(ValueError, match="no"):
            await connection.transaction(abort)
        await connection.disconnect()

    run(main)
    assert [message.text for message in broker.messages(OTHER)] == ["committed"]


PROGRAM = """
import sys
from twisted.internet import reactor
from stomplistener.contrib.twisted import TwistedConnection

connection = TwistedConnection(sys.argv[1])

def handle(message):
    reactor.callLater(0.2, reactor.stop)

def begin():
    connection.connect().addCallback(lambda _: connection.subscribe("/queue/test", handle))

reactor.callWhenRunning(begin)
reactor.run()
print(connection.connection.state.value)
"""


def test_the_reactor_waits_for_a_graceful_end(broker: Broker) -> None:
    broker.publish(QUEUE, "the last")
    program = [sys.executable, "-c", PROGRAM, broker.uri]
    result = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, "closed", "")
    assert broker.frames(command="DISCONNECT")
    assert broker.depth(QUEUE) == 0


def test_no_trigger_stays_with_the_reactor(broker: Broker) -> None:
    def triggers() -> int:
        return len(reactor._eventTriggers["shutdown"].before)

    async def main() -> None:
        connection = TwistedConnection(broker.uri)
        before = triggers()
        await connection.connect()
        assert triggers() == before + 1
        await connection.disconnect()
        assert triggers() == before

    run(main)
