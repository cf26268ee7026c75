"""The kombu transport on the embedded broker: what kombu and Celery ask of a transport."""

from __future__ import annotations

import datetime
import ssl
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kombu")

import trustme
from client_support import eventually
from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.asynchronous import Hub
from kombu.pidbox import Mailbox as Pidbox

import stomplistener.contrib.kombu  # noqa: F401  (adds the scheme)
from stomplistener import ConnectFailed
from stomplistener.contrib.kombu import names, source
from stomplistener.contrib.kombu.channel import Channel
from stomplistener.testing import Broker

TASKS = Queue("tasks", Exchange("tasks", type="direct"), routing_key="task")


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture
def connection(broker: Broker) -> Iterator[Connection]:
    with Connection(f"stomp+{broker.uri}") as connection:
        yield connection


def publish(connection: Connection, *bodies: Any, queue: Queue = TASKS, **options: Any) -> None:
    producer = Producer(connection)
    for body in bodies:
        producer.publish(body, exchange=queue.exchange, routing_key=queue.routing_key, declare=[queue], **options)


def drained(connection: Connection, timeout: float = 0.3) -> None:
    """Hand on all messages that are there."""
    while True:
        try:
            connection.drain_events(timeout=timeout)
        except TimeoutError:
            return


class Inbox:
    """A consumer that keeps its messages."""

    def __init__(self, connection: Connection, *queues: Queue, prefetch: int = 0, no_ack: bool = False) -> None:
        self.messages: list[Any] = []
        self.channel = connection.channel()
        self.channel.basic_qos(0, prefetch, False)
        self.consumer = Consumer(self.channel, queues, no_ack=no_ack, on_message=self.messages.append)
        self.consumer.consume()

    @property
    def bodies(self) -> list[Any]:
        return [message.decode() for message in self.messages]


def test_a_message_keeps_body_headers_and_properties(connection: Connection) -> None:
    inbox = Inbox(connection, TASKS)
    publish(
        connection,
        {"a": [1, "ü"]},
        headers={"id": "x", "nothing": None, "list": [1, [2]]},
        correlation_id="c",
        priority=7,
    )
    drained(connection)
    message = inbox.messages[0]
    assert message.payload == {"a": [1, "ü"]}
    assert message.headers["list"] == [1, [2]]
    assert message.headers["nothing"] is None
    assert message.properties["correlation_id"] == "c"
    assert message.properties["priority"] == 7
    assert message.delivery_info["routing_key"] == "task"
    assert message.delivery_info["redelivered"] is False


def test_bytes_and_other_serializers_pass(connection: Connection) -> None:
    inbox = Inbox(connection, TASKS)
    publish(connection, bytes(range(256)), serializer=None, content_type="application/data", content_encoding="binary")
    publish(connection, "x" * 10_000, compression="zlib")
    drained(connection)
    assert inbox.messages[0].body == bytes(range(256))
    assert inbox.messages[1].payload == "x" * 10_000


def test_the_prefetch_count_is_kept_and_can_be_raised_and_lowered(connection: Connection) -> None:
    inbox = Inbox(connection, TASKS, prefetch=2)
    publish(connection, *range(20))
    drained(connection)
    assert inbox.bodies == [0, 1]
    inbox.channel.basic_qos(0, 5, False)
    drained(connection)
    assert sorted(inbox.bodies) == [0, 1, 2, 3, 4]
    inbox.channel.basic_qos(0, 1, False)
    for message in inbox.messages[:4]:
        message.ack()
    drained(connection)
    assert len(inbox.messages) == 5, "one is unsettled still"
    inbox.messages[4].ack()
    drained(connection)
    assert len(inbox.messages) == 6


def test_acknowledged_messages_are_gone_and_others_come_again(broker: Broker) -> None:
    with Connection(f"stomp+{broker.uri}") as first:
        inbox = Inbox(first, TASKS)
        publish(first, 1, 2, 3)
        drained(first)
        inbox.messages[1].ack()
    with Connection(f"stomp+{broker.uri}") as second:
        inbox = Inbox(second, TASKS)
        drained(second)
        assert sorted(inbox.bodies) == [1, 3]
        assert all(message.delivery_info["redelivered"] for message in inbox.messages)


def test_acknowledgements_of_another_thread_count(connection: Connection) -> None:
    inbox = Inbox(connection, TASKS, prefetch=1)
    publish(connection, 1, 2)
    drained(connection)
    acknowledging = threading.Timer(0.1, inbox.messages[0].ack)
    acknowledging.start()
    connection.drain_events(timeout=5)
    acknowledging.join()
    assert inbox.bodies == [1, 2]


def test_requeued_messages_come_again(connection: Connection) -> None:
    inbox = Inbox(connection, TASKS)
    publish(connection, "again")
    drained(connection)
    inbox.messages[0].requeue()
    drained(connection)
    assert inbox.bodies == ["again", "again"]
    assert inbox.messages[1].delivery_info["redelivered"] is True
    inbox.messages[1].ack()
    drained(connection)
    assert len(inbox.messages) == 2


def test_recover_puts_all_back(connection: Connection) -> None:
    inbox = Inbox(connection, TASKS)
    publish(connection, 1, 2)
    drained(connection)
    inbox.consumer.recover(requeue=True)
    drained(connection)
    assert sorted(inbox.bodies) == [1, 1, 2, 2]


def test_a_cancelled_consumer_can_still_acknowledge(broker: Broker, connection: Connection) -> None:
    """Celery's warm shutdown; brokers ignore an ACK after UNSUBSCRIBE."""
    inbox = Inbox(connection, TASKS)
    publish(connection, 1)
    drained(connection)
    inbox.consumer.cancel()
    publish(connection, 2)
    drained(connection)
    inbox.messages[0].ack()
    with Connection(f"stomp+{broker.uri}") as other:
        rest = Inbox(other, TASKS)
        other.drain_events(timeout=5)
        drained(other)
        assert rest.bodies == [2]


def test_no_ack_consumers_acknowledge_nothing_themselves(broker: Broker, connection: Connection) -> None:
    inbox = Inbox(connection, TASKS, no_ack=True)
    publish(connection, 1, 2)
    drained(connection)
    assert inbox.bodies == [1, 2]
    connection.close()
    with Connection(f"stomp+{broker.uri}") as other:
        rest = Inbox(other, TASKS)
        drained(other)
        assert rest.bodies == []


def test_get_takes_one_message_and_leaves_the_rest(connection: Connection) -> None:
    publish(connection, 1, 2)
    bound = TASKS(connection.default_channel)
    message = bound.get()
    assert message.payload == 1
    message.ack()
    assert bound.get(no_ack=True).payload == 2
    assert bound.get() is None


def test_purge_counts_what_it_took(connection: Connection) -> None:
    publish(connection, *range(7))
    bound = TASKS(connection.default_channel)
    assert bound.purge() == 7
    assert bound.get() is None


def test_two_queues_of_one_routing_key_get_a_copy_each(connection: Connection) -> None:
    exchange = Exchange("news", type="topic")
    both = Inbox(
        connection, Queue("sport", exchange, routing_key="news.sport.#"), Queue("all", exchange, routing_key="news.#")
    )
    producer = Producer(connection, exchange=exchange)
    producer.publish("goal", routing_key="news.sport.football")
    producer.publish("rain", routing_key="news.weather")
    drained(connection)
    assert sorted(both.bodies) == ["goal", "goal", "rain"]
    for message in both.messages:
        message.ack()


def test_fanout_reaches_every_process(broker: Broker, connection: Connection) -> None:
    exchange = Exchange("all", type="fanout")
    with Connection(f"stomp+{broker.uri}") as other:
        inboxes = [
            Inbox(each, Queue(f"private-{number}", exchange, auto_delete=True, durable=False), no_ack=True)
            for number, each in enumerate((connection, other))
        ]
        Producer(connection, exchange=exchange).publish("hello")
        for each in (connection, other):
            each.drain_events(timeout=5)
        assert [inbox.bodies for inbox in inboxes] == [["hello"], ["hello"]]


def test_private_queues_hear_a_topic_exchange_of_another_process(broker: Broker, connection: Connection) -> None:
    """As Celery's events do."""
    exchange = Exchange("events", type="topic")
    with Connection(f"stomp+{broker.uri}") as other:
        inbox = Inbox(
            other, Queue("monitor", exchange, routing_key="worker.*", auto_delete=True, durable=False), no_ack=True
        )
        producer = Producer(connection, exchange=exchange)
        producer.publish("task", routing_key="task.sent")
        producer.publish("worker", routing_key="worker.online")
        other.drain_events(timeout=5)
        drained(other)
        assert inbox.bodies == ["worker"]


def test_remote_control_gets_its_replies(broker: Broker, connection: Connection) -> None:
    pidbox = Pidbox("control", type="fanout")
    with Connection(f"stomp+{broker.uri}") as other:
        node = pidbox(other).Node("worker@host", channel=other.channel())
        node.handlers["ping"] = lambda state, **_: "pong"
        node.listen()
        answers: list[Any] = []
        asking = threading.Thread(
            target=lambda: answers.extend(pidbox(connection).multi_call("ping", timeout=3, limit=1) or [])
        )
        asking.start()
        other.drain_events(timeout=5)
        asking.join(10)
        assert answers == [{"worker@host": "pong"}]


def test_the_reply_queue_of_the_default_exchange_works_across_processes(broker: Broker, connection: Connection) -> None:
    """As Celery's result backend rpc:// does."""
    reply = Queue(str(uuid.uuid4()), Exchange(""), durable=False, auto_delete=True)
    inbox = Inbox(connection, reply, no_ack=True)
    with Connection(f"stomp+{broker.uri}") as other:
        Producer(other).publish({"result": 1}, exchange="", routing_key=reply.name)
    connection.drain_events(timeout=5)
    assert inbox.bodies == [{"result": 1}]


def test_an_unread_private_queue_is_bounded(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAILBOX_MESSAGES", 3)
    exchange = Exchange("e", type="topic")
    queue = Queue("unread", exchange, routing_key="#", auto_delete=True, durable=False)
    queue(connection.channel()).declare()
    for number in range(5):
        Producer(connection, exchange=exchange).publish(number, routing_key="k")
    eventually(lambda: connection.transport.mailboxes["unread"].dropped == 2, "two that are dropped")
    other = Inbox(connection, TASKS)
    publish(connection, "behind them")
    connection.drain_events(timeout=5)
    assert other.bodies == ["behind them"]
    inbox = Inbox(connection, queue, no_ack=True)
    drained(connection)
    assert inbox.bodies[-1] == 4
    assert len(inbox.bodies) <= 3


@pytest.mark.parametrize("noticed", [True, False])
def test_a_lost_connection_is_an_error_that_kombu_repairs(
    broker: Broker, connection: Connection, noticed: bool
) -> None:
    Inbox(connection, TASKS)
    broker.drop_connections()
    if noticed:
        eventually(lambda: not connection.transport.stomp.is_connected, "the loss")
    with pytest.raises(connection.connection_errors):
        connection.drain_events(timeout=10)
    assert not connection.connected
    publish(connection, "kept", retry=True, retry_policy={"max_retries": 3, "interval_start": 0.05})
    inbox = Inbox(connection, TASKS)
    connection.drain_events(timeout=5)
    assert inbox.bodies == ["kept"]
    assert len(broker.subscriptions) == 1


def test_who_only_publishes_is_connected_again_without_a_word(broker: Broker, connection: Connection) -> None:
    publish(connection, 1)
    broker.drop_connections()
    eventually(lambda: not connection.transport.stomp.is_connected, "the loss")
    publish(connection, 2)
    inbox = Inbox(connection, TASKS)
    drained(connection)
    assert inbox.bodies == [1, 2]


def test_publishing_over_a_loss_retries(broker: Broker, connection: Connection) -> None:
    publish(connection, 1)
    broker.drop_connections()
    publish(connection, 2, retry=True, retry_policy={"max_retries": 5, "interval_start": 0.05})
    with Connection(f"stomp+{broker.uri}") as other:
        inbox = Inbox(other, TASKS)
        drained(other)
        assert inbox.bodies == [1, 2]


def test_the_event_loop_hands_messages_on(connection: Connection) -> None:
    inbox = Inbox(connection, TASKS, prefetch=2)
    hub = Hub()
    connection.register_with_event_loop(hub)
    publish(connection, *range(200))
    loop = hub.create_loop()
    done = 0
    for _ in range(2000):
        next(loop)
        for message in inbox.messages[done:]:
            message.ack()
            done += 1
        if done == 200:
            break
    assert inbox.bodies == list(range(200))
    connection.close()
    assert not hub.readers
    hub.close()


def test_the_event_loop_hears_of_a_loss(broker: Broker, connection: Connection) -> None:
    hub = Hub()
    hub.propagate_errors = connection.connection_errors
    connection.connect()
    connection.register_with_event_loop(hub)
    loop = hub.create_loop()
    broker.drop_connections()
    with pytest.raises(connection.connection_errors):
        all(next(loop) is None or True for _ in range(100))
    hub.close()


def test_the_event_loop_hears_of_what_comes_after_a_quiet_reconnect(broker: Broker, connection: Connection) -> None:
    """As for a worker of Celery that loses its broker between its connect and its first consumer."""
    hub = Hub()
    connection.connect()
    connection.register_with_event_loop(hub)
    broker.drop_connections()
    eventually(lambda: not connection.transport.stomp.is_connected, "the loss")
    inbox = Inbox(connection, TASKS)
    publish(connection, "a")
    loop = hub.create_loop()
    for _ in range(5):
        # Each waits for a second at most.
        next(loop)
        if inbox.bodies:
            break
    assert inbox.bodies == ["a"]
    connection.close()
    assert not hub.readers
    hub.close()


def test_the_uri_may_be_a_failover_one_and_shows_no_secret(broker: Broker) -> None:
    uri = f"failover:(tcp://user:secret@127.0.0.1:1,tcp://127.0.0.1:{broker.port})?maxReconnectDelay=20"
    with Connection(f"stomp+{uri}", connect_timeout=5) as connection:
        publish(connection, 1)
        assert "secret" not in connection.as_uri()
        assert "secret" in connection.as_uri(include_password=True)
        assert connection.connected
    with Connection(uri, transport="stomplistener.contrib.kombu:Transport", connect_timeout=5) as connection:
        inbox = Inbox(connection, TASKS)
        connection.drain_events(timeout=5)
        assert inbox.bodies == [1]


def test_tls_verifies_and_trusts_what_kombu_is_told(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    with Broker(ssl_context=context) as broker:
        uri = f"stomp+ssl://localhost:{broker.port}"
        with Connection(uri) as stranger, pytest.raises(ConnectFailed, match="certificate"):
            stranger.connect()
        with Connection(uri, ssl={"ca_certs": str(tmp_path / "ca.pem")}) as connection:
            inbox = Inbox(connection, TASKS)
            publish(connection, "over TLS")
            drained(connection)
            assert inbox.bodies == ["over TLS"]


def test_the_path_of_the_uri_is_the_virtual_host() -> None:
    with Broker(virtual_hosts={"/shop"}) as broker:
        with Connection(f"stomp+{broker.uri}/%2Fshop") as connection:
            publish(connection, "for the shop")
        with Connection(f"stomp+{broker.uri}/else") as other, pytest.raises(ConnectFailed, match="virtual host"):
            other.connect()
        assert broker.depth("/queue/tasks") == 1


def test_nothing_is_left_after_the_end(broker: Broker) -> None:
    before = set(threading.enumerate())
    connection = Connection(f"stomp+{broker.uri}")
    Inbox(connection, TASKS)
    publish(connection, 1)
    connection.release()
    broker.wait_for(lambda: not broker.connections, what="the end of the connection")
    assert set(threading.enumerate()) - before <= {t for t in threading.enumerate() if t.name.startswith("broker")}


def test_what_a_message_asks_for_becomes_options_of_send(connection: Connection) -> None:
    channel: Any = connection.channel()
    assert isinstance(channel, Channel)
    eta = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=60)
    message = channel.prepare_message(
        b"x", 4, headers={"eta": eta.isoformat()}, properties={"expiration": "1500", "delivery_mode": 2}
    )
    assert channel._options(message) == {"persistent": True, "priority": 4, "expires": 1.5}
    channel.connection.broker_name = "artemis"
    assert 59 < channel._options(message)["delay"] <= 60
    channel.delay_eta = False
    assert "delay" not in channel._options(message)
    assert channel._options(channel.prepare_message(b"x", properties={"delivery_mode": 1})) == {}


def test_rabbitmq_is_told_the_arguments_of_a_queue(connection: Connection) -> None:
    channel: Any = connection.channel()
    queue = Queue("ranked", max_priority=9, queue_arguments={"x-queue-type": "quorum"}, message_ttl=1.5)
    queue(channel).declare()
    assert channel._queue_headers("ranked") == {}
    channel.connection.broker_name = "rabbitmq"
    assert channel._queue_headers("ranked") == {
        "x-max-priority": "9",
        "x-queue-type": "quorum",
        "x-message-ttl": "1500",
    }


def test_names_that_brokers_would_take_for_patterns_are_quoted() -> None:
    assert names.queue("celery@host.direct") == "/queue/celery@host.direct"
    assert names.queue("a/b *>,?") == "/queue/a%2Fb%20%2A%3E%2C%3F"
    assert names.broadcast("kombu.", "celeryev") == "/topic/kombu.celeryev"
    assert names.broadcast("kombu.", "reply", "a-b") == "/topic/kombu.reply.a-b"
