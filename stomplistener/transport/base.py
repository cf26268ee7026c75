"""The two seams of this layer: what a transport can do, and what must be known of the place to connect to."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

FEW = 16384
"""So many bytes every ``send_nowait`` may take: one record of TLS, so that it is taken whole or not at all."""


class Transport(Protocol):
    """What the running client needs of a connection: any object with these methods will do.

    Threads: one thread calls ``receive`` and ``close`` (it owns the transport), one at a time calls ``send``,
    any thread calls the others, while a ``receive`` and a ``send`` are blocked.

    Signals: a handler may call ``send_nowait``, ``unread`` and ``shutdown``, whatever it interrupts. If a handler
    raises out of ``send`` or ``send_nowait``, nobody knows how much has left, and the transport shuts the connection
    down. If a handler raises out of ``receive``, bytes may be lost: close the transport.

    Attributes:
        frame_per_send: True where what is given to one ``send`` arrives as one message that the broker takes for one
            STOMP frame (WebSocket; see ``websocket.py``): a caller then gives each frame, and each heartbeat, to a
            ``send`` of its own. False where bytes may be cut and joined at will.
    """

    @property
    def frame_per_send(self) -> bool: ...

    def receive(self) -> bytes:
        """Block for the next bytes; ``b""`` at the end of the stream. Raises OSError when the connection broke."""

    def send(self, data: bytes | memoryview) -> int:
        """Block until at least one byte is accepted, and return how many were. Raises OSError.

        After a TimeoutError a part of the data may have been sent: then only ``close`` may be called.
        """

    def send_nowait(self, data: bytes) -> bool:
        """Send these bytes, only if that is possible without waiting; whether it was.

        False, too, for more than ``FEW`` where that cannot be taken as a whole, while another thread is in ``send``,
        and if a signal handler interrupted this thread there. After True the end of the bytes may still have to leave,
        see ``Owing``. Raises OSError.
        """

    def unread(self) -> bool:
        """Whether bytes wait to be received, without taking them. The end of the stream is no byte."""

    def settimeout(self, seconds: float | None) -> None:
        """Bound every later ``receive`` and ``send``, in seconds; past it they raise TimeoutError."""

    def shutdown(self) -> None:
        """Break the connection from any thread: a blocked ``receive`` or ``send`` returns or raises at once.

        ``receive`` still gives what had arrived before, and then ``b""``. The same holds after a ``send`` that failed:
        what had arrived, an ERROR frame perhaps, can be received, and only then comes the error or the end.

        Idempotent, never raises, does nothing after ``close``.
        """

    def close(self) -> None:
        """Free the socket; only its owner may. Idempotent."""

    def abandon(self) -> None:
        """Free this process' descriptor and send nothing to the peer: for the child of a fork.

        The connection is the parent's: no TCP shutdown, no TLS close_notify, no WebSocket close frame. Takes no lock,
        since a thread that exists only in the parent may have held it at the moment of the fork.
        """


@runtime_checkable
class Guided(Protocol):
    """Optional abilities of a transport, for the reading thread. A transport without them works, but slower."""

    def expect(self, size: int) -> None:
        """So many bytes at least are still to come: the next ``receive`` may take many of them at once."""

    def limit_wait(self, seconds: float | None) -> bool:
        """Let every later ``receive`` raise BlockingIOError when nothing came for so long; whether that is possible.

        What is sent is not bounded. None waits forever again. No thread may be in ``receive`` meanwhile.
        """


@runtime_checkable
class Owing(Protocol):
    """What a transport has whose ``send_nowait`` may have taken bytes that the kernel did not take yet."""

    @property
    def owes(self) -> bool | bytes | memoryview:
        """Whether such bytes wait, or the bytes themselves.

        They go before whatever is sent next; ``send(b"")`` waits until they have left.
        """


class EndpointOptions(Protocol):
    """The options of an endpoint that this layer reads; each is described in ``stomplistener.failover``."""

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
        """A URL with ``http://`` or ``socks5://``, or ``"env"`` for the proxy of the environment; None for no proxy."""


class Endpoint(Protocol):
    """Where to connect to. ``stomplistener.failover.Broker`` is one, any object with these attributes will do."""

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
        """The path of the socket (``unix``), or the path in the HTTP request (``ws``, ``wss``)."""

    @property
    def options(self) -> EndpointOptions: ...
