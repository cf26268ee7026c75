"""The app for ``INSTALLED_APPS``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, register

from stomplistener.contrib.django import conf


class StompConfig(AppConfig):
    """The app. The names of its tables and permissions begin with its label, ``stomplistener``."""

    name = "stomplistener.contrib.django"
    label = "stomplistener"
    verbose_name = "STOMP"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        register(check_settings)


def check_settings(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """Return one check message for each error in the setting ``STOMPLISTENER``."""
    if app_configs is not None and not any(isinstance(each, StompConfig) for each in app_configs):
        return []
    return conf.problems(getattr(settings, conf.NAME, {}))
