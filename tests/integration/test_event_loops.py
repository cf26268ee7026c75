"""asyncio and Twisted against ActiveMQ: the same job on both, through a broker that is cut off in the middle."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from client_support import reconnected
from twisted.internet.defer import gatherResults
from twisted_support import run, until

from stomplistener import Message
from stomplistener.contrib.asyncio import AsyncConnection
from stomplistener.contrib.twisted import TwistedConnection
from stomplistener.testing import FaultProxy
from stomplistener.testing.containers import BrokerContainer

COUNT = 200
PERSISTENT = {"persistent": "true"}


@pytest.fixture
def queue() -> str:
    return f"/queue/event-loop-{uuid.uuid4().hex}"


def uri(proxy: FaultProxy) -> str:
    return f"failover:({proxy.uri})?initialReconnectDelay=10&maxReconnectDelay=200"


def test_asyncio(activemq: BrokerContainer, queue: str) -> None:
    received: set[str] = set()

    async def main(proxy: FaultProxy) -> None:
        options: dict[str, Any] = {"host": activemq.virtual_host}
        async with AsyncConnection(uri(proxy), **options) as connection, connection.consume(queue) as messages:

            async def handle(message: Message) -> None:
                received.add(message.text)
                if len(received) == COUNT // 2:
                    proxy.cut()
                if len(received) == COUNT:
                    messages.stop()

            async with asyncio.TaskGroup() as group:
                group.create_task(messages.handle(handle, concurrency=2))
                for number in range(COUNT):
                    group.create_task(connection.send(queue, str(number), PERSISTENT, confirm=True))
            reconnected(connection.connection)
            with pytest.raises(TimeoutError):
                await connection.request(queue, "nobody answers", timeout=0.5)

    with FaultProxy(activemq.uri) as proxy:
        asyncio.run(main(proxy))
    assert received == {str(number) for number in range(COUNT)}


def test_twisted(activemq: BrokerContainer, queue: str) -> None:
    received: set[str] = set()

    async def main() -> None:
        connection = TwistedConnection(uri(proxy), host=activemq.virtual_host)
        await connection.connect()

        def handle(message: Message) -> None:
            received.add(message.text)
            if len(received) == COUNT // 2:
                proxy.cut()

        await connection.subscribe(queue, handle)
        await gatherResults([connection.send(queue, str(n), PERSISTENT, confirm=True) for n in range(COUNT)])
        await until(lambda: len(received) == COUNT)
        reconnected(connection.connection)
        await connection.disconnect()

    with FaultProxy(activemq.uri) as proxy:
        run(main)
    assert received == {str(number) for number in range(COUNT)}
