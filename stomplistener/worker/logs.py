"""Write log records as JSON, one object per line, with the message that the thread was handling."""

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
    """Add this message to the log records of this thread."""
    token = _handled.set(message)
    try:
        yield
    finally:
        _handled.reset(token)


class JSONFormatter(logging.Formatter):
    """Formats each record as one line of JSON.

    The object has ``time`` (ISO 8601, UTC), ``level``, ``logger``, ``message``, ``process`` and ``thread``. A record of
    an exception has ``exception`` with the traceback. A record during the handling of a message has its ``destination``
    and ``message_id``. The object also has the values of ``extra``.
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
    """Whether the value is the placeholder of a record without a connection or a broker."""
    return key in FIELDS and value == ""


def configure(form: str, level: str = "INFO") -> None:
    """Send the log to stderr.

    Args:
        form: ``json`` or ``text``.
        level: the lowest level to show, such as ``INFO``.

    Raises:
        ValueError: the form or the level does not exist.
    """
    if form not in ("json", "text"):
        raise ValueError(f"the log format must be json or text, not {form!r}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if form == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
