"""Log records as JSON, one object a line, each with the message that was being handled when it was written."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

from stomplistener._util.loggers import FIELDS
from stomplistener.message import Message

_handled: ContextVar[Message | None] = ContextVar("stomplistener-message", default=None)

_TEXT = "%(asctime)s %(levelname)-7s %(process)d %(name)s: %(message)s"
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


@contextmanager
def handling(message: Message) -> Iterator[None]:
    """Let the log records of this thread tell which message they are about."""
    token = _handled.set(message)
    try:
        yield
    finally:
        _handled.reset(token)


class JSONFormatter(logging.Formatter):
    """One JSON object a line: ``time`` (ISO 8601, UTC), ``level``, ``logger``, ``message``, ``process``, ``thread``.

    Where they apply: ``exception`` with its traceback, ``destination`` and ``message_id`` of the message that was being
    handled, and whatever was given as ``extra``.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            "thread": record.threadName,
        }
        if (message := _handled.get()) is not None:
            line |= {"destination": message.destination, "message_id": message.id}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        line |= {key: value for key, value in vars(record).items() if key not in _OWN and not _is_of_none(key, value)}
        return json.dumps(line, ensure_ascii=False, default=str)


def _is_of_none(key: str, value: object) -> bool:
    """Whether this only says that the record is of no connection, or of no broker."""
    return key in FIELDS and value == ""


def configure(form: str, level: str = "INFO") -> None:
    """Send the log to stderr.

    Args:
        form: ``json`` or ``text``.
        level: the least level to show, such as ``INFO``.

    Raises:
        ValueError: there is no such form or level.
    """
    if form not in ("json", "text"):
        raise ValueError(f"the log format is json or text, not {form!r}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if form == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
