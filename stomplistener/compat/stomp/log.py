"""stomp.py's logger. What the connection itself logs goes to the logger ``stomplistener``."""

from __future__ import annotations

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


def log_to_stdout(verbose_logging: bool = True) -> None:
    """Write everything that is logged here and by the connection to the standard output."""
    global verbose
    verbose = verbose_logging
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
    for logger in (_logger, logging.getLogger("stomplistener")):
        logger.addHandler(handler)
        logger.setLevel(DEBUG)
