"""Write the arguments of stomp.py's connections as a broker URI."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from stomplistener.compat.stomp.utils import is_localhost

HostAndPort = tuple[Any, Any]
DEFAULT_HOSTS = [("localhost", 61613)]
_MOST = 2**31 - 1


class BrokerHost(str):
    """Marks that the virtual host is the host of the broker, and changes if the connection moves to another broker."""


def passes(attempts_max: float, brokers: int) -> int:
    """Return the number of passes over all brokers; -1 means forever.

    stomp.py counts attempts, but checks their number only after each pass.
    """
    return -1 if attempts_max < 0 else max(1, math.ceil(attempts_max / brokers))


def ordered(
    host_and_ports: Iterable[HostAndPort] | None, prefer_localhost: bool, try_loopback_connect: bool
) -> list[HostAndPort]:
    """Return the brokers in the order of attempts, local ones first if ``prefer_localhost`` is true."""
    hosts = [(host, port) for host, port in host_and_ports or DEFAULT_HOSTS]
    if prefer_localhost:
        hosts.sort(key=is_localhost)
    named = {(host, port) for host, port in hosts if host in ("localhost", "127.0.0.1")}
    local = [port for host, port in hosts if is_localhost((host, port)) == 1]
    loopback = [("127.0.0.1", port) for port in local if named.isdisjoint({("localhost", port), ("127.0.0.1", port)})]
    return (loopback if try_loopback_connect else []) + hosts


def normal(host_and_port: HostAndPort) -> tuple[str, int]:
    """Return the address as the engine writes it. Without a host it is this machine; a host may be bytes."""
    host, port = host_and_port
    if isinstance(host, bytes):
        host = host.decode("ascii")
    return (str(host).lower() if host else "localhost", int(port))


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
    reconnect_attempts_max: float,
    timeout: float | None,
    keepalive: object,
    restore: bool = True,
    proxy: str | None = None,
) -> str:
    """Return the URI of these brokers.

    The attempts limit each ``connect()``, but not the restoring of a lost connection.
    """
    hosts = ordered(host_and_ports, prefer_localhost, try_loopback_connect)
    brokers = ",".join(f"{scheme}://{_written(host)}:{port}{path}" for host, port in map(normal, hosts))
    options: dict[str, Any] = {
        "randomize": "false",
        "initialReconnectDelay": _milliseconds(reconnect_sleep_initial),
        "maxReconnectDelay": _milliseconds(reconnect_sleep_max),
        "reconnectDelayExponent": 1 + reconnect_sleep_increase,
        "reconnectDelayJitter": _milliseconds(reconnect_sleep_jitter * reconnect_sleep_initial),
        "startupMaxReconnectAttempts": passes(reconnect_attempts_max, len(hosts)),
        "maxReconnectAttempts": -1 if restore else 0,
    }
    if timeout is not None:
        options["nested.connectionTimeout"] = max(1, _milliseconds(timeout))
    if keepalive is not None:
        options["nested.keepAlive"] = str(bool(keepalive)).lower()
    if proxy is not None:
        options["nested.proxy"] = quote(proxy, safe="")
    return f"failover:({brokers})?" + "&".join(f"{name}={value}" for name, value in options.items())


def _written(host: str) -> str:
    return f"[{host.replace('%', '%25')}]" if ":" in host else host


def _milliseconds(seconds: float) -> int:
    return min(round(float(seconds) * 1000), _MOST)
