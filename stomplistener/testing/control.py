"""Commands for a broker process: one word a line, answered with one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from stomplistener.testing.broker import Broker


def obey(broker: Broker, line: str) -> str:
    """Obey one line, and return the answer."""
    command = line.strip()
    act = _COMMANDS.get(command)
    if act is None:
        return json.dumps({"error": f"unknown command {command!r}", "commands": ["quit", *_COMMANDS]})
    return json.dumps({"ok": command, **act(broker)})


def _drop(broker: Broker) -> dict[str, Any]:
    return {"dropped": broker.drop_connections()}


def _status(broker: Broker) -> dict[str, Any]:
    return {
        "port": broker.port,
        "connections": [connection.number for connection in broker.connections],
        "connection_count": broker.connection_count,
        "subscriptions": len(broker.subscriptions),
        "waiting": {name: depth for name in broker.destinations if (depth := broker.depth(name))},
        "unacknowledged": {name: held for name in broker.destinations if (held := len(broker.unacknowledged(name)))},
    }


def _quietly(act: Callable[[Broker], object]) -> Callable[[Broker], dict[str, Any]]:
    def run(broker: Broker) -> dict[str, Any]:
        act(broker)
        return {}

    return run


_COMMANDS: Mapping[str, Callable[[Broker], dict[str, Any]]] = {
    "drop": _drop,
    "stop": _quietly(Broker.stop),
    "start": _quietly(Broker.start),
    "silent": _quietly(Broker.go_silent),
    "speak": _quietly(Broker.speak),
    "status": _status,
}
