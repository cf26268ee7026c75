"""The same broker and inbox in unittest: ``python -m unittest`` runs this without pytest."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from order_service import Ledger, Order, order_service

from stomplistener import Connection
from stomplistener.testing import Broker, Inbox


class OrderServiceTest(unittest.TestCase):
    def setUp(self) -> None:
        self.broker = self.enterContext(Broker())
        self.ledger = Ledger(Path(self.enterContext(tempfile.TemporaryDirectory()), "orders.db"))
        self.enterContext(order_service(self.ledger, self.broker.uri).running())

    def test_orders_are_confirmed_in_their_order(self) -> None:
        inbox = Inbox()
        with Connection(self.broker.uri) as customer:
            customer.subscribe("/queue/orders-confirmed", inbox, confirm=True)
            for number in (1, 2, 3):
                customer.send("/queue/orders", f'{{"id": "{number}", "item": "chair", "pieces": 1}}')
            self.assertEqual([message.text for message in inbox.expect(3, timeout=30.0)], ["1", "2", "3"])
        self.assertEqual(self.ledger.orders(), [Order(str(number), "chair", 1) for number in (1, 2, 3)])


if __name__ == "__main__":
    unittest.main()
