"""A shop: POST /orders publishes an order, confirmed; the worker books it; GET /orders shows what is booked.

FLASK_STOMP_URL=tcp://localhost:61613 gunicorn --workers 2 "shop:create_app()"
FLASK_STOMP_URL=tcp://localhost:61613 flask --app shop stomp worker
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import select
from sqlalchemy.orm import Mapped, mapped_column

from stomplistener import Message, StompError
from stomplistener.contrib.flask import Stomp

ORDERS = "/queue/shop.orders"

db = SQLAlchemy()
stomp = Stomp()


class Order(db.Model):  # type: ignore[name-defined, misc]
    """An order that is booked."""

    id: Mapped[str] = mapped_column(primary_key=True)
    item: Mapped[str]


@stomp.listener(ORDERS, retries=3, error_destination=f"{ORDERS}.failed")
def book(message: Message) -> None:
    """Book an order once, though its message may come twice: so it is after a connection was lost."""
    order = message.json()
    if db.session.get(Order, order["id"]) is None:
        db.session.add(Order(id=order["id"], item=order["item"]))
        db.session.commit()


def create_app() -> Flask:
    """Configured by the environment: FLASK_STOMP_URL, FLASK_SQLALCHEMY_DATABASE_URI."""
    app = Flask(__name__)
    app.config.from_mapping(STOMP_URL="tcp://localhost:61613", SQLALCHEMY_DATABASE_URI="sqlite:///shop.db")
    app.config.from_prefixed_env()
    db.init_app(app)
    stomp.init_app(app)

    @app.post("/orders")
    def order() -> tuple[dict[str, str], int]:
        placed = {"id": uuid.uuid4().hex, "item": request.get_json()["item"]}
        stomp.send(ORDERS, json.dumps(placed), content_type="application/json", confirm=True)
        return placed, 202

    @app.get("/orders")
    def booked() -> list[dict[str, str]]:
        return [{"id": each.id, "item": each.item} for each in db.session.scalars(select(Order))]

    @app.errorhandler(StompError)
    def not_now(_error: StompError) -> tuple[dict[str, str], int]:
        return {"error": "orders cannot be taken now: please try again"}, 503

    @app.cli.command("create-tables")
    def create_tables() -> Any:
        db.create_all()

    return app
