"""Test handlers without a broker: a test passes a message, and gets the outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol, cast

from stomplistener.backoff import Backoff
from stomplistener.connection import Body, Connection
from stomplistener.contrib.outgoing import SentMessage, kept
from stomplistener.message import OF_A_DELIVERY, Message
from stomplistener.options import json_body
from stomplistener.policy import SettlePolicy, Verdict
from stomplistener.protocol import Frame
from stomplistener.testing.recorded import RecordedMessage, message
from stomplistener.worker.casualties import Casualties
from stomplistener.worker.declarations import Around, Declaration
from stomplistener.worker.handling import Handling, Tasks
from stomplistener.worker.running import Running, subscription_options


class Tested(Protocol):
    """The part of an application that the test client uses."""

    name: str
    declarations: list[Declaration]

    @property
    def connection_names(self) -> list[str]: ...
    def using(self, running: Running) -> AbstractContextManager[None]: ...
    def arounds_of(self, declaration: Declaration) -> list[Around]: ...


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of one attempt.

    Attributes:
        name: ``acked``, ``retried``, ``forwarded`` or ``rejected``.
        sent: the messages that the handler sent with the application, oldest first; then its reply; then the dead
            letter, if the message was forwarded.
        error: the exception of the handler, or the PayloadError if the message did not fit; None if the handler
            returned.
        message: the message that the handler got.
    """

    name: str
    sent: list[SentMessage]
    error: BaseException | None
    message: RecordedMessage


class TestClient:
    """Passes messages to the handlers of an application. One thread uses it.

    The application must not run meanwhile. Context managers around messages are entered, but hooks are not called.

    Args:
        application: the application whose handlers are called.
    """

    __test__ = False

    def __init__(self, application: Tested) -> None:
        self._application = application

    def deliver(
        self,
        destination: str,
        body: str | bytes | Mapping[str, Any] | list[Any] = b"",
        headers: Mapping[str, str] | None = None,
        *,
        attempts: int = 0,
    ) -> Outcome:
        """Make one attempt at a message, in this thread. The outcome has the exception of the handler, if any.

        Args:
            destination: a destination that a handler listens to.
            body: text, bytes, or a value to send as JSON.
            headers: the headers of the message.
            attempts: the number of attempts that have failed before.

        Raises:
            LookupError: no handler listens to the destination.
        """
        declaration = self._declaration(destination)
        given = message(body, headers, destination)
        given.attempts = attempts
        sent: list[SentMessage] = []
        running = Running(self._application.name, Tasks(), Casualties())
        names = dict.fromkeys([*self._application.connection_names, declaration.connection])
        running.connections.update({name: cast(Connection, _Recorder(name, sent)) for name in names})
        with self._application.using(running):
            handling = running.handling(declaration, self._application.arounds_of(declaration))
            handling.policy = _policy(declaration)
            verdict, error = _attempt(handling, given)
        sent += [_reply(declaration.connection, given, *reply) for reply in given.replies]
        if verdict is Verdict.FORWARDED and error is not None:
            sent.append(_dead_letter(declaration, handling.policy, given, error))
        return Outcome(name=str(verdict), sent=sent, error=error, message=given)

    def _declaration(self, destination: str) -> Declaration:
        declarations = self._application.declarations
        for each in declarations:
            if each.destination == destination:
                return each
        known = ", ".join(each.destination for each in declarations) or "none at all"
        raise LookupError(f"no handler listens to {destination!r}; there are handlers of {known}")


def _attempt(handling: Handling, given: RecordedMessage) -> tuple[Verdict, BaseException | None]:
    policy = handling.policy
    try:
        verdict = handling.handle(given)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        verdict = policy.decide(given.attempts, error)
        return (_settled(given) or verdict), error
    return (_settled(given) or verdict), None


def _settled(given: RecordedMessage) -> Verdict | None:
    """Return the outcome for the message itself."""
    return Verdict.ACKED if given.acked else Verdict.REJECTED if given.nacked else None


def _policy(declaration: Declaration) -> SettlePolicy:
    options = subscription_options(declaration)
    if not options["settle"]:
        return SettlePolicy()
    retry_on = options["retry_on"]
    return SettlePolicy(
        settle=True,
        retries=options["retries"],
        backoff=Backoff.of("retry_delay", options["retry_delay"]),
        error_destination=options["error_destination"],
        dead_letter_on=tuple(options["dead_letter_on"]),
        retry_on=(BaseException,) if retry_on is None else _listed(retry_on),
    )


def _listed(kinds: Any) -> tuple[type[BaseException], ...]:
    return (kinds,) if isinstance(kinds, type) else tuple(kinds)


def _reply(connection: str, given: Message, body: Any, headers: Mapping[str, str]) -> SentMessage:
    own = {"correlation-id": given.headers["correlation-id"]} if "correlation-id" in given.headers else {}
    return kept(connection, given.reply_to or "", body, {**own, **headers}, {})


def _dead_letter(declaration: Declaration, policy: SettlePolicy, given: Message, error: BaseException) -> SentMessage:
    headers = {name: value for name, value in given.headers.items() if name not in OF_A_DELIVERY}
    headers |= {
        "original-destination": given.destination,
        "original-message-id": given.id,
        "error": f"{type(error).__name__}: {error}".replace("\n", " "),
        "attempts": str(given.attempts + 1),
    }
    return kept(declaration.connection, policy.error_destination or "", given.body, headers, {})


class _Recorder:
    """Replaces the connection: keeps sent messages, and confirms them at once."""

    def __init__(self, name: str, sent: list[SentMessage]) -> None:
        self._name = name
        self._sent = sent
        self.is_connected = True
        self.session = SimpleNamespace(epoch=1, server="", broker=None, version="1.2")

    def send(
        self, destination: str, body: Body = b"", headers: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        if "json" in options:
            body = json_body(options.pop("json"))
            options.setdefault("content_type", "application/json")
        self._sent.append(kept(self._name, destination, body, headers, options))

    def send_async(
        self, destination: str, body: Body = b"", headers: Mapping[str, str] | None = None, **options: Any
    ) -> Future[Frame]:
        self.send(destination, body, headers, **options)
        future: Future[Frame] = Future()
        future.set_result(Frame("RECEIPT", {"receipt-id": str(len(self._sent))}))
        return future

    @contextmanager
    def batch(self) -> Iterator[None]:
        yield

    @contextmanager
    def transaction(self) -> Iterator[_Transaction]:
        transaction = _Transaction(self)
        yield transaction
        # If the block raises, the transaction aborts and sends nothing.
        transaction.commit()

    def flush(self, timeout: float | None = None) -> None:
        """Return at once: nothing waits to be written."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the test client has no broker, so connection.{name} does not work: test with a Broker()")


class _Transaction:
    """Keeps sent messages until it commits."""

    def __init__(self, recorder: _Recorder) -> None:
        self._recorder = recorder
        self._waiting: list[Callable[[], object]] = []

    def send(self, *arguments: Any, **options: Any) -> None:
        self._waiting.append(lambda: self._recorder.send(*arguments, **options))

    def ack(self, given: Message) -> None:
        self._waiting.append(given.ack)

    def nack(self, given: Message) -> None:
        self._waiting.append(given.nack)

    def commit(self) -> None:
        waiting, self._waiting = self._waiting, []
        for act in waiting:
            act()

    def abort(self) -> None:
        self._waiting.clear()
