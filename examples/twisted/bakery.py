"""A bakery on Twisted: orders are confirmed, Deferreds tell when messages are done, and SIGTERM ends it.

python examples/twisted/bakery.py                    an embedded broker, 40 orders, then the end
python examples/twisted/bakery.py tcp://mq1:61613    your broker; stays open until SIGTERM or SIGINT
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred, gatherResults

from stomplistener import Message
from stomplistener.contrib.twisted import TwistedConnection
from stomplistener.testing import Broker

ORDERS = "/queue/bakery.orders"
COUNT = 40
OVENS = 4


async def bakery(reactor: Any, uri: str, *, stay: bool) -> None:
    baked: set[str] = set()
    done: Deferred[None] = Deferred()

    def bake(message: Message) -> Deferred[None]:
        return task.deferLater(reactor, 0.01, put_on_the_counter, message.text)

    def put_on_the_counter(bread: str) -> None:
        baked.add(bread)
        if len(baked) == COUNT and not stay:
            done.callback(None)

    connection = TwistedConnection(uri)
    await connection.connect()
    await connection.subscribe(ORDERS, bake, concurrency=OVENS)
    orders = [connection.send(ORDERS, f"bread {n}", {"persistent": "true"}, confirm=True) for n in range(COUNT)]
    await gatherResults(orders)
    print(f"{COUNT} orders were confirmed", flush=True)
    # The shutdown of the reactor ends the connection gracefully.
    reactor.addSystemEventTrigger("after", "shutdown", lambda: print(f"{len(baked)} orders are baked", flush=True))
    await done


def run(uri: str, *, stay: bool) -> None:
    task.react(lambda reactor: Deferred.fromCoroutine(bakery(reactor, uri, stay=stay)))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(sys.argv[1], stay=True)
    else:
        with Broker() as broker:
            run(broker.uri, stay=False)
