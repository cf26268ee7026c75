"""Arguments of a wrong type or value: an error that names the argument, before anything is noted."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from application_support import SOON, Keeper, connected, logged, still_works
from client_support import QUEUE, eventually, in_thread, reconnected

from stomplistener import Connection, StompError
from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(30)


class NotText:
    def __repr__(self) -> str:
        return "NotText()"


NO_STRINGS: dict[str, Any] = {
    "int": 7,
    "None": None,
    "bool": True,
    "bytes": b"text",
    "Path": Path("text"),
    "list": ["text"],
    "float": 1.5,
    "object": NotText(),
}


class Red(str, enum.Enum):  # noqa: UP042 - the older way is the one that goes wrong
    """Its f-string is ``Red.QUEUE`` in some versions of Python; its value is what the broker must get."""

    QUEUE = "/queue/red"


class Disguised(str):
    """A string that shows itself otherwise than it is."""

    def __str__(self) -> str:
        return "disguise"

    def __repr__(self) -> str:
        return "disguise"

    def __format__(self, _spec: str) -> str:
        return "disguise"


class Argument(NamedTuple):
    """One argument that must be a string.

    Attributes:
        call: gives it to the library.
        names: what the error may call it.
        optional: whether None stands for its absence.
        converts: whether a number may be sent as its text, which the manual must then say.
    """

    call: Callable[[Connection, Any], object]
    names: str
    optional: bool = False
    converts: bool = False


def _consume(connection: Connection, **arguments: Any) -> None:
    connection.consume(**arguments).close()


def _transact(connection: Connection, **arguments: Any) -> None:
    with connection.transaction(**arguments) as transaction:
        transaction.send(QUEUE + "/t", "x")


def _send_in(connection: Connection, destination: Any, headers: Any = None) -> None:
    with connection.transaction() as transaction:
        transaction.send(destination, "x", headers)


ARGUMENTS: dict[str, Argument] = {
    "send destination": Argument(lambda c, v: c.send(v, "x"), "destination"),
    "send confirmed destination": Argument(lambda c, v: c.send(v, "x", confirm=True), "destination"),
    "send_async destination": Argument(lambda c, v: c.send_async(v, "x"), "destination"),
    "transaction destination": Argument(lambda c, v: _send_in(c, v), "destination"),
    "request destination": Argument(lambda c, v: c.request_async(v, "x"), "destination"),
    "subscribe destination": Argument(lambda c, v: c.subscribe(v, print), "destination"),
    "consume destination": Argument(lambda c, v: _consume(c, destination=v), "destination"),
    "send header value": Argument(lambda c, v: c.send(QUEUE, "x", {"shade": v}), "shade", converts=True),
    "send header name": Argument(lambda c, v: c.send(QUEUE, "x", {_key(v): "x"}), "header"),
    "send_async header value": Argument(
        lambda c, v: c.send_async(QUEUE, "x", {"shade": v}).result(SOON), "shade", converts=True
    ),
    "confirmed header value": Argument(
        lambda c, v: c.send(QUEUE, "x", {"shade": v}, confirm=True), "shade", converts=True
    ),
    "transaction's header value": Argument(lambda c, v: _send_in(c, QUEUE, {"shade": v}), "shade", converts=True),
    "BEGIN's header value": Argument(lambda c, v: _transact(c, headers={"shade": v}), "shade", converts=True),
    "SUBSCRIBE's header value": Argument(
        lambda c, v: c.subscribe(QUEUE, print, headers={"shade": v}), "shade", converts=True
    ),
    "SUBSCRIBE's header name": Argument(lambda c, v: c.subscribe(QUEUE, print, headers={_key(v): "x"}), "header"),
    "consumer's header value": Argument(
        lambda c, v: _consume(c, destination=QUEUE, headers={"shade": v}), "shade", converts=True
    ),
    "receipt header": Argument(lambda c, v: c.send(QUEUE, "x", {"receipt": v}), "receipt", converts=True),
    "content_type": Argument(lambda c, v: c.send(QUEUE, "x", content_type=v), "content[-_]type", optional=True),
    "send transaction": Argument(lambda c, v: c.send(QUEUE, "x", transaction=v), "transaction", optional=True),
    "duplicate_id": Argument(lambda c, v: c.send(QUEUE, "x", duplicate_id=v), "duplicate_id", optional=True),
    "transaction id": Argument(lambda c, v: _transact(c, id=v), "id|transaction", optional=True),
    "subscription id": Argument(lambda c, v: c.subscribe(QUEUE, print, id=v), "id", optional=True),
    "durable": Argument(lambda c, v: c.subscribe(QUEUE, print, durable=v), "durable", optional=True),
    "selector": Argument(lambda c, v: c.subscribe(QUEUE, print, selector=v), "selector", optional=True),
    "ack": Argument(lambda c, v: c.subscribe(QUEUE, print, ack=v), "ack", optional=True),
    "error_destination": Argument(
        lambda c, v: c.subscribe(QUEUE, print, ack="client-individual", settle=True, error_destination=v),
        "error_destination",
        optional=True,
    ),
    "listener name": Argument(lambda c, v: c.add_listener(print, v), "name", optional=True),
    "set_listener name": Argument(lambda c, v: c.set_listener(v, print), "name"),
    "disconnect header value": Argument(lambda c, v: c.disconnect(headers={"shade": v}), "shade", converts=True),
}


def _key(value: object) -> Any:
    """A value as the key of a dict; a list cannot be one."""
    return tuple(value) if isinstance(value, list) else value


def names_it(error: BaseException, names: str) -> bool:
    return re.search(rf"(?<![a-z])({names})(?![a-z])", str(error)) is not None


@pytest.mark.parametrize("kind", NO_STRINGS)
@pytest.mark.parametrize("name", ARGUMENTS)
def test_no_string_where_one_is_due(name: str, kind: str, broker: Broker) -> None:
    argument, value = ARGUMENTS[name], NO_STRINGS[kind]
    if value is None and argument.optional:
        return
    with connected(broker.uri) as connection:
        outcome = in_thread(lambda: argument.call(connection, value)).done(SOON)
        error = outcome.error
        if error is None:
            assert argument.converts, f"{name}={value!r} was accepted"
            assert type(value) in (int, float, bool), f"{name}={value!r} was accepted"
        else:
            assert isinstance(error, (TypeError, ValueError)), f"{error!r}"
            assert names_it(error, argument.names), f"{name} is not named by: {error}"
        if not connection.is_connected:
            # Headers of DISCONNECT are checked before the end begins.
            assert error is None
            return
        still_works(connection)
        for frame in broker.frames():
            assert "None" not in dict(frame.headers).values()
        broker.drop_connections()
        reconnected(connection)
        still_works(connection)
        replayed = [frame.headers for frame in broker.frames(connection=2, command="SUBSCRIBE")]
        assert error is None or all(str(headers["destination"]).startswith("/queue/still") for headers in replayed)
        assert connection.statistics().reconnects == 1


TAKEN_BY_VALUE = [name for name in ARGUMENTS if name not in ("ack", "send transaction", "selector", "durable")]


@pytest.mark.parametrize("text", [Red.QUEUE, Disguised("/queue/red")], ids=["enum", "subclass"])
@pytest.mark.parametrize("name", TAKEN_BY_VALUE)
def test_a_subclass_of_str_is_taken_by_its_value(name: str, text: str, broker: Broker) -> None:
    with connected(broker.uri) as connection:
        keeper = Keeper()
        connection.subscribe("/queue/red", keeper.on_message, confirm=True)
        in_thread(lambda: ARGUMENTS[name].call(connection, text)).value(SOON)
        if connection.is_connected:
            connection.send("/queue/last", "x", confirm=True)
        for frame in broker.frames():
            shown = " ".join(f"{key}:{value}" for key, value in frame.headers.items())
            assert "disguise" not in shown
            assert "Red" not in shown
        if name.endswith("listener name"):
            assert connection.get_listener("/queue/red") is print
        if "destination" in name and name.startswith(("send", "transaction", "request")):
            eventually(lambda: len(keeper.texts) == 1, "the message at the destination that was meant")


CONNECT_ARGUMENTS: dict[str, Callable[[str, Any], Connection]] = {
    "login": lambda uri, value: Connection(uri, login=value),
    "passcode": lambda uri, value: Connection(uri, login="me", passcode=value),
    "host": lambda uri, value: Connection(uri, host=value),
    "name": lambda uri, value: Connection(uri, name=value),
    "shade": lambda uri, value: Connection(uri, headers={"shade": value}),
    "header": lambda uri, value: Connection(uri, headers={_key(value): "x"}),
    "duplicate_header": lambda uri, value: Connection(uri, duplicate_header=value),
}
OPTIONAL = ("login", "passcode", "host", "name", "duplicate_header")


@pytest.mark.parametrize("kind", NO_STRINGS)
@pytest.mark.parametrize("name", CONNECT_ARGUMENTS)
def test_arguments_of_the_connection(name: str, kind: str, broker: Broker) -> None:
    value = NO_STRINGS[kind]
    if value is None and name in OPTIONAL:
        return
    if name == "shade" and type(value) in (int, float, bool):
        with suppress(TypeError, ValueError):
            connection = CONNECT_ARGUMENTS[name](broker.uri, value)
            in_thread(connection.connect).value(SOON)
            in_thread(connection.disconnect).value(SOON)
            assert str(value).lower() == broker.frames()[0].headers["shade"].lower()
        return
    with pytest.raises((TypeError, ValueError)) as caught:
        CONNECT_ARGUMENTS[name](broker.uri, value)
    assert names_it(caught.value, name)
    assert "text" not in str(caught.value) or name != "passcode", "a passcode is never shown"


@pytest.mark.parametrize("text", [Red.QUEUE, Disguised("/queue/red")], ids=["enum", "subclass"])
@pytest.mark.parametrize("name", CONNECT_ARGUMENTS)
def test_subclasses_of_str_for_the_connection(name: str, text: str, broker: Broker) -> None:
    connection = CONNECT_ARGUMENTS[name](broker.uri, text)
    in_thread(connection.connect).value(SOON)
    in_thread(connection.disconnect).value(SOON)
    shown = " ".join(f"{key}:{value}" for key, value in broker.frames()[0].headers.items())
    assert "disguise" not in shown
    assert "Red" not in shown


WRITTEN: dict[str, Callable[[Any, Any], object]] = {
    "login": lambda options, value: setattr(options, "login", value),
    "passcode": lambda options, value: setattr(options, "passcode", value),
    "host": lambda options, value: setattr(options, "host", value),
    "shade": lambda options, value: options.headers.update(shade=value),
    "headers": lambda options, value: setattr(options, "headers", value),
    "header": lambda options, value: options.headers.update({_key(value): "x"}),
}


@pytest.mark.parametrize("kind", [kind for kind in NO_STRINGS if kind != "None"])
@pytest.mark.parametrize("name", WRITTEN)
def test_what_before_connect_writes(name: str, kind: str, broker: Broker) -> None:
    """The attempt fails and says why; a number as a header may also be sent as its text."""
    value, writes = NO_STRINGS[kind], [True]
    connection = Connection(
        broker.uri, before_connect=lambda options: writes[0] and WRITTEN[name](options, value), timeout=SOON
    )
    error = in_thread(connection.connect).done(SOON + 1).error
    if error is None:
        assert name == "shade", f"{name}={value!r} was accepted"
        assert type(value) in (int, float, bool)
        in_thread(connection.disconnect).value(SOON)
        return
    assert isinstance(error, (StompError, TypeError, ValueError))
    assert names_it(error, name), f"{name} is not named by: {error}"
    writes[0] = False
    in_thread(connection.connect).value(SOON)
    still_works(connection)
    in_thread(connection.disconnect).value(SOON)


@pytest.mark.parametrize("kind", ["int", "bytes", "list"])
def test_what_before_connect_writes_at_a_reconnect(kind: str, broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """It costs attempts, and not the connection."""
    writes = [False]

    def before(options: Any) -> None:
        if writes[0]:
            options.login = NO_STRINGS[kind]

    with connected(broker.uri, before_connect=before) as connection:
        writes[0] = True
        broker.drop_connections()
        eventually(logged(caplog, "login"), "the reason in the log")
        writes[0] = False
        reconnected(connection)
        still_works(connection)
