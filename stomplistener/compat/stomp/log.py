"""stomp.py's logger, ``stomp.py``. Programs configure this logger, or its parent ``stomp``.

Records of the underlying connections go to this logger, too, and not to ``stomplistener``.
"""

from __future__ import annotations

import itertools
import logging
import sys

DEBUG = logging.DEBUG
INFO = logging.INFO

verbose = False
"""Whether to log a traceback with all failures."""

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
    """Write all records of this logger to stdout."""
    global verbose
    verbose = verbose_logging
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
    _logger.addHandler(handler)
    _logger.setLevel(DEBUG)


def connection_name() -> str:
    """Return a name for a connection whose records belong to this logger."""
    return f"{_PREFIX}{next(_numbers)}"


class _Moved(logging.Filter):
    """Moves the records of compatible connections from the library's logger to this one."""

    def filter(self, record: logging.LogRecord) -> bool:
        # The record has the connection as an attribute.
        if not str(getattr(record, "connection", "")).startswith(_PREFIX):
            return True
        if _logger.isEnabledFor(record.levelno):
            record.name = _logger.name
            _logger.handle(record)
        return False


def _move_records() -> None:
    for name in ("stomplistener", "stomplistener.frames"):
        logger = logging.getLogger(name)
        # Programs may reload this module in their tests, so do not add the filter twice.
        for old in [each for each in logger.filters if type(each).__name__ == _Moved.__name__]:
            logger.removeFilter(old)
        logger.addFilter(_Moved())


_move_records()
