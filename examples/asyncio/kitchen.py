"""A kitchen on asyncio: orders are confirmed, four cooks work in parallel, and SIGTERM lets them finish.

python examples/asyncio/kitchen.py                    an embedded broker, 40 orders, then the end
python examples/asyncio/kitchen.py tcp://mq1:61613    your broker; stays open until SIGTERM or SIGINT
"""

from __future__ import annotations

import asyncio
import signal
import sys

from stomplistener import Message
from stomplistener.contrib.asyncio import AsyncConnection
from stomplistener.testing import Broker

ORDERS = "/queue/kitchen.orders"
COOKS = 4


async def order(connection: AsyncConnection, count: int) -> None:
    """Send all orders at once. Each send waits for its own receipt."""
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(connection.send(ORDERS, f"pizza {number}", {"persistent": "true"}, confirm=True))
    print(f"{count} orders were confirmed", flush=True)


async def kitchen(uri: str, count: int, *, stay: bool) -> None:
    cooked: set[str] = set()
    async with AsyncConnection(uri) as connection, connection.consume(ORDERS) as orders:

        async def cook(message: Message) -> None:
            await asyncio.sleep(0.01)
            cooked.add(message.text)
            if len(cooked) == count and not stay:
                orders.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, orders.stop)
        async with asyncio.TaskGroup() as group:
            group.create_task(orders.handle(cook, concurrency=COOKS))
            group.create_task(order(connection, count))
    print(f"{len(cooked)} orders are cooked", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(kitchen(sys.argv[1], 40, stay=True))
    else:
        with Broker() as broker:
            asyncio.run(kitchen(broker.uri, 40, stay=False))
