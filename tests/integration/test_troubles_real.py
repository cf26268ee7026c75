"""Messages that fail, that are refused, that a version forbids, and a SIGKILL behind a COMMIT, on real brokers.

Each of these was first seen on one of them: what a scripted broker shows of them is in ``tests/unit``.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from conformance import VERSIONS, Wire

from stomplistener import Connection, Frame, Listener, Message, NotConnected, StompError
from stomplistener._engine.log import flush
from stomplistener.options import AckMode
from stomplistener.protocol import SubscriptionState, commands
from stomplistener.testing import FaultProxy, Fleet
from stomplistener.testing.containers import BrokerContainer

pytestmark = pytest.mark.timeout(180, func_only=True)

REFUSED = {"activemq": "/queue/", "rabbitmq": "/exchange/never-declared/x"}
"""A destination that a broker refuses. Artemis makes any that it is asked for."""


@pytest.fixture(params=["activemq", "artemis", "rabbitmq"])
def broker(request: pytest.FixtureRequest, stomp_brokers: Fleet) -> BrokerContainer:
    return stomp_brokers[request.param]


@pytest.fixture(params=sorted(REFUSED))
def refusing(request: pytest.FixtureRequest, stomp_brokers: Fleet) -> BrokerContainer:
    return stomp_brokers[request.param]


@pytest.fixture
def queue() -> str:
    return f"/queue/trouble-{uuid.uuid4().hex[:12]}"


class Errors(Listener):
    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def on_error(self, frame: Frame) -> None:
        self.frames.append(frame)


def eventually(condition: Callable[[], object], what: str, timeout: float = 20.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        time.sleep(0.02)


def opened(broker: BrokerContainer, uri: str = "", version: str = "negotiated") -> Connection:
    """A connection that is not made yet."""
    uri = f"failover:({uri or broker.uri})?initialReconnectDelay=10&maxReconnectDelay=200"
    # Artemis does not say what it is in STOMP 1.0.
    return Connection(uri, host=broker.virtual_host, timeout=30, versions=VERSIONS[version], broker=broker.name)


def individual(version: str) -> AckMode:
    """The ack mode for one message at a time, as far as a version has one."""
    return "client" if version == "1.0" else "client-individual"


def release(broker: BrokerContainer, condition: Callable[[], object]) -> None:
    """Restart Artemis where it keeps what it was writing when a connection ended.

    Version 2.44 at times counts such a message as in delivery from then on, to a consumer to which it never writes it,
    as the bytes on the wire and its own statistics show; also over more connections, until it is restarted.
    """
    if broker.name == "artemis":
        with contextlib.suppress(AssertionError):
            eventually(condition, "every message", 4.0)
            return
        broker.restart()


def fill(broker: BrokerContainer, queue: str, *texts: str) -> None:
    with opened(broker) as connection:
        for text in texts:
            connection.send(queue, text, persistent=True, confirm=True)


def at_rest(connection: Connection, seconds: float = 1.0) -> None:
    """Wait until nothing waits here, and nothing has come for so long."""
    end, quiet, received = time.monotonic() + 20, time.monotonic(), -1
    while time.monotonic() - quiet < seconds:
        assert time.monotonic() < end, connection.statistics()
        now = connection.statistics()
        if now.pending or now.messages_received != received:
            quiet, received = time.monotonic(), now.messages_received
        time.sleep(0.02)


def left(broker: BrokerContainer, *queues: str, seconds: float = 1.5) -> Counter[str]:
    """What is in some queues, which are emptied: what came until nothing did for so long."""
    found: list[str] = []
    came = threading.Event()

    def take(message: Message) -> None:
        found.append(message.text)
        came.set()

    with opened(broker) as connection:
        for queue in queues:
            connection.subscribe(queue, take, ack="client-individual", settle=True, confirm=True)
        while came.wait(seconds):
            came.clear()
    return Counter(found)


# 1: messages that fail before the connection is ready


@pytest.mark.parametrize("moment", ["at the first connect", "over a loss"])
@pytest.mark.parametrize("way", ["forwarded", "rejected"])
def test_a_backlog_of_messages_that_fail_at_the_start_is_settled(
    broker: BrokerContainer, queue: str, moment: str, way: str
) -> None:
    queues = [f"{queue}-{number}" for number in range(11)]
    errors = f"{queue}-errors"
    good, bad = set[str](), set[str]()
    for each in queues:
        texts = [f"{kind} {each} {number}" for number in range(3) for kind in ("good", "bad")]
        fill(broker, each, *texts)
        good |= {text for text in texts if text.startswith("good")}
        bad |= {text for text in texts if text.startswith("bad")}
    handled, failed = set[str](), set[str]()

    def handle(message: Message) -> None:
        if message.text in bad:
            failed.add(message.text)
            raise ValueError("no such item")
        handled.add(message.text)

    with FaultProxy(broker.uri) as proxy:
        connection = opened(broker, proxy.uri)
        for each in queues:
            connection.subscribe(
                each,
                handle,
                settle=True,
                retries=1,
                retry_delay=0.01,
                error_destination=errors if way == "forwarded" else None,
            )
        with connection:
            if moment == "over a loss":
                eventually(lambda: failed, "the first failure")
                proxy.cut()
                release(broker, lambda: (handled, failed) == (good, bad))
            eventually(lambda: (handled, failed) == (good, bad), "every message at its listener")
            at_rest(connection)
    assert left(broker, *queues) == Counter()
    if way == "forwarded":
        # RabbitMQ's answer to COMMIT is no confirmation, so a copy and its message may both be there after a loss.
        forwarded = left(broker, errors)
        assert set(forwarded) == bad
        assert moment == "over a loss" or set(forwarded.values()) == {1}


# 2: one SEND that the broker refuses, among good ones


def test_a_send_that_is_refused_fails_alone(refusing: BrokerContainer, queue: str) -> None:
    with opened(refusing) as connection:
        # One before, so that the queue is there whatever happens to the others.
        connection.send(queue, "first", persistent=True, confirm=True)
        futures = {
            str(number): connection.send_async(
                REFUSED[refusing.name] if number == 40 else queue, str(number), persistent=True
            )
            for number in range(120)
        }
        errors = {text: future.exception(60) for text, future in futures.items()}
        assert isinstance(errors.pop("40"), StompError)
        assert {text: error for text, error in errors.items() if error is not None} == {}
        connection.send(queue, "last", confirm=True)
    stored = left(refusing, queue)
    assert set(stored) == {"first", "last", *errors}
    assert max(stored.values()) <= 3


# 9: what is settled some way, and is said


def test_what_an_aborted_transaction_acknowledged_is_settled_by_its_listeners_return(
    broker: BrokerContainer, queue: str
) -> None:
    """Artemis counts such an acknowledgement at once."""
    fill(broker, queue, "one", "two")
    tried: list[str] = []
    heard = Errors()

    def listen(message: Message) -> None:
        tried.append(message.text)
        with contextlib.suppress(LookupError), connection.transaction() as transaction:
            transaction.ack(message)
            raise LookupError("no such item")

    connection = opened(broker)
    connection.add_listener(heard)
    connection.subscribe(queue, listen, settle=True)
    with connection:
        eventually(lambda: len(tried) >= 2, "both messages")
    assert tried == ["one", "two"]
    assert left(broker, queue) == Counter()
    assert [frame.info for frame in heard.frames] == []
    assert connection.statistics().reconnects == 0


def test_what_the_error_destination_refuses_is_rejected_and_said(
    refusing: BrokerContainer, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill(refusing, queue, "bad", "good")
    handled: list[str] = []

    def listen(message: Message) -> None:
        if message.text == "bad":
            raise LookupError("no such item")
        handled.append(message.text)

    with opened(refusing) as connection:
        connection.subscribe(queue, listen, settle=True, error_destination=REFUSED[refusing.name], prefetch=1)
        eventually(lambda: handled, "the message behind the one that fails")
    flush(5.0)
    assert "refused the copy" in caplog.text
    assert left(refusing, queue) == Counter()


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_an_error_whose_text_cannot_be_encoded_is_forwarded(
    broker: BrokerContainer, queue: str, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    # pytest-xdist cannot write such a log.
    caplog.set_level(logging.CRITICAL + 1, "stomplistener")
    fill(broker, queue, "bad")
    errors = f"{queue}-errors"

    def listen(message: Message) -> None:
        raise LookupError("no \udc80 such\r\nitem: \x00")

    with opened(broker, version=version) as connection:
        connection.subscribe(queue, listen, settle=True, error_destination=errors)
        with connection.consume(errors) as letters:
            letter = letters.receive(30)
            assert letter is not None
            assert letter.text == "bad"
            assert "such" in letter.headers["error"]
            letter.ack()
        at_rest(connection)
    assert left(broker, queue) == Counter()


@pytest.mark.parametrize("patient", [True, False])
def test_a_refused_subscription_does_not_hold_up_the_end(stomp_brokers: Fleet, queue: str, patient: bool) -> None:
    """RabbitMQ answers no UNSUBSCRIBE of a subscription that it refused."""
    connection = opened(stomp_brokers["rabbitmq"]).connect()
    subscription = connection.subscribe(queue.replace("/queue", "/amq/queue"), print)
    if patient:
        eventually(lambda: subscription.state is SubscriptionState.REJECTED, "the refusal")
    begin = time.monotonic()
    connection.disconnect(timeout=20)
    assert time.monotonic() - begin < 10


# 10: what the version of a consumer forbids


OFFENCES = {
    "line feed": b"x:a\\nb",
    "carriage return": b"x:a\\rb",
    "undefined escape": b"x:a\\tb",
    "no UTF-8": b"x:\xff\xfe",
    "no colon": b"nonsense",
}

NOT_TAKEN = {("artemis", "undefined escape"), ("rabbitmq", "undefined escape"), ("rabbitmq", "no colon")}
"""What a broker refuses already from its sender: there is nothing to be delivered."""


@contextlib.contextmanager
def raw(broker: BrokerContainer) -> Iterator[socket.socket]:
    """A socket that is logged in."""
    with socket.create_connection(broker.address(), 10) as plain:
        wire = Wire(plain, "1.2")
        wire.say(commands.connect(("1.2",), broker.virtual_host, broker.login, broker.passcode))
        wire.hear("CONNECTED")
        yield plain


def is_taken(broker: BrokerContainer, queue: str, header: bytes) -> bool:
    """Whether a broker confirms a SEND with this line in its head."""
    with raw(broker) as plain:
        head = [b"SEND", b"destination:" + queue.encode(), b"persistent:true", b"receipt:sent", header]
        plain.sendall(b"\n".join(head) + b"\n\npoison\0")
        answer = b""
        while b"\0" not in answer:
            data = plain.recv(65536)
            if not data:
                return False
            answer += data
    return answer.lstrip().startswith(b"RECEIPT")


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_message_that_a_version_forbids_starves_no_consumer(
    broker: BrokerContainer, queue: str, version: str
) -> None:
    refused = {(broker.name, offence) for offence, line in OFFENCES.items() if not is_taken(broker, queue, line)}
    assert refused == {each for each in NOT_TAKEN if each[0] == broker.name}
    fill(broker, queue, "after")
    handled: list[str] = []
    connection = opened(broker, version=version)

    def listen(message: Message) -> None:
        handled.append(message.text)
        message.ack()

    connection.subscribe(queue, listen, ack=individual(version))
    with connection:
        eventually(lambda: "after" in handled, f"the message behind those that are forbidden; there came {handled}")
    assert handled == ["poison"] * (len(OFFENCES) - len(refused)) + ["after"]
    assert connection.statistics().reconnects == 0
    assert left(broker, queue) == Counter()


# 12: a SIGKILL right behind a COMMIT, and behind what is forwarded


def written_down(broker: BrokerContainer, queue: str) -> None:
    """A queue whose own entry outlives a SIGKILL: RabbitMQ has a new one in memory only for some seconds."""
    fill(broker, queue, "first")
    if broker.name == "rabbitmq":
        broker.exec("rabbitmqctl eval 'mnesia:sync_log().'")


def killed(broker: BrokerContainer) -> None:
    broker.kill()
    broker.start(timeout=90)


def test_what_was_committed_outlives_a_kill(broker: BrokerContainer, queue: str) -> None:
    written_down(broker, queue)
    texts = [str(number) for number in range(20)]
    connection = opened(broker).connect()
    with connection.transaction() as transaction:
        for text in texts:
            transaction.send(queue, text, persistent=True)
    killed(broker)
    connection.close()
    assert left(broker, queue, seconds=5.0) == Counter(["first", *texts])


def test_what_was_forwarded_outlives_a_kill(broker: BrokerContainer, queue: str) -> None:
    """In the queue or at the error destination, or in both: never nowhere."""
    errors = f"{queue}-errors"
    written_down(broker, queue)
    written_down(broker, errors)
    texts = {str(number) for number in range(30)}
    fill(broker, queue, *sorted(texts))
    failed = threading.Semaphore(0)

    def fail(message: Message) -> None:
        if message.text in texts:
            failed.release()
            raise LookupError("no such item")

    connection = opened(broker)
    connection.subscribe(queue, fail, settle=True, error_destination=errors)
    connection.connect()
    for _ in range(10):
        assert failed.acquire(timeout=30)
    killed(broker)
    connection.close()
    found = left(broker, queue, errors, seconds=5.0)
    assert texts <= set(found)


# A message that ends each connection, or each program, that has it in its hands

QUORUM = {"x-queue-type": "quorum", "durable": "true", "auto-delete": "false"}

OF_ARTEMIS = 10
"""Its own limit: the max-delivery-attempts of our ``broker.xml``, which is the default."""


@pytest.mark.parametrize("most", [1, 3])
def test_a_message_that_ends_each_connection_is_given_up_after_so_many_calls(
    broker: BrokerContainer, queue: str, most: int
) -> None:
    """By our own count: over STOMP these brokers do not say theirs."""
    fill(broker, queue, "killer")
    errors = f"{queue}-errors"
    with ending_each_connection(broker, queue, most, errors) as calls, opened(broker) as watching:
        with watching.consume(errors) as letters:
            letter = letters.receive(60)
            assert letter is not None
            assert letter.text == "killer"
            assert letter.headers["original-destination"] == queue
            letter.ack()
    assert calls == ["killer"] * most
    assert left(broker, queue) == Counter()


def test_artemis_is_quicker_than_a_max_deliveries_that_is_not_lower(stomp_brokers: Fleet, queue: str) -> None:
    artemis, errors = stomp_brokers["artemis"], f"{queue}-errors"
    fill(artemis, queue, "killer")
    with ending_each_connection(artemis, queue, OF_ARTEMIS, errors) as calls, opened(artemis) as watching:
        with watching.consume("/queue/DLQ", selector=f"_AMQ_ORIG_ADDRESS = '{queue.removeprefix('/queue/')}'") as dead:
            letter = dead.receive(60)
            assert letter is not None
            assert letter.text == "killer"
            letter.ack()
    assert calls == ["killer"] * OF_ARTEMIS
    assert left(artemis, queue, errors) == Counter()


@contextlib.contextmanager
def ending_each_connection(broker: BrokerContainer, queue: str, most: int, errors: str) -> Iterator[list[str]]:
    """A listener that ends its connection at each message, and its calls."""
    calls: list[str] = []
    with FaultProxy(broker.uri) as proxy, opened(broker, proxy.uri) as connection:

        def work(message: Message) -> None:
            calls.append(message.text)
            epoch = connection.session.epoch
            proxy.cut()
            eventually(lambda: connection.session.epoch > epoch, "the next connection")

        connection.subscribe(queue, work, settle=True, max_deliveries=most, error_destination=errors)
        yield calls


def test_a_quorum_queue_counts_for_programs_that_know_nothing_of_each_other(stomp_brokers: Fleet, queue: str) -> None:
    rabbitmq, errors = stomp_brokers["rabbitmq"], f"{queue}-errors"
    calls: list[str] = []

    def live(work: Callable[[Connection, Message], object]) -> Connection:
        connection = opened(rabbitmq)
        connection.subscribe(
            queue,
            lambda message: work(connection, message),
            settle=True,
            max_deliveries=2,
            error_destination=errors,
            headers=QUORUM,
        )
        # The listener may be quicker than the broker's receipt.
        with contextlib.suppress(NotConnected):
            connection.connect()
        return connection

    def kill(connection: Connection, message: Message) -> None:
        calls.append(message.text)
        connection.close()

    with opened(rabbitmq) as sending:
        sending.send(queue, "killer", QUORUM, persistent=True, confirm=True)
        # The copy has the headers by which RabbitMQ declares a queue, so the two have to agree.
        with sending.consume(errors, headers=QUORUM) as letters:
            for _ in range(2):
                assert live(kill).wait(30)
            connection = live(kill)
            letter = letters.receive(30)
            assert letter is not None
            assert letter.headers["original-destination"] == queue
            assert "x-delivery-count" not in letter.headers
            letter.ack()
            connection.disconnect()
    assert calls == ["killer"] * 2


def depth(rabbitmq: BrokerContainer, queue: str) -> int:
    """How many messages are in a queue, whatever its type; 0 if there is none."""
    found = dict(line.split() for line in rabbitmq.exec("rabbitmqctl -q list_queues name messages").splitlines())
    return int(found.get(queue.removeprefix("/queue/"), 0))


def test_a_message_that_always_fails_is_no_hot_loop(broker: BrokerContainer, queue: str) -> None:
    """RabbitMQ drops it. The others put it into their dead-letter queue after some deliveries."""
    fill(broker, queue, "bad", "good")
    calls: list[str] = []

    def work(message: Message) -> None:
        calls.append(message.text)
        if message.text == "bad":
            raise LookupError("no such item")

    with opened(broker) as connection:
        connection.subscribe(queue, work, settle=True)
        eventually(lambda: "good" in calls, "the good one")
        at_rest(connection)
    assert calls.count("good") == 1
    assert calls.count("bad") <= (1 if broker.name == "rabbitmq" else 10)


@pytest.mark.parametrize("errors_are", ["classic", "quorum", "declared by the copy"])
@pytest.mark.parametrize("limits", [{}, {"x-message-ttl": "60000"}], ids=["", "time to live"])
def test_a_dead_letter_of_a_quorum_queue_reaches_an_error_queue_of_any_type(
    stomp_brokers: Fleet, queue: str, errors_are: str, limits: dict[str, str]
) -> None:
    """A SEND has the headers by which RabbitMQ declares its queue, and each message of it comes with them."""
    rabbitmq, errors, declared = stomp_brokers["rabbitmq"], f"{queue}-errors", {**QUORUM, **limits}
    texts = [str(number) for number in range(5)]

    def fail(message: Message) -> None:
        raise LookupError("no such item")

    with opened(rabbitmq) as watching, opened(rabbitmq) as connection:
        if errors_are != "declared by the copy":
            watching.consume(errors, headers=QUORUM if errors_are == "quorum" else None, confirm=True).close()
        for text in texts:
            watching.send(queue, text, declared, persistent=True, confirm=True)
        connection.subscribe(queue, fail, settle=True, error_destination=errors, headers=declared)
        eventually(lambda: depth(rabbitmq, errors) == len(texts), "all in the error queue")
        assert depth(rabbitmq, queue) == 0
        # The session is certain of the one that finds out after three; the others wait for it.
        assert connection.statistics().reconnects <= 3
