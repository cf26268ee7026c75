"""The table of the cost map, with one line for each way of calling; add a line to measure another one.

A statement that works with both clients is written once. For send, stomp.py has no option except the content type, so
its side passes the headers that our options set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from bench.costs.row import Row, Side

_ACTIVEMQ, _ARTEMIS = {"server": "ActiveMQ/6.1.0"}, {"server": "ActiveMQ-Artemis/2.40.0"}
_BARE = "c.send(DESTINATION, BODY)"
_FIVE = "c.send(DESTINATION, BODY, headers={**FOUR, 'number': str(i)})"

_CONFIRM = "c.send(DESTINATION, BODY, receipt='r'); receipts.get()"
_ASK = "for n in range(100): c.send(DESTINATION, BODY, receipt=str(n))\nfor n in range(100): receipts.get()"
_ANSWERS = "for f in [c.send_async(DESTINATION, BODY{}) for n in range(100)]: f.result()"
_BATCH = "with c.batch():\n    for n in range(100): "

_TRANSACTION = "with c.transaction() as t:\n    for n in range({0}): t.send(DESTINATION, BODY{1})"
_STOMP_PY_TRANSACTION = (
    "t = c.begin()\n"
    "for n in range({0}): c.send(DESTINATION, BODY{1}, transaction=t)\n"
    "c.commit(t, receipt='t'); receipts.get()"
)

_FOUR_HEADERS = "h = m.headers; h['message-id']; h['destination']; h['timestamp']; h['priority']"
_SERVICE = "c.send('/queue/next', m.{body}, headers={{'correlation-id': m.headers['message-id'], 'kind': 'done'}})"
_OUR_ACK, _STOMP_PY_ACK = "m.ack()", "c.ack(m.headers['ack'])"


def _row(
    group: str,
    key: str,
    name: str,
    ours: str,
    peer: str = "",
    *,
    setup: str = "",
    peer_setup: str | None = None,
    client: Any = "ours",
    against: Any = "stomp.py",
    **more: Any,
) -> Row:
    """Make a row. Without ``peer`` or ``peer_setup``, the peer runs the same as our side."""
    return Row(
        group=group,
        key=key,
        name=name,
        ours=Side(client=client, statement=ours, setup=setup),
        peer=Side(client=against, statement=peer or ours, setup=setup if peer_setup is None else peer_setup),
        against=more.pop("against_label", against),
        **more,
    )


_Make = Callable[..., Row]

_send: _Make = partial(_row, "sending")


def rows(brokers: Mapping[str, str] | None = None) -> list[Row]:
    """All rows.

    Args:
        brokers: URIs of real brokers by name, for rows that also run on real brokers.
    """
    return [
        *_headers(),
        *_options(),
        *_shapes(),
        *_texts(brokers or {}),
        *_answered(),
        *_received(),
        *_settled(),
        *_services(),
        *_compat(),
        *_raw(),
    ]


def _headers() -> list[Row]:
    return [
        _send("send", "no headers", _BARE),
        _send("send-1", "1 header, a fresh dict", "c.send(DESTINATION, BODY, headers={'number': str(i)})"),
        _send("send-1-same", "1 header, the same dict", "c.send(DESTINATION, BODY, headers=ONE)"),
        _send("send-5", "5 headers, a fresh dict", _FIVE),
        _send("send-5-same", "5 headers, the same dict", "c.send(DESTINATION, BODY, headers=FIVE)"),
        _send(
            "send-20", "20 headers, a fresh dict", "c.send(DESTINATION, BODY, headers={**NINETEEN, 'number': str(i)})"
        ),
        _send("send-20-same", "20 headers, the same dict", "c.send(DESTINATION, BODY, headers=TWENTY)"),
        _send(
            "send-escape",
            "1 header whose value needs an escape",
            "c.send(DESTINATION, BODY, headers={'number': f'id:{i}'})",
        ),
        _send(
            "send-5-bare",
            "5 headers against none, both ours",
            _FIVE,
            _BARE,
            against="ours",
            against_label="ours, no headers",
            must=2.5,
            at_most=True,
        ),
    ]


def _options() -> list[Row]:
    def option(name: str, ours: str, peer: str, **more: Any) -> Row:
        key = f"send-{name.partition('=')[0].replace('_', '-')}"
        return _send(
            key,
            name,
            f"c.send(DESTINATION, BODY, {ours})",
            f"c.send(DESTINATION, BODY, {peer})",
            serve=_ACTIVEMQ,
            **more,
        )

    return [
        option("content_type=", "content_type='application/json'", "content_type='application/json'"),
        option("persistent=", "persistent=True", "headers={'persistent': 'true'}"),
        option("priority=", "priority=7", "headers={'priority': '7'}"),
        option(
            "expires=",
            "expires=60.0",
            "headers={'expires': str(int((time.time() + 60) * 1000))}",
            setup="",
            peer_setup="import time",
        ),
    ]


def _shapes() -> list[Row]:
    def destinations(count: int) -> dict[str, str]:
        return {
            "ours": f"c.send(destinations[i % {count}], BODY)",
            "setup": f"destinations = [f'/queue/bench-{{n}}' for n in range({count})]",
        }

    return [
        _send("send-destinations-1000", "1,000 destinations", **destinations(1000)),
        _send("send-destinations-100000", "100,000 destinations", **destinations(100_000)),
        _send("send-16k", "body of 16 KiB", "c.send(DESTINATION, BODY_16K)", must=1.8, count=3000),
        _send("send-256k", "body of 256 KiB", "c.send(DESTINATION, BODY_256K)", must=1.8, count=200),
        _send("send-threads-4", "4 threads", _BARE, threads=4),
        _send("send-threads-16", "16 threads", _BARE, threads=16),
        _send("send-5-threads-4", "4 threads, 5 headers", _FIVE, threads=4),
        _send("send-5-threads-16", "16 threads, 5 headers", _FIVE, threads=16),
        _send("send-batch", "within batch()", _BATCH + _BARE, "for n in range(100): " + _BARE, per=100),
        _send("send-5-batch", "within batch(), 5 headers", _BATCH + _FIVE, "for n in range(100): " + _FIVE, per=100),
        _send("send-inside", "inside a listener", _BARE, inside=True),
        _send("send-5-inside", "inside a listener, 5 headers", _FIVE, inside=True),
        _send("send-tls", "over TLS", _BARE, uri="ssl://127.0.0.1:{port}", serve={"transport": "ssl"}),
        _send("send-5-tls", "over TLS, 5 headers", _FIVE, uri="ssl://127.0.0.1:{port}", serve={"transport": "ssl"}),
        _send("send-ws", "over WebSocket", _BARE, uri="ws://127.0.0.1:{port}", serve={"transport": "ws"}, count=5000),
        _send("send-1.0", "STOMP 1.0, 5 headers", _FIVE, version="1.0"),
        _send("send-1.1", "STOMP 1.1, 5 headers", _FIVE, version="1.1"),
    ]


def _texts(brokers: Mapping[str, str]) -> list[Row]:
    text = "c.send(DESTINATION, TEXT)"
    five = "c.send(DESTINATION, TEXT, headers={**FOUR, 'number': str(i)})"
    bare = "c.auto_content_length = False"
    found = [
        _send("send-text", "text", text),
        _send("send-text-5", "text, 5 headers", five),
    ]
    for name, serve in (("ActiveMQ", _ACTIVEMQ), ("Artemis", _ARTEMIS)):
        # Programs set up stomp.py in this way for these brokers: text without content-length.
        found += [
            _send(f"send-text-{name.lower()}", f"text for {name}", text, peer_setup=bare, serve=serve),
            _send(f"send-text-5-{name.lower()}", f"text for {name}, 5 headers", five, peer_setup=bare, serve=serve),
        ]
    for name in sorted({"activemq", "artemis"} & set(brokers)):
        more: Mapping[str, Any] = {"peer_setup": bare, "broker": brokers[name], "count": 1000}
        found.append(_send(f"send-text-real-{name}", f"text to a running {name}", text, **more))
    return found


def _answered() -> list[Row]:
    def transaction(size: int, headers: str = "", more: str = "") -> Row:
        return _send(
            f"transaction-{size}{more and '-5'}",
            f"transaction of {size}{more}, with its receipt",
            _TRANSACTION.format(size, headers),
            _STOMP_PY_TRANSACTION.format(size, headers),
            per=size,
            count=10_000 if size > 1 else 2000,
        )

    five = ", headers={**FOUR, 'number': str(n)}"
    return [
        transaction(1),
        transaction(10),
        transaction(100),
        transaction(100, five, ", 5 headers"),
        _send(
            "confirm",
            "confirm=True, one at a time",
            "c.send(DESTINATION, BODY, confirm=True)",
            _CONFIRM,
            must=1.1,
            count=2000,
        ),
        _send("async", "send_async, 100 together", _ANSWERS.format(""), _ASK, per=100, count=5000),
        _send(
            "async-5",
            "send_async, 100 together, 5 headers",
            _ANSWERS.format(five),
            _ASK.replace("BODY", "BODY" + five),
            per=100,
            count=5000,
        ),
        _send(
            "track",
            "trackMessages, against a plain send",
            _BARE,
            uri="failover:(tcp://127.0.0.1:{port})?trackMessages=true",
            must=0.8,
        ),
    ]


_receive: _Make = partial(_row, "receiving", run="receiving", count=5000)


def _received() -> list[Row]:
    reads = {
        "none": ("nothing read", "pass", "pass"),
        "four": ("4 headers and the text read", f"{_FOUR_HEADERS}; m.text", f"{_FOUR_HEADERS}; m.body"),
        "all": ("all headers read", "dict(m.headers)", "dict(m.headers)"),
    }
    found = []
    for headers in (3, 9, 25):
        for key, (name, ours, peer) in reads.items():
            if headers == 3 and key == "four":
                name, ours, peer = ("3 headers and the text read", "m.headers['message-id']; m.text", "")
                ours = "h = m.headers; h['message-id']; h['destination']; h['subscription']; m.text"
                peer = ours.replace("m.text", "m.body")
            found.append(
                _receive(
                    f"receive-{headers}-{key}", f"{headers} headers, {name}", ours, peer, serve={"headers": headers}
                )
            )
    four, peer_four = reads["four"][1:]
    return [
        *found,
        _receive("receive-1.0", "STOMP 1.0, 4 headers and the text read", four, peer_four, version="1.0"),
        _receive("receive-1.1", "STOMP 1.1, 4 headers and the text read", four, peer_four, version="1.1"),
        _receive(
            "receive-16k",
            "body of 16 KiB, nothing read",
            "pass",
            must=1.8,
            count=1000,
            serve={"size": 16 << 10},
        ),
        _receive(
            "receive-tls",
            "over TLS, nothing read",
            "pass",
            uri="ssl://127.0.0.1:{port}",
            serve={"transport": "ssl"},
        ),
    ]


def _settled() -> list[Row]:
    settle = partial(_row, "settling", run="receiving", count=3000, serve={"back": 1}, ack="client-individual")

    def workers(count: int, name: str, must: float) -> Row:
        subscribe = {"settle": True, "workers": count}
        return settle(
            f"settle{name and f'-{count}'}", f"settle=True{name}", "pass", _STOMP_PY_ACK, subscribe=subscribe, must=must
        )

    return [
        settle("ack", "ack()", _OUR_ACK, _STOMP_PY_ACK),
        settle("nack", "nack()", "m.nack()", "c.nack(m.headers['ack'])"),
        settle("ack-client", "ack() in ack mode client", _OUR_ACK, _STOMP_PY_ACK, ack="client"),
        settle(
            "ack-1.0", "ack() in STOMP 1.0", _OUR_ACK, "c.ack(m.headers['message-id'])", ack="client", version="1.0"
        ),
        settle(
            "ack-1.1",
            "ack() in STOMP 1.1",
            _OUR_ACK,
            "c.ack(m.headers['message-id'], m.headers['subscription'])",
            version="1.1",
        ),
        workers(1, "", 3.0),
        workers(4, ", workers=4", 2.5),
        workers(16, ", workers=16", 2.5),
    ]


def _services() -> list[Row]:
    pull = partial(_row, "programs", run="pulling", count=5000)
    return [
        pull(
            "consume",
            "consume(), ack auto",
            "consumer.receive(60)",
            "inbox.get()",
            setup="consumer = c.consume(DESTINATION, ack='auto')",
            peer_setup="subscribe()",
        ),
        pull(
            "inbox",
            "an inbox behind two listeners",
            "inbox.get()",
            setup="c.set_listener('one', lambda m: None); c.set_listener('two', lambda m: None); subscribe()",
            peer_setup=(
                "class Two:\n    def on_message(self, frame): pass\n"
                "c.set_listener('one', Two()); c.set_listener('two', Two()); subscribe()"
            ),
        ),
        _row(
            "programs",
            "service",
            "a service: receive, send on with headers, ack()",
            f"{_SERVICE.format(body='body')}; {_OUR_ACK}",
            f"{_SERVICE.format(body='body')}; {_STOMP_PY_ACK}",
            run="receiving",
            count=3000,
            serve={"back": 2},
            ack="client-individual",
            must=3.5,
        ),
        _row(
            "programs",
            "service-text",
            "a service with text",
            f"{_SERVICE.format(body='text')}; {_OUR_ACK}",
            f"{_SERVICE.format(body='body')}; {_STOMP_PY_ACK}",
            run="receiving",
            count=3000,
            serve={"back": 2},
            ack="client-individual",
            must=3.5,
        ),
    ]


def _compat() -> list[Row]:
    compat = partial(_row, "compat", client="compat", must=2.0)
    receive = partial(compat, run="receiving", count=5000)
    back: Mapping[str, Any] = {"ack": "client-individual", "count": 3000}
    return [
        compat("compat-send", "send, no headers", "c.send(DESTINATION, TEXT)"),
        compat("compat-send-1", "send, 1 header", "c.send(DESTINATION, TEXT, headers={'number': str(i)})"),
        compat("compat-send-5", "send, 5 headers", "c.send(DESTINATION, TEXT, headers={**FOUR, 'number': str(i)})"),
        compat("compat-keyword", "send, a header as keyword", "c.send(DESTINATION, TEXT, number=str(i))"),
        receive("compat-receive", "receive, nothing read", "pass"),
        receive("compat-receive-four", "receive, 4 headers and the body read", f"{_FOUR_HEADERS}; m.body"),
        receive("compat-ack", "receive and ack", _STOMP_PY_ACK, serve={"back": 1}, **back),
        receive(
            "compat-service",
            "receive, send on with headers, ack",
            f"{_SERVICE.format(body='body')}; {_STOMP_PY_ACK}",
            serve={"back": 2},
            **back,
        ),
        compat(
            "compat-transaction",
            "transaction of 10, with its receipt",
            _STOMP_PY_TRANSACTION.format(10, ""),
            per=10,
            count=5000,
        ),
    ]


def _raw() -> list[Row]:
    """Return the rows whose peer is one thread that writes an encoded frame with ``sendall``."""

    def raw(key: str, name: str, must: float, headers: str, *, batch: bool = False, **more: Any) -> Row:
        send = f"c.send(DESTINATION, BODY, headers={headers})" if headers else _BARE
        return _row(
            "wire",
            f"raw-{key}",
            name,
            _BATCH + send if batch else send,
            "for n in range(100): c.sendall(frame)" if batch else "c.sendall(frame)",
            against="raw sendall",
            peer_setup=f"frame = encode(commands.send(DESTINATION, BODY, {headers or None}), '1.2')",
            figure="rate",
            must=must,
            per=100 if batch else 1,
            count=20_000,
            **more,
        )

    found = []
    for key, name, headers in (("0", "no headers", ""), ("1", "1 header", "ONE"), ("5", "5 headers", "FIVE")):
        send = f"c.send(DESTINATION, BODY, headers={headers or None})"
        found += [
            raw(key, f"one thread, {name}", 1.0, headers),
            raw(f"{key}-threads", f"4 threads, {name}", 0.9, headers, threads=4),
            raw(f"{key}-batch", f"within batch(), {name}", 1.2, headers, batch=True),
            Row(
                group="wire",
                key=f"raw-{key}-pause",
                name=f"a single send after a pause of 2 ms, {name}",
                ours=Side(client="ours", statement=send, setup=f"HEADERS = {headers or None}"),
                peer=None,
                against="raw sendall",
                run="pausing",
                figure="took",
                at_most=True,
                must=1.8,
                count=100,
            ),
        ]
    return found
