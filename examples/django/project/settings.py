"""Settings of the example: SQLite, or PostgreSQL if libpq's variables (PGHOST, PGPORT, PGUSER, ...) are set."""

import os
from pathlib import Path
from typing import Any

from django import VERSION  # type: ignore[attr-defined]  # mypy takes the directory of this example for django

SECRET_KEY = "only for the example"
DEBUG = True
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver"]
ROOT_URLCONF = "project.urls"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "stomplistener.contrib.django",
    "store",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES: dict[str, dict[str, Any]]
if "PGHOST" in os.environ:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.environ["PGHOST"],
            "PORT": os.environ.get("PGPORT", ""),
            "NAME": os.environ.get("PGDATABASE", "postgres"),
            "USER": os.environ.get("PGUSER", "postgres"),
            "PASSWORD": os.environ.get("PGPASSWORD", ""),
            # Keep connections open between messages. Such connections become stale when the server restarts.
            "CONN_MAX_AGE": None,
        }
    }
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("SQLITE", str(Path(__file__).parents[1] / "db.sqlite3")),
            # Without this, a transaction that begins with a read could not wait for the write of another one.
            "OPTIONS": {"timeout": 20, **({"transaction_mode": "IMMEDIATE"} if VERSION >= (5, 1) else {})},
        }
    }

STOMPLISTENER = {
    "URL": os.environ.get("STOMP_URL", "tcp://localhost:61613"),
    "ATOMIC": True,
    "OUTBOX": {"POLL": 0.2},
}
