"""A shop that runs on any broker: to move it, change only the URI.

A durable subscription to a topic delivers the orders one at a time (prefetch), so no order is missed while the shop is
closed. For each order, the shop asks for the stock (request and reply) and sends an invoice in the same transaction as
the acknowledgement. An order that cannot be handled goes to a dead-letter queue with the reason.

    python examples/portable/orders.py tcp://app:app-secret@localhost:61613

ActiveMQ Classic, Artemis, Apollo and RabbitMQ (there with /%2F at the end of the URI) print the same lines.
"""

from __future__ import annotations

import sys
import uuid

from stomplistener import Connection, Message


def run(uri: str) -> list[str]:
    """Open the shop twice, with orders in between, and return the events as lines."""
    place = uuid.uuid4().hex[:8]
    orders, stock, invoices, dead = (
        f"/topic/orders-{place}",
        f"/queue/stock-{place}",
        f"/queue/invoices-{place}",
        f"/queue/dead-{place}",
    )
    said: list[str] = []
    warehouse = Connection(uri, name="warehouse")
    shop = Connection(uri, name="shop", headers={"client-id": f"shop-{place}"})
    customer = Connection(uri, name="customer")

    def count(message: Message) -> None:
        warehouse.reply(message, "0" if message.text == "unicorn" else "7")

    def handle(message: Message) -> None:
        """Handle an order. An exception makes the order a dead letter."""
        left = int(shop.request(stock, message.text, timeout=10).text)
        if not left:
            raise LookupError(f"no {message.text} in stock")
        with shop.transaction() as transaction:
            transaction.send(invoices, f"one {message.text}, {left} left", persistent=True)
            transaction.ack(message)

    def open_shop() -> None:
        shop.subscribe(
            orders,
            handle,
            ack="client-individual",
            settle=True,
            error_destination=dead,
            durable=f"shop-{place}",
            prefetch=1,
            confirm=True,
        )

    with warehouse, customer:
        warehouse.subscribe(stock, count, confirm=True)
        with shop:
            open_shop()
        for name in ("lamp", "unicorn", "chair"):
            customer.send(orders, name, persistent=True, expires=600.0, confirm=True)
        said.append("ordered while the shop was closed")
        with shop:
            open_shop()
            with customer.consume(invoices) as letters, customer.consume(dead) as complaints:
                said += [f"invoice: {taken(letters.receive(15.0)).text}" for _ in range(2)]
                letter = taken(complaints.receive(15.0))
                said.append(f"dead letter: {letter.text}, {letter.headers['error']}")
    return said


def taken(message: Message | None) -> Message:
    """Return a message, which must not be None, and acknowledge it."""
    if message is None:
        raise TimeoutError("no message came")
    message.ack()
    return message


if __name__ == "__main__":
    print("\n".join(run(sys.argv[1])))
