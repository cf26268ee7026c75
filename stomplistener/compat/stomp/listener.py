"""The registry of listeners, and stomp.py's predefined listeners."""

from __future__ import annotations

import sys  # noqa: F401  # programs that import * find it here
import threading
import time
from time import monotonic
from typing import Any

from stomplistener.compat.stomp import exception, log, utils  # noqa: F401
from stomplistener.compat.stomp.constants import *  # noqa: F403
from stomplistener.compat.stomp.constants import CMD_CONNECT, CMD_STOMP, HDR_HEARTBEAT
from stomplistener.compat.stomp.utils import Frame

HostAndPort = tuple[str, int]


class Publisher:
    """The interface for registering listeners. The base class ignores all listeners."""

    def set_listener(self, name: str, listener: Any) -> None:
        """Register a listener under a name, in place of an earlier listener of this name."""

    def remove_listener(self, name: str) -> None:
        """Remove the listener of this name."""

    def get_listener(self, name: str) -> Any:
        """Return the listener of this name, or None."""
        return None


class ConnectionListener:
    """The base class of listeners, whose methods do nothing; override those that you need.

    One thread calls all hooks of a connection, in the order of the wire. Only ``on_send`` is called by the sending
    thread. Each connection has its own thread for hooks. The thread starts when that of the previous connection has
    ended, or when ``connect()`` is called on a lost connection. So a hook in which ``connect()`` is called may wait for
    hooks of the next connection.
    """

    def on_connecting(self, host_and_port: HostAndPort) -> None:
        """Called when a broker was reached."""

    def on_connected(self, frame: Frame) -> None:
        """Called when the connection is ready and its subscriptions are restored. ``frame`` is CONNECTED."""

    def on_disconnecting(self) -> None:
        """Called after a call of ``disconnect()``."""

    def on_disconnected(self) -> None:
        """Called when a ready connection has ended.

        The connection is being restored, unless ``disconnect()`` ended it.
        """

    def on_heartbeat(self) -> None:
        """Called when a heartbeat was received."""

    def on_heartbeat_timeout(self) -> None:
        """Called when the broker was silent for too long."""

    def on_before_message(self, frame: Frame) -> None:
        """Called before ``on_message``, which gets the changes that this hook makes in the frame."""

    def on_message(self, frame: Frame) -> None:
        """Called for each message."""

    def on_receipt(self, frame: Frame) -> None:
        """Called when a RECEIPT that the program requested was received."""

    def on_error(self, frame: Frame) -> None:
        """Called when an ERROR was received."""

    def on_send(self, frame: Frame) -> None:
        """Called before a frame is sent. Changes in the frame are sent."""

    def on_receiver_loop_completed(self, frame: Frame | None) -> None:
        """Called with None when a connection has ended, before ``on_disconnected``."""


class HeartbeatListener(ConnectionListener):
    """Requests heartbeats, and has the agreed intervals. The connection sends and checks heartbeats automatically.

    Args:
        transport: the transport of the connection.
        heartbeats: milliseconds between heartbeats to send, and to receive.
        heart_beat_receive_scale: has no effect.

    Attributes:
        heartbeats: the requested intervals; after CONNECTED, the agreed ones.
        received_heartbeat: the time of the last data from the broker, by ``time.monotonic()``. Right after CONNECTED,
            this time is a little later. None without heartbeats.
        heartbeat_thread: None unless heartbeats are active.
        running, disconnecting, heartbeat_terminate_event, next_outbound_heartbeat, send_sleep, receive_sleep: as in
            stomp.py, read-only.
    """

    def __init__(self, transport: Any, heartbeats: tuple[Any, Any], heart_beat_receive_scale: float = 1.5) -> None:
        self.transport = transport
        self.heartbeats: tuple[int, int] = (int(heartbeats[0]), int(heartbeats[1]))
        self._wanted = self.heartbeats
        self.heart_beat_receive_scale = heart_beat_receive_scale
        self.running = False
        self.disconnecting = False
        self.received_heartbeat: float | None = None
        self.heartbeat_thread: Any = None
        self.next_outbound_heartbeat: float | None = None
        self.heartbeat_terminate_event = threading.Event()
        self.send_sleep = self.receive_sleep = 0.0

    def on_connected(self, frame: Frame) -> None:
        self.disconnecting = False
        answered = frame.headers.get(HDR_HEARTBEAT, "0,0").replace(" ", "").split(",")
        self.heartbeats = utils.calculate_heartbeats(answered, self._wanted)
        if self.heartbeats == (0, 0):
            return
        self.send_sleep = self.heartbeats[0] / 1000
        self.receive_sleep = self.heartbeats[1] / 1000 * self.heart_beat_receive_scale
        self.received_heartbeat = monotonic() + self.receive_sleep
        self.running = True
        self.heartbeat_terminate_event.clear()
        self.heartbeat_thread = threading.current_thread()

    def on_disconnected(self) -> None:
        self.running = False
        self.heartbeat_terminate_event.set()
        self.heartbeat_thread = None

    def on_disconnecting(self) -> None:
        self.disconnecting = True

    def on_message(self, frame: Frame) -> None:
        if self.received_heartbeat is not None:
            self._heard()

    def on_receipt(self, frame: Frame) -> None:
        self._heard()

    def on_error(self, frame: Frame) -> None:
        self._heard()

    def on_heartbeat(self) -> None:
        self._heard()

    def on_send(self, frame: Frame) -> None:
        if frame.cmd in (CMD_CONNECT, CMD_STOMP) and self._wanted != (0, 0):
            frame.headers[HDR_HEARTBEAT] = f"{self._wanted[0]},{self._wanted[1]}"

    def _heard(self) -> None:
        # The time may lie in the future: see on_connected.
        if self.received_heartbeat is not None:
            self.received_heartbeat = max(self.received_heartbeat, monotonic())


class WaitingListener(ConnectionListener):
    """Waits for one receipt."""

    def __init__(self, receipt: str | None) -> None:
        self.receipt = receipt
        self.received = False
        self.disconnected = False
        self._changed = self.receipt_condition = self.disconnect_condition = threading.Condition()

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
        """Wait, without a timeout, until the receipt has arrived. The next call waits for the next receipt."""
        with self._changed:
            self._changed.wait_for(lambda: self.received)
            self.received = False

    def wait_on_disconnected(self) -> None:
        """Wait, without a timeout, until a connection has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self.disconnected)


class StatsListener(ConnectionListener):
    """Counts events.

    Attributes:
        errors, connections, disconnects, messages, messages_sent, heartbeat_timeouts, heartbeat_count: the counts so
            far. ``messages_sent`` counts all frames that the program sent.
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
    """Prints each event, or logs it at level INFO."""

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
        timestamp: the time when the listener was made.
    """

    __test__ = False  # tells pytest that this is not a test class

    def __init__(self, receipt: str | None = None, print_to_log: bool = False) -> None:
        StatsListener.__init__(self)
        WaitingListener.__init__(self, receipt)
        PrintingListener.__init__(self, print_to_log)
        self.message_condition = self.heartbeat_condition = self._changed
        self.message_list: list[tuple[dict[str, Any], Any]] = []
        self.message_received = False
        self.heartbeat_received = False
        self.timestamp = time.strftime("%Y%m%d%H%M%S")

    def wait_for_message(self) -> None:
        """Wait, without a timeout, until a message has arrived since the last call."""
        with self._changed:
            self._changed.wait_for(lambda: self.message_received)
            self.message_received = False

    def wait_for_heartbeat(self) -> None:
        """Wait, without a timeout, until a heartbeat has arrived since the last call."""
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
