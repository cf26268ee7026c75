"""The admin pages of the outbox and the inbox: read their rows, and requeue rows of the outbox."""

from __future__ import annotations

import json

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.text import Truncator

from stomplistener._util.masking import masked
from stomplistener.contrib.django.models import InboxMessage, OutboxMessage
from stomplistener.contrib.django.outbox import requeue

SHOWN = 4096
"""The number of bytes of a body that the admin shows."""


@admin.register(OutboxMessage)
class OutboxMessageAdmin(admin.ModelAdmin):
    """Rows cannot be edited. Rows that failed, or that wait for another attempt, can be requeued."""

    list_display = ("id", "destination", "key", "state", "attempts", "refusals", "short_error", "created")
    list_filter = ("state", "connection", "destination", "created")
    search_fields = ("destination", "key", "uuid", "error")
    ordering = ("-id",)
    actions = ("requeue_rows",)
    fieldsets = (
        (None, {"fields": ("uuid", "connection", "destination", "key", "options", "shown_headers", "preview")}),
        ("Delivery", {"fields": ("state", "attempts", "refusals", "error", "created", "due", "settled")}),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 (Django's signature)
        return False

    def has_change_permission(self, request: HttpRequest, obj: OutboxMessage | None = None) -> bool:
        # The list needs this permission to offer its actions. The page of a single row stays read-only.
        return obj is None and super().has_change_permission(request)

    @admin.display(description="error")
    def short_error(self, row: OutboxMessage) -> str:
        return Truncator(row.error).chars(80)

    @admin.display(description="headers")
    def shown_headers(self, row: OutboxMessage) -> str:
        return _block("\n".join(f"{name}: {value}" for name, value in masked(row.headers.items())))

    @admin.display(description="body")
    def preview(self, row: OutboxMessage) -> str:
        return _block(body_preview(bytes(row.body)))

    @admin.action(description="Requeue: try to publish the selected rows again", permissions=["change"])
    def requeue_rows(self, request: HttpRequest, rows: QuerySet[OutboxMessage]) -> None:
        count = requeue(rows.values_list("pk", flat=True), using=rows.db)
        left = rows.count() - count
        note = f" Published already and left alone: {left}." if left else ""
        self.message_user(request, f"Queued again: {count}.{note}", messages.SUCCESS)


@admin.register(InboxMessage)
class InboxMessageAdmin(admin.ModelAdmin):
    """Rows cannot be edited. If you delete a row and the broker delivers its message again, the handler runs again."""

    list_display = ("id", "handler", "destination", "message", "handled")
    list_filter = ("handler", "destination", "handled")
    search_fields = ("message",)
    ordering = ("-id",)

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 (Django's signature)
        return False

    def has_change_permission(self, request: HttpRequest, obj: InboxMessage | None = None) -> bool:  # noqa: ARG002
        return False


def body_preview(body: bytes) -> str:
    """Return the beginning of a body: text as it is, JSON with line breaks, other bytes in hexadecimal."""
    rest = f"\n… ({len(body):,} bytes in all)" if len(body) > SHOWN else ""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return body[:SHOWN].hex(" ") + rest
    if not rest and text[:1] in ("{", "["):
        try:
            return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        except ValueError:
            pass
    return text[:SHOWN] + rest


def _block(text: str) -> str:
    return format_html('<pre style="margin: 0; white-space: pre-wrap; overflow-wrap: anywhere">{}</pre>', text)
