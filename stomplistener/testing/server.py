"""Accept connections, make a client for each, and end all of them."""

from __future__ import annotations

import socket

from stomplistener.testing.client import Client
from stomplistener.testing.listening import Listening
from stomplistener.testing.state import State
from stomplistener.testing.wire import TLSWire, Wire


class Server:
    """The port of a broker, and the threads of its clients. Any thread may call the methods, without the lock."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._listening = Listening(state.options.host, state.options.port, self._serve, "broker")
        # Clients that have ended at the broker may still have frames to write.
        self._running: dict[int, Client] = {}

    @property
    def port(self) -> int:
        return self._listening.port

    def open(self) -> None:
        self._listening.open()

    def refuse(self) -> None:
        self._listening.refuse()

    def close(self) -> None:
        """Give up the port."""
        self._listening.close()

    def end_clients(self, *, reset: bool) -> None:
        """Cut every connection and wait until their threads have ended."""
        with self._state.watch.lock:
            running = list(self._running.values())
            # Let all clients leave the queues first. Otherwise a client that ends would get the messages that another
            # one gives back.
            for client in running:
                client.leave_queues()
            for client in running:
                client.cut(reset=reset)
            self._state.watch.changed()
        for client in running:
            client.thread.join()

    def _serve(self, connected: socket.socket) -> None:
        state = self._state
        with state.watch.lock:
            state.connection_count += 1
            number = state.connection_count
            refused = state.faults.take("accept and close", None, number)
            if refused is None:
                context = state.options.ssl_context
                wire = Wire(connected) if context is None else TLSWire(connected, context)
                client = Client(number, state, wire, self._running.pop)
                state.clients[number] = self._running[number] = client
                client.thread.start()
            state.watch.changed()
        if refused is not None:
            cut = Wire(connected)
            cut.cut(reset=refused.reset)
            cut.close()
