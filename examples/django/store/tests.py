"""Tests of the project itself: ``python manage.py test``. The tests need no broker."""

import json

from django.test import TestCase

from stomplistener.contrib.django.models import OutboxMessage
from stomplistener.contrib.django.test import outbox
from store.models import Order
from store.orders import place


class OrderTests(TestCase):
    """Tests of placing and billing an order."""

    def test_an_order_and_its_message_are_written_together(self) -> None:
        order = place("a chair")
        row = OutboxMessage.objects.get()
        self.assertEqual((row.destination, json.loads(row.body)), ("/queue/orders", {"order": order.pk}))

    def test_the_screen_is_told_when_the_transaction_commits(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            answer = self.client.post("/orders/", {"article": "a table"})
            self.assertEqual(len(outbox), 0)
        self.assertEqual(answer.status_code, 201)
        [message] = outbox
        self.assertEqual(message.destination, "/topic/screen")
        self.assertEqual(message.text, "a table")

    def test_nothing_is_left_of_other_tests(self) -> None:
        self.assertEqual(list(outbox), [])
        self.assertFalse(Order.objects.exists())
