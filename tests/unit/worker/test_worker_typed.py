"""Typed handlers: payloads, headers, replies, codecs."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pydantic
import pytest

from stomplistener import Message
from stomplistener.testing import Broker
from stomplistener.worker import Application, Header

pytestmark = pytest.mark.timeout(30)

QUEUE = "/queue/a"


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass
class Line:
    article: str
    quantity: int = 1


@dataclass
class Order:
    id: int
    customer: str
    lines: list[Line] = field(default_factory=list)
    price: float | None = None
    paid: bool = False
    size: Size = Size.SMALL
    due: date | None = None
    key: UUID | None = None
    total: Decimal = Decimal(0)
    kind: Literal["new", "old"] = "new"
    names: dict[str, int] = field(default_factory=dict)


class Model(pydantic.BaseModel):
    id: int
    lines: list[str] = []


class Struct(msgspec.Struct):
    id: int
    name: str = ""


def given(handler: Callable[..., Any], body: Any, headers: dict[str, str] | None = None, **options: Any) -> Any:
    app = Application()
    app.listener(QUEUE, error_destination="/queue/failed", retries=3, **options)(handler)
    return app.test_client().deliver(QUEUE, body, headers)


def test_a_dataclass_is_made_of_json() -> None:
    seen: list[Order] = []

    def book(order: Order) -> None:
        seen.append(order)

    body = {
        "id": 7, "customer": "ada", "lines": [{"article": "chair"}], "price": 3, "size": "l", "due": "2026-01-02",
        "key": "0af76519-16cd-43dd-8448-eb211c80319c", "total": "1.50", "names": {"a": 1}, "unknown": 1,
    }  # fmt: skip
    assert given(book, body).name == "acked"
    assert seen == [
        Order(
            7, "ada", [Line("chair")], 3.0, False, Size.LARGE, date(2026, 1, 2),
            UUID("0af76519-16cd-43dd-8448-eb211c80319c"), Decimal("1.50"), "new", {"a": 1},
        )
    ]  # fmt: skip
    assert type(seen[0].price) is float


@pytest.mark.parametrize(
    ("change", "field_name"),
    [
        ({"id": "7"}, "id"),
        ({"id": True}, "id"),
        ({"id": 1.5}, "id"),
        ({"id": None}, "id"),
        ({"customer": 7}, "customer"),
        ({"lines": {}}, "lines"),
        ({"lines": [{"article": 1}]}, "lines[0].article"),
        ({"lines": [{"article": "a"}, {}]}, "lines[1].article"),
        ({"price": "much"}, "price"),
        ({"paid": "yes"}, "paid"),
        ({"size": "xl"}, "size"),
        ({"due": "tomorrow"}, "due"),
        ({"key": "x"}, "key"),
        ({"total": "x"}, "total"),
        ({"kind": "other"}, "kind"),
        ({"names": {"a": "b"}}, "names.a"),
    ],
)
def test_what_does_not_fit_names_the_field_and_quotes_no_value(change: dict[str, Any], field_name: str) -> None:
    calls: list[Order] = []

    def book(order: Order) -> None:
        calls.append(order)

    outcome = given(book, {"id": 1, "customer": "ada", **change})
    assert outcome.name == "forwarded"
    assert not calls
    assert outcome.sent[-1].headers["error"].startswith(f"PayloadError: {field_name}: ")


def test_a_missing_field_is_named() -> None:
    def book(order: Order) -> None: ...

    assert given(book, {"id": 1}).sent[-1].headers["error"] == "PayloadError: customer: it is missing"


@pytest.mark.parametrize("body", ["no json", b"\xff", "[1]", "null", ""])
def test_a_body_of_another_kind_does_not_fit(body: str | bytes) -> None:
    def book(order: Order) -> None: ...

    assert given(book, body).name == "forwarded"


@pytest.mark.parametrize("kind", [Model, Struct])
def test_models_and_structs(kind: Any) -> None:
    seen: list[Any] = []

    def book(order: Any) -> Any:
        seen.append(order)
        return order

    book.__annotations__["order"] = kind
    outcome = given(book, {"id": 7}, {"reply-to": "/queue/r"})
    assert seen == [kind(id=7)]
    assert outcome.sent[0].json()["id"] == 7
    refused = given(book, {"id": "a secret"})
    assert refused.name == "forwarded"
    assert "id" in refused.sent[-1].headers["error"]
    assert "secret" not in refused.sent[-1].headers["error"]


def test_misfits_go_to_the_dead_letters_of_a_broker_at_once(broker: Broker) -> None:
    app = Application(broker.uri)

    @app.listener(QUEUE, retries=5, retry_delay=60, error_destination="/queue/failed")
    def book(order: Order) -> None: ...

    with app.running():
        broker.publish(QUEUE, '{"id": "three", "customer": "x"}')
        [failed] = broker.wait_for(lambda: broker.messages("/queue/failed"))
    assert failed.headers["error"] == "PayloadError: id: it must be an integer, not a text"
    assert failed.headers["original-destination"] == QUEUE
    assert failed.headers["attempts"] == "1"


def test_no_error_line_has_the_body(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    app = Application(broker.uri)

    @app.listener(QUEUE, error_destination="/queue/failed")
    def book(order: Order) -> None: ...

    with app.running():
        broker.publish(QUEUE, '{"id": "a-secret-number", "customer": "a-secret-name"}')
        broker.wait_for(lambda: broker.messages("/queue/failed"))
    assert any(record.levelname == "ERROR" for record in caplog.records)
    assert "secret" not in caplog.text


def test_further_parameters() -> None:
    seen: list[Any] = []

    def book(
        order: Order,
        message: Message,
        tenant: Annotated[str, Header("x-tenant")],
        x_count: int = Header(),
        region: str = Header("x-region", default="eu"),
        flag: bool | None = Header("x-flag"),
        limit: int = 5,
    ) -> None:
        seen.extend([order.id, message.destination, tenant, x_count, region, flag, limit])

    outcome = given(book, {"id": 1, "customer": "a"}, {"x-tenant": "t", "x-count": "3"})
    assert outcome.name == "acked", outcome.error
    assert seen == [1, QUEUE, "t", 3, "eu", None, 5]
    missing = given(book, {"id": 1, "customer": "a"}, {"x-count": "3"})
    assert missing.sent[-1].headers["error"] == "PayloadError: header x-tenant: it is missing"
    wrong = given(book, {"id": 1, "customer": "a"}, {"x-tenant": "t", "x-count": "three"})
    assert wrong.sent[-1].headers["error"] == "PayloadError: header x-count: it is no int"


@pytest.mark.parametrize(
    ("body", "annotation", "expected"),
    [
        ("text", str, "text"),
        ("bytes", bytes, b"bytes"),
        ("[1, 2]", list[int], [1, 2]),
        ('{"a": 1}', dict, {"a": 1}),
        ("3", int, 3),
        ('["a", 1]', tuple[str, int], ("a", 1)),
        ('"2026-01-02T03:04:05"', datetime, datetime(2026, 1, 2, 3, 4, 5)),
        ('{"x": [1]}', Any, {"x": [1]}),
    ],
)
def test_plain_payloads(body: str, annotation: Any, expected: Any) -> None:
    seen: list[Any] = []

    def take(payload: Any) -> None:
        seen.append(payload)

    take.__annotations__["payload"] = annotation
    assert given(take, body).name == "acked"
    assert seen == [expected]


def test_classes_of_a_function_can_be_annotations() -> None:
    @dataclass
    class Local:
        a: int
        inner: Local | None = None

    seen: list[Local] = []

    def take(local: Local) -> None:
        seen.append(local)

    assert given(take, {"a": 1, "inner": {"a": 2}}).name == "acked"
    assert seen == [Local(1, Local(2))]


def test_handlers_without_annotations_are_given_the_message() -> None:
    seen: list[str] = []

    def plain(anything, message, headers) -> None:  # type: ignore[no-untyped-def]
        seen.extend([anything.text, message.text, headers["x"]])

    class Called:
        def __call__(self, message: Message) -> None:
            seen.append(message.text)

    assert given(plain, "a", {"x": "y"}).name == "acked"
    assert given(Called(), "b").name == "acked"
    assert given(lambda *all: seen.append(all[0].text), "c").name == "acked"
    assert given(functools.partial(lambda a, message: seen.append(message.text), 1), "d").name == "acked"
    assert seen == ["a", "a", "y", "b", "c", "d"]


def test_handlers_that_cannot_be_called_are_refused_when_they_are_declared() -> None:
    app = Application()

    def none() -> None: ...
    def two(order: Order, line: Line) -> None: ...
    def unknown(order: Order, what) -> None: ...  # type: ignore[no-untyped-def]
    def unfit(order: threading) -> None: ...  # type: ignore[name-defined]  # noqa: F821
    def no_json(order: Callable[[], None]) -> None: ...
    async def coroutine(message: Message) -> None: ...

    for handler in (none, two, unknown, unfit, no_json, coroutine):
        with pytest.raises(TypeError, match=handler.__name__):
            app.listener(QUEUE)(handler)  # type: ignore[type-var]
    assert app.declarations == []


# Replies


@pytest.mark.parametrize(
    ("returned", "body", "content_type"),
    [
        ("text", b"text", "text/plain;charset=utf-8"),
        (b"\x00\x01", b"\x00\x01", None),
        ({"a": 1}, b'{"a":1}', "application/json"),
        ([1, "ä"], '[1,"ä"]'.encode(), "application/json"),
        (7, b"7", "application/json"),
        (False, b"false", "application/json"),
        (Line("a"), b'{"article":"a","quantity":1}', "application/json"),
        ([Line("a")], b'[{"article":"a","quantity":1}]', "application/json"),
        (date(2026, 1, 2), b'"2026-01-02"', "application/json"),
    ],
)
def test_what_a_handler_returns_goes_to_reply_to(
    broker: Broker, returned: Any, body: bytes, content_type: str | None
) -> None:
    app = Application(broker.uri)

    @app.listener(QUEUE)
    def answer(message: Message) -> Any:
        return returned

    with app.running():
        broker.publish(QUEUE, "?", {"reply-to": "/queue/answers", "correlation-id": "c-1"})
        [reply] = broker.wait_for(lambda: broker.messages("/queue/answers"))
        broker.wait_for(lambda: broker.frames(command="ACK"))
    assert (reply.body, reply.headers.get("content-type")) == (body, content_type)
    assert reply.headers["correlation-id"] == "c-1"


def test_none_sends_nothing_and_without_reply_to_a_message_is_simply_acknowledged() -> None:
    def nothing(message: Message) -> None: ...

    def something(message: Message) -> Any:
        return {"a": object()}

    assert given(nothing, "?", {"reply-to": "/queue/r"}).sent == []
    outcome = given(something, "?")
    assert (outcome.name, outcome.sent) == ("acked", [])
    assert given(something, "?", {"reply-to": "/queue/r"}).name == "retried"


def test_a_request_is_answered(broker: Broker) -> None:
    app = Application(broker.uri)

    @app.listener(QUEUE)
    def add(numbers: list[int]) -> int:
        return sum(numbers)

    with app.running():
        assert app.connection().request(QUEUE, json.dumps([1, 2]), timeout=10).json() == 3


def test_no_reply_is_sent_when_what_goes_around_fails() -> None:
    from contextlib import contextmanager

    app = Application()

    @contextmanager
    def commits(_message: Message) -> Any:
        yield
        raise RuntimeError("the commit failed")

    app.around(commits)

    @app.listener(QUEUE)
    def answer(message: Message) -> str:
        return "done"

    outcome = app.test_client().deliver(QUEUE, "?", {"reply-to": "/queue/r"})
    assert (outcome.name, outcome.sent) == ("rejected", [])


def test_a_codec_of_ones_own() -> None:
    app = Application()
    app.add_codec("application/msgpack", msgspec.msgpack.decode, msgspec.msgpack.encode)

    @app.listener(QUEUE, error_destination="/queue/failed")
    def book(line: Line) -> Line:
        return Line(line.article, line.quantity + 1)

    headers = {"content-type": "application/msgpack; v=1", "reply-to": "/queue/r"}
    body = msgspec.msgpack.encode({"article": "a", "quantity": 2})
    [reply] = app.test_client().deliver(QUEUE, body, headers).sent
    assert msgspec.msgpack.decode(reply.body) == {"article": "a", "quantity": 3}
    assert reply.headers["content-type"] == "application/msgpack"
    outcome = app.test_client().deliver(QUEUE, b"\xc1", headers)
    assert outcome.name == "forwarded"
    assert "the body is not valid application/msgpack" in outcome.sent[-1].headers["error"]
