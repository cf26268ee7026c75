"""The arguments of stomp.py's connections, as a broker URI."""

from __future__ import annotations

import math
from collections.abc import Iterable

from stomplistener.compat.stomp.utils import is_localhost

HostAndPort = tuple[str, int]
DEFAULT_HOSTS = [("localhost", 61613)]
_MOST = 2**31 - 1


def broker_uri(
    host_and_ports: Iterable[HostAndPort] | None,
    *,
    scheme: str,
    path: str,
    prefer_localhost: bool,
    try_loopback_connect: bool,
    reconnect_sleep_initial: float,
    reconnect_sleep_increase: float,
    reconnect_sleep_jitter: float,
    reconnect_sleep_max: float,
    reconnect_attempts_max: int,
    timeout: float | None,
    keepalive: object,
) -> str:
    """The URI of these brokers. The attempts bound the first connect alone: a lost connection is restored for ever."""
    hosts = _ordered(list(host_and_ports or DEFAULT_HOSTS), prefer_localhost, try_loopback_connect)
    brokers = ",".join(f"{scheme}://{_written(host)}:{port}{path}" for host, port in hosts)
    # stomp.py counts brokers, a URI passes over all of them.
    passes = -1 if reconnect_attempts_max < 0 else math.ceil(reconnect_attempts_max / len(hosts))
    options = {
        "randomize": "false",
        "initialReconnectDelay": _milliseconds(reconnect_sleep_initial),
        "maxReconnectDelay": _milliseconds(reconnect_sleep_max),
        "reconnectDelayExponent": 1 + reconnect_sleep_increase,
        "reconnectDelayJitter": _milliseconds(reconnect_sleep_jitter * reconnect_sleep_initial),
        "startupMaxReconnectAttempts": passes,
    }
    if timeout is not None:
        options["nested.connectionTimeout"] = max(1, _milliseconds(timeout))
    if keepalive is not None:
        options["nested.keepAlive"] = str(bool(keepalive)).lower()
    return f"failover:({brokers})?" + "&".join(f"{name}={value}" for name, value in options.items())


def _ordered(hosts: list[HostAndPort], prefer_localhost: bool, try_loopback_connect: bool) -> list[HostAndPort]:
    if prefer_localhost:
        hosts.sort(key=is_localhost)
    named = {(host, port) for host, port in hosts if host in ("localhost", "127.0.0.1")}
    local = [port for host, port in hosts if is_localhost((host, port)) == 1]
    loopback = [("127.0.0.1", port) for port in local if named.isdisjoint({("localhost", port), ("127.0.0.1", port)})]
    return (loopback if try_loopback_connect else []) + hosts


def _written(host: str) -> str:
    return f"[{host.replace('%', '%25')}]" if ":" in host else host


def _milliseconds(seconds: float) -> int:
    return min(round(seconds * 1000), _MOST)
