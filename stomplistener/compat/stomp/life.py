"""One *life* of a connection: from a ``connect()`` without an existing connection to the end of that connection."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from stomplistener.compat.stomp import log
from stomplistener.compat.stomp.exception import ConnectFailedException
from stomplistener.compat.stomp.outgoing import Outgoing
from stomplistener.compat.stomp.receiver import Create, ReceiverLoop
from stomplistener.compat.stomp.unsettled import Unsettled
from stomplistener.compat.stomp.watched import WatchedTransport
from stomplistener.connection import Connection
from stomplistener.errors import BrokerError, ConnectFailed, StompError
from stomplistener.failover import Broker
from stomplistener.listener import Listener
from stomplistener.message import Message
from stomplistener.options import ConnectOptions
from stomplistener.protocol import Frame as WireFrame
from stomplistener.protocol import Limits
from stomplistener.states import ConnectionState
from stomplistener.transport import Transport as Bytes

_TIMEOUT = 30.0

# Seconds that connect() and disconnect() wait for hooks. A hook may itself wait for the next step of the program.
_CONNECTED_PATIENCE = 5.0
_DISCONNECTED_PATIENCE = 10.0

# stomp.py has no limits, and programs cannot set these. Above a limit, a message would end each connection on which the
# broker delivers it again.
_LIMITS = Limits(max_header_line=16 << 20, max_header_bytes=16 << 20, max_headers=100_000)

# Seconds between checks, in case the event of another thread is missed.
_TICK = 0.25


@dataclass
class Link:
    """One connection to a broker. A life that is restored has several links, one after the other.

    Attributes:
        loop: the receiver loop that calls the hooks.
        unsettled: the messages of this link that can be acknowledged.
        is_ready: whether CONNECTED was received.
        is_announced: whether ``on_connecting`` was queued.
        is_told: set when ``on_connected`` has run, or will never run.
        early: messages that arrived during the replay, and wait for ``on_connected``.
    """

    loop: ReceiverLoop
    unsettled: Unsettled = field(default_factory=Unsettled)
    is_ready: bool = False
    is_announced: bool = False
    is_told: threading.Event = field(default_factory=threading.Event)
    early: list[Message] = field(default_factory=list)

    def tell(self, hook: str, value: Any = None, size: int = 0) -> None:
        self.loop.put(Event(hook, value, self), size)


@dataclass(slots=True)
class Event:
    """An event that a receiver loop delivers.

    Attributes:
        hook: the name of the hook without ``on_``. "message" also stands for ``on_before_message``, "lost" for the
            hooks at the end of a link.
        value: the received frame or message, or None.
        link: the link of the event.
    """

    hook: str
    value: Any
    link: Link


class Plan(NamedTuple):
    """The settings of a life.

    Attributes:
        uri: the URI of the brokers.
        versions: the versions of STOMP to offer.
        heartbeat: seconds between heartbeats to send, and to receive.
        attempts: the number of connection attempts before ``connect()`` fails; None: it never fails.
        restores: whether a lost connection is restored.
        encoding: the encoding of ``str`` bodies.
        is_escaped: whether the headers of the program's frames are escaped.
    """

    uri: str
    versions: tuple[str, ...]
    heartbeat: tuple[float, float]
    attempts: int | None
    restores: bool
    encoding: str
    is_escaped: bool


class Life:
    """One life of a connection. Thread-safe, hooks included. No lock is held during a blocking call.

    Args:
        plan: the settings of the life.
        deliver: called by the receiver loops with each Event.
        prepare: called with the options of each attempt.
        dial: connects to a broker; called with the arguments of ``stomplistener.transport.connect``.
        create: makes the threads of the receiver loops.
        after: the last loop of the previous life.

    Attributes:
        engine: the connection of this library that does the work.
        outgoing: sends the frames of the program.
        last_loop: the loop of the newest link.
        error: the reason why the first connect failed.
        is_used: whether the program has used the connection after connecting.
        is_missed: whether the connection was lost, and the program has since neither used it nor seen it ready again.
        bytes: the transport in use.
    """

    def __init__(
        self,
        plan: Plan,
        deliver: Callable[[Event], object],
        prepare: Callable[[ConnectOptions], object],
        dial: Callable[..., Bytes],
        create: Create,
        after: ReceiverLoop | None,
    ) -> None:
        self._plan = plan
        self._deliver = deliver
        self._prepare = prepare
        self._dial = dial
        self._create = create
        self._changed = threading.Condition()
        self._attempts = 0
        self._is_over = self._is_ending = False
        self._is_starting = True
        self._link: Link | None = None
        self._no_messages = Unsettled()
        self.last_loop = after
        self.error: StompError | None = None
        self.is_used = self.is_missed = False
        self.bytes: WatchedTransport | None = None
        self.engine = Connection(
            plan.uri,
            versions=list(plan.versions),
            heartbeat=plan.heartbeat,
            before_connect=self._before_connect,
            timeout=_TIMEOUT,
            transport=self._connect_bytes,
            limits=_LIMITS,
            name=log.connection_name(),
        )
        self.engine.add_listener(_Incoming(self))
        self.outgoing = Outgoing(
            self.engine, lambda: self.unsettled, self._tell_receipt, plan.encoding, plan.is_escaped
        )

    # State

    @property
    def is_alive(self) -> bool:
        """Whether there is a connection, or one is being made or restored."""
        if self._is_over or self._is_ending:
            return False
        return self._is_starting or self.engine.state not in (ConnectionState.NEW, ConnectionState.CLOSED)

    @property
    def is_connected(self) -> bool:
        """Whether the connection is ready now."""
        return not self._is_over and not self._is_ending and self.engine.is_connected

    @property
    def is_ending(self) -> bool:
        """Whether ``end`` was called."""
        return self._is_ending

    @property
    def is_refused(self) -> bool:
        """Whether a broker refused the login."""
        return _refusal(self.error) is not None

    @property
    def unsettled(self) -> Unsettled:
        """The messages of the newest link."""
        link = self._link
        return self._no_messages if link is None else link.unsettled

    @property
    def thread(self) -> object:
        """The thread that runs the hooks; None without a connection."""
        link = self._link
        return None if link is None else link.loop.thread

    def is_current(self, link: Link) -> bool:
        """Whether this link is in use."""
        return self._link is link

    # Connecting

    def start(self) -> None:
        """Connect for the first time.

        Raises:
            ConnectFailedException: no broker could be reached. If a broker was reached but refused the login, nothing
                is raised, and ``error`` has the reason.
        """
        try:
            self.engine.connect(timeout=None)
        except StompError as error:
            self._start_failed(error)
        finally:
            self._is_starting = False
            self._wake()

    def _start_failed(self, error: StompError) -> None:
        self._is_over = True
        self.error = error
        link, refusal = self._link, _refusal(error)
        if link is not None and refusal is not None:
            link.tell("error", refusal)
        self.engine.close()
        self.lost()
        if link is None:
            raise ConnectFailedException(str(error)) from error

    def join(self) -> bool:
        """Wait for a connection that another thread is making, or that is being restored.

        Returns:
            False if the attempts of a ``connect()`` were used up before the call. This ends the life.

        Raises:
            ConnectFailedException: the attempts were used up meanwhile, or the connection was ended.
        """
        if self._is_exhausted():
            # The delays between attempts are long by now, so waiting for as many attempts again may take minutes.
            self.give_up()
            return False
        with self._changed:
            while not (self.is_connected or self._is_exhausted() or not self.is_alive):
                self._changed.wait(_TICK)
        if self.is_connected:
            return True
        was_ended = self._is_ending
        self.give_up()
        why = self.error or (
            "the connection was ended meanwhile" if was_ended else f"{self._plan.attempts} attempts failed"
        )
        raise ConnectFailedException(f"connect failed: {why}") from self.error

    def _is_exhausted(self) -> bool:
        # Attempt limit + 1 has begun, so all counted attempts have failed.
        limit = self._plan.attempts
        return limit is not None and self._attempts > limit and not self._is_starting and not self.engine.is_connected

    def give_up(self, *, silently: bool = False) -> None:
        """Stop restoring.

        Args:
            silently: do not call the hooks, because the program uses them on another connection.
        """
        self._is_over = True
        self._wake()
        if silently:
            self.lost(silently=True)
        self.engine.close()
        self.lost()

    def use(self) -> None:
        """Note that the program uses the connection, so that it is restored without a limit."""
        self.is_used = True
        self._wake()

    def wait_told(self) -> None:
        """Wait, for a limited time, until ``on_connected`` has run. A hook of the same link does not wait."""
        link = self._link
        if link is not None and not link.loop.is_mine:
            link.is_told.wait(_CONNECTED_PATIENCE)

    def wait_ready(self, seconds: float) -> bool:
        """Wait until the connection is ready, and return whether it is."""
        self.use()
        with self._changed:
            self._changed.wait_for(lambda: self.is_connected or not self.is_alive, seconds)
        return self.is_connected

    # The end

    def end(self, headers: dict[str, str] | None, in_hook: bool) -> None:
        """End the connection in a limited time.

        Args:
            headers: the headers of DISCONNECT; None ends at once, without DISCONNECT.
            in_hook: whether a hook makes this call. The hooks for the end of the connection then run after that hook.
        """
        was_connected = self.is_connected
        self._is_ending = True
        self._wake()
        loop = self.last_loop
        if loop is not None:
            loop.lift_bounds()
        with _logged():
            if headers is not None and was_connected:
                self.engine.disconnect(headers=headers)
                self._tell_last_receipt(headers)
        with _logged():
            self.engine.close()
        self._is_over = True
        self.lost()
        self.outgoing.ended()
        self._wake()
        if loop is not None and not in_hook and not loop.wait(_DISCONNECTED_PATIENCE):
            log.debug("disconnect() does not wait for a listener that is still running")

    def lost(self, *, silently: bool = False) -> None:
        """Note that a link has ended, and queue the hooks for it once; with ``silently``, do not call them."""
        with self._changed:
            link, self._link = self._link, None
            self._changed.notify_all()
        self.bytes = None
        if link is not None:
            link.is_told.set()
            if not silently:
                link.tell("lost")
            link.loop.close()

    def _tell_last_receipt(self, headers: dict[str, str]) -> None:
        receipt = headers.get("receipt")
        # disconnect() has waited for the receipt, but the dispatcher may not have reported it yet.
        if receipt is not None and self.outgoing.is_asked(receipt):
            self._tell_receipt(receipt)

    def _tell_receipt(self, receipt: str) -> None:
        self.tell("receipt", WireFrame("RECEIPT", {"receipt-id": receipt}))

    # Calls of the engine, in its receiver and its dispatcher

    def _before_connect(self, options: ConnectOptions) -> None:
        with self._changed:
            self._attempts += 1
            self._changed.notify_all()
            if not self._is_starting and self._is_exhausted():
                # Programs abandon connections that they never used. Such connections must not be restored forever.
                self._changed.wait_for(lambda: self.is_used or not self.is_alive)
        self._prepare(options)

    def _connect_bytes(self, broker: Broker, **arguments: Any) -> Bytes:
        self.bytes = connected = WatchedTransport(self._dial(broker, **arguments), lambda: self.tell("heartbeat"))
        link = self._open_link() if self._is_starting else None
        if link is not None:
            # Call on_connecting now only for the first link. For later links, which the program did not request,
            # on_connecting is called when the link is ready.
            self._announce(link)
        return cast(Bytes, connected)

    def on_connected(self, frame: WireFrame) -> None:
        """Handle that the engine is connected and its subscriptions are replayed."""
        with self._changed:
            self._attempts = 0
            self._changed.notify_all()
        link = self._open_link()
        if link is None:
            return
        self._announce(link)
        link.tell("connected", frame)
        link.is_ready = True
        early, link.early = link.early, []
        for message in early:
            self.on_message(message)

    def on_disconnected(self) -> None:
        """Handle that the engine's connection has ended."""
        if self._is_ending:
            return
        if not self._plan.restores:
            self._is_over = True
        self.lost()

    def on_message(self, message: Message) -> None:
        """Queue a message for the hooks, unless its subscription has its own listener."""
        if message.subscription is not None and message.subscription.listener is not None:
            return
        link = self._link or self._open_link()
        if link is None:
            return
        if link.is_ready:
            link.tell("message", message, 1 + len(message.body))
        else:
            link.early.append(message)

    def tell(self, hook: str, value: Any = None) -> None:
        """Queue another hook. ERROR frames before CONNECTED are left out."""
        link = self._link
        if link is not None and (link.is_ready or hook != "error"):
            link.tell(hook, value)

    def _announce(self, link: Link) -> None:
        if not link.is_announced:
            link.is_announced = True
            link.tell("connecting")

    def _open_link(self) -> Link | None:
        """Return the open link, or a new one; None when the life is over."""
        with self._changed:
            if self._link is not None or self._is_over:
                return self._link
            loop = ReceiverLoop(self._create, self._deliver, self.last_loop)
            self._link = link = Link(loop)
            self.last_loop = loop
        loop.start()
        return link

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class _Incoming(Listener):
    """Passes the engine's events to the life. The dispatcher thread calls the methods."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def on_connected(self, frame: WireFrame) -> None:
        self._life.on_connected(frame)

    def on_disconnecting(self) -> None:
        self._life.tell("disconnecting")

    def on_disconnected(self) -> None:
        self._life.on_disconnected()

    def on_heartbeat_timeout(self) -> None:
        self._life.tell("heartbeat_timeout")

    def on_message(self, message: Message) -> None:
        self._life.on_message(message)

    def on_receipt(self, frame: WireFrame) -> None:
        if self._life.outgoing.is_asked(frame.headers.get("receipt-id", "")):
            self._life.tell("receipt", frame)

    def on_error(self, frame: WireFrame) -> None:
        self._life.tell("error", frame)


def _refusal(error: StompError | None) -> WireFrame | None:
    """The ERROR frame with which a broker refused a login."""
    if isinstance(error, ConnectFailed):
        for _broker, each in error.attempts:
            if isinstance(each, BrokerError):
                return each.frame
    return None


@contextmanager
def _logged() -> Iterator[None]:
    """Log an exception at the end of a connection instead of raising it."""
    try:
        yield
    except StompError as error:
        log.warning("disconnect: %s", error)
