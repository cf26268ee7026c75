"""Message handlers. ``manage.py stomp_worker`` finds this module by its name."""

import os

from stomplistener import Message
from stomplistener.contrib.django import listener
from store.models import Invoice


@listener("/queue/orders", workers=2, retries=3, error_destination="/queue/orders.failed")
def bill(message: Message) -> None:
    """Write the invoice once, in a transaction (the setting ATOMIC). Then the message is acknowledged."""
    Invoice.objects.get_or_create(order_id=message.json()["order"], defaults={"pid": os.getpid()})
