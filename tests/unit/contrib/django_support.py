"""The example project, set up in the test's process on an SQLite file, and its commands as processes."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker_process import ServerProcess

from stomplistener import Connection
from stomplistener.testing import Broker

if TYPE_CHECKING:
    from stomplistener.contrib.django.relay import Relay

PROJECT = Path(__file__).parents[3] / "examples" / "django"

_room = tempfile.TemporaryDirectory(prefix="stomplistener-django-")
os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
os.environ.setdefault("SQLITE", str(Path(_room.name, "db.sqlite3")))
sys.path.insert(0, str(PROJECT))

import django  # noqa: E402 (its settings are chosen above)

django.setup()  # type: ignore[attr-defined]  # mypy takes the directory of the example for django

from django.core.management import call_command  # noqa: E402
from django.test import override_settings  # noqa: E402

call_command("migrate", verbosity=0)
# Not for the programs that other tests start: Celery, for one, would look for the project.
del os.environ["DJANGO_SETTINGS_MODULE"]


@contextmanager
def broker_uri(uri: str, **more: object) -> Iterator[None]:
    """Have the setting name a broker."""
    with override_settings(STOMPLISTENER={"URL": uri, **more}):
        yield


@contextmanager
def outbox_of(broker: Broker) -> Iterator[None]:
    """Begin and end with no rows, and have the setting name this broker meanwhile."""
    empty_outbox()
    with broker_uri(broker.uri):
        yield
    empty_outbox()


def relay(connection: Connection, **options: Any) -> Relay:
    """A relay that waits 5 seconds at the most, unless the settings given say otherwise."""
    from stomplistener.contrib.django.conf import OutboxSettings
    from stomplistener.contrib.django.relay import Relay

    return Relay(connection, OutboxSettings(**{"timeout": 5.0, **options}))


def empty_outbox() -> None:
    """Delete all rows."""
    from stomplistener.contrib.django.models import OutboxMessage

    OutboxMessage.objects.all().delete()


__all__ = [
    "PROJECT",
    "ServerProcess",
    "broker_uri",
    "call_command",
    "empty_outbox",
    "outbox_of",
    "override_settings",
    "relay",
]
