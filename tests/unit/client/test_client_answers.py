"""The futures of ``send_async`` are what ``concurrent.futures`` and ``asyncio`` expect."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading

import pytest

from stomplistener import Connection, ConnectionLost
from stomplistener.testing import Broker

QUEUE = "/queue/test"


def test_they_can_be_waited_for_together(stomp_broker: Broker) -> None:
    with Connection(stomp_broker.uri) as connection:
        futures = [connection.send_async(QUEUE, str(n)) for n in range(50)]
        done, not_done = concurrent.futures.wait(futures, timeout=10)
        assert (len(done), len(not_done)) == (50, 0)
        again = [connection.send_async(QUEUE, str(n)) for n in range(50)]
        completed = [future.result().command for future in concurrent.futures.as_completed(again, timeout=10)]
        assert completed == ["RECEIPT"] * 50


def test_the_receipts_of_others_wake_nobody_for_good(stomp_broker: Broker) -> None:
    stomp_broker.withhold_receipts("SEND")
    with Connection(stomp_broker.uri) as connection:
        future = connection.send_async(QUEUE, "withheld")
        for _ in range(3):
            connection.transaction().begin().commit()
        with pytest.raises(TimeoutError):
            future.result(0.05)
        with pytest.raises(TimeoutError):
            future.exception(0.05)
        assert not future.cancel()
        assert future.running()
        stomp_broker.release_receipts()
        assert future.exception(5) is None


def test_callbacks_run_in_the_dispatcher(stomp_broker: Broker) -> None:
    stomp_broker.withhold_receipts("SEND")
    names: list[str] = []
    called = threading.Event()
    with Connection(stomp_broker.uri, name="stomp-callbacks") as connection:
        future = connection.send_async(QUEUE, "x")
        future.add_done_callback(lambda _: (names.append(threading.current_thread().name), called.set()))  # type: ignore[func-returns-value]
        stomp_broker.release_receipts()
        assert called.wait(5)
    assert names == ["stomp-callbacks"]


def test_asyncio_can_await_them(stomp_broker: Broker) -> None:
    async def main(connection: Connection) -> list[str]:
        futures = [asyncio.wrap_future(connection.send_async(QUEUE, str(n))) for n in range(20)]
        return [frame.command for frame in await asyncio.gather(*futures)]

    with Connection(stomp_broker.uri) as connection:
        assert asyncio.run(main(connection)) == ["RECEIPT"] * 20


def test_they_fail_when_the_connection_is_closed(stomp_broker: Broker) -> None:
    stomp_broker.withhold_receipts("SEND")
    connection = Connection(stomp_broker.uri).connect()
    future = connection.send_async(QUEUE, "x")
    connection.close()
    with pytest.raises(ConnectionLost):
        future.result(5)
