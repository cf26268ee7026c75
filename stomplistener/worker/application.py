"""What an application of listeners declares: its handlers, its connections, and what goes around each message."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from stomplistener._util.deadline import Deadline
from stomplistener.connection import Body, Connection
from stomplistener.errors import InvalidURI
from stomplistener.message import Message
from stomplistener.worker import logs
from stomplistener.worker.options import RunOptions
from stomplistener.worker.process import execute
from stomplistener.worker.running import Running, StopRequest
from stomplistener.worker.tracing import Tracing

Handler = Callable[[Message], object]
Around = Callable[[Message], AbstractContextManager[object]]
Hook = Callable[[], object]

H = TypeVar("H", bound=Handler)
A = TypeVar("A", bound=Around)
S = TypeVar("S", bound=Hook)

DEFAULT = "default"
_NAME = re.compile(r"[A-Za-z][\w-]*")


def uri_variable(connection: str) -> str:
    """The environment variable that has the broker URI of a connection where the program does not say."""
    return "STOMP_URL" if connection == DEFAULT else "STOMP_URL_" + connection.upper().replace("-", "_")


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """One handler: what it listens to, by which connection, and the further arguments of ``Connection.subscribe``."""

    destination: str
    handler: Handler
    connection: str
    arounds: tuple[Around, ...]
    options: Mapping[str, Any]


@dataclass(kw_only=True)
class ConnectionPlan:
    """How one connection is to be made: its URI, and the further arguments of ``Connection``."""

    uri: str | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Application:
    """Handlers of messages, declared by decorators, and run by one process or many.

    Declare everything while modules are imported; what is declared later counts from the next start. Handlers run in
    threads of the connection that they listen by: several at a time if they ask for ``workers``, or if the application
    has several connections. ``connection()``, ``send()`` and ``stop()`` may be called from any thread.

    Args:
        uri: the broker URI of the connection ``default``; the environment's ``STOMP_URL`` where None.
        name: for threads and log lines.
        **options: as for ``Connection``: ``heartbeat=``, ``before_connect=``, ``ssl_context=``, …
    """

    def __init__(self, uri: str | None = None, *, name: str = "worker", **options: Any) -> None:
        self.name = name
        self.declarations: list[Declaration] = []
        self.start_hooks: list[Hook] = []
        self.stop_hooks: list[Hook] = []
        self._arounds: list[Around] = []
        self._plans: dict[str, ConnectionPlan] = {}
        self._running: Running | None = None
        self._stopping = StopRequest()
        self.tracing: Tracing | None = None
        if uri is not None or options:
            self.add_connection(DEFAULT, uri, **options)

    # Declaring

    def add_connection(self, name: str, /, uri: str | None = None, **options: Any) -> None:
        """Declare a connection, for listeners that name it and for ``send``.

        Args:
            name: letters, digits, ``-`` and ``_``.
            uri: its broker URI; the environment's ``STOMP_URL_<NAME>`` where None.
            **options: as for ``Connection``.

        Raises:
            ValueError: the name is no name, or declared already.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a connection: letters, digits, - and _ make one")
        if name in self._plans:
            raise ValueError(f"connection {name!r} is declared already")
        self._plans[name] = ConnectionPlan(uri=uri, options=options)

    def listener(
        self,
        destination: str,
        *,
        connection: str = DEFAULT,
        ack: str = "client-individual",
        settle: bool | None = None,
        workers: int = 1,
        retries: int = 0,
        retry_delay: float = 1.0,
        error_destination: str | None = None,
        durable: str | None = None,
        prefetch: int | None = None,
        selector: str | None = None,
        headers: Mapping[str, str] | None = None,
        id: str | None = None,
        around: Sequence[Around] = (),
    ) -> Callable[[H], H]:
        """Declare the decorated function, which takes a Message, a handler.

        As it stands each message is acknowledged when the handler returns, and rejected when it raises: unlike
        ``Connection.subscribe`` a worker loses nothing unless it is told to (``ack="auto"``).

        Args:
            destination: as the broker spells it, such as ``/queue/orders``.
            connection: by which connection.
            settle: acknowledge or reject for the handler; None does so with ``ack="client-individual"``.
            around: more context managers, for this handler alone, inside those of the application.
            ack, workers, retries, retry_delay, error_destination, durable, prefetch, selector, headers, id: as for
                ``Connection.subscribe``.

        Raises:
            TypeError: the function is a coroutine.
            ValueError: the arguments do not fit together; at the latest when the application starts.
        """
        settle = ack == "client-individual" if settle is None else settle
        if not settle and (retries or error_destination is not None):
            raise ValueError("retries and error_destination belong to settle=True")
        options: dict[str, Any] = {
            "ack": ack,
            "settle": settle,
            "workers": workers,
            "retries": retries,
            "retry_delay": retry_delay,
            "error_destination": error_destination,
            "durable": durable,
            "prefetch": prefetch,
            "selector": selector,
            "headers": headers,
            "id": id,
        }

        def declare(handler: H) -> H:
            if inspect.iscoroutinefunction(handler):
                raise TypeError(f"{handler.__qualname__} is a coroutine: handlers are functions, run in threads")
            self.declarations.append(
                Declaration(
                    destination=destination,
                    handler=handler,
                    connection=connection,
                    arounds=tuple(around),
                    options=options,
                )
            )
            return handler

        return declare

    def around(self, manager: A) -> A:
        """Declare a context manager that is entered around every message; usable as a decorator.

        It is called with the message, for each attempt anew, in the thread of the handler. Managers are entered in the
        order in which they were declared, and the message is settled after all are left: what one commits has happened
        when the message is acknowledged. One that swallows the handler's exception makes the message acknowledged.
        """
        self._arounds.append(manager)
        return manager

    def on_start(self, hook: S) -> S:
        """Declare what is called in each process before it connects; what it raises ends the process."""
        self.start_hooks.append(hook)
        return hook

    def on_stop(self, hook: S) -> S:
        """Declare what is called in each process after its last handler has ended."""
        self.stop_hooks.append(hook)
        return hook

    def include(self, other: Application) -> None:
        """Declare what another application declares by now, too: its handlers, hooks and connections.

        What goes around the other's messages goes around them here as well, inside the managers of this application,
        and around no others.

        Raises:
            ValueError: both declare a connection of the same name.
        """
        for each in other.declarations:
            self.declarations.append(replace(each, arounds=(*other._arounds, *each.arounds)))
        self.start_hooks += other.start_hooks
        self.stop_hooks += other.stop_hooks
        for name, plan in other._plans.items():
            self.add_connection(name, plan.uri, **plan.options)

    # Using, while it runs

    @property
    def connections(self) -> Mapping[str, Connection]:
        """The connections of the running application by name; none where it does not run."""
        running = self._running
        return {} if running is None else running.connections

    def connection(self, name: str = DEFAULT) -> Connection:
        """A connection of the running application.

        Raises:
            RuntimeError: it does not run.
            KeyError: it has no such connection.
        """
        if self._running is None:
            raise RuntimeError("the application does not run: its connections are there while run() or running() lasts")
        return self._running.connections[name]

    def wait_ending(self, timeout: float) -> bool:
        """Wait until the application is told to end: for handlers that wait for something that may never come.

        Args:
            timeout: seconds to wait.

        Returns:
            whether it ends, or does not run at all.
        """
        running = self._running
        return running is None or running.ending.wait(timeout)

    def send(
        self,
        destination: str,
        body: Body = b"",
        headers: Mapping[str, str] | None = None,
        *,
        connection: str = DEFAULT,
        **options: Any,
    ) -> None:
        """Send a message as ``Connection.send`` does, and carry the trace on in its headers where there is one.

        Args:
            connection: by which connection.
            **options: as for ``Connection.send``: ``confirm=``, ``content_type=``, ``timeout=``, …
        """
        sender = self.connection(connection)
        if self.tracing is None:
            sender.send(destination, body, headers, **options)
            return
        size = len(body.encode()) if isinstance(body, str) else len(body)
        with self.tracing.send(destination, size, headers) as carried:
            sender.send(destination, body, carried, **options)

    # Running

    def run(
        self,
        *,
        uris: Mapping[str, str] | None = None,
        processes: int = 1,
        grace: float = 30.0,
        alive_file: str | os.PathLike[str] | None = None,
        metrics_port: int | None = None,
        metrics_host: str = "127.0.0.1",
        tracing: bool = False,
        reload: bool = False,
        reload_paths: Sequence[str | os.PathLike[str]] = (".",),
        log_format: str | None = None,
        log_level: str = "INFO",
    ) -> None:
        """Listen until SIGTERM, SIGINT or SIGHUP; then let running handlers end, disconnect, and return.

        No further message is begun after the signal; the broker gives what was not finished to somebody else. A second
        signal ends the process at once. Call it in the main thread; elsewhere no signal is handled, and ``stop()`` ends
        it. With several processes each one runs the program's own command line again, up to this call.

        Args:
            log_format: ``json`` or ``text`` sends the log to stderr; None leaves logging as the program has it.
            log_level: the least level to log then.
            uris, processes, grace, alive_file, metrics_port, metrics_host, tracing, reload, reload_paths: see
                :class:`RunOptions`.

        Raises:
            SystemExit: it did not end gracefully; the code is one of :class:`Exit`, the reason is in the log.
            ValueError: an argument is out of range.
        """
        options = RunOptions(
            uris=dict(uris or {}),
            processes=processes,
            grace=grace,
            alive_file=None if alive_file is None else Path(alive_file),
            metrics_port=metrics_port,
            metrics_host=metrics_host,
            tracing=tracing,
            reload=reload,
            reload_paths=[Path(path) for path in reload_paths],
        )
        if log_format is not None:
            logs.configure(log_format, log_level)
        code = execute(lambda: self, options)
        if code:
            raise SystemExit(int(code))

    def stop(self) -> None:
        """Ask ``run()`` of this process to end as after a signal; does not wait. Nothing if it does not run."""
        self._stopping.ask()

    @contextmanager
    def running(
        self, uris: Mapping[str, str] | None = None, *, timeout: float = 30.0, tracing: bool = False
    ) -> Iterator[Application]:
        """Connect, listen while the block lasts, and end gracefully: for tests, and beside other work of a process.

        Hooks are called; signals, files and metrics are left alone.

        Args:
            uris: broker URIs by connection's name, in place of what the program says.
            timeout: seconds to connect, and again to end.

        Raises:
            StompError: a connection could not be made, or a subscription was refused.
        """
        if tracing:
            self.tracing = Tracing()
        for hook in self.start_hooks:
            hook()
        with self.open(uris or {}) as running:
            try:
                running.connect(Deadline(timeout))
                yield self
            finally:
                running.close(Deadline(timeout))
                for hook in self.stop_hooks:
                    hook()

    @contextmanager
    def open(
        self,
        uris: Mapping[str, str],
        instruments: Sequence[Callable[[Declaration], Around]] = (),
        stopping: StopRequest | None = None,
    ) -> Iterator[Running]:
        """Make the connections and declare the subscriptions on them; what follows is up to the caller."""
        if self._running is not None:
            raise RuntimeError("the application runs already")
        running = Running(self.name)
        tracing = self.tracing
        own: list[Around] = [logs.handling] if tracing is None else [logs.handling, tracing.process]
        for name, plan in self._needed(uris).items():
            running.add_connection(name, plan)
        for each in self.declarations:
            arounds = [*(make(each) for make in instruments), *own, *self._arounds, *each.arounds]
            running.subscribe(each, arounds)
        self._running, self._stopping = running, stopping or StopRequest()
        try:
            yield running
        finally:
            self._running = None

    def _needed(self, uris: Mapping[str, str]) -> dict[str, ConnectionPlan]:
        """Every connection that is declared, listened by or given a URI, each with its URI."""
        names = dict.fromkeys([*self._plans, *(each.connection for each in self.declarations), *uris])
        needed = {}
        for name in names:
            plan = self._plans.get(name, ConnectionPlan())
            variable = uri_variable(name)
            uri = uris.get(name) or plan.uri or os.environ.get(variable)
            if not uri:
                raise InvalidURI(
                    f"connection {name!r} has no broker URI: give it to the Application, or as --url on the command "
                    f"line, or in the environment as {variable}"
                )
            needed[name] = ConnectionPlan(uri=uri, options=plan.options)
        if not needed:
            raise InvalidURI("the application declares no listener and no connection: there is nothing to run")
        return needed
