"""Flask: persistent by default, and messages that tests look at without a broker."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from stomplistener.contrib.flask import Stomp
from stomplistener.testing import Broker

NOWHERE = "tcp://127.0.0.1:1"


def make(uri: str = NOWHERE, **config: Any) -> tuple[Flask, Stomp]:
    app, stomp = Flask("shop"), Stomp()
    app.config.update(STOMP_URL=uri, **config)
    stomp.init_app(app)
    return app, stomp


def test_while_testing_a_view_needs_no_broker() -> None:
    app, stomp = make(TESTING=True)

    @app.post("/orders")
    def order() -> str:
        stomp.send("/queue/orders", json={"item": "pizza"}, confirm=True, timeout=5, priority=7)
        return ""

    assert app.test_client().post("/orders").status_code == 200
    with app.app_context():
        [message] = stomp.outbox
        with pytest.raises(KeyError, match="has no connection 'booking'"):
            stomp.send("/queue/orders", connection="booking")
        with pytest.raises(TypeError):
            stomp.send("/queue/orders", prio=7)
    assert message.json() == {"item": "pizza"}
    assert message.headers == {"persistent": "true", "content-type": "application/json"}
    assert (message.connection, message.options) == ("default", {"priority": 7})


def test_the_configuration_decides_otherwise(stomp_broker: Broker) -> None:
    app, stomp = make(stomp_broker.uri, TESTING=True, STOMP_SUPPRESS_SEND=False)
    with app.app_context():
        stomp.send("/queue/a", "kept", confirm=True)
        stomp.send("/queue/a", "not", confirm=True, persistent=False)
        assert stomp.outbox == []
        stomp.close()
    assert [frame.headers.get("persistent") for frame in stomp_broker.frames(command="SEND")] == ["true", None]
    app, stomp = make(STOMP_SUPPRESS_SEND=True)
    with app.app_context():
        stomp.send("/queue/a", "x")
        assert len(stomp.outbox) == 1
    with pytest.raises(ValueError, match=r"\['STOMP_SUPPRESS_SEND'\] must be True, False or None, not 'yes'"):
        make(STOMP_SUPPRESS_SEND="yes")


def test_a_worker_that_runs_in_the_test_sends(stomp_broker: Broker) -> None:
    app, stomp = make(stomp_broker.uri, TESTING=True)

    @stomp.listener("/queue/a")
    def forward(message: Any) -> None:
        stomp.send("/queue/b", message.body, confirm=True)

    with stomp.running(app):
        stomp_broker.publish("/queue/a", "x")
        [message] = stomp_broker.wait_for(lambda: stomp_broker.messages("/queue/b"))
    assert message.headers["persistent"] == "true"
