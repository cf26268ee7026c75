"""Confirmed messages on which connections end, through the whole client: the bad one fails, the good ones do not."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable

import pytest
from client_support import QUEUE, Refuser, ScriptedServer, failover

from stomplistener import BrokerError, Connection, ConnectionLost, Frame, StompError
from stomplistener._engine.connection_cycle import TRIAL_SECONDS
from stomplistener.protocol import Decoder, encode

BAD = "/queue/bad"


@pytest.mark.parametrize("silently", [False, True])
def test_a_message_that_ends_connections_fails_alone(silently: bool) -> None:
    with Refuser(lambda frame: frame.headers.get("destination") == BAD, silently=silently) as broker:
        with Connection(failover(broker.uri), timeout=20) as connection:
            connection.subscribe("/queue/other", print, confirm=True)
            futures = {
                number: connection.send_async(BAD if number == 7 else QUEUE, str(number)) for number in range(20)
            }
            errors = {number: future.exception(20) for number, future in futures.items()}
            bad = errors.pop(7)
            assert isinstance(bad, ConnectionLost if silently else BrokerError)
            assert "given up" in str(bad)
            assert set(errors.values()) == {None}
            # Afterwards all is as ever.
            connection.send(QUEUE, "goes on", confirm=True)
        bodies = Counter(
            frame.body.decode() for frames in broker.received.values() for frame in frames if frame.command == "SEND"
        )
        assert bodies.pop("7") <= 5
        assert bodies.pop("goes on") == 1
        assert max(bodies.values()) <= 3


class Faltering(ScriptedServer):
    """Ends some connections when a SEND comes, and others before one does; the rest confirm everything."""

    def __init__(self, ends_on_send: Callable[[int], bool], ends_before: Callable[[int], bool]) -> None:
        super().__init__(self._answer)
        self._ends_on_send = ends_on_send
        self._ends_before = ends_before
        self.sends: list[int] = []

    def _answer(self, connected: socket.socket, number: int) -> None:
        decoder = Decoder()
        while data := connected.recv(65536):
            for frame in decoder.feed(data):
                if frame.command == "CONNECT":
                    connected.sendall(encode(Frame("CONNECTED", {"version": "1.2"})))
                    if self._ends_before(number):
                        return
                if frame.command == "SEND":
                    self.sends.append(number)
                    if self._ends_on_send(number):
                        return
                if "receipt" in frame.headers:
                    connected.sendall(encode(Frame("RECEIPT", {"receipt-id": frame.headers["receipt"]}), "1.2"))


def test_a_network_that_fails_again_and_again_convicts_no_good_message() -> None:
    """Two connections of three end on the message; the third, on which it is not written, ends as well."""
    last = 21
    with Faltering(lambda number: number < last, lambda number: number < last and number % 3 == 2) as network:
        with Connection(failover(network.uri), timeout=30) as connection:
            connection.send(QUEUE, "good", confirm=True)
        assert network.sends == [number for number in range(1, last + 1) if number % 3 != 2]


def test_a_connection_in_trial_lives_for_a_while_before_the_message_is_written() -> None:
    with Faltering(lambda number: number <= 3, lambda _number: False) as network:
        with Connection(failover(network.uri), timeout=30) as connection:
            begin = time.monotonic()
            connection.send(QUEUE, "good", confirm=True)
            assert time.monotonic() - begin >= TRIAL_SECONDS[0]
        assert network.sends == [1, 2, 3, 4]


def test_an_end_of_the_client_does_not_wait_for_a_trial() -> None:
    with Faltering(lambda _number: True, lambda _number: False) as network:
        connection = Connection(failover(network.uri), timeout=30).connect()
        future = connection.send_async(QUEUE, "bad")
        while network.connections < 4:
            time.sleep(0.001)
        begin = time.monotonic()
        connection.close()
        assert time.monotonic() - begin < 1
        assert isinstance(future.exception(5), StompError)
