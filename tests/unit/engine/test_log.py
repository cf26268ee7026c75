"""What a connection logs, whatever handlers do."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_support import Running, wait_until

import stomplistener
from stomplistener import Frame
from stomplistener._engine.log import ConnectionLog, flush, frame_logger, logger
from stomplistener._util.loggers import library_logger


class Where:
    broker_name = "tcp://a:1"


class Handler(logging.Handler):
    """Notes records and the threads that brought them, and raises what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self._records: list[logging.LogRecord] = []
        self.threads: list[str] = []
        self.error: BaseException | None = None

    @property
    def records(self) -> list[logging.LogRecord]:
        """Those that were made until now."""
        flush()
        return self._records

    def handle(self, record: logging.LogRecord) -> bool:
        self.threads.append(threading.current_thread().name)
        self._records.append(record)
        if self.error is not None:
            raise self.error
        return True


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Handler]:
    handler = Handler()
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


log = ConnectionLog("orders", Where())


def test_a_record_names_connection_and_broker(handler: Handler) -> None:
    log.info("%d of %d", 1, 2)
    record = handler.records[0]
    assert record.getMessage() == "orders: 1 of 2"
    assert (record.connection, record.broker) == ("orders", "tcp://a:1")  # type: ignore[attr-defined]


def test_a_record_of_no_connection_has_the_same_attributes(handler: Handler) -> None:
    """A formatter with ``%(broker)s`` holds for each record of the library."""
    library_logger("stomplistener").warning("of nothing")
    library_logger("stomplistener").warning("of one", extra={"connection": "orders", "broker": "tcp://b:1"})
    assert [(record.connection, record.broker) for record in handler.records] == [("", ""), ("orders", "tcp://b:1")]  # type: ignore[attr-defined]


def test_each_logger_of_the_library_is_such_a_one() -> None:
    package = Path(stomplistener.__file__).parent
    for file in package.rglob("*.py"):
        # stomp.py's programs expect loggers without more than its own.
        if "compat" not in file.parts and file.name != "loggers.py":
            made = re.findall(r"^\w+ = (?:logging\.)?getLogger\(", file.read_text(), re.MULTILINE)
            assert not made, f"{file}: use library_logger()"


def test_levels(handler: Handler) -> None:
    log.warning("w")
    log.error("e", exc_info=ValueError("x"))
    assert [record.levelname for record in handler.records] == ["WARNING", "ERROR"]
    assert handler.records[1].exc_info is not None


def test_a_flush_waits_for_a_thread_that_is_about_to_start(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that another thread made just now is written before the program ends."""
    is_starting, start = threading.Event(), threading.Thread.start

    def late(thread: threading.Thread) -> None:
        if thread.name == "stomplistener-log":
            is_starting.set()
            threading.Event().wait(0.1)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", late)
    logging_thread = Running(lambda: log.info("just now"))
    assert is_starting.wait(10)
    assert [record.getMessage() for record in handler.records] == ["orders: just now"]
    logging_thread.result()


def test_what_is_logged_when_no_thread_can_be_had_is_written_at_the_end(
    handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Python 3.12 on no thread starts any more when a program ends."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    log.warning("the last words")
    assert [record.getMessage() for record in handler.records] == ["orders: the last words"]


def test_what_a_handler_raises(handler: Handler) -> None:
    handler.error = ValueError("broken handler")
    log.info("one")
    assert len(handler.records) == 1
    # The thread that writes records must not end by it, whatever it is.
    handler.error = KeyboardInterrupt()
    log.info("two")
    Running(lambda: log.info("three")).result()
    assert len(handler.records) == 3


def test_no_thread_that_logs_calls_a_handler(handler: Handler) -> None:
    def run() -> None:
        for number in range(20):
            log.info("%d", number)

    Running(run).result()
    wait_until(lambda: len(handler.records) == 20)
    assert [record.args[1] for record in handler.records] == list(range(20))  # type: ignore[index]
    assert set(handler.threads) == {"stomplistener-log"}
    assert {record.threadName for record in handler.records} != {"stomplistener-log"}


def test_frames_only_where_somebody_looks(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    log.frame(">", Frame("SEND", {"destination": "/queue/a"}, b"x"))
    assert handler.records == []
    frame_logger.setLevel(logging.DEBUG)
    try:
        assert log.shows_frames()
        log.frame(">", Frame("SEND", {"destination": "/queue/a"}, b"x"))
    finally:
        frame_logger.setLevel(logging.NOTSET)
    assert handler.records[0].getMessage().startswith("orders: > SEND")
