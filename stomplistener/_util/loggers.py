"""The loggers of the library. Each of their records names a connection and a broker; the names may be empty.

So a formatter such as ``"%(broker)s %(message)s"`` works for all records, not only for those of a connection.
"""

from __future__ import annotations

import logging

FIELDS = ("connection", "broker")
"""The attributes that each record has."""


def library_logger(name: str) -> logging.Logger:
    """Return the logger of this name, whose records all have ``FIELDS``."""
    logger = logging.getLogger(name)
    logger.addFilter(_complete)
    return logger


def _complete(record: logging.LogRecord) -> bool:
    for name in FIELDS:
        record.__dict__.setdefault(name, "")
    return True
