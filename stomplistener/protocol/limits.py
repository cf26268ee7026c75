"""Bounds on the memory of one connection: the client does not trust the broker."""

from __future__ import annotations

from stomplistener._util.record import Record


class Limits(Record):
    """Bounds on the memory that a broker can fill, and on unconfirmed messages. In bytes, messages or seconds.

    Attributes:
        max_header_line: one header line in bytes. 64 KiB: stack traces in ERROR frames and tokens are long.
        max_headers: header lines of a frame. 1,000: brokers send 10 to 30; applications rarely add more than 100.
        max_header_bytes: all header lines of a frame together, in bytes. 256 KiB, four of the longest lines.
        max_body: the body of a frame in bytes. 256 MiB: by default, brokers refuse more than 100 to 128 MiB.
        max_pending_messages: received messages that no listener has got yet; above this the client stops reading.
            1,000: enough to keep quick listeners busy while more messages arrive.
        max_pending_bytes: the bytes of pending messages. 64 MiB: little of a container's memory. A longer message still
            passes.
        max_unconfirmed_messages: confirmed sends whose receipt has not arrived; above this the sender waits. 1,000:
            enough to keep the wire busy while receipts are on their way. At most this many are resent after a
            connection loss.
        max_unconfirmed_bytes: the bytes of unconfirmed messages. 64 MiB: the client keeps them in memory until their
            receipts arrive.
        frame_timeout: seconds that a frame may take from its first byte to its last. 300: 256 MiB at 1 MiB/s.
    """

    max_header_line: int = 64 * 1024
    max_headers: int = 1000
    max_header_bytes: int = 256 * 1024
    max_body: int = 256 * 1024 * 1024
    max_pending_messages: int = 1000
    max_pending_bytes: int = 64 * 1024 * 1024
    max_unconfirmed_messages: int = 1000
    max_unconfirmed_bytes: int = 64 * 1024 * 1024
    frame_timeout: float = 300.0

    def __post_init__(self) -> None:
        for name, value in self._values().items():
            kinds, what = ((int, float), "a number of seconds") if name == "frame_timeout" else (int, "a whole number")
            if isinstance(value, bool) or not isinstance(value, kinds):
                raise TypeError(f"Limits.{name} must be {what}, not {value!r}")
            if not value > 0:
                raise ValueError(f"Limits.{name} must be more than 0, not {value!r}")
