"""The settings that the READMEs of both packages name. All other settings have their defaults."""

import os
from urllib.parse import unquote, urlsplit

from bench.projects.common import DATABASES, THREADS

__all__ = ["DATABASES"]

_broker = urlsplit(os.environ["BENCH_URI"])
_user, _password = unquote(_broker.username or ""), unquote(_broker.password or "")

SECRET_KEY = "only for measuring"
USE_TZ = True
INSTALLED_APPS = ["django_outbox_pattern", "django_stomp"]

DJANGO_OUTBOX_PATTERN = {
    "DEFAULT_STOMP_HOST_AND_PORTS": [(_broker.hostname, _broker.port)],
    "DEFAULT_STOMP_USERNAME": _user,
    "DEFAULT_STOMP_PASSCODE": _password,
}

STOMP_SERVER_HOST = _broker.hostname
STOMP_SERVER_PORT = _broker.port
STOMP_SERVER_USER = _user
STOMP_SERVER_PASSWORD = _password
STOMP_SERVER_VHOST = "/"
STOMP_USE_SSL = "False"
STOMP_PROCESS_MSG_ON_BACKGROUND = "True"
STOMP_PROCESS_MSG_WORKERS = THREADS
