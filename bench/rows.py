"""The rows of the table: their sides, their amount of work, and the required ratios.

The cost map (``bench.costs``) has the costs of the ways of calling.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.brokers import amqp
from bench.measure import Experiment, Measure, Side
from bench.projects import process as projects

_PER_MESSAGE = "µs CPU"

# The limit for "flat". The noise of the machine is a tenth, and a cost that grows with the size would be ten times as
# high.
_FLAT, _VERY_FLAT = 1.5, 1.2


def experiments(brokers: Mapping[str, str]) -> list[Experiment]:
    """All experiments.

    Args:
        brokers: URIs of real brokers by name.
    """
    return [
        *_decoding(),
        *_receiving(),
        _confirmed(),
        _body(),
        *_flat(),
        *_round_trips(),
        *_on_brokers(brokers),
        *_celery(brokers),
        *_in_django(brokers),
        *_others(),
    ]


def _decoding() -> list[Experiment]:
    def decode(
        key: str, name: str, function: str = "ours", must: float | None = None, escapes: bool = False
    ) -> Experiment:
        shape = {"size": 100, "escapes": escapes}
        return Experiment(
            key=key,
            ours=Side("ours", f"decode:{function}", {"rounds": 200, **shape}, {"rounds": 40}),
            peer=Side("stompest", "decode:stompest", {"rounds": 40, **shape}, {"rounds": 8}),
            measures=[Measure(name=name, figure="rate", unit="/s", must=must, aim=8.0 if must else None)],
        )

    return [
        decode("decode", "decode, 100 B, 9 headers", must=5.0),
        decode("decode-escapes", "  ids full of escaped colons, as ActiveMQ's", escapes=True),
        decode("decode-read", "  with the headers of every frame read", function="ours_read"),
    ]


def _receiving() -> list[Experiment]:
    def receive(
        key: str,
        name: str,
        must: float | None,
        aim: float | None,
        *,
        size: int = 100,
        acks: bool = False,
        read: bool = False,
    ) -> Experiment:
        load = {"size": size, "acks": acks}
        return Experiment(
            key=key,
            ours=Side("ours", "receive:ours", {"count": 200_000, "read": read, **load}, {"count": 50_000}),
            peer=Side("stomp.py", "receive:stomp_py", {"count": 30_000, **load}, {"count": 10_000}),
            measures=[Measure(name=name, figure="rate", unit="/s", must=must, aim=aim)],
        )

    return [
        receive("receive", "receive to a listener, 100 B, auto ack", 6.0, 12.0),
        receive("receive-read", "  with the headers of every message read", None, None, read=True),
        receive("receive-1k", "receive to a listener, 1 KiB, auto ack", 4.0, 8.0, size=1024),
        receive("receive-ack", "receive with a client-individual ack each", 3.0, 6.0, acks=True),
    ]


def _confirmed() -> Experiment:
    window = {"window": 1000}
    return Experiment(
        key="confirmed",
        ours=Side("ours", "confirm:ours", {"count": 100_000, **window}, {"count": 20_000}),
        peer=Side("raw, pipelined", "confirm:raw", {"count": 100_000, **window}, {"count": 20_000}),
        measures=[
            Measure(name="send_async confirmed, window of 1,000 full", figure="rate", unit="/s", must=0.6, aim=0.8)
        ],
    )


def _body() -> Experiment:
    size = 128 << 20
    return Experiment(
        key="body",
        ours=Side("ours", "body:ours", {"size": size}),
        peer=Side("raw recv_into", "body:raw", {"size": size}),
        measures=[
            Measure(name="one 128 MiB body: time", figure="took", unit="ms", more_is_better=False, must=1.4, aim=1.15),
            Measure(
                name="one 128 MiB body: peak memory beyond the body (RSS)",
                figure="over",
                unit="MB",
                more_is_better=False,
                must=45.0,
                aim=25.0,
                absolute=True,
            ),
        ],
    )


def _flat() -> list[Experiment]:
    def flat(key: str, name: str, function: str, large: int, rounds: int = 1) -> Experiment:
        measure = Measure(name=name, figure="cost", unit="ns", more_is_better=False, must=_FLAT, aim=_VERY_FLAT)
        return Experiment(
            key=f"flat-{key}",
            ours=Side("large", f"flat:{function}", {"size": large, "rounds": rounds}),
            peer=Side("small", f"flat:{function}", {"size": 1000, "rounds": 100}),
            measures=[measure],
        )

    def subscribed(count: int) -> Side:
        load = {"count": 200_000, "size": 100, "subscriptions": count}
        return Side(f"{count:,}", "receive:many", load, {"count": 50_000})

    fed = "one byte at a time, cost a byte: "
    return [
        flat("body", fed + "body of 1 kB → 100 kB", "body", 100_000),
        flat("nul", fed + "body without length, 1 kB → 100 kB", "unlimited_body", 100_000),
        flat("head", fed + "headers of 1 kB → 60 kB", "head", 60_000, rounds=2),
        Experiment(
            key="flat-subscriptions",
            ours=subscribed(10_000),
            peer=subscribed(10),
            measures=[
                Measure(
                    name="10 → 10,000 subscriptions: cost a message",
                    figure="cpu",
                    unit=_PER_MESSAGE,
                    more_is_better=False,
                    must=_FLAT,
                    aim=_VERY_FLAT,
                )
            ],
        ),
    ]


def _round_trips() -> list[Experiment]:
    def round_trip(key: str, name: str, pause: float, must: float | None, aim: float | None) -> Experiment:
        many, few = {"count": 5000 if not pause else 2000, "pause": pause}, {"count": 1000}
        return Experiment(
            key=key,
            ours=Side("ours", "round_trip:ours", many, few),
            peer=Side("stomp.py", "round_trip:stomp_py", many, few),
            measures=[
                Measure(name=f"{name}, {figure}", figure=figure, unit="µs", more_is_better=False, must=must, aim=aim)
                for figure in ("p50", "p99")
            ],
        )

    return [
        round_trip("round-trip", "round trip send → listener", 0.0, 0.8, 0.5),
        round_trip("round-trip-pause", "  with 1 ms between them", 0.001, None, None),
    ]


def _on_brokers(brokers: Mapping[str, str]) -> list[Experiment]:
    found: list[Experiment] = []
    for name, uri in brokers.items():
        load = {"uri": uri, "count": 30_000}
        few = {"count": 10_000}
        ours = Side("ours", "brokers:ours", load, few)
        found += [
            Experiment(
                key=f"broker-{name}-rate",
                ours=ours,
                peer=Side("raw socket", "brokers:raw", load, few),
                measures=[Measure(name=f"{name}: receive rate", figure="rate", unit="/s", must=0.9, aim=0.97)],
            ),
            Experiment(
                key=f"broker-{name}-cpu",
                ours=ours,
                peer=Side("stomp.py", "brokers:stomp_py", load, few),
                measures=[
                    Measure(
                        name=f"{name}: CPU a message",
                        figure="cpu",
                        unit="µs",
                        more_is_better=False,
                        must=1 / 3,
                        aim=1 / 5,
                    ),
                    Measure(name="  receive rate", figure="rate", unit="/s"),
                ],
            ),
        ]
    return found


def _celery(brokers: Mapping[str, str]) -> list[Experiment]:
    uri = brokers.get("rabbitmq")
    other = None if uri is None else amqp(uri)
    if uri is None or other is None:
        return []
    many, few = {"count": 5000}, {"count": 1000}
    return [
        Experiment(
            key="kombu",
            ours=Side("kombu, STOMP", "kombu_rate:stomp", {"uri": f"{uri}/%2F", **many}, few),
            peer=Side("kombu, AMQP", "kombu_rate:amqp", {"uri": other, **many}, few),
            measures=[
                Measure(name="Celery's tasks on RabbitMQ: published and done", figure="rate", unit="/s", must=0.5),
                Measure(name="  published, each confirmed", figure="published", unit="/s"),
                Measure(name="  taken and acknowledged", figure="taken", unit="/s"),
            ],
        )
    ]


_DJANGO_BROKERS = ("activemq", "rabbitmq")
"""The brokers for which both packages are made."""


def _in_django(brokers: Mapping[str, str]) -> list[Experiment]:
    def measures(name: str, of: str, must: float | None) -> list[Measure]:
        return [
            Measure(name=name, figure="rate", unit="/s", must=must, aim=must and 1.5 * must),
            Measure(name=f"  CPU a {of}", figure="cpu", unit="µs", more_is_better=False),
        ]

    found: list[Experiment] = []
    for name in filter(brokers.__contains__, _DJANGO_BROKERS):
        load, few = {"uri": brokers[name], "count": 5000}, {"count": 1000}
        # With these counts, both sides take about the same time.
        less = {**load, "count": 2000}
        for key, text, persistent in (("", "as they are", False), ("-persistent", "both persistent", True)):
            peer = Side("django-outbox-pattern", "relay:theirs", {**less, "persistent": persistent}, few)
            found.append(
                Experiment(
                    key=f"relay-{name}{key}",
                    ours=Side("ours", "relay:ours", load, few),
                    peer=peer,
                    problem=projects.problem,
                    measures=measures(f"{name}: rows of an outbox published, {text}", "row", 3.0),
                )
            )
        for key, text, writes, must in (("", "no work", False, 2.0), ("-insert", "one INSERT", True, None)):
            work = {"threads": 4, "writes": writes}
            found.append(
                Experiment(
                    key=f"worker-{name}{key}",
                    ours=Side("ours", "worker:ours", {**load, **work}, few),
                    peer=Side("django-stomp", "worker:theirs", {**less, **work}, few),
                    problem=projects.problem,
                    measures=measures(f"{name}: messages handled by 4 threads, {text}", "message", must),
                )
            )
    return found


def _others() -> list[Experiment]:
    idle = {"connections": 300, "seconds": 10.0, "interval": 1.0}
    return [
        Experiment(
            key="idle",
            ours=Side("ours", "idle:ours", idle, {"seconds": 3.0}),
            peer=Side("stomp.py", "idle:stomp_py", idle, {"seconds": 3.0}),
            measures=[
                Measure(
                    name="300 idle connections, 1 s heartbeats: CPU each",
                    figure="cpu",
                    unit="µs/s",
                    more_is_better=False,
                    must=0.7,
                    aim=0.3,
                ),
                Measure(name="  memory each", figure="memory", unit="kB", more_is_better=False, must=0.7, aim=0.3),
            ],
        ),
        Experiment(
            key="failover",
            ours=Side("ours", "failover:ours", {"subscriptions": 100}),
            peer=None,
            measures=[
                Measure(
                    name="cut → first message on the next broker, 100 subscriptions",
                    figure="beyond",
                    unit="ms",
                    more_is_better=False,
                    must=100.0,
                    aim=20.0,
                    absolute=True,
                )
            ],
        ),
        Experiment(
            key="import",
            ours=Side("ours", "imports:package", {"name": "stomplistener", "times": 5}),
            peer=Side("stomp.py", "imports:package", {"name": "stomp", "times": 5}),
            measures=[Measure(name="import", figure="took", unit="ms", more_is_better=False, must=1.0, aim=0.5)],
        ),
    ]
