"""stomp.py's logger, ``stomp.py``: programs silence it, or its parent ``stomp``.

What the connections behind a program log goes there, too, and not to ``stomplistener``.
"""

from __future__ import annotations

import itertools
import logging
import sys

DEBUG = logging.DEBUG
INFO = logging.INFO

verbose = False
"""Whether a traceback is logged with a failure where it is not always."""

_logger = logging.getLogger("stomp.py")

debug = _logger.debug
info = _logger.info
warning = _logger.warning
error = _logger.error
isEnabledFor = _logger.isEnabledFor
setLevel = _logger.setLevel

_PREFIX = "stomp.py-"
_numbers = itertools.count(1)


def log_to_stdout(verbose_logging: bool = True) -> None:
    """Write everything that is logged here to the standard output."""
    global verbose
    verbose = verbose_logging
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
    _logger.addHandler(handler)
    _logger.setLevel(DEBUG)


def connection_name() -> str:
    """A name for a connection whose records belong here."""
    return f"{_PREFIX}{next(_numbers)}"


class _Moved(logging.Filter):
    """Moves the records of compatible connections from the library's logger to this one."""

    def filter(self, record: logging.LogRecord) -> bool:
        # The connection is an attribute of the record.
        if not str(getattr(record, "connection", "")).startswith(_PREFIX):
            return True
        if _logger.isEnabledFor(record.levelno):
            record.name = _logger.name
            _logger.handle(record)
        return False


def _move_records() -> None:
    for name in ("stomplistener", "stomplistener.frames"):
        logger = logging.getLogger(name)
        # This module may be loaded again, as programs do that to test theirs.
        for old in [each for each in logger.filters if type(each).__name__ == _Moved.__name__]:
            logger.removeFilter(old)
        logger.addFilter(_Moved())


_move_records()
