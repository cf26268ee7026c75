"""What an application of listeners declares: its handlers, its connections, and what goes around each message."""

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
    """Refuse arguments of a listener that do not fit together, and return ``settle``.

    Others are refused by ``Connection.subscribe``.
    """
    if callable(destination):
        raise TypeError('listener needs a destination: write @app.listener("/queue/orders")')
    arguments.text("destination", destination)
    settle = ack == "client-individual" if settle is None else settle
    if not settle and (retries or error_destination is not None):
        raise ValueError("retries and error_destination belong to settle=True")
    if retry_by not in ("worker", "broker"):
        raise ValueError(f"retry_by is 'worker' or 'broker', not {retry_by!r}")
    if time_limit is not None and not (arguments.seconds("time_limit", time_limit) or 0) > 0:
        raise ValueError(f"time_limit must be more than 0 seconds, not {time_limit!r}")
    return settle


class Application:
    """Handlers of messages, declared by decorators, and run by one process or many.

    Declare everything while modules are imported; a later declaration takes effect at the next start. Handlers run in
    threads of the connection that they listen by: several at a time if they ask for ``workers``, or if the application
    has several connections. ``connection()``, ``send()`` and ``stop()`` may be called from any thread.

    Args:
        uri: the broker URI of the connection ``default``; None takes the environment's ``STOMP_URL``.
        name: for threads and log lines.
        inbox: remembers what handlers with ``once`` have handled: a :class:`SQLiteInbox`, or a store of your own.
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
        """Declare a connection, for listeners that name it and for ``send``.

        Args:
            name: letters, digits, ``-`` and ``_``.
            uri: its broker URI; None takes the environment's ``STOMP_URL_<NAME>``.
            **options: as for ``Connection``.

        Raises:
            ValueError: the name is malformed or already declared.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a name for a connection: letters, digits, - and _ make one")
        if name in self._plans:
            raise ValueError(f"connection {name!r} is declared already")
        self._plans[name] = ConnectionPlan(uri=uri, options=options)

    def add_codec(
        self, content_type: str, decode: Callable[[bytes], Any], encode: Callable[[Any], bytes] | None = None
    ) -> None:
        """Read bodies of a content-type, for handlers with a typed payload, and write the replies to them.

        Args:
            content_type: such as ``application/msgpack``, without parameters. All that have no codec are read as JSON.
            decode: makes of a body the plain values that JSON has, or a value of the payload's type.
            encode: makes a body of what a handler returned; None writes JSON.
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
        """Declare the decorated function a handler.

        The function takes the message, or what its first parameter is annotated with, made of the body: ``bytes``,
        ``str``, or a dataclass, a model of pydantic, a struct of msgspec or a plain type, made of JSON and checked. A
        message that does not fit is given up at once. Further parameters are annotated ``Message``, or declared by
        ``Header``. What the function returns goes to the message's ``reply-to``, if it has one: text and bytes as they
        are, everything else as JSON.

        By default each message is acknowledged when the handler returns, and rejected when it raises. Unlike
        ``Connection.subscribe``, a worker loses no message unless you ask for it (``ack="auto"``).

        Args:
            destination: as the broker spells it, such as ``/queue/orders``.
            connection: by which connection.
            settle: acknowledge or reject for the handler; None does so with ``ack="client-individual"``.
            retry_by: ``broker``: a retry is a copy that the broker delivers after ``retry_delay``, and that outlives
                this process. Where the broker cannot delay, and for topics, the worker waits itself.
            time_limit: seconds after which a handler counts as hanging: its stack is logged, the alive-file is touched
                no more, and with several processes this one is replaced.
            once: whether the inbox keeps the handler from being called for a message that it has handled: True knows it
                by its ``outbox-id``, a name by that header. See ``worker.inbox`` for messages without such a header.
            around: more context managers, for this handler alone, inside those of the application.
            prefetch: as for ``Connection.subscribe``; if None, four messages for each of the workers, where the
                broker can do it and ``settle`` is true, so that processes share a backlog. With ``max_deliveries`` it
                is one message for each, since a broker that counts deliveries counts the waiting ones, too.
            max_deliveries: as for ``Connection.subscribe``; a supervisor also counts the processes that died of a
                message.
            ack, workers, ordered_by, retries, retry_delay, retry_on, dead_letter_on: as for ``Connection.subscribe``.
            error_destination, durable, selector, headers, id: likewise.

        Raises:
            TypeError: the function is a coroutine, or cannot be called with a message.
            ValueError: the arguments do not fit together; at the latest when the application starts.
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

        It is called with the message for each attempt, in the thread of the handler. Managers are entered in the order
        of their declaration. The message is settled after all managers have ended, so their commits come before the
        acknowledgement. If a manager swallows the handler's exception, the message is acknowledged.
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
            arounds = (*other._arounds, *each.arounds)
            self.declarations.append(replace(each, arounds=arounds, inbox=each.inbox or other.inbox))
        self.start_hooks += other.start_hooks
        self.stop_hooks += other.stop_hooks
        for name, plan in other._plans.items():
            self.add_connection(name, plan.uri, **plan.options)

    @property
    def connection_names(self) -> list[str]:
        """The connections that are declared, or listened by."""
        return list(dict.fromkeys([*self._plans, *(each.connection for each in self.declarations)]))

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
        persistent: bool = True,
        **options: Any,
    ) -> None:
        """Send a message as ``Connection.send`` does, and carry the trace on in its headers where there is one.

        Args:
            connection: by which connection.
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
        """Listen until SIGTERM or SIGINT; then let running handlers end, disconnect, and return.

        SIGHUP ends it likewise; with several processes it replaces them, one after the other. SIGUSR2 writes the stacks
        of all threads to stderr.

        No further message is begun after the signal, and the broker delivers unfinished messages again. A second
        signal ends the process at once. Call it in the main thread; elsewhere no signal is handled, and ``stop()`` ends
        it. With several processes each one runs the program's own command line again, up to this call.

        Args:
            log_format: ``json`` or ``text`` sends the log to stderr; None leaves logging as the program has it.
            log_level: the least level to log then.
            uris, processes, grace, alive_file, metrics_port, metrics_host, tracing: see :class:`RunOptions`.
            reload, reload_paths, workers, max_messages, max_memory: likewise.

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
        """Ask ``run()`` of this process to end as after a signal; does not wait. Nothing if it does not run."""
        self._stopping.ask()

    @contextmanager
    def running(
        self, uris: Mapping[str, str] | None = None, *, timeout: float = 30.0, tracing: bool = False
    ) -> Iterator[Application]:
        """Connect, listen while the block lasts, and end gracefully: for tests, and beside other work of a process.

        Hooks are called; signals, files and metrics are left alone.

        Args:
            uris: broker URIs by the name of the connection; they replace those of the program.
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

    def test_client(self) -> TestClient:
        """Return what gives messages to the handlers without a broker, one attempt at a time."""
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
        """Make the connections and declare the subscriptions on them; what follows is up to the caller.

        Args:
            tasks: notes what runs.
            casualties: knows which messages killed their process.
            workers: threads by destination, in place of what the program says.

        Raises:
            ValueError: no handler listens to a destination in ``workers``, or ``once`` has no inbox.
        """
        workers = workers or {}
        if unknown := workers.keys() - {each.destination for each in self.declarations}:
            raise ValueError(f"no handler listens to {', '.join(sorted(unknown))}, whose workers are given")
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
        """Let ``connection()`` and ``send()`` go by these connections while the block lasts."""
        if self._running is not None:
            raise RuntimeError("the application runs already")
        self._running = running
        try:
            yield
        finally:
            self._running = None

    def arounds_of(self, declaration: Declaration) -> list[Around]:
        """All that goes around each attempt of a handler, outermost first.

        Raises:
            ValueError: the handler has ``once``, and there is no inbox.
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
        """The broker's name for itself; empty if it has none."""
        connection = self.connections.get(name)
        return "" if connection is None else connection.session.server or ""

    def _needed(self, uris: Mapping[str, str]) -> dict[str, ConnectionPlan]:
        """Every connection that is declared, listened by or given a URI, each with its URI."""
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
