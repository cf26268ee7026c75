"""Transactions, receipts, heartbeats, the broker-neutral options and errors, on every broker in every version."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from conformance import World, matrix, received, texts
from expectations import expected

from stomplistener import Frame, Message, ProtocolError, StompError
from stomplistener.protocol import commands

pytestmark = matrix()

Messages = queue.Queue[Message]


def test_transactions(world: World) -> None:
    place = world.queue()
    with world.connection() as connection, connection.consume(place, ack="auto") as consumer:
        with connection.transaction() as transaction:
            transaction.send(place, "a", persistent=True)
            transaction.send(place, "b", persistent=True)
            assert texts(consumer, 1, 0.1) == []
        found = texts(consumer, 2)
        assert sorted(found) == ["a", "b"]
        world.check("commit", "yes")
        world.check("order of a transaction", "yes" if found == ["a", "b"] else "no")
        with contextlib.suppress(KeyError), connection.transaction() as transaction:
            transaction.send(place, "never")
            raise KeyError
        connection.send(place, "after")
        assert texts(consumer, 1) == ["after"]
    world.check("abort", "yes")


def test_transacted_ack(world: World) -> None:
    place = world.queue()
    with world.connection() as connection:
        connection.send(place, "message", confirm=True)
        (message,) = received(connection.consume(place, ack=world.individual))  # type: ignore[arg-type]
        with contextlib.suppress(KeyError), connection.transaction() as transaction:
            transaction.ack(message)
            raise KeyError
    with world.connection() as connection:
        again = received(connection.consume(place, ack=world.individual), 1, world.patience("transacted ACK"))  # type: ignore[arg-type]
        if not again:
            world.check("transacted ACK", "counts at once")
            return
        with connection.transaction() as transaction:
            transaction.ack(again[0])
    with world.connection() as connection, connection.consume(place, ack=world.individual) as consumer:  # type: ignore[arg-type]
        assert texts(consumer, 1, 0.2) == []
    world.check("transacted ACK", "yes")


def test_receipts(world: World) -> None:
    place, version = world.queue(), world.spoken
    missing: list[str] = []

    def confirmed(name: str) -> None:
        try:
            while (frame := wire.hear(timeout=world.patience("receipts"))).headers.get("receipt-id") != name:
                held.append(frame)
        except TimeoutError:
            missing.append(name)

    held: list[Frame] = []
    with world.wire() as wire:
        wire.say(commands.subscribe(place, "1", world.individual, receipt="SUBSCRIBE", version=version))
        confirmed("SUBSCRIBE")
        for number in range(2):
            wire.say(commands.send(place, b"x", receipt=f"SEND {number}", version=version))
            confirmed(f"SEND {number}")
        messages = [frame for frame in held if frame.command == "MESSAGE"]
        while len(messages) < 2:
            messages.append(wire.hear("MESSAGE"))
        wire.say(commands.begin("t1", receipt="BEGIN", version=version))
        confirmed("BEGIN")
        wire.say(commands.ack(messages[0], "t1", receipt="ACK", version=version))
        confirmed("ACK")
        wire.say(commands.commit("t1", receipt="COMMIT", version=version))
        confirmed("COMMIT")
        wire.say(commands.begin("t2", version=version))
        wire.say(commands.abort("t2", receipt="ABORT", version=version))
        confirmed("ABORT")
        if version == "1.0":
            wire.say(commands.ack(messages[1], version=version))
        else:
            wire.say(commands.nack(messages[1], receipt="NACK", version=version))
            confirmed("NACK")
        wire.say(commands.unsubscribe("1", receipt="UNSUBSCRIBE", version=version))
        confirmed("UNSUBSCRIBE")
        wire.say(commands.disconnect("DISCONNECT", version=version))
        confirmed("DISCONNECT")
    world.check("receipts", "yes" if not missing else f"not for {', '.join(missing)}")


def test_heartbeats(world: World) -> None:
    with world.connection(heartbeat=(0.8, 0.8)) as connection:
        beats = connection.session.heartbeat
        if world.spoken == "1.0":
            world.check("heart-beats", "yes" if any(beats) else "none")
            return
        assert all(beats)
        heard = threading.Semaphore(0)
        connection.add_listener(_Heard(heard))
        for _ in range(2):
            assert heard.acquire(timeout=20)
        assert connection.is_connected
        assert connection.statistics().reconnects == 0
    world.check("heart-beats", "yes")


class _Heard:
    def __init__(self, heard: threading.Semaphore) -> None:
        self._heard = heard

    def on_heartbeat(self) -> None:
        self._heard.release()


def test_heartbeats_refused(world: World) -> None:
    with world.connection(heartbeat=(0.0, 0.0)) as connection:
        assert not any(connection.session.heartbeat)
        before = connection.statistics().bytes_received
        time.sleep(0.3)
        quiet = connection.statistics().bytes_received == before
    world.check("heart-beats refused", "yes" if quiet else "it sends some all the same")


def test_heartbeats_missed(world: World) -> None:
    with world.wire(heartbeat=(0.3, 0.0)) as wire:
        start, outcome = time.monotonic(), ""
        try:
            wire.hear("nothing", timeout=world.patience("heart-beats missed", brief=2.5))
        except TimeoutError:
            outcome = "stays"
        except (ConnectionError, AssertionError):
            outcome = "yes" if time.monotonic() - start > 0.3 else "cut off at once"
        world.check("heart-beats missed", outcome)


def test_prefetch(world: World) -> None:
    place = world.queue()
    with world.connection() as connection:
        for number in range(6):
            connection.send(place, f"{number}".ljust(1024), confirm=True)
        consumer = connection.consume(place, ack=world.individual, prefetch=2)  # type: ignore[arg-type]
        ahead = len(received(consumer, 2)) + len(received(consumer, 4, 0.4))
    with world.connection() as connection, connection.consume(place, ack=world.individual, prefetch=1) as consumer:  # type: ignore[arg-type]
        assert len(received(consumer, 1)) == 1
        assert received(consumer, 1, 0.3) == []
    world.check("prefetch", "yes" if ahead == 2 else f"{ahead} for 2")


def test_durable(world: World) -> None:
    topic, name = world.topic(), f"d{uuid.uuid4().hex[:8]}"
    connection = world.connection(headers={"client-id": name})
    came: Messages = queue.Queue()
    with connection:
        connection.subscribe(topic, durable=name, ack="client", confirm=True)
    with world.connection() as other:
        other.send(topic, "while away", persistent=True, confirm=True)
        with connection:
            subscription = connection.subscribe(topic, came.put, durable=name, ack="client")
            message = came.get(timeout=10)
            assert message.text == "while away"
            message.ack()
            subscription.unsubscribe(confirm=True)
        other.send(topic, "deleted", persistent=True, confirm=True)
        with connection:
            subscription = connection.subscribe(topic, came.put, durable=name, ack="client", confirm=True)
            other.send(topic, "new", confirm=True)
            message = came.get(timeout=10)
            assert message.text == "new"
            message.ack()
            subscription.unsubscribe(confirm=True)
    world.check("durable", "yes")


def test_durable_consumer(world: World) -> None:
    """It is kept at the end of the consumer, too, on the same connection."""
    topic, name = world.topic(), f"d{uuid.uuid4().hex[:8]}"
    with world.connection(headers={"client-id": name}) as connection:
        with connection.consume(topic, ack=world.individual, durable=name) as consumer:  # type: ignore[arg-type]
            consumer.subscription.wait_active()
        # Behind the UNSUBSCRIBE, or the message might still go to the subscription that ends.
        connection.send(topic, "while away", persistent=True, confirm=True)
        with connection.consume(topic, ack=world.individual, durable=name) as consumer:  # type: ignore[arg-type]
            (message,) = received(consumer, 1)
            assert message.text == "while away"
            message.ack()
            consumer.subscription.unsubscribe(confirm=True)


def test_selector(world: World) -> None:
    place = world.queue()
    came: Messages = queue.Queue()
    with world.connection() as connection:
        connection.send(place, "red", {"colour": "red"}, confirm=True)
        connection.send(place, "blue", {"colour": "blue"}, confirm=True)
        try:
            subscription = connection.subscribe(place, came.put, selector="colour = 'blue'")
        except ProtocolError:
            world.check("selector", "refused")
            return
        assert came.get(timeout=10).text == "blue"
        subscription.unsubscribe(confirm=True)
        assert came.empty()
    world.check("selector", "yes")


def test_temporary_queue(world: World) -> None:
    place = world.queue()
    patience = 1.0 if expected("temporary queue", world.name, world.spoken).outcome == "refused" else 20.0
    with world.connection() as asking, world.connection() as answering:
        answering.subscribe(place, lambda message: answering.reply(message, "answer"), confirm=True)
        try:
            with asking.consume("/temp-queue/answers", ack="auto") as answers:
                answers.subscription.wait_active(patience)
                asking.send(place, "?", {"reply-to": "/temp-queue/answers"})
                found = texts(answers, 1)
        except StompError:
            found = []
    if found == ["answer"]:
        world.check("temporary queue", "shared by all connections" if _shares(world) else "yes")
    else:
        world.check("temporary queue", "refused")


def _shares(world: World) -> bool:
    """Whether another connection gets what is sent to a temporary queue of the same name."""
    with world.connection() as one, world.connection() as two:
        with one.consume("/temp-queue/mine", ack="auto") as mine, two.consume("/temp-queue/mine", ack="auto") as theirs:
            mine.subscription.wait_active()
            theirs.subscription.wait_active()
            for _ in range(4):
                one.send("/temp-queue/mine", "x", confirm=True)
            return len(received(mine, 4, world.patience("temporary queue"))) < 4 or bool(received(theirs, 1, 0.2))


def test_request(world: World) -> None:
    place = world.queue()
    with world.connection() as asking, world.connection() as answering, ThreadPoolExecutor(8) as pool:
        answering.subscribe(place, lambda message: answering.reply(message, message.text.upper()), confirm=True)
        wanted = [f"request {number}" for number in range(40)]
        answers = [answer.text for answer in pool.map(lambda text: asking.request(place, text), wanted)]
        assert answers == [text.upper() for text in wanted]
    world.check("request", "yes")


def test_expires(world: World) -> None:
    place, body = world.queue(), uuid.uuid4().hex
    with world.connection() as connection:
        connection.send(place, body, expires=0.3, confirm=True)
        connection.send(place, "stays", expires=60.0, confirm=True)
        time.sleep(0.5)
        with connection.consume(place, ack="auto") as consumer:
            assert texts(consumer, 1) == ["stays"]
        world.check("expires", "yes")
    place = "/queue/ExpiryQueue" if world.name == "artemis" else world.dead_letters
    world.check("expired", place if world.dead_letter(body, place) else "vanishes")


def test_priority(world: World) -> None:
    place = world.queue()
    with world.connection() as connection:
        try:
            for priority in (1, 9, 5):
                connection.send(place, str(priority), priority=priority, confirm=True)
        except ProtocolError:
            world.check("priority", "refused")
            return
        with connection.consume(place, ack="auto") as consumer:
            found = texts(consumer, 3)
    world.check("priority", "yes" if found == ["9", "5", "1"] else "ignored")


def test_delay(world: World) -> None:
    place = world.queue()
    with world.connection() as connection, connection.consume(place, ack="auto") as consumer:
        start = time.monotonic()
        try:
            connection.send(place, "late", delay=1.0, confirm=True)
        except ProtocolError:
            world.check("delay", "refused")
            return
        assert texts(consumer, 1) == ["late"]
        assert time.monotonic() - start > 0.9
    world.check("delay", "yes")


def test_error(world: World) -> None:
    with world.wire() as wire:
        wire.say(commands.subscribe(world.queue(), "1", version=world.spoken))
        wire.say(commands.commit("never-begun", receipt="wanted", version=world.spoken))
        error = wire.hear("ERROR")
        assert error.headers.get("message")
        world.check("ERROR says which frame", "yes" if error.headers.get("receipt-id") == "wanted" else "no")
        world.check("ERROR", "stays" if wire.is_alive(world.patience("ERROR", "stays")) else "yes")


def test_same_id_twice(world: World) -> None:
    with world.wire() as wire:
        place = world.queue()
        wire.say(commands.subscribe(place, "same", receipt="1", version=world.spoken))
        assert wire.hear().headers.get("receipt-id") == "1"
        wire.say(commands.subscribe(place, "same", receipt="2", version=world.spoken))
        second = wire.hear()
        world.check("same id twice", "accepted" if second.command == "RECEIPT" else "yes")


def test_unknown_transaction(world: World) -> None:
    with world.wire() as wire:
        wire.say(commands.send(world.queue(), b"x", transaction="none", receipt="1", version=world.spoken))
        try:
            silent = expected("unknown transaction", world.name, world.spoken).outcome == "no answer"
            outcome = "yes" if wire.hear(timeout=0.7 if silent else 20.0).command == "ERROR" else "accepted"
        except TimeoutError:
            outcome = "no answer"
        world.check("unknown transaction", outcome)
