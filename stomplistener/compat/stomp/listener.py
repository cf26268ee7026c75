"""The registry of listeners, and the ready ones."""

from __future__ import annotations

import threading
import time
from typing import Any

from stomplistener.compat.stomp import log, utils
from stomplistener.compat.stomp.utils import Frame

HostAndPort = tuple[str, int]


class Publisher:
    """What listeners can be registered with."""

    def set_listener(self, name: str, listener: Any) -> None:
        """Register a listener under a name, in the place of an older one."""
        raise NotImplementedError

    def remove_listener(self, name: str) -> None:
        """Forget the listener of that name; KeyError if there is none."""
        raise NotImplementedError

    def get_listener(self, name: str) -> Any:
        """The listener of that name, or None."""
        raise NotImplementedError


class ConnectionListener:
    """Override what you need; each method does nothing.

    All are called by one thread, in the order of the wire, but for ``on_send``, which the sending thread calls.
    """

    def on_connecting(self, host_and_port: HostAndPort) -> None:
        """This broker was reached."""

    def on_connected(self, frame: Frame) -> None:
        """The connection is ready, its subscriptions restored; ``frame`` is CONNECTED."""

    def on_disconnecting(self) -> None:
        """``disconnect()`` was called."""

    def on_disconnected(self) -> None:
        """A connection that was ready has ended; unless by ``disconnect()``, it is being restored."""

    def on_heartbeat(self) -> None:
        """A heart-beat came."""

    def on_heartbeat_timeout(self) -> None:
        """The broker was silent for too long."""

    def on_before_message(self, frame: Frame) -> None:
        """A message came; what is changed in the frame here, ``on_message`` gets."""

    def on_message(self, frame: Frame) -> None:
        """A message came."""

    def on_receipt(self, frame: Frame) -> None:
        """A RECEIPT came that the program asked for."""

    def on_error(self, frame: Frame) -> None:
        """An ERROR came."""

    def on_send(self, frame: Frame) -> None:
        """A frame is about to be sent; what is changed in it here is sent."""

    def on_receiver_loop_completed(self, frame: Frame | None) -> None:
        """A connection has ended; called before ``on_disconnected``, with None."""


class HeartbeatListener(ConnectionListener):
    """Knows what heart-beats were agreed on. The connection sends and watches them by itself.

    Attributes:
        heartbeats: milliseconds between the beats that we send, and that we await; before CONNECTED, what is wanted.
    """

    def __init__(self, transport: Any, heartbeats: tuple[int, int], heart_beat_receive_scale: float = 1.5) -> None:
        self.transport = transport
        self.heartbeats = self._wanted = heartbeats
        self.heart_beat_receive_scale = heart_beat_receive_scale

    def on_connected(self, frame: Frame) -> None:
        answered = frame.headers.get("heart-beat", "0,0").replace(" ", "").split(",")
        self.heartbeats = utils.calculate_heartbeats(answered, self._wanted)


class WaitingListener(ConnectionListener):
    """Waits for one receipt."""

    def __init__(self, receipt: str | None) -> None:
        self.receipt = receipt
        self.received = False
        self.disconnected = False
        self._changed = threading.Condition()

    def on_receipt(self, frame: Frame) -> None:
        if frame.headers.get("receipt-id") == self.receipt:
            with self._changed:
                self.received = True
                self._changed.notify_all()

    def on_disconnected(self) -> None:
        with self._changed:
            self.disconnected = True
            self._changed.notify_all()

    def wait_on_receipt(self) -> None:
        """Wait, without a limit, until the receipt has come; again for the next one."""
        with self._changed:
            self._changed.wait_for(lambda: self.received)
            self.received = False

    def wait_on_disconnected(self) -> None:
        """Wait, without a limit, until a connection has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self.disconnected)


class StatsListener(ConnectionListener):
    """Counts.

    Attributes:
        errors, connections, disconnects, messages, messages_sent, heartbeat_timeouts, heartbeat_count: so far;
            ``messages_sent`` counts the frames of all kinds that the program sent.
    """

    def __init__(self) -> None:
        self.errors = 0
        self.connections = 0
        self.disconnects = 0
        self.messages = 0
        self.messages_sent = 0
        self.heartbeat_timeouts = 0
        self.heartbeat_count = 0

    def on_connecting(self, host_and_port: HostAndPort) -> None:
        self.connections += 1
        log.info("connection %d: to %s, port %s", self.connections, *host_and_port)

    def on_disconnected(self) -> None:
        self.disconnects += 1
        log.info("disconnected, %d times by now", self.disconnects)

    def on_error(self, frame: Frame) -> None:
        self.errors += 1
        log.info("the broker answered ERROR: %s", frame.body)

    def on_message(self, frame: Frame) -> None:
        self.messages += 1

    def on_send(self, frame: Frame) -> None:
        self.messages_sent += 1

    def on_heartbeat_timeout(self) -> None:
        self.heartbeat_timeouts += 1

    def on_heartbeat(self) -> None:
        self.heartbeat_count += 1

    def __str__(self) -> str:
        return "\n".join(
            (
                f"Connections: {self.connections}",
                f"Disconnects: {self.disconnects}",
                f"Messages sent: {self.messages_sent}",
                f"Messages received: {self.messages}",
                f"Heartbeats received: {self.heartbeat_count}",
                f"Errors: {self.errors}",
            )
        )


class PrintingListener(ConnectionListener):
    """Prints whatever happens, or logs it at level INFO."""

    def __init__(self, print_to_log: bool = False) -> None:
        self.print_to_log = print_to_log

    def _print(self, *words: object) -> None:
        line = " ".join(map(str, words))
        if self.print_to_log:
            log.info("%s", line)
        else:
            print(line)

    def on_connecting(self, host_and_port: HostAndPort) -> None:
        self._print("on_connecting", *host_and_port)

    def on_connected(self, frame: Frame) -> None:
        self._print("on_connected", frame.headers, frame.body)

    def on_disconnected(self) -> None:
        self._print("on_disconnected")

    def on_heartbeat_timeout(self) -> None:
        self._print("on_heartbeat_timeout")

    def on_before_message(self, frame: Frame) -> None:
        self._print("on_before_message", frame.headers, frame.body)

    def on_message(self, frame: Frame) -> None:
        self._print("on_message", frame.headers, frame.body)

    def on_receipt(self, frame: Frame) -> None:
        self._print("on_receipt", frame.headers, frame.body)

    def on_error(self, frame: Frame) -> None:
        self._print("on_error", frame.headers, frame.body)

    def on_send(self, frame: Frame) -> None:
        self._print("on_send", frame.cmd, utils.clean_headers(frame.headers), frame.body)

    def on_heartbeat(self) -> None:
        self._print("on_heartbeat")


class TestListener(StatsListener, WaitingListener, PrintingListener):
    """Counts, waits and prints; for tests.

    Attributes:
        message_list: headers and body of every message.
        timestamp: when it was made.
    """

    __test__ = False  # no test class, whatever its name

    def __init__(self, receipt: str | None = None, print_to_log: bool = False) -> None:
        StatsListener.__init__(self)
        WaitingListener.__init__(self, receipt)
        PrintingListener.__init__(self, print_to_log)
        self.message_list: list[tuple[dict[str, Any], Any]] = []
        self.message_received = False
        self.heartbeat_received = False
        self.timestamp = time.strftime("%Y%m%d%H%M%S")

    def wait_for_message(self) -> None:
        """Wait, without a limit, until a message has come since the last call."""
        with self._changed:
            self._changed.wait_for(lambda: self.message_received)
            self.message_received = False

    def wait_for_heartbeat(self) -> None:
        """Wait, without a limit, until a heart-beat has come since the last call."""
        with self._changed:
            self._changed.wait_for(lambda: self.heartbeat_received)
            self.heartbeat_received = False

    def get_latest_message(self) -> tuple[dict[str, Any], Any]:
        return self.message_list[-1]

    def on_connecting(self, host_and_port: HostAndPort) -> None:
        StatsListener.on_connecting(self, host_and_port)
        PrintingListener.on_connecting(self, host_and_port)

    def on_connected(self, frame: Frame) -> None:
        PrintingListener.on_connected(self, frame)

    def on_disconnected(self) -> None:
        StatsListener.on_disconnected(self)
        PrintingListener.on_disconnected(self)
        WaitingListener.on_disconnected(self)

    def on_heartbeat_timeout(self) -> None:
        StatsListener.on_heartbeat_timeout(self)
        PrintingListener.on_heartbeat_timeout(self)

    def on_before_message(self, frame: Frame) -> None:
        PrintingListener.on_before_message(self, frame)

    def on_message(self, frame: Frame) -> None:
        StatsListener.on_message(self, frame)
        PrintingListener.on_message(self, frame)
        self.message_list.append((frame.headers, frame.body))
        with self._changed:
            self.message_received = True
            self._changed.notify_all()

    def on_receipt(self, frame: Frame) -> None:
        PrintingListener.on_receipt(self, frame)
        WaitingListener.on_receipt(self, frame)

    def on_error(self, frame: Frame) -> None:
        StatsListener.on_error(self, frame)
        PrintingListener.on_error(self, frame)

    def on_send(self, frame: Frame) -> None:
        StatsListener.on_send(self, frame)
        PrintingListener.on_send(self, frame)

    def on_heartbeat(self) -> None:
        StatsListener.on_heartbeat(self)
        PrintingListener.on_heartbeat(self)
        with self._changed:
            self.heartbeat_received = True
            self._changed.notify_all()
