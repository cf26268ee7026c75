"""The definition of a row of the cost map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Which = Literal["ours", "peer"]
Client = Literal["ours", "compat", "stomp.py", "raw sendall"]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two sides that a row compares.

    Attributes:
        client: the client that runs the statement.
        statement: what a program would write for one message. Its names are ``c``, the connection or the raw socket;
            ``i``, the number of the message; in a listener ``m``, the message; and the names of ``bench.costs.names``.
        setup: statements that run before, on the connected client.
    """

    client: Client
    statement: str
    setup: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way of calling, compared with the same call of a peer.

    Attributes:
        key: the name for ``--only``.
        group: the rows that the table shows together.
        name: the way of calling, in words.
        ours: our side.
        peer: the other side; None if a round of our side measures both.
        against: the name of the other side.
        run: the module of this package that runs the statements.
        must: the ratio that must hold; None for a row that only informs.
        figure: the figure to compare: ``cpu`` (µs per message), ``rate`` (messages per second) or ``took`` (µs per
            message).
        at_most: if true, our figure divided by the peer's must be at most ``must``. Otherwise our side must be at least
            ``must`` times better.
        count: the number of messages in a round.
        per: the number of messages for each run of the statement.
        threads: the number of threads that run the statement.
        inside: whether to run the statement inside a listener.
        ack: the ack mode of the subscription.
        subscribe: more arguments for our ``subscribe``.
        connect: more arguments for our ``Connection``.
        uri: the URI that our side connects to. ``{port}`` stands for the port of the server.
        version: the only STOMP version that is offered.
        serve: the arguments of the server.
        broker: the URI of a real broker, in place of the server.
    """

    key: str
    group: str
    name: str
    ours: Side
    peer: Side | None
    against: str = "stomp.py"
    run: str = "sending"
    must: float | None = 3.0
    figure: str = "cpu"
    at_most: bool = False
    count: int = 10_000
    per: int = 1
    threads: int = 1
    inside: bool = False
    ack: str = "auto"
    subscribe: Mapping[str, object] = field(default_factory=dict)
    connect: Mapping[str, object] = field(default_factory=dict)
    uri: str = "tcp://127.0.0.1:{port}"
    version: str = "1.2"
    serve: Mapping[str, object] = field(default_factory=dict)
    broker: str = ""

    def side(self, which: Which) -> Side:
        side = self.ours if which == "ours" else self.peer
        if side is None:
            raise ValueError(f"{self.key} has no side {which!r}")
        return side

    @property
    def transport(self) -> str:
        return str(self.serve.get("transport", "tcp"))

    @property
    def step(self) -> int:
        """The smallest number of messages: one statement in each thread."""
        return self.per * self.threads

    def ratio(self, ours: float, peer: float) -> float:
        """Return the ratio of the two figures, in the direction of ``must``."""
        is_cost = self.figure != "rate"
        return peer / ours if is_cost and not self.at_most else ours / peer

    def must_hold(self, allowance: float) -> float | None:
        """Return ``must``, weakened by the factor of a condition."""
        if self.must is None:
            return None
        return self.must * allowance if self.at_most else self.must / allowance
