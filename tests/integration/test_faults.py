"""Real brokers that die, stop, freeze, are cut off or run out of memory, and clusters whose leader dies, under load.

``make outages`` writes what these tests measure into the table of the manual.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from expectations import BROKERS
from load import Load, eventually, failover

from stomplistener import Connection, Listener
from stomplistener.testing.containers import BrokerContainer

pytestmark = pytest.mark.timeout(300, func_only=True)
Measured = Callable[[str, str, Load], None]
QUORUM = {"x-queue-type": "quorum", "durable": "true", "auto-delete": "false"}
TABLE = Path(__file__).parents[2] / "docs" / "measured" / "outages.md"
_HEAD = ("What happens", "Broker", "Over after", "Longest without a message", "Confirmed", "Missing", "Duplicates")


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    """Takes note of a load that has ended; with ``STOMPLISTENER_OUTAGES=write`` all of them make the table."""
    lines = [f"| {' | '.join(_HEAD)} |", "|---|---" + "|---:" * (len(_HEAD) - 2) + "|"]

    def note(what: str, broker: str, load: Load) -> None:
        books = load.ledger
        times = f"{load.away:.1f} s | {load.gap:.1f} s"
        counts = f"{books.confirmed:,} | {len(books.missing())} | {books.duplicates}"
        lines.append(f"| {what} | {broker} | {times} | {counts} |")

    yield note
    if os.environ.get("STOMPLISTENER_OUTAGES") == "write":
        TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def keep_queues(broker: BrokerContainer) -> None:
    """Have RabbitMQ write what it knows of its queues: for two seconds a new one is in memory only."""
    if broker.name.startswith("rabbitmq"):
        broker.exec("rabbitmqctl eval 'mnesia:sync_log().'")


def settle(load: Load, broker: BrokerContainer) -> None:
    """Every confirmed message arrives; at the latest when what a broker keeps for lost consumers is freed.

    Artemis may keep a message that was on its way to a consumer when that vanished, and Apollo never notices a consumer
    that vanished without a word; both give such messages to others after a restart.
    """
    if not load.balances(10.0) and broker.name in ("artemis", "apollo"):
        broker.restart()
    assert load.balances(), sorted(load.ledger.missing())[:10]


def killed(broker: BrokerContainer, load: Load) -> None:
    broker.kill()
    broker.start()


def stopped(broker: BrokerContainer, load: Load) -> None:
    broker.restart()


def frozen(broker: BrokerContainer, load: Load) -> None:
    broker.pause()
    try:
        eventually(lambda: load.servers() == {""}, "every connection notices the silence")
    finally:
        broker.unpause()


def cut_off(broker: BrokerContainer, load: Load) -> None:
    broker.disconnect_network()
    try:
        eventually(lambda: load.servers() == {""}, "every connection notices the partition")
    finally:
        broker.connect_network()


FAULTS = {
    "killed (SIGKILL) and started": killed,
    "stopped and started": stopped,
    "frozen": frozen,
    "cut off from the network": cut_off,
}


@pytest.mark.parametrize("what", FAULTS)
def test_nothing_confirmed_is_missing(what: str, real_broker: BrokerContainer, measured: Measured) -> None:
    with Load(failover([real_broker])) as load:
        keep_queues(real_broker)
        with load.outage():
            FAULTS[what](real_broker, load)
        assert load.sender.statistics().reconnects >= 1
        settle(load, real_broker)
    measured(what, real_broker.name, load)


class Held(Listener):
    """Counts the heartbeats of the broker since the last confirmation."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._confirmed = 0
        self.beats = 0

    def on_heartbeat(self) -> None:
        confirmed = self._load.ledger.confirmed
        self.beats = self.beats + 1 if confirmed == self._confirmed else 0
        self._confirmed = confirmed


@pytest.mark.parametrize(
    ("what", "alarm", "clear"),
    [
        (
            "memory alarm",
            "set_vm_memory_high_watermark 0.0001",
            "set_vm_memory_high_watermark absolute 512MiB",
        ),
        ("disk alarm", "set_disk_free_limit 1000GB", "set_disk_free_limit 100MB"),
    ],
)
def test_an_alarm_holds_the_sender_and_no_one_else(
    what: str, alarm: str, clear: str, rabbitmq: BrokerContainer, measured: Measured
) -> None:
    with Load(failover([rabbitmq]), kept=0) as load:
        held = Held(load)
        load.sender.add_listener(held)
        with load.outage():
            rabbitmq.exec(f"rabbitmqctl {alarm}")
            try:
                eventually(lambda: held.beats >= 3, "the sender waits, and hears heart-beats")
                assert load.ledger.wait_balanced(30), "the workers finish what there is"
                assert load.sender.is_connected
            finally:
                rabbitmq.exec(f"rabbitmqctl {clear}")
        assert all(connection.statistics().reconnects == 0 for connection in load.connections)
        settle(load, rabbitmq)
        assert load.ledger.duplicates == 0
    measured(what, rabbitmq.name, load)


def test_the_second_of_two_brokers_takes_over_until_the_first_is_back(
    activemq: BrokerContainer, artemis: BrokerContainer, measured: Measured
) -> None:
    """Each broker keeps its own queue: the books are those of both together."""
    with Load(failover([activemq, artemis], "randomize=false&priorityBackup=true")) as load:

        def all_on(name: str) -> bool:
            return all(server.startswith(name) for server in load.servers())

        assert all_on("ActiveMQ/")
        with load.outage():
            activemq.kill()
            try:
                eventually(lambda: all_on("ActiveMQ-Artemis/"), "all are on the second broker")
                load.goes_on()
            finally:
                activemq.start()
            eventually(lambda: all_on("ActiveMQ/"), "all are back on the first broker")
        # What the workers left at the second broker when they moved is there still.
        with Connection(artemis.uri) as late:
            load.work(late)
            settle(load, artemis)
    measured("first broker killed and started", "activemq, artemis", load)


def test_the_leader_of_a_quorum_queue_is_killed(rabbitmq_cluster: list[BrokerContainer], measured: Measured) -> None:
    with Load(failover(rabbitmq_cluster, "randomize=true"), QUORUM) as load:
        load.goes_on()
        leader = leader_of(load.queue, rabbitmq_cluster)
        with load.outage():
            leader.kill()
            try:
                load.goes_on(300)
            finally:
                leader.start()
        assert leader_of(load.queue, rabbitmq_cluster) is not leader
        settle(load, leader)
    measured("leader of a quorum queue killed and started", "rabbitmq cluster", load)


def leader_of(queue: str, cluster: list[BrokerContainer]) -> BrokerContainer:
    """The node that leads a quorum queue."""
    listing = cluster[0].exec("rabbitmqctl --quiet list_queues name leader")
    found = re.search(rf"{queue.rpartition('/')[2]}\s+rabbit@(\S+)", listing)
    assert found is not None, listing
    return next(node for node in cluster if node.name == found[1])


def test_the_primary_of_a_pair_is_killed(artemis_pair: list[BrokerContainer], measured: Measured) -> None:
    primary, _backup = artemis_pair
    with Load(failover(artemis_pair)) as load:
        with load.outage():
            primary.kill()
            try:
                load.goes_on(300)
            finally:
                primary.start(wait=True)
        settle(load, primary)
    measured("primary killed and started", "artemis pair", load)


@pytest.mark.parametrize("broker", BROKERS)
@pytest.mark.parametrize("what", FAULTS)
def test_the_manual_has_figures_of_each_and_nothing_is_missing(what: str, broker: str) -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.read_text().splitlines()[2:]]
    missing = [row[_HEAD.index("Missing")] for row in rows if row[:2] == [what, broker]]
    assert missing == ["0"], "run: make outages"
