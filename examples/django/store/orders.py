"""The work for an order, for views and other callers."""

from django.db import transaction

from stomplistener.contrib.django.outbox import enqueue
from store.models import Order


def place(article: str) -> Order:
    """Write the order and its message: both or neither."""
    with transaction.atomic():
        order = Order.objects.create(article=article)
        enqueue("/queue/orders", json={"order": order.pk})
    return order
