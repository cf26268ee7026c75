"""The effect of each command. Runs under the broker's lock. A frame that cannot be obeyed raises Refusal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from stomplistener.protocol import Frame, Headers
from stomplistener.protocol.spec import version_rules
from stomplistener.testing import handshake, selector
from stomplistener.testing.destinations import absolute, owner
from stomplistener.testing.messages import Delivery, Stored
from stomplistener.testing.queues import Queue
from stomplistener.testing.refusal import Refusal
from stomplistener.testing.state import Peer
from stomplistener.testing.subscriptions import Subscription, Terms
from stomplistener.testing.topics import DurableName, Topic
from stomplistener.testing.transactions import Transaction

# The broker also accepts the header names of other brokers, so that it can replace them in tests.
_PREFETCH_HEADERS = ("prefetch", "prefetch-count", "activemq.prefetchSize")
_DURABLE_NAME_HEADERS = ("activemq.subscriptionName", "durable-subscription-name")


def process(client: Peer, frame: Frame, *, answer: bool) -> None:
    """Carry out a frame, and confirm it if it requests a receipt and ``answer`` is true."""
    if frame.command in ("CONNECT", "STOMP"):
        handshake.connect(client, frame, answer=answer)
        return
    if client.version is None:
        raise Refusal("not connected", f"The first frame must be CONNECT, not {frame.command}", close=True)
    handler = _HANDLERS.get(frame.command)
    if handler is None:
        raise Refusal("not a command of clients", f"{frame.command} is for brokers to send")
    if frame.body and frame.command != "SEND":
        raise Refusal("unexpected body", f"{frame.command} must not have a body")
    handler(client, frame)
    if answer:
        client.confirm(frame)
    if frame.command == "DISCONNECT":
        client.finish()


def _send(client: Peer, frame: Frame) -> None:
    destinations = client.state.destinations
    destination = absolute(_required(frame, "destination"), client.session)
    if destinations.is_gone(destination):
        # Keep the connection, as ActiveMQ does. Otherwise the broker would deliver the answered message again, forever.
        raise Refusal("no such destination", f"The connection that {destination} belonged to is gone", close=False)
    headers = frame.headers
    pairs: tuple[tuple[str, str], ...] = headers.pairs
    if "reply-to" in headers:
        pairs = tuple((name, absolute(value, client.session) if name == "reply-to" else value) for name, value in pairs)

    def put() -> None:
        destinations.put(destinations.message(destination, pairs, frame.body))

    _now_or_at_commit(client, frame, put)


def _subscribe(client: Peer, frame: Frame) -> None:
    terms = _terms(client, frame)
    key = terms.id if terms.id is not None else terms.destination
    if key in client.subscriptions:
        raise Refusal("already subscribed", f"This connection has a subscription {key} already")
    destinations = client.state.destinations
    name = absolute(terms.destination, client.session)
    if owner(name) not in (None, client.session):
        raise Refusal("not your destination", f"Only the connection that {name} belongs to may subscribe to it")
    found = destinations.find(name)
    if terms.browses:
        queue = _shown(found, terms)
    elif isinstance(found, Topic):
        durable = _durable_name(client, terms.durable)
        if durable is not None and found.is_in_use(durable):
            raise Refusal("already subscribed", f"The durable subscription {terms.durable} is in use")
        queue = found.open(terms.wants, durable)
    else:
        queue = found
    limit = client.state.options.max_deliveries
    subscription = Subscription(client, terms, queue, destinations.bury, limit)
    client.subscriptions[key] = subscription
    queue.add(subscription)


def _shown(found: Queue | Topic, terms: Terms) -> Queue:
    """Make a queue for one browser: copies of the waiting messages, and after them the message that marks the end."""
    if isinstance(found, Topic):
        raise Refusal("not a queue", f"{found.name} is a topic, and keeps nothing to browse")
    shown = Queue(found.name)
    for message in found.waiting:
        if terms.wants(Headers(message.pairs)):
            shown.put(message.shown())
    # No other message has the number 0.
    shown.put(Stored(0, found.name, [("browser", "end")], b""))
    return shown


def _terms(client: Peer, frame: Frame) -> Terms:
    assert client.version is not None
    rules = version_rules(client.version)
    headers = frame.headers
    destination = _required(frame, "destination")
    id = _required(frame, "id") if rules.subscription_id_required else headers.get("id")
    ack = headers.get("ack", "auto")
    if ack not in rules.ack_modes:
        raise Refusal("unknown ack mode", f"STOMP {rules.name} has no ack mode {ack}")
    try:
        prefetch = int(_first(headers, _PREFETCH_HEADERS) or client.state.options.prefetch)
        wants = selector.parse(headers.get("selector"))
    except ValueError as error:
        raise Refusal("bad header", str(error)) from None
    if prefetch < 1:
        raise Refusal("bad header", f"A prefetch of {prefetch} gives no message")
    if headers.get("browser") == "true":
        # A browser acknowledges nothing, and its selector has already selected the messages of its queue.
        return Terms(id, destination, "auto", prefetch, None, wants, None, True)
    return Terms(id, destination, ack, prefetch, headers.get("selector"), wants, _durable(headers), False)


def _durable(headers: Mapping[str, str]) -> str | None:
    return _first(headers, _DURABLE_NAME_HEADERS) or (headers.get("id") if headers.get("durable") == "true" else None)


def _durable_name(client: Peer, durable: str | None) -> DurableName | None:
    return (client.client_id or "", durable) if durable is not None else None


def _unsubscribe(client: Peer, frame: Frame) -> None:
    key = frame.headers.get("id") or frame.headers.get("destination")
    if key is None:
        raise Refusal("missing header", "UNSUBSCRIBE needs an id")
    subscription = client.subscriptions.pop(key, None)
    if subscription is not None:
        close_subscription(client, subscription)
    forgotten = _forget(client, _durable_name(client, _durable(frame.headers)))
    if subscription is None and not forgotten:
        raise Refusal("no such subscription", f"This connection has no subscription {key}")


def _forget(client: Peer, durable: DurableName | None) -> bool:
    if durable is None:
        return False
    forgotten = [topic.forget(durable) for topic in client.state.destinations.topics()]
    return any(forgotten)


def close_subscription(client: Peer, subscription: Subscription) -> None:
    """End a subscription. On a topic, also end the subscription's queue, unless the subscription is durable."""
    subscription.end()
    found = client.state.destinations.find(subscription.queue.name)
    if isinstance(found, Topic):
        found.close(subscription.queue)


def _ack(client: Peer, frame: Frame) -> None:
    subscription, deliveries = _settled(client, frame)
    _settle(client, frame, partial(subscription.acknowledge, deliveries), deliveries)


def _nack(client: Peer, frame: Frame) -> None:
    assert client.version is not None
    if not version_rules(client.version).nack:
        raise Refusal("unknown command", "STOMP 1.0 has no NACK")
    subscription, deliveries = _settled(client, frame)
    _settle(client, frame, partial(subscription.reject, deliveries), deliveries)


def _settled(client: Peer, frame: Frame) -> tuple[Subscription, list[Delivery]]:
    """Return the deliveries that an ACK or NACK names."""
    assert client.version is not None
    headers = [name for name, _ in version_rules(client.version).ack_headers]
    key = _required(frame, headers[0])
    named = _required(frame, "subscription") if "subscription" in headers else None
    for id, subscription in client.subscriptions.items():
        if named in (None, id) and (deliveries := subscription.covered(key)):
            return subscription, deliveries
    raise Refusal("unknown message", f"{frame.command} of {key}, which is not unacknowledged on this connection")


def _settle(client: Peer, frame: Frame, act: Callable[[], None], deliveries: list[Delivery]) -> None:
    transaction = _now_or_at_commit(client, frame, act)
    if transaction is not None:
        transaction.hold(deliveries)


def _now_or_at_commit(client: Peer, frame: Frame, act: Callable[[], None]) -> Transaction | None:
    name = frame.headers.get("transaction")
    if name is None:
        act()
        return None
    transaction = client.transactions.get(name)
    if transaction is None:
        raise Refusal("no such transaction", f"{frame.command} in transaction {name}, which was not begun")
    transaction.add(act)
    return transaction


def _begin(client: Peer, frame: Frame) -> None:
    name = _required(frame, "transaction")
    if name in client.transactions:
        raise Refusal("transaction in use", f"Transaction {name} was begun already")
    client.transactions[name] = Transaction(name)


def _commit(client: Peer, frame: Frame) -> None:
    _end_transaction(client, frame).commit()


def _abort(client: Peer, frame: Frame) -> None:
    _end_transaction(client, frame).abort()


def give_up(client: Peer, frame: Frame) -> None:
    """Handle a frame that a test had refused: a failed COMMIT rolls back its transaction, as ActiveMQ documents."""
    transaction = (
        client.transactions.pop(frame.headers.get("transaction", ""), None) if frame.command == "COMMIT" else None
    )
    if transaction is not None:
        transaction.abort()


def _end_transaction(client: Peer, frame: Frame) -> Transaction:
    name = _required(frame, "transaction")
    transaction = client.transactions.pop(name, None)
    if transaction is None:
        raise Refusal("no such transaction", f"{frame.command} of transaction {name}, which was not begun")
    return transaction


def _disconnect(client: Peer, frame: Frame) -> None:
    """Do nothing here: the client ends the connection after the receipt."""


def _required(frame: Frame, name: str) -> str:
    value = frame.headers.get(name)
    if not value:
        raise Refusal("missing header", f"{frame.command} needs the header {name}")
    return value


def _first(headers: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((headers[name] for name in names if name in headers), None)


_HANDLERS: Mapping[str, Callable[[Peer, Frame], None]] = {
    "SEND": _send,
    "SUBSCRIBE": _subscribe,
    "UNSUBSCRIBE": _unsubscribe,
    "ACK": _ack,
    "NACK": _nack,
    "BEGIN": _begin,
    "COMMIT": _commit,
    "ABORT": _abort,
    "DISCONNECT": _disconnect,
}
