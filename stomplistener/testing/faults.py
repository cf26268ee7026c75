"""The faults that a test has requested and that have not happened yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stomplistener._util import arguments
from stomplistener.protocol.spec import CLIENT_COMMANDS

FaultKind = Literal["accept and close", "connected then close", "cut before", "cut after", "error", "late", "withhold"]


@dataclass(kw_only=True)
class Fault:
    """One fault: its kind, the frames that it concerns, and how often it happens.

    Attributes:
        command: the command of the frame that triggers it; None for any. CONNECT also means STOMP.
        connection: the number of the connection; None for any.
        times: how many more times it happens; None until it is cleared.
        reset: whether to cut with RST instead of FIN.
        seconds: the delay.
        message, with_receipt_id, close: the properties of the ERROR.
    """

    kind: FaultKind
    command: str | None = None
    connection: int | None = None
    times: int | None = 1
    reset: bool = False
    seconds: float = 0.0
    message: str = ""
    with_receipt_id: bool = True
    close: bool = True

    def concerns(self, kind: FaultKind, command: str | None, connection: int) -> bool:
        return (
            self.kind == kind
            and self.command in (None, command)
            and self.connection in (None, connection)
            and self.times != 0
        )


class Faults:
    """The requested faults. Call all methods under the broker's lock.

    Attributes:
        silent: whether the broker neither reads nor writes.
        deaf: whether the broker does not read.
    """

    def __init__(self) -> None:
        self.silent = False
        self.deaf = False
        self.waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Request a fault.

        Raises:
            TypeError, ValueError: the fault could never happen.
        """
        if fault.command is not None:
            arguments.one_of("command", fault.command, sorted(CLIENT_COMMANDS))
        if fault.times is not None:
            arguments.count("times", fault.times, 0)
        if fault.command == "STOMP":
            fault.command = "CONNECT"
        self.waiting.append(fault)

    def take(self, kind: FaultKind, command: str | None, connection: int) -> Fault | None:
        """Return the first fault for this frame, and count it as used once."""
        if not self.waiting:
            return None
        if command == "STOMP":
            command = "CONNECT"
        for fault in self.waiting:
            if fault.concerns(kind, command, connection):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self.waiting.remove(fault)
                return fault
        return None

    def remove(self, kind: FaultKind) -> None:
        self.waiting = [fault for fault in self.waiting if fault.kind != kind]
