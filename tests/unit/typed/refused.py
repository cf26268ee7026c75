"""Handlers that are wrong: type checkers complain of each line that is marked ``refused``, and of no other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass

from stomplistener import Backoff, Connection, Message
from stomplistener.contrib.flask import Stomp
from stomplistener.worker import Application

app = Application()
stomp = Stomp()


@dataclass
class Order:
    id: int


# What cannot be a handler


@app.listener("/queue/a")  # refused
def takes_nothing() -> None: ...


@app.listener("/queue/a")  # refused
def by_keyword_only(*, order: Order) -> None: ...


@app.listener("/queue/a")  # refused
async def coroutine(order: Order) -> None: ...


@app.listener("/queue/a")  # refused
async def asynchronous_generator(order: Order) -> AsyncIterator[int]:
    yield order.id


@app.listener("/queue/a")  # refused
def generator(order: Order) -> Generator[int, None, None]:
    yield order.id


@app.listener("/queue/a")  # refused
def returns_a_set(order: Order) -> set[int]:
    return {order.id}


@app.listener("/queue/a")  # refused
def returns_an_object(order: Order) -> object:
    return order


@stomp.listener("/queue/a")  # refused
async def coroutine_in_flask(order: Order) -> None: ...


@app.listener  # refused
def without_a_destination(order: Order) -> None: ...


# Options


@app.listener("/queue/a", workers="4")  # refused
def workers(order: Order) -> None: ...


@app.listener("/queue/a", retry=3)  # refused
def misspelt(order: Order) -> None: ...


@app.listener("/queue/a", retry_delay=Backoff("1"))  # refused
def delay(order: Order) -> None: ...


@app.listener("/queue/a", retry_by="sender")  # refused
def retried_by(order: Order) -> None: ...


@app.listener("/queue/a", ack="individual")  # refused
def mode(order: Order) -> None: ...


@app.listener("/queue/a", dead_letter_on=ValueError("x"))  # refused
def an_instance(order: Order) -> None: ...


@app.around  # refused
def no_manager(message: Message) -> None: ...


# A handler stays what it was


@app.listener("/queue/a")
def right(order: Order) -> str:
    return str(order.id)


right("an order")  # refused
number: int = right(Order(1))  # refused


def subscribed(connection: Connection) -> None:
    connection.subscribe("/queue/a", print, ack="individual")  # refused
    connection.subscribe("/queue/a", print, retries="3")  # refused
    connection.send("/queue/a", {"id": 1})  # refused
    connection.send("/queue/a", "x", confirmed=True)  # refused
