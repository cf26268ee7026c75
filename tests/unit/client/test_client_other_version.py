"""What one version of STOMP can write and another cannot, when a failover changes the version."""

from __future__ import annotations

import pytest

from stomplistener import Connection, InvalidHeader, NotConnected, StompError, SubscriptionState
from stomplistener.testing import Broker


def test_what_the_next_version_cannot_write_is_given_back_and_the_rest_goes_on() -> None:
    with Broker(versions=("1.2",)) as modern, Broker(versions=("1.0",)) as old:
        uri = f"failover:({modern.uri},{old.uri})?randomize=false&initialReconnectDelay=10"
        with Connection(uri, timeout=10) as connection:
            bad = connection.subscribe("/queue/a", print, headers={"note": "two\nlines"}, confirm=True)
            good = connection.subscribe("/queue/b", print, confirm=True)
            modern.withhold_receipts("SEND")
            lost = connection.send_async("/queue/c", "x", {"note": "two\nlines"})
            kept = connection.send_async("/queue/c", "y")
            modern.wait_for(lambda: len(modern.frames(command="SEND")) == 2, what="both SENDs")
            modern.stop()
            assert kept.result(10).command == "RECEIPT"
            with pytest.raises(InvalidHeader):
                lost.result(10)
            good.wait_active()
            assert bad.state is SubscriptionState.REJECTED
            assert connection.session.version == "1.0"
            assert [message.body for message in old.messages("/queue/c")] == [b"y"]


def test_after_a_graceful_disconnect_nothing_was_lost() -> None:
    told: list[StompError] = []
    with Broker() as broker:
        for _ in range(100):
            connection = Connection(broker.uri).connect()
            connection.disconnect()
            try:
                connection.send("/queue/a", "x")
            except StompError as error:
                told.append(error)
    assert len(told) == 100
    assert not [error for error in told if not isinstance(error, NotConnected)]
