"""What a worker's application declares and raises anything: the message is settled, and the next one comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from application_support import Keeper, Raiser, every_exception
from client_support import eventually

from stomplistener import Message
from stomplistener.testing import Broker
from stomplistener.worker import Application

pytestmark = pytest.mark.timeout(15)


@every_exception
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("place", ["handler", "around, before", "around, after"])
def test_a_handler_and_what_goes_around_it(make: Callable[[], BaseException], place: str, workers: int) -> None:
    good, raiser, bad = Keeper(), Raiser(make, times=3), 3

    @contextmanager
    def around(message: Message) -> Iterator[None]:
        if place == "around, before" and message.text == "bad":
            raiser()
        yield
        if place == "around, after" and message.text == "bad":
            raiser()

    with Broker(max_deliveries=1) as broker:
        app = Application(broker.uri)

        @app.listener("/queue/a", workers=workers, retries=0, error_destination="/queue/errors")
        def handle(message: Message) -> None:
            if message.text == "good":
                good.on_message(message)
            elif place == "handler":
                raiser()

        app.around(around)
        with app.running(timeout=3):
            for _ in range(bad):
                broker.publish("/queue/a", "bad")
            broker.publish("/queue/a", "good")
            good.expect("good")
            broker.wait_for(lambda: broker.depth("/queue/errors") == bad)
            eventually(lambda: not broker.unacknowledged("/queue/a"), "everything settled")
