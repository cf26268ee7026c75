"""The two interfaces of this layer: the methods of a transport, and the attributes of an endpoint."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

FEW = 16384
"""Every ``send_nowait`` must be able to take this many bytes as a whole: the size of one TLS record."""


class Transport(Protocol):
    """The methods of a connection that the client needs. Any object with these methods works.

    Threads: one thread calls ``receive`` and ``close``; it owns the transport. One thread at a time calls ``send``. Any
    thread may call the other methods, even while a ``receive`` and a ``send`` are blocked.

    Signals: a handler may call ``send_nowait``, ``unread`` and ``shutdown``, whatever it interrupts. If a handler
    raises out of ``send`` or ``send_nowait``, the number of sent bytes is unknown, and the transport shuts the
    connection down. If a handler raises out of ``receive``, bytes may be lost: close the transport.

    Attributes:
        frame_per_send: True if the bytes of one ``send`` arrive as one message, which the broker takes for one STOMP
            frame (WebSocket; see ``websocket.py``). With True, each frame and each heartbeat needs a separate ``send``.
            False if bytes may be split and joined freely.
    """

    @property
    def frame_per_send(self) -> bool: ...

    def receive(self) -> bytes:
        """Block for the next bytes; ``b""`` at the end of the stream. Raises OSError after the connection broke."""

    def send(self, data: bytes | memoryview) -> int:
        """Block until at least one byte is accepted. Return how many were. Raises OSError.

        After a TimeoutError, part of the data may have been sent: then only ``close`` may be called.
        """

    def send_nowait(self, data: bytes) -> bool:
        """Send these bytes, but only if that is possible without waiting. Return whether the bytes were taken.

        False for more than ``FEW`` bytes that cannot be taken as a whole. The result is also False while another thread
        is in ``send``, and if a signal handler interrupted a send in this thread. After True, some bytes may still have
        to be sent: see ``Owing``. Raises OSError.
        """

    def unread(self) -> bool:
        """Whether received bytes wait, without taking them. The end of the stream does not count."""

    def settimeout(self, seconds: float | None) -> None:
        """Limit the seconds of every later ``receive`` and ``send``; a call that takes longer raises TimeoutError."""

    def shutdown(self) -> None:
        """Break the connection from any thread: a blocked ``receive`` or ``send`` returns or raises at once.

        ``receive`` still returns the bytes that arrived before, and then ``b""``. After a failed ``send``, bytes that
        arrived before, perhaps an ERROR frame, can still be received; the error or the end follows them.

        Idempotent, never raises, does nothing after ``close``.
        """

    def close(self) -> None:
        """Free the socket. Only the owner may call this. Idempotent."""

    def abandon(self) -> None:
        """Free the descriptor of this process and send nothing to the peer: for the child of a fork.

        The connection belongs to the parent: no TCP shutdown, no TLS close_notify, no WebSocket close frame. The call
        takes no lock: a thread that exists only in the parent may have held it at the fork.
        """


@runtime_checkable
class Guided(Protocol):
    """Optional methods of a transport, for the reading thread. A transport without them works, but more slowly."""

    def expect(self, size: int) -> None:
        """Announce that at least ``size`` bytes will arrive: the next ``receive`` may take many of them at once."""

    def limit_wait(self, seconds: float | None) -> bool:
        """Let every later ``receive`` raise BlockingIOError after ``seconds`` of silence; False if that is impossible.

        None removes the limit. Sending is not limited. No thread may be in ``receive`` during this call.
        """


@runtime_checkable
class Owing(Protocol):
    """A transport whose ``send_nowait`` may have taken bytes that the kernel has not taken yet."""

    @property
    def owes(self) -> bool | bytes | memoryview:
        """Whether such bytes wait, or the bytes themselves.

        Owed bytes leave before any later bytes; ``send(b"")`` waits until they have left.
        """


class EndpointOptions(Protocol):
    """The options of an endpoint that this layer reads. ``stomplistener.failover`` describes each of them."""

    @property
    def tcp_no_delay(self) -> bool: ...
    @property
    def keep_alive(self) -> bool: ...
    @property
    def ca_file(self) -> str | None: ...
    @property
    def cert_file(self) -> str | None: ...
    @property
    def key_file(self) -> str | None: ...
    @property
    def key_password(self) -> str | None: ...
    @property
    def verify_hostname(self) -> bool: ...
    @property
    def proxy(self) -> str | None:
        """A URL with ``http://`` or ``socks5://``; ``"env"`` for the proxy of the environment; None for no proxy."""


class Endpoint(Protocol):
    """The place to connect to: a ``stomplistener.failover.Broker``, or any object with these attributes."""

    @property
    def scheme(self) -> str:
        """``tcp``, ``ssl``, ``ws``, ``wss`` or ``unix``."""

    @property
    def host(self) -> str:
        """A name or an address."""

    @property
    def port(self) -> int:
        """The TCP port."""

    @property
    def path(self) -> str:
        """The path of the socket (``unix``), or the path of the HTTP request (``ws``, ``wss``)."""

    @property
    def options(self) -> EndpointOptions: ...
