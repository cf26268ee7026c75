"""Handlers that are right: no type checker has anything to say of them. ``test_type_checkers.py`` runs the checkers."""

from __future__ import annotations

import decimal
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, assert_type

import msgspec
import pydantic

from stomplistener import Backoff, Connection, Message
from stomplistener.contrib.flask import Stomp
from stomplistener.worker import Application, Header

app = Application()
stomp = Stomp()


@dataclass
class Order:
    id: int


class Invoice(pydantic.BaseModel):
    order: int


class Parcel(msgspec.Struct):
    order: int


# What a handler may take


@app.listener("/queue/a")
def message(order: Message) -> None: ...


@app.listener("/queue/a")
def raw(order: bytes) -> None: ...


@app.listener("/queue/a")
def text(order: str) -> None: ...


@app.listener("/queue/a")
def of_a_dataclass(order: Order) -> None: ...


@app.listener("/queue/a")
def of_pydantic(invoice: Invoice) -> None: ...


@app.listener("/queue/a")
def of_msgspec(parcel: Parcel) -> None: ...


@app.listener("/queue/a")
def plain(numbers: dict[str, list[int]]) -> None: ...


@app.listener("/queue/a")
def with_more(order: Order, message: Message, tenant: str = Header("x-tenant", default="eu")) -> None: ...


@app.listener("/queue/a")
def annotated(order: Order, tenant: Annotated[str, Header("x-tenant")]) -> None: ...


@stomp.listener("/queue/a")
def in_flask(order: Order, message: Message) -> None: ...


# What it may return


@app.listener("/queue/a")
def returns_text(order: Order) -> str | None:
    return "booked" if order.id else None


@app.listener("/queue/a")
def returns_bytes(order: Order) -> bytes:
    return b"booked"


@app.listener("/queue/a")
def returns_a_mapping(order: Order) -> Mapping[str, int]:
    return {"booked": order.id}


@app.listener("/queue/a")
def returns_rows(order: Order) -> list[Order]:
    return [order]


@app.listener("/queue/a")
def returns_a_dataclass(order: Order) -> Order:
    return order


@app.listener("/queue/a")
def returns_a_model(order: Order) -> Invoice:
    return Invoice(order=order.id)


@app.listener("/queue/a")
def returns_a_struct(order: Order) -> Parcel:
    return Parcel(order=order.id)


@app.listener("/queue/a")
def returns_a_number(order: Order) -> decimal.Decimal | uuid.UUID | float | bool:
    return decimal.Decimal(1)


# Options


@app.listener(
    "/queue/a",
    workers=4,
    ordered_by="customer",
    retries=3,
    retry_delay=Backoff(1),
    retry_on=OSError,
    dead_letter_on=(ValueError, KeyError),
    max_deliveries=5,
    retry_by="broker",
    error_destination="/queue/dead",
    time_limit=60,
    once="x-order",
)
def with_options(order: Order) -> None: ...


@app.around
@contextmanager
def around(message: Message) -> Iterator[None]:
    yield


@app.on_start
def begin() -> None: ...


# A handler stays what it was


assert_type(of_a_dataclass(Order(1)), None)
assert_type(returns_a_mapping(Order(1)), Mapping[str, int])
listener: Callable[[Message], None] = message


def subscribed(connection: Connection) -> None:
    connection.subscribe("/queue/a", message, settle=True, retry_delay=Backoff(1), dead_letter_on=ValueError)
    connection.subscribe("/queue/a", lambda order: print(order), ack="client")
