"""What systemd wants to be told by a service of ``Type=notify``: that it is ready, stops, and lives.

The protocol is that of ``sd_notify(3)``: datagrams to the socket in ``NOTIFY_SOCKET``. Elsewhere nothing is sent.
"""

from __future__ import annotations

import os
import socket

from stomplistener._util.loggers import library_logger

_log = library_logger("stomplistener.worker")


class Notifier:
    """Tells systemd. One thread uses it; children of this process are not to tell anything.

    Args:
        is_told: whether this process is the one that systemd started, and not the child of a supervisor.
    """

    def __init__(self, *, is_told: bool = True) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", None)
        self._watches = os.environ.pop("WATCHDOG_USEC", None) is not None
        self._address = address if is_told else None
        self.is_ready = False

    def ready(self) -> None:
        """All connections live; told once."""
        if not self.is_ready:
            self.is_ready = True
            self._tell("READY=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._tell("STOPPING=1")

    def lives(self) -> None:
        """To be told more often than each half ``WatchdogSec``; each second will do."""
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
            _log.warning("systemd cannot be told %s: %s", state, error)
