"""``StompHandler`` publishes records, and neither waits nor loops."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from client_support import eventually

from stomplistener import Connection
from stomplistener.contrib import logging as handler_module
from stomplistener.contrib.logging import StompHandler
from stomplistener.testing import Broker

TOPIC = "/queue/logs"


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("shop.orders")
    logger.setLevel(logging.DEBUG)
    # What the test runner itself does with records is no matter here.
    logger.propagate = False
    yield logger
    logger.propagate = True
    logger.setLevel(logging.NOTSET)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def test_records_are_published_with_level_and_logger(broker: Broker, logger: logging.Logger) -> None:
    with Connection(broker.uri) as connection:
        handler = StompHandler(connection, TOPIC, headers={"host": "web1"})
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.info("order %d", 7)
        logger.error("no stock")
        eventually(lambda: len(broker.messages(TOPIC)) == 2, "both records")
    first, second = broker.messages(TOPIC)
    assert first.body == b"INFO order 7"
    assert {"level": "INFO", "logger": "shop.orders", "host": "web1"}.items() <= dict(first.headers).items()
    assert second.headers["level"] == "ERROR"


def test_what_the_library_logs_is_not_published_and_so_makes_no_loop(broker: Broker) -> None:
    root = logging.getLogger()
    level = root.level
    with Connection(broker.uri) as connection:
        handler = StompHandler(connection, TOPIC)
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        try:
            logging.getLogger("shop").warning("one")
            eventually(lambda: len(broker.messages(TOPIC)) == 1, "the record")
            logging.getLogger("stomplistener.frames").debug("a frame")
            logging.getLogger("shop").warning("two")
            eventually(lambda: len(broker.messages(TOPIC)) == 2, "the other record")
        finally:
            root.setLevel(level)
            root.removeHandler(handler)
            handler.close()
    assert [message.body for message in broker.messages(TOPIC)] == [b"one", b"two"]


def test_without_a_broker_it_neither_waits_nor_grows_and_counts(logger: logging.Logger) -> None:
    connection = Connection("failover:(tcp://127.0.0.1:1)")
    handler = StompHandler(connection, TOPIC, capacity=100)
    logger.addHandler(handler)
    began = time.monotonic()
    for number in range(5000):
        logger.info("%d", number)
    assert time.monotonic() - began < 5
    assert handler._waiting.qsize() <= 100
    eventually(lambda: handler._waiting.empty(), "the refusal of what waited")
    eventually(lambda: handler.dropped == 5000, "the count")


def test_a_message_says_how_many_were_dropped_before_it(
    broker: Broker, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Connection(broker.uri) as connection:
        handler = StompHandler(connection, TOPIC)
        logger.addHandler(handler)
        handler._capacity = 0
        logger.info("dropped")
        logger.info("dropped")
        handler._capacity = 10
        logger.info("first")
        logger.info("second")
        eventually(lambda: len(broker.messages(TOPIC)) == 2, "both records")
    first, second = broker.messages(TOPIC)
    assert first.headers["dropped"] == "2"
    assert "dropped" not in second.headers
    assert handler.dropped == 2


def test_a_blocked_connection_holds_nobody_up(
    broker: Broker, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler_module, "END_SECONDS", 0.2)
    with Connection(f"failover:({broker.uri})") as connection:
        handler = StompHandler(connection, TOPIC)
        logger.addHandler(handler)
        broker.close()
        eventually(lambda: not connection.is_connected, "the loss")
        began = time.monotonic()
        logger.info("waits in the handler's thread")
        handler.flush()
        handler.close()
        assert time.monotonic() - began < 3
        connection.close()


def test_a_broken_record_is_handled_as_logging_does(
    broker: Broker, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", True)
    with Connection(broker.uri) as connection:
        handler = StompHandler(connection, TOPIC)
        handler.handle(logger.makeRecord(logger.name, logging.INFO, __file__, 1, "%d", ("no number",), None))
        handler.close()
    assert "TypeError" in capsys.readouterr().err


def test_what_was_logged_last_is_sent_at_the_end_of_a_program(broker: Broker) -> None:
    program = f"""
import logging
from stomplistener import Connection
from stomplistener.contrib.logging import StompHandler
connection = Connection({broker.uri!r}).connect()
logging.getLogger().addHandler(StompHandler(connection, {TOPIC!r}))
for number in range(100):
    logging.warning("%d", number)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
    eventually(lambda: len(broker.messages(TOPIC)) == 100, "all records")


def test_a_capacity_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity"):
        StompHandler(Connection("tcp://127.0.0.1:1"), TOPIC, capacity=0)
