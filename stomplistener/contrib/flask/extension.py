"""The extension object: modules declare listeners with it, and views send with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flask import Flask

from stomplistener._util.environment import DEFAULT
from stomplistener.connection import Body, Connection
from stomplistener.contrib.flask.commands import stomp_commands
from stomplistener.contrib.flask.site import KEY, Site, current_site
from stomplistener.contrib.outgoing import UNSET, SentMessage, with_json
from stomplistener.options import DEFAULT as DEFAULT_TIMEOUT
from stomplistener.options import with_persistence
from stomplistener.worker import Application, Inbox


class Stomp:
    """The extension: declares listeners, and sends for the current application. Thread-safe.

    ``listener``, ``around``, ``on_start`` and ``on_stop`` work as those of a worker's Application. Several Flask
    applications may share one object.

    Args:
        app: the application. With an application factory, pass None and call ``init_app`` later.
        inbox: remembers the messages that listeners with ``once`` have handled: a
            :class:`~stomplistener.worker.SQLiteInbox`, or your own store, which is called in the application context of
            the listener.
    """

    def __init__(self, app: Flask | None = None, *, inbox: Inbox | None = None) -> None:
        self._declared = Application(inbox=inbox)
        self.listener = self._declared.listener
        self.around = self._declared.around
        self.on_start = self._declared.on_start
        self.on_stop = self._declared.on_stop
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Read and check the configuration, and add the command ``flask stomp``, without connecting.

        Args:
            app: the application, which must be configured already.

        Raises:
            ValueError: the configuration is wrong; if a broker URI is malformed, the subclass InvalidURI.
            RuntimeError: the application has the extension already.
        """
        if KEY in app.extensions:
            raise RuntimeError(f"the application {app.name!r} has a Stomp already: declare all listeners with that one")
        app.extensions[KEY] = Site(app, self._declared)
        app.cli.add_command(stomp_commands)

    def connection(self, name: str = DEFAULT, timeout: float | None = DEFAULT_TIMEOUT) -> Connection:
        """Return the connection of this process, or of its worker; connect if necessary.

        Do not disconnect the connection.

        Needs an application context.

        Args:
            name: ``default``, or one of ``STOMP_CONNECTIONS``.
            timeout: seconds to wait for the connection.

        Raises:
            ConnectFailed: no broker could be reached; the next use tries again.
            TimedOut: no broker could be reached within the timeout; the next use tries again.
            KeyError: there is no connection of that name.
        """
        return current_site().connection(name, timeout)

    def send(
        self,
        destination: str,
        body: Body = b"",
        headers: Mapping[str, str] | None = None,
        *,
        connection: str = DEFAULT,
        persistent: bool = True,
        json: Any = UNSET,
        content_type: str | None = None,
        **options: Any,
    ) -> None:
        """Send a message with the connection of this process. Needs an application context.

        While ``app.testing`` is true, the message is kept in ``outbox`` instead, unless a worker runs in this process.
        ``STOMP_SUPPRESS_SEND`` in the configuration overrides ``app.testing``.

        Args:
            destination, body, headers, content_type: as for ``Connection.send``.
            connection: ``default``, or one of ``STOMP_CONNECTIONS``.
            persistent: whether the broker keeps the message on disk.
            json: a value to send as JSON in the place of ``body``.
            **options: as for ``Connection.send``: ``confirm=``, ``expires=``, …; ``timeout=`` includes the time to
                connect.

        Raises:
            StompError: as ``connection()`` and ``Connection.send`` do.
            KeyError: there is no connection of that name.
        """
        body, content_type = with_json(body, json, content_type)
        if content_type is not None:
            options["content_type"] = content_type
        current_site().send(destination, body, with_persistence(headers, persistent), connection, options)

    @property
    def outbox(self) -> list[SentMessage]:
        """The messages that the current application kept instead of sending. Needs an application context."""
        return current_site().outbox

    def close(self) -> None:
        """Disconnect the publishers of this process; the next use connects again. Needs an application context.

        A process that ends normally does not need this call. A process that ends with ``os._exit``, such as a child of
        ``multiprocessing``, must call this method.
        """
        current_site().close()

    @contextmanager
    def running(self, app: Flask, *, timeout: float = 30.0) -> Iterator[Application]:
        """Run the listeners in this process while the ``with`` block runs; for tests.

        Args:
            app: the application whose listeners run.
            timeout: seconds to wait for the connection at the beginning, and for the listeners at the end.

        Raises:
            StompError: a connection could not be made, or a subscription was refused.
        """
        site: Site = app.extensions[KEY]
        with site.worker().running(timeout=timeout) as worker:
            yield worker
