"""Connecting, bodies, headers and acknowledgements, on every broker in every version."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid

import pytest
from conformance import World, matrix, outcome_of, received, texts
from expectations import expected

from stomplistener import BrokerError, ConnectFailed, InvalidHeader, Message, ProtocolError
from stomplistener.brokers import by_server

pytestmark = matrix()

ATTEMPTS = 10
"""The max-delivery-attempts of Artemis."""


def test_connect(world: World) -> None:
    with world.connection() as connection:
        assert connection.session.version == world.spoken
        profile = by_server(connection.session.server)
        assert profile is None or profile.name == world.name
        world.check("server header", "yes" if profile else "hidden")


def test_login_refused(world: World) -> None:
    connection = world.connection(uri=world.broker.uri.replace("app-secret", "wrong"))
    with pytest.raises(ConnectFailed) as refused:
        connection.connect()
    assert "wrong" not in str(refused.value)
    world.check("login refused", "yes")


def test_virtual_host(world: World) -> None:
    connection = world.connection(uri=world.broker.uri.replace("%2F", "nowhere"))
    outcome = outcome_of(connection.connect, ConnectFailed)
    connection.disconnect()
    world.check("virtual host", "yes" if outcome == "refused" else "ignored")
    if world.name == "rabbitmq":
        with pytest.raises(ConnectFailed, match="host header as the name of its virtual host, here 'nowhere'"):
            connection.connect()


BODIES: dict[str, bytes | str] = {
    "text": "plain text, Привет, 日本語 ✓",
    "json": json.dumps({"a": [1, None, "ü"]}),
    "binary": bytes(range(256)) * 4,
    "empty": b"",
    "large": b"0123456789abcde\0" * (512 * 1024),
}


@pytest.mark.parametrize("kind", BODIES)
def test_body(world: World, kind: str) -> None:
    body = BODIES[kind]
    with world.connection() as connection, connection.consume(queue := world.queue(), ack="auto") as consumer:
        kinds = {"text": None, "json": "application/json"}
        connection.send(queue, body, content_type=kinds.get(kind, "application/octet-stream"), confirm=True)
        (message,) = received(consumer, timeout=30.0)
        assert message.body == (body.encode() if isinstance(body, str) else body)
        assert kind != "json" or message.json() == {"a": [1, None, "ü"]}
        world.check(kind, "yes")
        if kind == "binary":
            world.check("content-length", "yes" if "content-length" in message.headers else "none")


def test_unicode_headers(world: World) -> None:
    header = {"ключ": "значение ✓ 𝄞"}
    with world.connection() as connection, connection.consume(queue := world.queue(), ack="auto") as consumer:
        connection.send(queue, "x", header)
        outcome = "refused"
        for message in received(consumer, timeout=world.patience("unicode headers")):
            found = message.headers.get("ключ")
            outcome = "yes" if found == header["ключ"] else f"arrives as {found!a}"
        world.check("unicode headers", outcome)


def test_header_escapes(world: World) -> None:
    value = "colon: backslash \\n" + ("" if world.spoken == "1.0" else " end of line \n done")
    with world.connection() as connection, connection.consume(queue := world.queue(), ack="auto") as consumer:
        if world.spoken == "1.0":
            with pytest.raises(InvalidHeader):
                connection.send(world.queue(), "x", {"value": "\n"})
        connection.send(queue, "x", {"value": value})
        (message,) = received(consumer)
        found = message.headers.get("value")
        other = "escaped" if "\\c" in str(found) else "decoded"
        world.check("header escapes", "yes" if found == value else other)


def test_auto(world: World) -> None:
    queue = world.queue()
    with world.connection() as connection:
        with connection.consume(queue, ack="auto") as consumer:
            for number in range(5):
                connection.send(queue, str(number), confirm=True)
            assert texts(consumer, 5) == list("01234")
            # What was delivered a moment before the end may come again from Artemis, or go astray in Apollo.
            connection.send(world.queue(), confirm=True)
            consumer.subscription.unsubscribe(confirm=True)
        connection.send(queue, "last")
        with connection.consume(queue, ack="auto") as consumer:
            assert texts(consumer, 1) == ["last"]
    world.check("auto", "yes")


def test_client(world: World) -> None:
    queue = world.queue()
    with world.connection() as connection:
        consumer = connection.consume(queue, ack="client")
        for number in range(5):
            connection.send(queue, str(number), confirm=True)
        messages = received(consumer, 5)
        messages[2].ack()
        connection.send(world.queue(), confirm=True)
    with world.connection() as connection, connection.consume(queue, ack="client") as consumer:
        assert sorted(texts(consumer, 2)) == ["3", "4"]
        assert texts(consumer, 1, 0.2) == []
    world.check("client", "yes")


def test_client_individual(world: World) -> None:
    queue = world.queue()
    with world.connection() as connection:
        if world.spoken == "1.0":
            world.check("client-individual", outcome_of(lambda: connection.consume(queue), ValueError))
            return
        consumer = connection.consume(queue, ack="client-individual")
        for number in range(3):
            connection.send(queue, str(number), confirm=True)
        received(consumer, 3)[1].ack()
        connection.send(world.queue(), confirm=True)
    with world.connection() as connection, connection.consume(queue) as consumer:
        assert sorted(texts(consumer, 2)) == ["0", "2"]
        assert texts(consumer, 1, 0.2) == []
    world.check("client-individual", "yes")


def test_nack(world: World) -> None:
    queue, body = world.queue(), uuid.uuid4().hex
    with world.connection() as connection:
        if world.spoken == "1.0":
            consumer = connection.consume(queue, ack="client")
            connection.send(queue, body, confirm=True)
            (message,) = received(consumer)
            world.check("NACK", outcome_of(message.nack, ProtocolError))
            message.ack()
            return
        consumer = connection.consume(queue)
        connection.send(queue, body, confirm=True)
        (message,) = received(consumer)
        assert message.nack()
        again = received(consumer, 1, world.patience("NACK", "comes again"))
        if again:
            again[0].ack()
            world.check("NACK", "comes again")
            return
    found = world.dead_letter(body, timeout=world.patience("NACK", "dead letter at once"))
    world.check("NACK", "dead letter at once" if found else "vanishes")


def test_rejected_for_good(world: World) -> None:
    queue, body = world.queue(), uuid.uuid4().hex
    with world.connection() as connection:
        if world.spoken == "1.0":
            world.check("rejected for good", "refused")
            return
        consumer = connection.consume(queue)
        connection.send(queue, body, persistent=True, confirm=True)
        found = received(consumer)
        for _ in range(5):
            if not found:
                break
            assert found[0].nack(headers={"requeue": "false"})
            found = received(consumer, 1, 0.5)
        assert not found
    dead = world.dead_letter(body, timeout=world.patience("rejected for good", world.dead_letters))
    world.check("rejected for good", world.dead_letters if dead else "vanishes")


def test_lost_again_and_again(world: World) -> None:
    queue, body = world.queue(), uuid.uuid4().hex
    with world.connection() as connection:
        connection.send(queue, body, persistent=True, confirm=True)
    for _ in range(ATTEMPTS):
        with world.connection() as connection:
            (message,) = received(connection.consume(queue, ack=world.individual))  # type: ignore[arg-type]
            assert message.text == body
    with world.connection() as connection, connection.consume(queue, ack=world.individual) as consumer:  # type: ignore[arg-type]
        again = received(consumer, 1, world.patience("lost again and again", "comes again"))
        for message in again:
            message.ack()
    if again:
        world.check("lost again and again", "comes again")
    else:
        assert world.dead_letter(body)
        world.check("lost again and again", world.dead_letters)


def test_redelivery(world: World) -> None:
    queue = world.queue()
    with world.connection() as connection:
        consumer = connection.consume(queue, ack=world.individual)  # type: ignore[arg-type]
        connection.send(queue, "again", confirm=True)
        assert [message.text for message in received(consumer)] == ["again"]
    with world.connection() as connection, connection.consume(queue, ack=world.individual) as consumer:  # type: ignore[arg-type]
        (message,) = received(consumer)
        message.ack()
        world.check("redelivery", "yes")
        marked = message.redelivered or int(message.headers.get("redeliveries", "0")) > 0
        world.check("redelivered", "yes" if marked else "not said")


def test_unsubscribed(world: World) -> None:
    queue = world.queue()
    with world.connection() as second:
        with world.connection() as first:
            with first.consume(queue, ack=world.individual) as consumer:  # type: ignore[arg-type]
                second.send(queue, "kept", confirm=True)
                assert [message.text for message in received(consumer)] == ["kept"]
            first.send(world.queue(), "behind UNSUBSCRIBE", confirm=True)
            with second.consume(queue, ack=world.individual) as other:  # type: ignore[arg-type]
                came = texts(other, 1, 3.0) == ["kept"]
            # Else RabbitMQ may give it to the subscription that is ending when the first connection is over.
            second.send(world.queue(), "behind UNSUBSCRIBE", confirm=True)
        if not came:
            with second.consume(queue, ack=world.individual) as other:  # type: ignore[arg-type]
                assert texts(other, 1) == ["kept"]
    world.check("unsubscribed", "yes" if came else "at the connection's end")


def test_left_in_mode_auto(world: World) -> None:
    # So many that a broker is still writing them when this thread runs again, also on a machine with too much to do.
    queue, numbers, came = world.queue(), range(10_000), list[str]()
    with world.connection() as connection, connection.batch():
        for number in numbers:
            connection.send(queue, str(number), persistent=True)
    with world.connection() as connection:
        begun = threading.Event()

        def note(message: Message) -> None:
            came.append(message.text)
            if len(came) == 100:
                begun.set()

        subscription = connection.subscribe(queue, note, ack="auto")
        assert begun.wait(20)
        with contextlib.suppress(BrokerError):
            subscription.unsubscribe(confirm=True)
    left = list[str]()
    with world.connection() as connection, connection.consume(queue, ack="auto") as consumer:
        while len({*came, *left}) < len(numbers) and (message := consumer.receive(8.0)):
            left.append(message.text)
    missing, twice = set(map(str, numbers)) - {*came, *left}, set(came) & set(left)
    world.check("left in mode auto", "some are lost" if missing else "no" if twice else "yes")


def test_one_name(world: World) -> None:
    name = world.queue().removeprefix("/queue/")
    with world.connection() as connection, connection.consume(f"/queue/{name}", ack="auto", confirm=True) as queue:
        connection.send(f"/queue/{name}", "to the queue", confirm=True)
        assert texts(queue, 1) == ["to the queue"]
        with connection.consume(f"/topic/{name}", ack="auto", confirm=True) as topic:
            connection.send(f"/topic/{name}", "to the topic", confirm=True)
            heard = texts(topic, 1, world.patience("one name"))
        astray = texts(queue, 1, 0.3)
    world.check("one name", "yes" if heard and not astray else "the topic gets nothing" if not heard else "mixed")


def test_header_persistent_false(world: World) -> None:
    queue = world.queue()
    with world.connection() as other, other.consume(queue, ack="auto", confirm=True) as consumer:
        # RabbitMQ declares the queue at the first SEND of a connection.
        with world.connection() as connection:
            try:
                connection.send(queue, "not kept", {"persistent": "false"}, confirm=True)
            except BrokerError:
                world.check("persistent:false", "refused")
                return
        assert texts(consumer, 1) == ["not kept"]
    world.check("persistent:false", "yes")


def test_competing(world: World) -> None:
    queue = world.queue()
    with world.connection() as first, world.connection() as second:
        with (
            first.consume(queue, ack=world.individual, prefetch=1) as one,  # type: ignore[arg-type]
            second.consume(queue, ack=world.individual, prefetch=1) as two,  # type: ignore[arg-type]
        ):
            one.subscription.wait_active()
            two.subscription.wait_active()
            for number in range(20):
                first.send(queue, str(number), confirm=True)
            found: list[str] = []
            shares = {"one": 0, "two": 0}
            end = time.monotonic() + 15
            while len(found) < 20 and time.monotonic() < end:
                for name, consumer in (("one", one), ("two", two)):
                    some = texts(consumer, 1, 0.2)
                    shares[name] += len(some)
                    found += some
            assert sorted(found, key=int) == [str(number) for number in range(20)]
            assert min(shares.values()) > 0
    world.check("competing", "yes")


def test_topic(world: World) -> None:
    topic = world.topic()
    with world.connection() as connection, world.connection() as other:
        with connection.consume(topic, ack="auto") as one, other.consume(topic, ack="auto") as two:
            one.subscription.wait_active()
            two.subscription.wait_active()
            other.send(topic, "all")
            assert texts(one, 1) == texts(two, 1) == ["all"]
    world.check("topic", "yes")


def test_wildcard(world: World) -> None:
    base = world.topic()
    with world.connection() as connection, connection.consume(f"{base}.*", ack="auto") as consumer:
        consumer.subscription.wait_active()
        for name in ("a", "b"):
            connection.send(f"{base}.{name}", name, confirm=True)
        connection.send(f"{base}", "not this one", confirm=True)
        assert sorted(texts(consumer, 2)) == ["a", "b"]
        assert texts(consumer, 1, 0.1) == []
    world.check("wildcard", "yes")


def test_deep_wildcard(world: World) -> None:
    base = world.topic()
    sign = expected("deep wildcard", world.name, world.spoken).outcome
    with world.connection() as connection, connection.consume(f"{base}.{sign}", ack="auto") as consumer:
        consumer.subscription.wait_active()
        for name in ("a", "a.b", "a.b.c"):
            connection.send(f"{base}.{name}", name, confirm=True)
        connection.send(world.topic(), "not this one", confirm=True)
        assert sorted(texts(consumer, 3)) == ["a", "a.b", "a.b.c"]
        assert texts(consumer, 1, 0.1) == []
    world.check("deep wildcard", sign)
