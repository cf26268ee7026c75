"""A shop. POST /orders publishes an order, the worker books it, and GET /orders shows the booked orders.

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
    """A booked order."""

    id: Mapped[str] = mapped_column(primary_key=True)
    item: Mapped[str]


@stomp.listener(ORDERS, retries=3, error_destination=f"{ORDERS}.failed")
def book(message: Message) -> None:
    """Book an order once, although its message may arrive twice, for example after a connection loss."""
    order = message.json()
    if db.session.get(Order, order["id"]) is None:
        db.session.add(Order(id=order["id"], item=order["item"]))
        db.session.commit()


def create_app() -> Flask:
    """Make the application. The environment configures it: FLASK_STOMP_URL, FLASK_SQLALCHEMY_DATABASE_URI."""
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
        return {"error": "we cannot take orders at the moment: please try again"}, 503

    @app.cli.command("create-tables")
    def create_tables() -> Any:
        db.create_all()

    return app
