"""The table of broker profiles, and what a connection makes of it on brokers that call themselves so."""

from __future__ import annotations

import pytest

from stomplistener import BrokerError, Connection, ConnectionLost, Frame, ProtocolError, SubscriptionState
from stomplistener.brokers import PROFILES, Dialect, Profile, by_server, refusal_hint
from stomplistener.protocol import Session, SubscriptionEntry
from stomplistener.testing import Broker

SERVERS = {
    "ActiveMQ/5.18.3": "activemq",
    "ActiveMQ/6.1.7": "activemq",
    "ActiveMQ-Artemis/2.44.0 ActiveMQ Artemis Messaging Engine": "artemis",
    "apache-apollo/1.7.1": "apollo",
    "RabbitMQ/3.10.8": "rabbitmq",
    "stomplistener-testing/1": "testing",
    "something else": None,
}


def connected(server: str | None, version: str = "1.2") -> Frame:
    return Frame("CONNECTED", {"version": version} | ({"server": server} if server else {}))


def entry(**values: object) -> SubscriptionEntry:
    return SubscriptionEntry(**({"id": "prices", "destination": "/topic/prices", "ack": "auto"} | values))  # type: ignore[arg-type]


@pytest.mark.parametrize(("server", "name"), SERVERS.items())
def test_the_server_header_chooses(server: str, name: str | None) -> None:
    profile = by_server(server)
    assert (profile.name if profile else None) == name


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_each_profile_spells_each_option_or_says_why_not_and_where_that_stands(profile: Profile) -> None:
    assert set(profile.options) == {
        *("durable", "prefetch", "selector", "browse"),
        *("persistent", "expires", "priority", "delay", "duplicate_id"),
    }
    for spelling in profile.options.values():
        assert spelling.source
        assert spelling.headers or spelling.note


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("ActiveMQ/5", {"activemq.subscriptionName": "prices", "activemq.prefetchSize": "5"}),
        ("ActiveMQ-Artemis/2", {"durable-subscription-name": "prices", "consumer-window-size": "5120"}),
        ("apache-apollo/1.7.1", {"persistent": "true", "credit": "5,0"}),
        ("RabbitMQ/3", {"durable": "true", "auto-delete": "false", "prefetch-count": "5"}),
        ("stomplistener-testing/1", {"durable-subscription-name": "prices", "prefetch": "5"}),
    ],
)
def test_subscribe_options_in_the_words_of_each(server: str, expected: dict[str, str]) -> None:
    dialect = Dialect(client_id="shop")
    assert dialect.subscription_headers(connected(server), entry(durable="prices", prefetch=5)) == expected


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("ActiveMQ/5", {"expires": "1002500", "priority": "9", "AMQ_SCHEDULED_DELAY": "500"}),
        ("ActiveMQ-Artemis/2", {"expires": "1002500", "priority": "9", "AMQ_SCHEDULED_DELAY": "500"}),
        ("RabbitMQ/3", {"expiration": "2500", "priority": "9"}),
        ("apache-apollo/1", {"expires": "1002500"}),
    ],
)
def test_send_options_in_the_words_of_each(server: str, expected: dict[str, str]) -> None:
    dialect, frame = Dialect(), connected(server)
    headers = dialect.send_headers(dialect.profile(frame), 1000.0, expires=2.5, persistent=True)
    for option, value in (("priority", 9), ("delay", 0.5)):
        if option in expected or "AMQ_SCHEDULED_DELAY" in expected:
            headers |= dialect.send_headers(dialect.profile(frame), 1000.0, **{option: value})  # type: ignore[arg-type]
        else:
            with pytest.raises(ProtocolError, match=rf"(RabbitMQ|Apollo) cannot do {option}"):
                dialect.send_headers(dialect.profile(frame), 1000.0, **{option: value})  # type: ignore[arg-type]
    assert headers == expected | {"persistent": "true"}


@pytest.mark.parametrize("profile", PROFILES)
def test_what_need_not_be_kept_is_the_default_everywhere(profile: str) -> None:
    assert Dialect(profile).send_headers(PROFILES[profile], 0.0, persistent=False) == {}


@pytest.mark.parametrize("options", [{"expires": 0}, {"expires": float("nan")}, {"delay": -1}, {"priority": 10}])
def test_values_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Dialect("activemq").send_headers(PROFILES["activemq"], 0.0, **options)  # type: ignore[arg-type]


def test_a_broker_that_hides_has_to_be_named() -> None:
    with pytest.raises(ProtocolError, match="does not say what it is; name it"):
        Dialect().subscription_headers(connected(None), entry(prefetch=1))
    assert Dialect("artemis").subscription_headers(connected(None), entry(prefetch=1)) == {"consumer-window-size": "1"}
    with pytest.raises(ValueError, match="known are activemq"):
        Dialect("activemqq")


def test_what_a_durable_subscription_needs() -> None:
    with pytest.raises(ProtocolError, match="client-id"):
        Dialect().subscription_headers(connected("ActiveMQ/5"), entry(durable="prices"))
    with pytest.raises(ProtocolError, match="leave id out"):
        Dialect().subscription_headers(connected("RabbitMQ/3"), entry(id="other", durable="prices"))


def test_what_deletes_a_durable_subscription() -> None:
    durable, dialect = entry(durable="prices"), Dialect(client_id="shop")
    name = {"activemq.subscriptionName": "prices"}
    assert dialect.forget_headers(connected("ActiveMQ/5"), durable) == [{}, name]
    assert dialect.forget_headers(connected("apache-apollo/1"), durable) == [{"persistent": "true"}]
    assert dialect.forget_headers(connected("ActiveMQ/5"), entry()) == [{}]
    with pytest.raises(ProtocolError, match=r"STOMP 1\.0"):
        dialect.forget_headers(connected("ActiveMQ/5", "1.0"), durable)
    assert Dialect(client_id="prices").forget_headers(connected("ActiveMQ/5", "1.0"), durable) == [{}, name]


def test_rabbitmq_says_virtual_host_and_we_say_where_that_comes_from() -> None:
    assert "host header" in refusal_hint("Bad CONNECT: Virtual host 'mq1' access denied", "mq1")
    # Apollo's, whose store has failed.
    assert not refusal_hint("Virtual host stopped", "mq1")
    assert refusal_hint("Bad CONNECT: Access refused for user 'app'", "mq1") == ""


# On a broker


def test_a_durable_subscription_is_kept_by_disconnect_and_deleted_by_unsubscribe() -> None:
    with Broker() as broker:
        connection = Connection(broker.uri, headers={"client-id": "shop"})
        with connection:
            subscription = connection.subscribe("/topic/prices", durable="prices", prefetch=7, confirm=True)
            assert subscription.id == "prices"
            assert [each.durable for each in broker.subscriptions] == ["prices"]
            assert [each.prefetch for each in broker.subscriptions] == [7]
        with Connection(broker.uri) as other:
            other.send("/topic/prices", "one", confirm=True, expires=60, persistent=True)
        with connection:
            got: list[str] = []
            subscription = connection.subscribe(
                "/topic/prices", lambda message: got.append(message.text), durable="prices"
            )
            subscription.wait_active()
            broker.wait_for(lambda: got == ["one"])
            subscription.unsubscribe(confirm=True)
        with Connection(broker.uri) as other:
            other.send("/topic/prices", "two", confirm=True)
        with connection:
            connection.subscribe(
                "/topic/prices", lambda message: got.append(message.text), durable="prices", confirm=True
            )
            connection.send("/queue/x", confirm=True)
        assert got == ["one"]


def test_what_a_broker_cannot_do_raises_where_it_is_connected_and_rejects_where_not() -> None:
    with Broker(server_name="RabbitMQ/3.10.8") as broker:
        connection = Connection(broker.uri)
        declared = connection.subscribe("/queue/a", selector="colour = 'red'")
        with pytest.raises(ProtocolError, match="RabbitMQ cannot do selector"):
            connection.connect()
        with connection:
            with pytest.raises(ProtocolError, match="RabbitMQ cannot do selector"):
                declared.wait_active()
            assert declared.state is SubscriptionState.REJECTED
            with pytest.raises(ProtocolError, match="RabbitMQ cannot do selector"):
                connection.subscribe("/queue/a", selector="colour = 'red'")
            connection.subscribe("/queue/a", headers={"selector": "colour = 'red'"}, confirm=True)
            with pytest.raises(ProtocolError, match="RabbitMQ cannot do delay"):
                connection.send("/queue/a", delay=1)


def test_the_options_follow_to_another_kind_of_broker() -> None:
    with Broker(server_name="ActiveMQ/5.18.3") as first, Broker(server_name="ActiveMQ-Artemis/2.44") as second:
        uri = f"failover:({first.uri},{second.uri})?randomize=false&initialReconnectDelay=10"
        with Connection(uri, headers={"client-id": "shop"}) as connection:
            subscription = connection.subscribe("/topic/prices", durable="prices", confirm=True)
            first.stop()
            second.wait_for(lambda: second.subscriptions and connection.is_connected)
            (frame,) = second.frames(command="SUBSCRIBE")
            assert frame.headers["durable-subscription-name"] == "prices"
            assert "activemq.subscriptionName" not in frame.headers
            second.stop()
            second.wait_for(lambda: not connection.is_connected)
            with pytest.raises(ConnectionLost, match="not deleted"):
                subscription.unsubscribe()


def test_raw_headers_win() -> None:
    with Broker(server_name="ActiveMQ/5") as broker, Connection(broker.uri) as connection:
        connection.subscribe("/queue/a", prefetch=7, headers={"activemq.prefetchSize": "3"}, confirm=True)
        assert [each.prefetch for each in broker.subscriptions] == [3]


def test_an_unknown_virtual_host_is_explained() -> None:
    session = Session(refusal_hint=refusal_hint)
    session.connect(host="mq1")
    error = Frame("ERROR", {"message": "Bad CONNECT"}, b"Virtual host 'mq1' access denied")
    with pytest.raises(BrokerError, match=r"host header as the name of its virtual host, here 'mq1'.*host="):
        session.receive(error)


# Duplicates


def test_a_duplicate_id_goes_into_the_brokers_header_or_the_one_that_was_named() -> None:
    artemis, rabbitmq = PROFILES["artemis"], PROFILES["rabbitmq"]
    assert Dialect().send_headers(artemis, 0.0, duplicate_id="{7}") == {"_AMQ_DUPL_ID": "{7}"}
    named = Dialect(duplicate_header="x-dedup")
    assert named.send_headers(rabbitmq, 0.0, duplicate_id="7") == {"x-dedup": "7"}
    with pytest.raises(ProtocolError, match=r"RabbitMQ cannot do duplicate_id.*duplicate_header"):
        Dialect().send_headers(rabbitmq, 0.0, duplicate_id="7")
    with pytest.raises(ValueError, match="must not be empty"):
        Dialect().send_headers(artemis, 0.0, duplicate_id="")


@pytest.mark.parametrize("server", ["ActiveMQ-Artemis/2.44.0", "stomplistener-testing/1"])
def test_a_confirmed_send_that_is_repeated_is_stored_once_with_a_duplicate_id(server: str) -> None:
    with Broker(server_name=server) as broker:
        uri = f"failover:({broker.uri})?initialReconnectDelay=1&maxReconnectDelay=20"
        with Connection(uri) as connection:
            broker.drop_after("SEND", n=2)
            connection.send("/queue/a", "once", duplicate_id="7", confirm=True)
            assert len(broker.frames(command="SEND")) == 3
            connection.send("/queue/b", "another destination", duplicate_id="7", confirm=True)
            with connection.transaction() as transaction:
                transaction.send("/queue/b", "another id", duplicate_id="8")
            assert [message.text for message in broker.messages("/queue/a")] == ["once"]
            assert [message.text for message in broker.messages("/queue/b")] == ["another destination", "another id"]
