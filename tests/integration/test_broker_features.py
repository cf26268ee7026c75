"""The page on the features of each broker: its blocks print on the real brokers what their comments say."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from docs_support import DOCS, Block, blocks

from stomplistener import Connection
from stomplistener.testing import Fleet
from stomplistener.testing.containers import BrokerContainer

PAGE = DOCS / "howto" / "broker-features.md"
CASES = [(name, block) for block in blocks(PAGE) for name in block.kind.split()]


def name(value: object) -> str:
    return f"line-{value.line}" if isinstance(value, Block) else str(value)


def expected(text: str) -> list[str]:
    """What the block prints: the comments behind its calls of print."""
    return re.findall(r"^ *print\(.*\)  # (.+)$", text, re.MULTILINE)


@contextmanager
def prepared(broker: BrokerContainer, text: str) -> Iterator[None]:
    """A broker with what the page says that a block needs."""
    if single := re.search(r"/amq/queue/(\S+-single)", text):
        arguments = '[{<<"x-single-active-consumer">>, bool, true}]'
        broker.exec(
            [
                *("rabbitmqctl", "eval"),
                f'rabbit_amqqueue:declare(rabbit_misc:r(<<"/">>, queue, <<"{single[1]}">>), true, false, {arguments}, '
                'none, <<"app">>).',
            ]
        )
    plugin = "rabbitmq_event_exchange" if "amq.rabbitmq.event" in text else None
    if plugin is not None:
        broker.exec(["rabbitmq-plugins", "enable", plugin])
    try:
        yield
    finally:
        if plugin is not None:
            broker.exec(["rabbitmq-plugins", "disable", plugin])


def test_every_block_says_what_it_prints() -> None:
    assert len(CASES) >= 15
    for _, block in CASES:
        assert expected(block.text), f"{PAGE}:{block.line}"
        assert len(expected(block.text)) == len(re.findall(r"\bprint\(", block.text)), f"{PAGE}:{block.line}"


@pytest.mark.parametrize(("broker", "block"), CASES, ids=name)
def test_a_block_prints_what_its_comments_say(
    broker: str, block: Block, stomp_brokers: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    container = stomp_brokers[broker]
    # Names that no other run has used: nothing is left in them.
    text = block.text.replace("orders", f"orders{uuid.uuid4().hex[:8]}")
    code = compile("\n" * block.line + text, str(PAGE), "exec", dont_inherit=True)
    with prepared(container, text), Connection(container.uri, timeout=15.0) as connection:
        exec(code, {"__name__": "manual", "connection": connection})
        shown = capsys.readouterr().out.splitlines()
    assert shown == expected(text)


def test_offsets_of_a_stream(rabbitmq: BrokerContainer) -> None:
    """The page says that RabbitMQ 3.10 delivers nothing for them."""
    stream = {"x-queue-type": "stream", "durable": "true", "auto-delete": "false"}
    place = f"/queue/stream{uuid.uuid4().hex[:8]}"
    with Connection(rabbitmq.uri, timeout=15.0) as connection:
        for number in range(3):
            connection.send(place, str(number), stream, persistent=True, confirm=True)
        for offset, count in (("first", 3), ("offset:1", 0), ("timestamp:0", 0)):
            with connection.consume(place, headers={**stream, "x-stream-offset": offset}, prefetch=10) as log:
                log.subscription.wait_active()
                messages = [log.receive(1.0) for _ in range(3)]
                assert sum(message is not None for message in messages) == count, offset
