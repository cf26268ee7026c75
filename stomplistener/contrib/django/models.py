"""The outbox: messages that are written in the same transaction as what they tell of."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone


class OutboxMessage(models.Model):
    """A message on its way to the broker."""

    class State(models.TextChoices):
        """Where it stands; ``FAILED`` needs somebody to look at it."""

        PENDING = "pending"
        PUBLISHED = "published"
        FAILED = "failed"

    id = models.BigAutoField(primary_key=True)
    uuid = models.UUIDField(default=uuid.uuid4, help_text="Sent as header outbox-id: consumers know a repetition by it")
    destination = models.CharField(max_length=255)
    key = models.CharField(
        max_length=255, blank=True, default="", help_text="Rows with the same destination and key are sent in order"
    )
    headers = models.JSONField(default=dict, blank=True)
    body = models.BinaryField(default=b"", blank=True)
    state = models.CharField(max_length=9, choices=State.choices, default=State.PENDING)
    created = models.DateTimeField(default=timezone.now)
    due = models.DateTimeField(default=timezone.now, help_text="Not sent before; moved by each failure")
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True, default="", help_text="Why the last attempt failed")
    settled = models.DateTimeField(null=True, blank=True, help_text="When it was published or given up")

    class Meta:
        verbose_name = "outbox message"
        indexes = [
            models.Index(fields=["state", "id"], name="stomp_outbox_state"),
            models.Index(fields=["state", "destination", "key", "id"], name="stomp_outbox_order"),
            models.Index(fields=["state", "settled"], name="stomp_outbox_settled"),
        ]

    def __str__(self) -> str:
        return f"{self.destination} {self.uuid}"
