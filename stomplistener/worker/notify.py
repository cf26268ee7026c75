"""Notify systemd that a service of ``Type=notify`` is ready, is alive, or is stopping.

The protocol is ``sd_notify(3)``: datagrams to the socket in ``NOTIFY_SOCKET``. Without this variable nothing is sent.
"""

from __future__ import annotations

import os
import socket

from stomplistener._util.loggers import library_logger

_log = library_logger("stomplistener.worker")


class Notifier:
    """Sends notifications to systemd. One thread uses it. Only the process that systemd started sends them.

    Args:
        is_told: whether systemd started this process; false in the child of a supervisor.
    """

    def __init__(self, *, is_told: bool = True) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", None)
        self._watches = os.environ.pop("WATCHDOG_USEC", None) is not None
        self._address = address if is_told else None
        self.is_ready = False

    def ready(self) -> None:
        """Notify that all connections are ready. Only the first call sends."""
        if not self.is_ready:
            self.is_ready = True
            self._tell("READY=1")

    def stopping(self) -> None:
        """Notify that the process is ending."""
        self._tell("STOPPING=1")

    def lives(self) -> None:
        """Notify that the process is alive. Call this at least twice per ``WatchdogSec``, for example every second."""
        if self._watches:
            self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if self._address is None:
            return
        # An abstract socket begins with a zero byte, which the variable spells as @.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.connect(address)
                sender.sendall(state.encode())
        except OSError as error:
            _log.warning("sending %s to systemd failed: %s", state, error)
