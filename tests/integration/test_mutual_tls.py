"""Mutual TLS: each broker told to demand a certificate of its clients, as the manual says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stomplistener import ConnectFailed, Connection
from stomplistener.testing.containers import BrokerContainer

DEMAND = {
    "activemq": ("/opt/activemq/conf/activemq.xml", "transport.wantClientAuth=true", "transport.needClientAuth=true"),
    "artemis": ("/opt/artemis/etc/broker.xml", "wantClientAuth=true", "needClientAuth=true"),
    "apollo": ("/opt/apollo/etc/apollo.xml", "tls://0.0.0.0:61614", "tls://0.0.0.0:61614?client_auth=need"),
    "rabbitmq": (
        "/etc/rabbitmq/rabbitmq.conf",
        "ssl_options.fail_if_no_peer_cert = false",
        "ssl_options.fail_if_no_peer_cert = true",
    ),
}
"""The file of our images, what stands there, and what the manual says instead."""


def replace(broker: BrokerContainer, file: str, old: str, new: str) -> None:
    broker.exec(["sed", "-i", f"s|{old}|{new}|", file])
    assert new in broker.exec(["cat", file])
    broker.restart()


@pytest.fixture
def demanding(real_broker: BrokerContainer, certs: Path) -> Iterator[BrokerContainer]:
    """A broker that demands a certificate over ``ssl://``; afterwards it is as it was."""
    file, old, new = DEMAND[real_broker.name]
    with Connection(f"{real_broker.uris['ssl']}?caFile={certs / 'ca.pem'}"):
        pass  # It lets in who has none, until it is told otherwise.
    replace(real_broker, file, old, new)
    try:
        yield real_broker
    finally:
        replace(real_broker, file, new, old)


def test_only_who_has_a_certificate_gets_in(demanding: BrokerContainer, certs: Path, tmp_path: Path) -> None:
    uri = f"{demanding.uris['ssl']}?caFile={certs / 'ca.pem'}"
    with Connection(f"{uri}&certFile={certs / 'client.pem'}") as connection:
        connection.send("/queue/mutual", "we know each other", confirm=True)
    with pytest.raises(ConnectFailed, match="certFile"):
        Connection(uri).connect()
