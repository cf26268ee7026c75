"""Measure the time from the cut of a connection to the first message of the next broker."""

from __future__ import annotations

import time

from bench import clients, wire
from bench.process import Figures, serving
from stomplistener import Connection, Listener, Message


class _Listener(Listener):
    """Notes the reconnect delays, and the time of the first message from the second broker."""

    def __init__(self) -> None:
        self.finish = clients.Finish()
        self.delay = 0.0
        self.at = 0.0

    def on_reconnecting(self, _attempt: int, delay: float) -> None:
        self.delay += delay

    def on_message(self, message: Message) -> None:
        if message.body == wire.END_BODY:
            self.at = time.monotonic()
            self.finish.set()


def ours(subscriptions: int) -> Figures:
    """Measure with both brokers running. The reconnect delay of the settings is subtracted."""
    with serving("cut", after=1.2) as first, serving("welcome", subscriptions=subscriptions) as second:
        brokers = f"tcp://127.0.0.1:{first.port},tcp://127.0.0.1:{second.port}"
        connection = Connection(f"failover:({brokers})?randomize=false", heartbeat=(0.0, 0.0))
        listener = _Listener()
        connection.set_listener("bench", listener)
        for number in range(1, subscriptions + 1):
            connection.subscribe(f"/queue/{number}", id=str(number))
        connection.connect()
        connection.send(wire.START)
        cut = float(first.line())
        listener.finish.wait()
        return {"beyond": (listener.at - cut - listener.delay) * 1e3}
