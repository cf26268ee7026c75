"""Bytes in, bytes out, blocking: the only layer that knows sockets. It knows nothing of STOMP."""

from __future__ import annotations

from typing import Protocol


class Transport(Protocol):
    """What the running client needs of a connection: any object with these methods will do.

    Threads: one thread calls ``receive`` and ``close`` (it owns the transport), one at a time calls ``send``,
    any thread calls the others, while a ``receive`` and a ``send`` are blocked.
    """

    def receive(self) -> bytes:
        """Block for the next bytes; ``b""`` at the end of the stream. Raises OSError when the connection broke."""

    def send(self, data: bytes | memoryview) -> int:
        """Block until at least one byte is accepted, and return how many were. Raises OSError."""

    def send_nowait(self, data: bytes) -> bool:
        """Send these few bytes only if that is possible without waiting; whether it was. Raises OSError."""

    def unread(self) -> bool:
        """Whether bytes wait to be received, without taking them."""

    def settimeout(self, seconds: float | None) -> None:
        """Bound every later ``receive`` and ``send``, in seconds; past it they raise TimeoutError."""

    def shutdown(self) -> None:
        """Break the connection from any thread: a blocked ``receive`` or ``send`` returns or raises at once."""

    def close(self) -> None:
        """Free the socket; only its owner may. Idempotent."""
