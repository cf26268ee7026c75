"""The outbox in the admin, and the commands' bridge to click."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application
from django.test import Client
from django.urls import reverse
from django_support import empty_outbox

from stomplistener.contrib.django.admin import SHOWN, body_preview
from stomplistener.contrib.django.models import OutboxMessage
from stomplistener.contrib.django.outbox import State, enqueue

LIST = reverse("admin:stomplistener_outboxmessage_changelist")


@pytest.fixture
def client() -> Iterator[Client]:
    """The browser of a superuser."""
    empty_outbox()
    users = get_user_model().objects
    users.filter(username="root").delete()
    user = users.create_superuser("root", "root@example.org", "secret")
    client = Client()
    client.force_login(user)
    yield client
    user.delete()
    empty_outbox()


def rows_in_each_state() -> dict[str, OutboxMessage]:
    rows = {}
    for state in State.values:
        row = enqueue("/queue/orders", '{"order": 7, "text": "é <b>"}', {"token": "s3cret"}, key="customer-7")
        row.state = state
        if state == State.FAILED:
            row.attempts, row.error = 10, "BrokerError: the broker refused SEND: not allowed"
        row.save()
        rows[state] = row
    return rows


def test_failed_rows_are_requeued_and_published_ones_left_alone(client: Client) -> None:
    rows = rows_in_each_state()
    chosen = [row.pk for state, row in rows.items() if state != State.PENDING]
    answer = client.post(LIST, {"action": "requeue_rows", "_selected_action": chosen}, follow=True)
    assert "Queued again: 1. Published already and left alone: 1." in answer.content.decode()
    row = OutboxMessage.objects.get(pk=rows[State.FAILED].pk)
    assert (row.state, row.attempts) == (State.PENDING, 0)
    assert OutboxMessage.objects.get(pk=rows[State.PUBLISHED].pk).state == State.PUBLISHED


def test_a_row_shows_its_body_and_is_not_edited(client: Client) -> None:
    row = rows_in_each_state()[State.FAILED]
    page = client.get(reverse("admin:stomplistener_outboxmessage_change", args=[row.pk])).content.decode()
    assert "é &lt;b&gt;" in page
    assert "not allowed" in page
    assert "token: ***" in page
    assert "s3cret" not in page
    assert 'name="_save"' not in page
    assert client.get(reverse("admin:stomplistener_outboxmessage_add")).status_code == 403


def test_the_list_is_filtered_and_searched(client: Client) -> None:
    rows_in_each_state()
    for query, count in (({"state": "failed"}, 1), ({"q": "not allowed"}, 1), ({"q": "customer-7"}, 3)):
        assert f"{count} outbox message" in client.get(LIST, query).content.decode()


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"plain", "plain"),
        (b"\xff\0", "ff 00"),
        (b'{"a":1}', '{\n  "a": 1\n}'),
        (b"{no", "{no"),
        (b"x" * 5000, "x" * SHOWN + "\n… (5,000 bytes in all)"),
    ],
)
def test_the_preview_of_a_body(body: bytes, shown: str) -> None:
    assert body_preview(body) == shown


class Quiet(WSGIRequestHandler):
    """Logs no request."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.mark.timeout(120)
def test_a_browser_shows_the_page(client: Client, chromium: str, tmp_path: Path) -> None:
    """To look at it: ADMIN_PICTURES=DIR keeps the pictures."""
    row = rows_in_each_state()[State.FAILED]
    pictures = Path(os.environ.get("ADMIN_PICTURES", tmp_path))
    session = client.cookies["sessionid"].OutputString()

    application = StaticFilesHandler(get_wsgi_application())

    def logged_in(environ: dict[str, Any], start: Any) -> Any:
        return application({**environ, "HTTP_COOKIE": session}, start)

    with make_server("127.0.0.1", 0, logged_in, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            for name, path, shown in (
                ("list", LIST, "Requeue: try to publish the selected rows again"),
                ("row", f"{LIST}{row.pk}/change/", "the broker refused SEND: not allowed"),
            ):
                url = f"http://127.0.0.1:{server.server_port}{path}"
                assert shown in page(chromium, url, pictures / f"{name}.png", tmp_path)
        finally:
            server.shutdown()
            thread.join()


def page(chromium: str, url: str, picture: Path, room: Path) -> str:
    """The page as HTML after its scripts have run; its picture goes into a file."""
    shown = subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--no-first-run", f"--user-data-dir={room / 'profile'}",
            "--window-size=1400,900", f"--screenshot={picture}", "--dump-dom", url,
        ],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert picture.read_bytes().startswith(b"\x89PNG")
    return shown.stdout
