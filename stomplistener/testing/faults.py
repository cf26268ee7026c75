"""The faults that a test asked for and that have not happened yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FaultKind = Literal["accept and close", "connected then close", "cut before", "cut after", "error", "late", "withhold"]


@dataclass(kw_only=True)
class Fault:
    """One fault: what is to happen, to which frames, how often.

    Attributes:
        command: of the frame that it waits for; None for any. CONNECT also means STOMP.
        connection: number of the connection; None for any.
        times: how often it still happens; None for as long as it is not cleared.
        reset: cut with RST instead of FIN.
        seconds: how late.
        message, with_receipt_id, close: of the ERROR.
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
    """All under the broker's lock.

    Attributes:
        silent: nothing is read and nothing written.
        deaf: nothing is read.
    """

    def __init__(self) -> None:
        self.silent = False
        self.deaf = False
        self.waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        if fault.command == "STOMP":
            fault.command = "CONNECT"
        self.waiting.append(fault)

    def take(self, kind: FaultKind, command: str | None, connection: int) -> Fault | None:
        """The first fault for this frame; this counts as one use of it."""
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
