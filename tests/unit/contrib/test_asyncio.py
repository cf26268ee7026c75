"""The client for asyncio, on the real event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest
from client_support import QUEUE, in_thread, nothing_left_behind
from loop_support import BACKLOG, BEATS, a_clean_end, publish, uri

from stomplistener import BrokerError, ConnectFailed, Limits, Message, NotConnected, TimedOut
from stomplistener.contrib.asyncio import AsyncConnection
from stomplistener.testing import Broker

OTHER = "/queue/other"


@pytest.fixture(autouse=True)
def _clean_end(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with a_clean_end(caplog, "asyncio"):
        yield


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a condition; the loop has to run on meanwhile."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def hold(awaitable: Awaitable[object]) -> asyncio.Task[object]:
    """A task that has begun to wait."""

    async def wait() -> object:
        return await awaitable

    task = asyncio.create_task(wait())
    await asyncio.sleep(0.05)
    assert not task.done()
    return task


async def cancelled(task: asyncio.Task[object]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_messages_go_and_come(broker: Broker) -> None:
    async def main() -> list[str]:
        received = []
        async with AsyncConnection(broker.uri) as connection:
            await connection.send(QUEUE, "one")
            await connection.send(QUEUE, "two", confirm=True)
            async with connection.consume(QUEUE) as messages:
                async for message in messages:
                    received.append(message.text)
                    assert await connection.ack(message)
                    if len(received) == 2:
                        break
            await until(lambda: not broker.subscriptions)
        return received

    assert asyncio.run(main()) == ["one", "two"]
    assert broker.depth(QUEUE) == 0
    assert broker.frames(command="DISCONNECT")


def test_what_is_awaited_raises_as_the_calls_of_a_thread_do(broker: Broker) -> None:
    async def main() -> None:
        connection = AsyncConnection(broker.uri)
        with pytest.raises(NotConnected):
            await connection.send(QUEUE, "too early", confirm=True)
        broker.stop()
        with pytest.raises(ConnectFailed):
            await connection.connect()
        broker.start()
        async with connection:
            broker.error_next("SEND", "not this one")
            with pytest.raises(BrokerError, match="not this one"):
                await connection.send(QUEUE, "refused", confirm=True)
            await until(lambda: connection.connection.is_connected)
            broker.error_next("SUBSCRIBE", "not here")
            with pytest.raises(BrokerError, match="not here"):
                async with connection.consume(QUEUE):
                    pass
            await until(lambda: connection.connection.is_connected)
            broker.withhold_receipts("SEND")
            with pytest.raises(TimedOut, match="no receipt"):
                await connection.send(QUEUE, "unanswered", confirm=True, timeout=0.05)
            assert connection.connection.statistics().unconfirmed == 0

    asyncio.run(main())


def test_a_handler_settles_when_it_has_finished(broker: Broker) -> None:
    publish(broker, QUEUE, 2)

    async def main() -> None:
        go_on = asyncio.Event()
        tried: list[tuple[str, bool]] = []

        async def handle(message: Message) -> None:
            tried.append((message.text, message.redelivered))
            await go_on.wait()
            if not message.redelivered:
                raise ValueError("once")

        async with AsyncConnection(broker.uri) as connection:
            async with connection.consume(QUEUE, prefetch=1) as messages:
                handling = asyncio.create_task(messages.handle(handle))
                await until(lambda: tried)
                assert [message.text for message in broker.unacknowledged(QUEUE)] == ["0"]
                assert not broker.frames(command="ACK")
                go_on.set()
                await until(lambda: len(tried) == 4 and not broker.unacknowledged(QUEUE))
                messages.stop()
                await handling
        assert sorted(tried) == [("0", False), ("0", True), ("1", False), ("1", True)]

    asyncio.run(main())
    assert len(broker.frames(command="NACK")) == len(broker.frames(command="ACK")) == 2


def test_stop_lets_handlers_finish_and_cancel_gives_back(broker: Broker) -> None:
    publish(broker, QUEUE, 5)

    async def main() -> None:
        begun: list[str] = []
        go_on = asyncio.Event()

        async def handle(message: Message) -> None:
            begun.append(message.text)
            await go_on.wait()

        async with AsyncConnection(broker.uri) as connection:
            async with connection.consume(QUEUE) as messages:
                handling = await hold(messages.handle(handle, concurrency=2))
                assert begun == ["0", "1"]
                messages.stop()
                go_on.set()
                await handling
            await until(lambda: broker.depth(QUEUE) == 3)
            go_on.clear()
            async with connection.consume(QUEUE) as messages:
                await cancelled(await hold(messages.handle(handle)))
            await until(lambda: broker.depth(QUEUE) == 3)
        assert begun == ["0", "1", "2"]

    asyncio.run(main())


def test_receiving_and_sending_go_on_through_a_restart(broker: Broker) -> None:
    async def main() -> None:
        async with AsyncConnection(uri(broker)) as connection, connection.consume(QUEUE) as messages:
            waiting = await hold(messages.receive())
            await asyncio.to_thread(broker.stop)
            await until(lambda: not connection.connection.is_connected)
            sending = await hold(
                asyncio.gather(*(connection.send(QUEUE, str(n), confirm=n % 2 == 0) for n in range(6)))
            )
            await asyncio.to_thread(broker.start)
            await sending
            received: list[object] = [await waiting]
            async for message in messages:
                received.append(message)
                if len(received) == 6:
                    break
            texts = []
            for each in received:
                assert isinstance(each, Message)
                texts.append(each.text)
                assert await connection.ack(each)
            assert sorted(texts) == [str(n) for n in range(6)]
            await until(lambda: not broker.unacknowledged(QUEUE))

    asyncio.run(main())


def test_what_is_cancelled_while_cut_off_is_not_sent(broker: Broker) -> None:
    async def main() -> None:
        async with AsyncConnection(uri(broker)) as connection:
            await asyncio.to_thread(broker.stop)
            await until(lambda: not connection.connection.is_connected)
            doomed = [await hold(connection.send(QUEUE, "cancelled", confirm=confirm)) for confirm in (True, False)]
            kept = await hold(connection.send(QUEUE, "kept"))
            for task in doomed:
                await cancelled(task)
            with pytest.raises(TimedOut):
                await connection.send(QUEUE, "late", timeout=0.05)
            await asyncio.to_thread(broker.start)
            await kept
            await connection.send(QUEUE, "later", confirm=True)
        assert [message.text for message in broker.messages(QUEUE)] == ["kept", "later"]

    asyncio.run(main())


def test_a_full_window_holds_the_task_and_not_the_loop_and_keeps_the_order(broker: Broker) -> None:
    broker.withhold_receipts("SEND")

    async def main() -> None:
        async with AsyncConnection(broker.uri, limits=Limits(max_unconfirmed_messages=3)) as connection:
            sends = [asyncio.create_task(connection.send(QUEUE, str(n), confirm=True)) for n in range(20)]
            await until(lambda: broker.depth(QUEUE) == 3)
            await cancelled(sends.pop(3))
            broker.release_receipts()
            await asyncio.gather(*sends)
        assert [message.text for message in broker.messages(QUEUE)] == [str(n) for n in range(20) if n != 3]

    asyncio.run(main())


def test_a_cancelled_task_waits_for_no_receipt_any_more(broker: Broker) -> None:
    broker.withhold_receipts("SEND")

    async def main() -> None:
        async with AsyncConnection(broker.uri) as connection:
            await cancelled(await hold(connection.send(QUEUE, "written", confirm=True)))
            assert connection.connection.statistics().unconfirmed == 0

    asyncio.run(main())


def test_connecting_can_be_cancelled(broker: Broker) -> None:
    broker.go_silent()

    async def main() -> None:
        connection = AsyncConnection(broker.uri)
        with nothing_left_behind():
            await cancelled(await hold(connection.connect()))
        broker.speak()
        async with connection:
            await connection.send(QUEUE, "connected", confirm=True)

    asyncio.run(main())


def test_subscribing_can_be_cancelled(broker: Broker) -> None:
    broker.withhold_receipts("SUBSCRIBE")

    async def main() -> None:
        async with AsyncConnection(broker.uri) as connection:
            messages = connection.consume(QUEUE)
            subscribing = asyncio.create_task(messages.subscribe())
            await until(lambda: broker.subscriptions)
            await cancelled(subscribing)
            broker.release_receipts()
            await until(lambda: not broker.subscriptions)

    asyncio.run(main())


@pytest.mark.parametrize("ack", ["auto", "client-individual"])
def test_a_busy_loop_loses_nothing_and_holds_little(ack: str) -> None:
    with Broker(heartbeat=BEATS, prefetch=BACKLOG) as broker:

        async def main() -> None:
            received: list[str] = []
            limits = Limits(max_pending_messages=50)
            async with AsyncConnection(broker.uri, heartbeat=BEATS, limits=limits) as connection:
                async with connection.consume(QUEUE, ack=ack) as messages:
                    publishing = in_thread(lambda: publish(broker, QUEUE, BACKLOG))
                    time.sleep(1.5)
                    statistics = connection.connection.statistics()
                    # A chunk that was read with the bound not yet reached comes on top of it.
                    assert 0 < statistics.pending < BACKLOG / 2
                    async for message in messages:
                        received.append(message.text)
                        if ack != "auto":
                            await connection.ack(message)
                        if len(received) == BACKLOG:
                            break
                assert connection.connection.statistics().reconnects == 0
                assert broker.connection_count == 1
                assert received == publishing.value()

        asyncio.run(main())
        assert broker.depth(QUEUE) == 0


def test_a_receipt_behind_a_full_hand_off_comes(broker: Broker) -> None:
    publish(broker, QUEUE, BACKLOG)

    async def main() -> None:
        async with AsyncConnection(broker.uri, limits=Limits(max_pending_messages=2)) as connection:
            async with connection.consume(QUEUE, ack="auto") as messages:
                await until(lambda: connection.connection.statistics().pending >= 2)
                for _ in range(50):
                    assert await messages.receive()
                    await connection.send(OTHER, "confirmed", confirm=True)

    asyncio.run(main())
    assert broker.depth(OTHER) == 50


def test_a_broker_that_does_not_read_holds_no_loop(broker: Broker) -> None:
    async def main() -> None:
        async with AsyncConnection(broker.uri, heartbeat=(0, 0)) as connection:
            broker.stop_reading()
            body = b"x" * 1_000_000
            sending = asyncio.gather(*(connection.send(QUEUE, body) for _ in range(20)))
            task = await hold(sending)
            broker.resume_reading()
            await task
            await until(lambda: broker.depth(QUEUE) == 20)

    asyncio.run(main())


def test_an_acknowledgement_waits_for_a_broker_that_does_not_read(broker: Broker) -> None:
    broker.publish(QUEUE, "received")

    async def main() -> None:
        async with AsyncConnection(broker.uri, heartbeat=(0, 0)) as connection, connection.consume(QUEUE) as messages:
            message = await messages.receive()
            assert message is not None
            broker.stop_reading()
            body = b"x" * 1_000_000
            sending = await hold(asyncio.gather(*(connection.send(OTHER, body) for _ in range(20))))
            acknowledging = await hold(connection.ack(message))
            broker.resume_reading()
            assert await acknowledging
            await sending
            await until(lambda: not broker.unacknowledged(QUEUE))

    asyncio.run(main())


def test_what_came_to_its_end_stays_there(broker: Broker) -> None:
    async def main() -> None:
        connection = AsyncConnection(broker.uri)
        await connection.connect()
        messages = connection.consume(QUEUE)
        await messages.subscribe()
        waiting = await hold(messages.receive())
        await connection.disconnect()
        assert await waiting is None
        async with connection:
            assert await messages.receive() is None
            async with messages:
                await connection.send(QUEUE, "anew")
                assert await messages.receive() is not None

    asyncio.run(main())


def test_a_request_is_answered(broker: Broker) -> None:
    async def main() -> None:
        async with AsyncConnection(broker.uri, broker="activemq") as connection, connection.consume(OTHER) as messages:

            async def answer(message: Message) -> None:
                await connection.reply(message, message.body.upper())

            serving = asyncio.create_task(messages.handle(answer))
            answers = await asyncio.gather(*(connection.request(OTHER, text) for text in "abc"))
            assert [message.text for message in answers] == ["A", "B", "C"]
            with pytest.raises(TimedOut, match="no reply"):
                await connection.request(QUEUE, "nobody is here", timeout=0.2)
            await cancelled(await hold(connection.request(QUEUE, "nor here")))
            await cancelled(serving)

    asyncio.run(main())


def test_a_transaction_commits_or_aborts(broker: Broker) -> None:
    broker.publish(QUEUE, "order")

    async def main() -> None:
        async with AsyncConnection(broker.uri) as connection, connection.consume(QUEUE) as messages:
            message = await messages.receive()
            assert message is not None
            with suppress(ValueError):
                async with connection.transaction() as transaction:
                    await transaction.send(OTHER, "aborted")
                    raise ValueError("no")
            async with connection.transaction() as transaction:
                await transaction.send(OTHER, "committed")
                assert await transaction.ack(message)
            assert [message.text for message in broker.messages(OTHER)] == ["committed"]
            assert not broker.unacknowledged(QUEUE)

    asyncio.run(main())


def test_a_closed_loop_ends_its_connection() -> None:
    with Broker(heartbeat=BEATS) as broker:
        loop = asyncio.new_event_loop()

        async def begin() -> AsyncConnection:
            connection = AsyncConnection(broker.uri, heartbeat=BEATS)
            await connection.connect()
            await connection.consume(QUEUE).subscribe()
            return connection

        connection = loop.run_until_complete(begin())
        loop.close()
        assert connection.connection.wait(10)
        broker.wait_for(lambda: not broker.connections)


def test_a_cancelled_program_ends_gracefully(broker: Broker) -> None:
    broker.publish(QUEUE, "first")

    async def serve() -> None:
        async with AsyncConnection(broker.uri) as connection, connection.consume(QUEUE) as messages:
            async for message in messages:
                await connection.ack(message)

    async def main() -> None:
        serving = asyncio.create_task(serve())
        await until(lambda: broker.frames(command="ACK"))
        await cancelled(serving)

    asyncio.run(main())
    assert broker.frames(command="UNSUBSCRIBE")
    assert broker.frames(command="DISCONNECT")
