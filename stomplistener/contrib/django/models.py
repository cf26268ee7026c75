"""The tables: messages to be published (outbox), and messages that were handled (inbox)."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone


class OutboxMessage(models.Model):
    """A message on its way to the broker."""

    class State(models.TextChoices):
        """The state of a message. ``FAILED`` needs a person to look at it."""

        PENDING = "pending"
        PUBLISHED = "published"
        FAILED = "failed"

    id = models.BigAutoField(primary_key=True)
    uuid = models.UUIDField(default=uuid.uuid4, help_text="Sent as header outbox-id: consumers know a repetition by it")
    connection = models.CharField(max_length=100, default="default", help_text="By which connection it is sent")
    destination = models.CharField(max_length=255)
    key = models.CharField(
        max_length=255, blank=True, default="", help_text="Rows with the same destination and key are sent in order"
    )
    headers = models.JSONField(default=dict, blank=True)
    body = models.BinaryField(default=b"", blank=True)
    options = models.JSONField(default=dict, blank=True, help_text="Options of the send, such as its priority")
    state = models.CharField(max_length=9, choices=State.choices, default=State.PENDING)
    created = models.DateTimeField(default=timezone.now)
    due = models.DateTimeField(default=timezone.now, help_text="Not sent before; moved by each refusal")
    attempts = models.PositiveIntegerField(default=0, help_text="How often it was sent")
    refusals = models.PositiveIntegerField(default=0, help_text="How often the broker refused it")
    error = models.TextField(blank=True, default="", help_text="Why the last attempt failed")
    settled = models.DateTimeField(null=True, blank=True, help_text="When it was published or given up")

    class Meta:
        verbose_name = "outbox message"
        indexes = [
            models.Index(fields=["state", "id"], name="stomp_outbox_state"),
            models.Index(fields=["state", "destination", "key", "id"], name="stomp_outbox_order"),
            models.Index(fields=["state", "settled"], name="stomp_outbox_settled"),
            # The relay claims rows by this index. The index stays small, because it has no published rows.
            models.Index(fields=["connection", "id"], condition=models.Q(state="pending"), name="stomp_outbox_pending"),
        ]

    def __str__(self) -> str:
        return f"{self.destination} {self.uuid}"


class InboxMessage(models.Model):
    """A message that a handler with ``once`` has handled, written in the handler's transaction."""

    id = models.BigAutoField(primary_key=True)
    handler = models.CharField(max_length=255)
    destination = models.CharField(max_length=255)
    message = models.CharField(max_length=255, help_text="What tells the message from all others")
    handled = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        verbose_name = "inbox message"
        constraints = [
            models.UniqueConstraint(fields=["handler", "destination", "message"], name="stomp_inbox_once"),
        ]

    def __str__(self) -> str:
        return f"{self.destination} {self.message}"
