"""Every row of the table: which sides, with how much to do, and what their ratio must be."""

from __future__ import annotations

from collections.abc import Sequence

from bench.measure import Experiment, Measure, Side

_PER_MESSAGE = "µs CPU"


def experiments(brokers: Sequence[str] = ()) -> list[Experiment]:
    return [*_decoding(), *_receiving(), *_sending(), *_shapes(), *_lives(brokers)]


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


def _sending() -> list[Experiment]:
    raw = Side("raw sendall", "send:raw", {"count": 200_000}, {"count": 50_000})

    def send(key: str, name: str, side: Side, must: float, aim: float, peer: Side = raw) -> Experiment:
        measures = [Measure(name=name, figure="rate", unit="/s", must=must, aim=aim)]
        return Experiment(key=key, ours=side, peer=peer, measures=measures)

    many, few = {"count": 200_000}, {"count": 50_000}
    window = {"window": 1000}
    return [
        send("send", "send, one thread", Side("ours", "send:ours", many, few), 2.0, 3.5),
        send(
            "send-threads",
            "send, 4 threads together",
            Side("ours", "send:ours_threads", {**many, "threads": 4}, few),
            2.0,
            3.5,
        ),
        Experiment(
            key="send-pause",
            ours=Side("ours", "send:ours_after_pause", {"count": 1000, "pause": 0.002}, {"count": 300}),
            peer=Side("raw sendall", "send:raw_after_pause", {"count": 1000, "pause": 0.002}, {"count": 300}),
            measures=[
                Measure(
                    name="single send after a pause of 2 ms, until in the socket",
                    figure="took",
                    unit="µs",
                    more_is_better=False,
                    must=1.5,
                    aim=1.2,
                )
            ],
        ),
        send("send-batch", "send inside batch(), 100 at a time", Side("ours", "send:ours_batch", many, few), 3.0, 5.0),
        send(
            "confirmed",
            "send_async confirmed, window of 1,000 full",
            Side("ours", "confirm:ours", {"count": 100_000, **window}, {"count": 20_000}),
            0.6,
            0.8,
            peer=Side("raw, pipelined", "confirm:raw", {"count": 100_000, **window}, {"count": 20_000}),
        ),
    ]


def _shapes() -> list[Experiment]:
    return []


def _lives(brokers: Sequence[str]) -> list[Experiment]:
    return []
