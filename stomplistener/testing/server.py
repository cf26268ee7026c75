"""Takes connections and makes a client of each; ends them all."""

from __future__ import annotations

import socket

from stomplistener.testing.client import Client
from stomplistener.testing.listening import Listening
from stomplistener.testing.state import State
from stomplistener.testing.wire import TLSWire, Wire


class Server:
    """The port of a broker and the threads of its clients. Methods may be called from any thread, without the lock."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._listening = Listening(state.options.host, state.options.port, self._serve, "broker")
        # Those that have ended at the broker may still have their last words to write.
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
            # All at first, or what one gives back would go to another that ends too.
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
