"""Draw the pictures of the manual, from the tables in the code.

    python docs/diagrams.py            needs Graphviz (dot); the SVG files are committed
    python docs/diagrams.py --check    says which are stale; needs nothing

Each SVG names the text that it was drawn from by its digest, so a stale one is found without Graphviz.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ways

from stomplistener._engine import context
from stomplistener.states import CONNECTION_MOVES as CONNECTION
from stomplistener.states import SESSION_MOVES as SESSION
from stomplistener.states import SUBSCRIPTION_MOVES, TRANSACTION_MOVES, WRITE_MOVES, Moves

PICTURES = Path(__file__).parent / "pictures"

_HEAD = """digraph {
    bgcolor=transparent; rankdir=%s; nodesep=%s; ranksep=%s;
    node [shape=box, style=rounded, fontname="Helvetica", fontsize=12, margin="0.11,0.07"];
    edge [fontname="Helvetica", fontsize=10.5, arrowsize=0.7];
"""

# Why a connection moves. The table in state.py says only that it may.
_REASONS = {
    ("NEW", "CONNECTING"): "connect()",
    ("NEW", "CLOSED"): "close()",
    ("CONNECTING", "CONNECTED"): "ready",
    ("CONNECTING", "CLOSED"): "attempts\\nused up,\\nclose()",
    ("CONNECTED", "SUSPENDED"): "lost",
    ("CONNECTED", "MIGRATING"): "a preferred\\nbroker\\nis back",
    ("CONNECTED", "CLOSING"): "disconnect()",
    ("CONNECTING", "CLOSING"): "disconnect()\\nin the replay",
    ("SUSPENDED", "CLOSING"): "disconnect()\\nin the replay",
    ("CONNECTED", "CLOSED"): "close(), or\\nlost with\\nreconnect=\\nFalse",
    ("SUSPENDED", "CONNECTED"): "restored",
    ("SUSPENDED", "CLOSED"): "attempts\\nused up,\\nclose(),\\ndisconnect()",
    ("MIGRATING", "CONNECTED"): "something\\nstayed open\\ntoo long",
    ("MIGRATING", "SUSPENDED"): "left,\\nor lost",
    ("MIGRATING", "CLOSING"): "disconnect()",
    ("MIGRATING", "CLOSED"): "close()",
    ("CLOSING", "CLOSED"): "DISCONNECT\\nanswered, or\\ntime over",
    ("CLOSED", "CONNECTING"): "connect()",
}


def session_states() -> str:
    """The session's transition table."""
    events: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (state, event), target in SESSION.items():
        events[state.name, target.name].append(event)
    edges = [f'    {a} -> {b} [label="{", ".join(names)}"];' for (a, b), names in events.items()]
    return "\n".join([_HEAD % ("TB", 0.5, 0.45), *edges, "}"]).replace("\n\n", "\n")


def connection_states() -> str:
    """The connection's transition table."""
    pairs = [(old.name, new.name) for old, new in CONNECTION]
    edges = [f'    {a} -> {b} [label="{_REASONS.get((a, b), "")}"];' for a, b in sorted(pairs)]
    return "\n".join([_HEAD % ("TB", 0.25, 0.35), *edges, "}"]).replace("\n\n", "\n")


def architecture() -> str:
    """Threads and the flow of data between them."""
    # Edges against the direction of the layout are written backwards, so that the broker stands at the top.
    return (
        _HEAD % ("TB", 0.2, 0.35)
        + """    broker [label="broker", shape=cylinder, style="", width=2.2];
    receiver [label="receiver thread\\nconnects, reads,\\ndecodes, closes"];
    writer [label="writer thread\\nin bursts"];
    queue [label="write queue\\nkeeps the order\\nof frames"];
    session [label="session\\nstate of the protocol,\\nunder the lock", style="rounded,bold"];
    timer [label="timer thread\\nheartbeats,\\nretries, stop()"];
    lanes [label="dispatch queues\\nbounded in\\nmessages and bytes"];
    subgraph cluster_app {
        label="your code runs here"; labelloc=b; style="rounded,dashed"; fontname="Helvetica"; fontsize=11;
        dispatcher [label="dispatcher\\nlisteners,\\nin order"];
        workers [label="workers\\nof one\\nsubscription"];
        threads [label="threads of the\\napplication"];
    }

    broker -> receiver [label="bytes"];
    receiver -> session [label="frames"];
    receiver -> lanes [label="messages,\\nevents"];
    lanes -> dispatcher;
    lanes -> workers;
    broker -> writer [dir=back, label="bytes"];
    broker -> queue [dir=back, label="bytes, written by\\nthe thread that sends"];
    writer -> queue [dir=back];
    queue -> session [dir=back, label="frames"];
    queue -> timer [dir=back, label="heartbeats", style=dashed];
    timer -> lanes [label="retries", style=dashed];
    session -> threads [dir=back, label="send, ack, ..."];
    session -> dispatcher [dir=back];
    session -> workers [dir=back];
}"""
    )


def moves(table: Moves[Any]) -> str:
    """A table of moves that need no reason: the names of the states say it."""
    edges = [f"    {a} -> {b};" for a, b in sorted((old.name, new.name) for old, new in table)]
    names = [f"    {state.name};" for state in type(next(iter(table))[0])]
    return "\n".join([_HEAD % ("TB", 0.3, 0.35), *names, *edges, "}"]).replace("\n\n", "\n")


def way(lanes: Sequence[ways.Lane]) -> str:
    """The steps of a way, one column a thread; what is done under the lock of the connection is bold."""
    lines = [_HEAD % ("TB", 0.6, 0.22)]
    numbers = iter(range(1, 100))
    handed = ""
    for column, lane in enumerate(lanes):
        names = [f"step{next(numbers)}" for _ in lane.steps]
        lines.append(f"    subgraph cluster_{column} {{")
        lines.append(f'        label="{lane.thread}"; style="rounded,dashed"; fontname="Helvetica"; fontsize=11;')
        for name, step in zip(names, lane.steps, strict=True):
            state = f"\\nstate: {step.state}" if step.state else ""
            bold = ', style="rounded,bold"' if step.locked else ""
            lines.append(f'        {name} [label="{step.function}\\n{step.what}{state}"{bold}];')
        lines.append("        " + " -> ".join(names) + ";")
        lines.append("    }")
        if handed:
            lines.append(f"    {handed} -> {names[0]} [style=dashed];")
        handed = next((name for name, step in zip(names, lane.steps, strict=True) if step.hands_over), "")
    return "\n".join([*lines, "}"]).replace("\n\n", "\n")


_LOCK = re.compile(r"^\d\. (.+?)(?:[:,]|$)", re.MULTILINE)


def lock_names() -> list[str]:
    """The locks in the order in which they may be taken, from the text that states it."""
    return [name.replace("``", "") for name in _LOCK.findall(context.__doc__ or "")]


def locks() -> str:
    """The order of all locks."""
    names = lock_names()
    nodes = [
        f'    lock{number} [label="{number}. {name}"{", style=bold" if name == "Context.lock" else ""}];'
        for number, name in enumerate(names, 1)
    ]
    # Between two leaves there is no arrow: neither is taken with the other held.
    last = next(number for number, name in enumerate(names, 1) if name == "Context.lock")
    edges = [f"    lock{number} -> lock{number + 1};" for number in range(1, last)]
    edges += [f"    lock{last} -> lock{number};" for number in range(last + 1, len(names))]
    return "\n".join([_HEAD % ("TB", 0.3, 0.35), *nodes, *edges, "}"]).replace("\n\n", "\n")


ALL = {
    "session-states": (session_states, "The states of a session and the events that change them"),
    "connection-states": (connection_states, "The states of a connection and what changes them"),
    "subscription-states": (lambda: moves(SUBSCRIPTION_MOVES), "The states of a subscription"),
    "transaction-states": (lambda: moves(TRANSACTION_MOVES), "The states of a transaction"),
    "write-states": (lambda: moves(WRITE_MOVES), "The states of the write queue"),
    "way-of-a-send": (lambda: way(ways.SEND), "The way of a SEND"),
    "way-of-a-message": (lambda: way(ways.MESSAGE), "The way of a MESSAGE and of its ACK"),
    "reconnect": (lambda: way(ways.RECONNECT), "The steps of a reconnect"),
    "locks": (locks, "The locks and the order in which they may be taken"),
    "architecture": (architecture, "Threads of a connection and the data that flows between them"),
}


def digest(dot: str) -> str:
    return hashlib.sha256(dot.encode()).hexdigest()


def is_stale(name: str) -> bool:
    """Whether the picture was drawn from another text than the code gives now."""
    path = PICTURES / f"{name}.svg"
    return not path.exists() or f"drawn from {digest(ALL[name][0]())}" not in path.read_text()


def draw(name: str) -> None:
    """Draw one picture in the colour of the text around it."""
    make, title = ALL[name]
    dot = make()
    svg = subprocess.run(["dot", "-Tsvg"], input=dot, capture_output=True, text=True, check=True).stdout
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<title>.*?</title>\n?|<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg width="[^"]*" height="[^"]*"', f'<svg role="img" aria-label="{title}"', svg)
    svg = re.sub(r'\bid="[^"]*"', "", svg)
    svg = svg.replace('stroke="black"', 'stroke="currentColor"').replace('fill="black"', 'fill="currentColor"')
    svg = re.sub(r"<text (?![^>]*fill)", '<text fill="currentColor" ', svg)
    width = re.search(r'viewBox="0.00 0.00 ([\d.]+)', svg)
    assert width is not None
    PICTURES.mkdir(exist_ok=True)
    comment = f"<!-- {title}; drawn from {digest(dot)} by docs/diagrams.py -->"
    # Text of 10.5 units has 13.7 px, and 11.6 px where the picture has to be moved sideways.
    style = f'style="width: {float(width[1]) * 1.3:.0f}px; min-width: {float(width[1]) * 1.1:.0f}px"'
    svg = svg.replace("<svg ", f"<svg {style} ", 1).strip()
    (PICTURES / f"{name}.svg").write_text(f"{comment}\n{svg}\n")


def main() -> int:
    if "--check" in sys.argv:
        stale = [name for name in ALL if is_stale(name)]
        print("\n".join(f"{name}.svg is stale: run python docs/diagrams.py" for name in stale))
        return 1 if stale else 0
    for name in ALL:
        draw(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
