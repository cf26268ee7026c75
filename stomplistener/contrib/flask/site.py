"""The STOMP state of one Flask application: its configuration, its publishers, and the worker of this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask, current_app

from stomplistener.connection import Body, Connection
from stomplistener.contrib.flask import config
from stomplistener.contrib.outgoing import SentMessage, kept, traced
from stomplistener.contrib.publisher import Publisher
from stomplistener.options import DEFAULT
from stomplistener.worker import Application

KEY = "stomp"


def current_site() -> Site:
    """Return the site of the current application.

    Raises:
        RuntimeError: there is no current application, or ``init_app`` was not called for it.
    """
    site: Site | None = current_app.extensions.get(KEY)
    if site is None:
        raise RuntimeError(f"the application {current_app.name!r} has no Stomp: call init_app(app)")
    return site


class Site:
    """The object in ``app.extensions["stomp"]`` of one Flask application. Thread-safe.

    Attributes:
        configs: the settings of each connection, by name.
        outbox: messages that were kept instead of being sent, oldest first.

    Args:
        app: the application.
        declared: the listeners and hooks of the application; more can be declared later.

    Raises:
        ValueError: the configuration is wrong.
    """

    def __init__(self, app: Flask, declared: Application) -> None:
        self._app = app
        self._declared = declared
        self.configs = config.read(app.config)
        self._publishers = {name: Publisher(each.uri, **each.options) for name, each in self.configs.items()}
        self._worker: Application | None = None
        self.outbox: list[SentMessage] = []
        config.suppresses_send(app.config)

    def worker(self) -> Application:
        """Make a worker with all declared listeners, each in an application context.

        From now on, sends use the connections of the worker.
        """
        worker = Application(name=self._app.name)
        for name, each in self.configs.items():
            worker.add_connection(name, each.uri, **each.options)
        worker.around(lambda _message: self._app.app_context())
        worker.include(self._declared)
        self._worker = worker
        return worker

    @property
    def _running(self) -> Application | None:
        worker = self._worker
        return worker if worker is not None and worker.connections else None

    def connection(self, name: str, timeout: float | None) -> Connection:
        if (worker := self._running) is not None:
            return worker.connection(name)
        self._check(name)
        return self._publishers[name].connection(timeout)

    def _check(self, name: str) -> None:
        if name not in self._publishers:
            raise KeyError(f"{config.CONNECTIONS} has no connection {name!r}; there are {', '.join(self._publishers)}")

    def send(
        self, destination: str, body: Body, headers: Mapping[str, str], name: str, options: Mapping[str, Any]
    ) -> None:
        if (worker := self._running) is not None and worker.tracing is not None:
            # The worker makes the span itself. The headers already say whether the message is persistent.
            worker.send(destination, body, headers, connection=name, persistent=False, **options)
            return
        with traced(destination, body, headers) as carried:
            if worker is None and config.suppresses_send(self._app.config):
                self._check(name)
                self.outbox.append(kept(name, destination, body, carried, options))
                return
            connection = self.connection(name, options.get("timeout", DEFAULT))
            connection.send(destination, body, carried, **options)

    def close(self) -> None:
        for publisher in self._publishers.values():
            publisher.close()
