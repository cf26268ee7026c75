"""The application: it declares handlers, connections, and the context managers around each message."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stomplistener._util import arguments, environment
from stomplistener._util.deadline import Deadline
from stomplistener._util.environment import DEFAULT
from stomplistener.backoff import Backoff
from stomplistener.connection import Body, Connection
from stomplistener.errors import InvalidURI
from stomplistener.options import AckMode, with_persistence
from stomplistener.worker import logs
from stomplistener.worker.binding import Binding
from stomplistener.worker.casualties import Casualties
from stomplistener.worker.codecs import Codec, Codecs
from stomplistener.worker.declarations import Around, ConnectionPlan, Declaration, Handler, RetryBy
from stomplistener.worker.exits import WrongUse
from stomplistener.worker.handling import Tasks
from stomplistener.worker.inbox import Inbox, Once
from stomplistener.worker.options import RunOptions
from stomplistener.worker.process import execute
from stomplistener.worker.running import Running, StopRequest
from stomplistener.worker.tracing import Tracing

if TYPE_CHECKING:
    from stomplistener.worker.test_client import TestClient

Hook = Callable[[], object]

Exceptions = Iterable[type[BaseException]] | type[BaseException]

H = TypeVar("H", bound=Handler)
A = TypeVar("A", bound=Around)
S = TypeVar("S", bound=Hook)

_NAME = re.compile(r"[A-Za-z][\w-]*")


def _check(
    destination: object,
    ack: str,
    settle: bool | None,
    retries: int,
    error_destination: str | None,
    retry_by: str,
    time_limit: float | None,
) -> bool:
    """Raise if arguments of a listener contradict each other, and return ``settle``.

    ``Connection.subscribe`` checks each single argument.
    """
    if callable(destination):
        raise TypeError('listener needs a destination: write @app.listener("/queue/orders")')
    arguments.text("destination", destination)
    settle = ack == "client-individual" if settle is None else settle
    if not settle and (retries or error_destination is not None):
        raise ValueError("retries and error_destination need settle=True")
    if retry_by not in ("worker", "broker"):
        raise ValueError(f"retry_by must be 'worker' or 'broker', not {retry_by!r}")
    if time_limit is not None and not (arguments.seconds("time_limit", time_limit) or 0) > 0:
        raise ValueError(f"time_limit must be more than 0 seconds, not {time_limit!r}")
    return settle


class Application:
    """Message handlers that you declare with decorators and run in one process or several.

    Declare everything while modules are imported; a later declaration takes effect at the next start. Handlers run in
    threads of their connection. Several run at a time if you set ``workers``, or if the application has several
    connections. ``connection()``, ``send()`` and ``stop()`` may be called from any thread.

    Args:
        uri: the broker URI of the connection ``default``; None takes the environment variable ``STOMP_URL``.
        name: the name of the application in thread names and log lines.
        inbox: remembers the messages that handlers with ``once`` have handled: a :class:`SQLiteInbox` or your own
            store.
        **options: as for ``Connection``: ``heartbeat=``, ``before_connect=``, ``ssl_context=``, …
    """

    def __init__(
        self, uri: str | None = None, *, name: str = "worker", inbox: Inbox | None = None, **options: Any
    ) -> None:
        self.name = name
        self.inbox = inbox
        self._codecs = Codecs()
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
        """Declare a connection. Listeners and ``send`` use it by its name.

        Args:
            name: the name of the connection, of letters, digits, ``-`` and ``_``.
            uri: its broker URI; None takes the environment variable ``STOMP_URL_<NAME>``.
            **options: as for ``Connection``.

        Raises:
            ValueError: the name is malformed or already declared.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a name for a connection: use letters, digits, - and _")
        if name in self._plans:
            raise ValueError(f"connection {name!r} is declared already")
        self._plans[name] = ConnectionPlan(uri=uri, options=options)

    def add_codec(
        self, content_type: str, decode: Callable[[bytes], Any], encode: Callable[[Any], bytes] | None = None
    ) -> None:
        """Add a codec, which reads the bodies of a content-type for typed handlers and writes their replies.

        Args:
            content_type: such as ``application/msgpack``, without parameters. Content-types without a codec are read as
                JSON.
            decode: turns a body into JSON-like values, or into a value of the payload's type.
            encode: turns the return value of a handler into a body; None writes JSON.
        """
        self._codecs.add(Codec.of(content_type, decode, encode))

    def listener(
        self,
        destination: str,
        *,
        connection: str = DEFAULT,
        ack: AckMode = "client-individual",
        settle: bool | None = None,
        workers: int = 1,
        ordered_by: str | None = None,
        retries: int = 0,
        retry_delay: float | Backoff = 1.0,
        retry_on: Exceptions | None = None,
        retry_by: RetryBy = "worker",
        dead_letter_on: Exceptions = (),
        max_deliveries: int | None = None,
        error_destination: str | None = None,
        time_limit: float | None = None,
        once: bool | str = False,
        durable: str | None = None,
        prefetch: int | None = None,
        selector: str | None = None,
        headers: Mapping[str, str] | None = None,
        id: str | None = None,
        around: Sequence[Around] = (),
    ) -> Callable[[H], H]:
        """Declare the decorated function as a handler.

        The function takes the message, or its *payload*: the body, converted to the type of the first parameter. The
        type is ``bytes``, ``str``, or a type whose values are made from JSON and checked: a dataclass, a pydantic
        model, a msgspec struct or a plain type. A message that does not fit the type is rejected without a retry.
        Further parameters are annotated ``Message``, or declared with ``Header``. The return value is sent to the
        message's ``reply-to``, if
        it has one: text and bytes unchanged, everything else as JSON.

        By default, each message is acknowledged when the handler returns, and rejected when it raises. Unlike
        ``Connection.subscribe``, a worker loses no message unless you set ``ack="auto"``.

        Args:
            destination: the destination, in the syntax of the broker, such as ``/queue/orders``.
            connection: the name of the connection to listen on.
            settle: whether the worker acknowledges or rejects after the handler. None means True with
                ``ack="client-individual"``, otherwise False.
            retry_by: with ``broker``, a retry is a copy that the broker delivers after ``retry_delay``, even if this
                process has ended. With ``worker``, or if the broker cannot delay, or for topics, the worker waits
                instead.
            time_limit: seconds after which a handler counts as hanging. The worker then logs the stack of the handler
                and no longer touches the alive-file. With several processes, this process is replaced.
            once: whether to skip messages that the handler has handled before, with the help of the inbox. True
                identifies a message by its ``outbox-id``; a string names another header. See ``worker.inbox`` for
                messages without this header.
            around: more context managers for this handler, entered inside those of the application.
            prefetch: as for ``Connection.subscribe``. None sets four messages per worker thread if the broker can do
                this and ``settle`` is true, so that processes share a backlog. With ``max_deliveries``, None sets one
                message per worker thread, because brokers count the deliveries of waiting messages, too.
            max_deliveries: as for ``Connection.subscribe``. A supervisor also counts the processes that died while they
                handled a message.
            ack, workers, ordered_by, retries, retry_delay, retry_on, dead_letter_on: as for ``Connection.subscribe``.
            error_destination, durable, selector, headers, id: likewise.

        Raises:
            TypeError: the function is a coroutine function, or cannot be called with a message.
            ValueError: arguments contradict each other. Some contradictions are raised only when the application
                starts.
        """
        settle = _check(destination, ack, settle, retries, error_destination, retry_by, time_limit)
        options: dict[str, Any] = {
            "ack": ack,
            "settle": settle,
            "workers": workers,
            "ordered_by": ordered_by,
            "retries": retries,
            "retry_delay": retry_delay,
            "retry_on": retry_on,
            "dead_letter_on": dead_letter_on,
            "max_deliveries": max_deliveries,
            "error_destination": error_destination,
            "durable": durable,
            "prefetch": prefetch,
            "selector": selector,
            "headers": headers,
            "id": id,
        }

        def declare(handler: H) -> H:
            self.declarations.append(
                Declaration(
                    destination=destination,
                    handler=handler,
                    connection=connection,
                    arounds=tuple(around),
                    options=options,
                    call=Binding(handler, self._codecs).call,
                    codecs=self._codecs,
                    time_limit=time_limit,
                    max_deliveries=max_deliveries,
                    retry_by=retry_by,
                    once=once,
                )
            )
            return handler

        return declare

    def around(self, manager: A) -> A:
        """Declare a context manager that is entered around every message; usable as a decorator.

        The manager is called with the message for each attempt, in the thread of the handler. Managers are entered in
        the order of their declaration. The message is settled after all managers have ended, so their commits come
        before the acknowledgement. If a manager suppresses the handler's exception, the message is acknowledged.
        """
        self._arounds.append(manager)
        return manager

    def on_start(self, hook: S) -> S:
        """Declare a function that each process calls before it connects. If the function raises, the process ends."""
        self.start_hooks.append(hook)
        return hook

    def on_stop(self, hook: S) -> S:
        """Declare a function that each process calls after its last handler has ended."""
        self.stop_hooks.append(hook)
        return hook

    def include(self, other: Application) -> None:
        """Copy the declarations that another application has now: its handlers, hooks and connections.

        The context managers of the other application are entered around the messages of its own handlers only, inside
        the managers of this application.

        Raises:
            ValueError: both applications declare a connection of the same name.
        """
        for each in other.declarations:
            arounds = (*other._arounds, *each.arounds)
            self.declarations.append(replace(each, arounds=arounds, inbox=each.inbox or other.inbox))
        self.start_hooks += other.start_hooks
        self.stop_hooks += other.stop_hooks
        for name, plan in other._plans.items():
            self.add_connection(name, plan.uri, **plan.options)

    @property
    def connection_names(self) -> list[str]:
        """The names of the connections that are declared or that a listener uses."""
        return list(dict.fromkeys([*self._plans, *(each.connection for each in self.declarations)]))

    # While the application runs

    @property
    def connections(self) -> Mapping[str, Connection]:
        """The connections of the running application by name; empty if it does not run."""
        running = self._running
        return {} if running is None else running.connections

    def connection(self, name: str = DEFAULT) -> Connection:
        """Return a connection of the running application.

        Raises:
            RuntimeError: the application does not run.
            KeyError: the application has no such connection.
        """
        if self._running is None:
            raise RuntimeError("the application does not run: use its connections inside run() or running()")
        return self._running.connections[name]

    def wait_ending(self, timeout: float) -> bool:
        """Wait until the application has to end. Handlers need this when they wait for an event that may never happen.

        Args:
            timeout: seconds to wait.

        Returns:
            True if the application is ending or does not run; False after the timeout.
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
        persistent: bool = True,
        **options: Any,
    ) -> None:
        """Send a message as ``Connection.send`` does, with the context of the current trace in its headers.

        Args:
            connection: the name of the connection to send on.
            persistent: whether the broker keeps the message on disk.
            **options: as for ``Connection.send``: ``confirm=``, ``content_type=``, ``timeout=``, …
        """
        sender, headers = self.connection(connection), with_persistence(headers, persistent)
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
        workers: Mapping[str, int] | None = None,
        max_messages: int | None = None,
        max_memory: int | None = None,
        log_format: str | None = None,
        log_level: str = "INFO",
    ) -> None:
        """Listen until SIGTERM or SIGINT. Then let running handlers end, disconnect, and return.

        SIGHUP ends a single process in the same way; with several processes, SIGHUP replaces them one after the other.
        SIGUSR2 writes the stacks of all threads to stderr.

        After the signal no further message is begun, and the broker delivers unfinished messages again. A second signal
        ends the process at once. Call ``run()`` in the main thread; in another thread it handles no signals, and only
        ``stop()`` ends it. With several processes, each one runs the program's own command line again, up to this call.

        Args:
            log_format: ``json`` or ``text`` sends the log to stderr; None does not configure logging.
            log_level: the lowest level to log, if ``log_format`` is set.
            uris, processes, grace, alive_file, metrics_port, metrics_host, tracing: see :class:`RunOptions`.
            reload, reload_paths, workers, max_messages, max_memory: likewise.

        Raises:
            SystemExit: the application did not end gracefully. The code is one of :class:`Exit`, and the reason is in
                the log.
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
            workers=dict(workers or {}),
            max_messages=max_messages,
            max_memory=max_memory,
        )
        if log_format is not None:
            logs.configure(log_format, log_level)
        code = execute(lambda: self, options)
        if code:
            raise SystemExit(int(code))

    def stop(self) -> None:
        """End ``run()`` of this process as a signal does, without waiting. If ``run()`` is not running, do nothing."""
        self._stopping.ask()

    @contextmanager
    def running(
        self, uris: Mapping[str, str] | None = None, *, timeout: float = 30.0, tracing: bool = False
    ) -> Iterator[Application]:
        """Connect, listen inside the block, and end gracefully: for tests, or beside other work of a process.

        Hooks are called. Signals are not handled, and there is no alive-file and no metrics endpoint.

        Args:
            uris: broker URIs by connection name; they replace those of the program.
            timeout: seconds to wait for the connections at the beginning, and for the handlers at the end.

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

    def test_client(self) -> TestClient:
        """Return a client that passes messages to the handlers without a broker, one attempt at a time."""
        from stomplistener.worker.test_client import TestClient

        return TestClient(self)

    @contextmanager
    def open(
        self,
        uris: Mapping[str, str],
        tasks: Tasks | None = None,
        stopping: StopRequest | None = None,
        casualties: Casualties | None = None,
        workers: Mapping[str, int] | None = None,
    ) -> Iterator[Running]:
        """Make the connections and declare the subscriptions on them. The caller connects them.

        Args:
            tasks: notes the attempts that run.
            casualties: counts the processes that died of a message.
            workers: threads by destination; they override those in the program.

        Raises:
            WrongUse: no handler listens to a destination in ``workers``.
            InvalidURI: a connection has no broker URI, or there is no connection.
            ValueError: ``once`` has no inbox.
        """
        workers = workers or {}
        if unknown := workers.keys() - {each.destination for each in self.declarations}:
            raise WrongUse(f"no handler listens to {', '.join(sorted(unknown))}, but workers for it are given")
        running = Running(self.name, tasks or Tasks(), casualties or Casualties())
        for name, plan in self._needed(uris).items():
            running.add_connection(name, plan)
        with self.using(running):
            for each in self.declarations:
                count = workers.get(each.destination, each.options["workers"])
                declaration = replace(each, options={**each.options, "workers": count})
                running.subscribe(declaration, self.arounds_of(each))
            self._stopping = stopping or StopRequest()
            yield running

    @contextmanager
    def using(self, running: Running) -> Iterator[None]:
        """Let ``connection()`` and ``send()`` use these connections inside the block."""
        if self._running is not None:
            raise RuntimeError("the application runs already")
        self._running = running
        try:
            yield
        finally:
            self._running = None

    def arounds_of(self, declaration: Declaration) -> list[Around]:
        """Return the context managers around each attempt of a handler, outermost first.

        Raises:
            ValueError: the handler has ``once``, but there is no inbox.
        """
        arounds: list[Around] = [logs.handling]
        if self.tracing is not None:
            arounds.append(self.tracing.process)
        if not declaration.once:
            return [*arounds, *self._arounds, *declaration.arounds]
        inbox = declaration.inbox or self.inbox
        if inbox is None:
            raise ValueError(
                f"the handler of {declaration.destination} has once, which needs an inbox: "
                "Application(inbox=SQLiteInbox(path)), or Stomp(inbox=...) with Flask"
            )
        once = Once(inbox, declaration.name, declaration.once, lambda: self._server(declaration.connection))
        return [*arounds, once.unless_repeated, *self._arounds, once.noted, *declaration.arounds]

    def _server(self, name: str) -> str:
        """Return the name that the broker gave in CONNECTED; empty if it gave none."""
        connection = self.connections.get(name)
        return "" if connection is None else connection.session.server or ""

    def _needed(self, uris: Mapping[str, str]) -> dict[str, ConnectionPlan]:
        """Return every connection that is declared, used by a listener or given a URI, each with its URI."""
        names = dict.fromkeys([*self.connection_names, *uris])
        needed = {}
        for name in names:
            plan = self._plans.get(name, ConnectionPlan())
            uri = uris.get(name) or plan.uri or environment.url(name)
            if not uri:
                raise InvalidURI(
                    f"connection {name!r} has no broker URI: give it to the Application, or as --url on the command "
                    f"line, or in the environment as {environment.variable('URL', name)}"
                )
            needed[name] = ConnectionPlan(uri=uri, options=environment.credentials(name) | dict(plan.options))
        if not needed:
            raise InvalidURI("the application declares no listener and no connection: there is nothing to run")
        return needed
