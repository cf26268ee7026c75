"""Tests of the order service on an embedded broker, on real brokers, and on bad connections."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from order_service import Ledger, Order, order_service

from stomplistener import Connection
from stomplistener.testing import AnyBroker, Broker, FaultProxy, Inbox

LAMPS = '{"id": "17", "item": "lamp", "pieces": 2}'
PATIENCE = 30.0  # seconds, enough for a busy machine


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger."""
    return Ledger(tmp_path / "orders.db")


# On any broker: the test uses only the queues, as customers do.


@pytest.mark.stomp_brokers
def test_an_order_is_booked_and_confirmed(
    stomp_broker: AnyBroker, stomp_queue: str, stomp_inbox: Inbox, ledger: Ledger
) -> None:
    service = order_service(ledger, stomp_broker.uri, stomp_queue)
    with service.running(), Connection(stomp_broker.uri) as customer:
        customer.subscribe(f"{stomp_queue}-confirmed", stomp_inbox, confirm=True)
        customer.send(stomp_queue, LAMPS, confirm=True)
        assert [message.text for message in stomp_inbox.expect(1, PATIENCE)] == ["17"]
    assert ledger.orders() == [Order("17", "lamp", 2)]


@pytest.mark.stomp_brokers
@pytest.mark.parametrize(
    ("text", "reason"),
    [("lamps!", "Expecting value"), ('{"id": "17"}', "item"), (LAMPS.replace("2", "-2"), "an order of -2 pieces")],
    ids=["no JSON", "incomplete", "negative"],
)
def test_what_is_no_order_goes_to_the_errors_with_the_reason(
    stomp_broker: AnyBroker, stomp_queue: str, stomp_inbox: Inbox, ledger: Ledger, text: str, reason: str
) -> None:
    service = order_service(ledger, stomp_broker.uri, stomp_queue, retry_delay=0.01)
    with service.running(), Connection(stomp_broker.uri) as customer:
        customer.subscribe(f"{stomp_queue}-failed", stomp_inbox, confirm=True)
        customer.send(stomp_queue, text, confirm=True)
        [failed] = stomp_inbox.expect(1, PATIENCE)
    assert failed.text == text
    assert reason in failed.headers["error"]
    assert ledger.orders() == []


class SlowLedger(Ledger):
    """A ledger that waits with the first order until the test releases it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked, self.go_on = threading.Event(), threading.Event()

    def book(self, order: Order) -> None:
        self.asked.set()
        assert self.go_on.wait(PATIENCE)
        super().book(order)


@pytest.mark.stomp_brokers
def test_a_connection_lost_in_the_middle_of_an_order_costs_nothing(
    stomp_broker: AnyBroker, stomp_proxy: FaultProxy, stomp_queue: str, stomp_inbox: Inbox, tmp_path: Path
) -> None:
    ledger = SlowLedger(tmp_path / "orders.db")
    service = order_service(ledger, f"failover:({stomp_proxy.uri})", stomp_queue)
    with service.running(), Connection(stomp_broker.uri) as customer:
        customer.subscribe(f"{stomp_queue}-confirmed", stomp_inbox, confirm=True)
        customer.send(stomp_queue, LAMPS, confirm=True)
        assert ledger.asked.wait(PATIENCE)
        stomp_proxy.cut()
        ledger.go_on.set()
        # The broker delivers the order again, so the order may be confirmed twice, but is booked only once.
        stomp_inbox.expect(1, PATIENCE)
        stomp_proxy.wait_for(lambda: stomp_proxy.connections == 1, PATIENCE, "the restored connection")
    assert ledger.orders() == [Order("17", "lamp", 2)]


@pytest.mark.stomp_brokers("embedded", "activemq")
def test_orders_come_again_after_a_restart_of_the_broker(
    stomp_broker: AnyBroker, stomp_queue: str, stomp_inbox: Inbox, ledger: Ledger
) -> None:
    with Connection(stomp_broker.uri) as customer:
        customer.send(stomp_queue, LAMPS, persistent=True, confirm=True)
    stomp_broker.restart()
    service = order_service(ledger, stomp_broker.uri, stomp_queue)
    with service.running(), Connection(stomp_broker.uri) as customer:
        customer.subscribe(f"{stomp_queue}-confirmed", stomp_inbox)
        stomp_inbox.expect(1, PATIENCE)
    assert ledger.orders() == [Order("17", "lamp", 2)]


# On the embedded broker: the test takes milliseconds, inspects the broker, and causes faults that real brokers cannot
# cause.


class BusyLedger(Ledger):
    """A ledger whose file is locked by another process for a number of attempts."""

    def __init__(self, path: Path, times: int) -> None:
        super().__init__(path)
        self.times = times

    def book(self, order: Order) -> None:
        self.times -= 1
        if self.times >= 0:
            raise sqlite3.OperationalError("database is locked")
        super().book(order)


@pytest.mark.parametrize(("times", "place"), [(2, "confirmed"), (3, "failed")])
def test_an_order_is_tried_three_times(stomp_broker: Broker, tmp_path: Path, times: int, place: str) -> None:
    ledger = BusyLedger(tmp_path / "orders.db", times)
    with order_service(ledger, stomp_broker.uri, retry_delay=0.01).running():
        stomp_broker.publish("/queue/orders", LAMPS)
        stomp_broker.wait_for(lambda: stomp_broker.depth(f"/queue/orders-{place}") == 1)
        stomp_broker.wait_for(lambda: not stomp_broker.unacknowledged("/queue/orders"))
    assert [name for name in stomp_broker.destinations if stomp_broker.depth(name)] == [f"/queue/orders-{place}"]


def test_a_lost_acknowledgement_has_the_order_delivered_again_and_not_booked_again(
    stomp_broker: Broker, ledger: Ledger
) -> None:
    stomp_broker.drop_before("ACK")
    with order_service(ledger, f"failover:({stomp_broker.uri})").running():
        stomp_broker.publish("/queue/orders", LAMPS)
        stomp_broker.wait_for(lambda: stomp_broker.depth("/queue/orders-confirmed") == 2)
        stomp_broker.wait_for(lambda: not stomp_broker.unacknowledged("/queue/orders"))
    assert stomp_broker.connection_count == 2
    assert ledger.orders() == [Order("17", "lamp", 2)]
