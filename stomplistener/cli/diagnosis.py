"""Explain each failure of ``ping``: its cause and its remedy."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from typing import NamedTuple

from stomplistener import BrokerError, TimedOut
from stomplistener.cli.probe import Findings
from stomplistener.failover import Broker
from stomplistener.transport import MissingExtra


class Diagnosis(NamedTuple):
    """The explanation of one failure."""

    cause: str
    cure: str


_PORTS = "STOMP's usual ports: 61613, with TLS 61614, over WebSocket 61614 (ActiveMQ) or 15674/ws (RabbitMQ)"

# The first bytes that servers of other protocols send at once, or as answer to CONNECT.
_STRANGERS: tuple[tuple[bytes, str, str], ...] = (
    (b"HTTP/", "an HTTP server answered", "use the broker's STOMP port; STOMP over WebSocket is ws://host:port/path"),
    (b"<", "it answered in HTML or XML, as an HTTP server does", "use the broker's STOMP port"),
    (b"\x15\x03", "the port speaks TLS", "write ssl:// (or wss://) instead of tcp:// (or ws://)"),
    (b"AMQP", "an AMQP port answered", "use the STOMP port; RabbitMQ: rabbitmq-plugins enable rabbitmq_stomp"),
    (b"SSH-", "an SSH server answered", "check the port"),
    (b"220 ", "a mail or FTP server answered", "check the port"),
    (b"-ERR", "a Redis server answered", "check the port"),
)


def diagnose(findings: Findings, broker: Broker) -> Diagnosis:
    """Explain a failure.

    Args:
        findings: the findings of a probe that failed.
        broker: the broker that was probed.
    """
    error = findings.failure
    assert error is not None
    if not findings.reached:
        return _unreached(error, broker)
    for start, cause, cure in _STRANGERS:
        if findings.heard.lstrip().startswith(start):
            return Diagnosis(cause, f"{cure}. {_PORTS}")
    if b"ActiveMQ" in findings.heard and not findings.connected:
        return Diagnosis("ActiveMQ's OpenWire port answered", f"use its STOMP connector. {_PORTS}")
    if isinstance(error, BrokerError):
        return _refused(error, broker)
    if isinstance(error, TimedOut) and not findings.heard:
        return Diagnosis(
            f"the connection was accepted, but no data arrived: {error}",
            f"is it a STOMP port, or does it need TLS (ssl://)? Or does the broker hang? {_PORTS}",
        )
    if not findings.heard:
        return Diagnosis(
            f"connected, but no answer to CONNECT: {error}",
            "the port may have another protocol or need TLS (ssl://), or the broker refuses this address: see its log. "
            f"{_PORTS}",
        )
    return Diagnosis(str(error), "the server is not a STOMP broker, or is a broken one: check the port. " + _PORTS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            attempts = getattr(each, "attempts", ())
            waiting += [each.__cause__, each.__context__, *(reason for _, reason in attempts)]


def _unreached(error: Exception, broker: Broker) -> Diagnosis:
    place = f"{broker.host}:{broker.port}" if broker.host else broker.path
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return Diagnosis(str(error), _WRONG_NAME if each.verify_code in _NAME_CODES else _UNTRUSTED)
    for text, cure in _TOLD:
        if text in str(error):
            return Diagnosis(str(error), cure)
    for kind, cause, cure in _UNREACHED:
        if any(isinstance(each, kind) for each in _chain(error)):
            return Diagnosis(cause(place, error), cure)
    return Diagnosis(str(error), f"are host, port and scheme right? {_PORTS}")


# X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL's x509_vfy.h.
_NAME_CODES = (62, 64)
_WRONG_NAME = (
    "put a name that the certificate has into the URI; if this is the right broker all the same, "
    "?verifyHostname=false leaves out the check of the name alone"
)
_UNTRUSTED = "to trust a private authority, add ?caFile=/path/ca.pem to the URI; else have the certificate renewed"
_TOLD = (
    ("cannot be used", "check the path in the URI, and that the file is in PEM format and may be read"),
    ("does not speak HTTP", f"write tcp:// or ssl:// for this port, or use the one for WebSocket. {_PORTS}"),
    ("does not speak TLS", f"write tcp:// or ws:// for this port, or use the one with TLS. {_PORTS}"),
    ("WebSocket handshake", f"check the path behind the port, or write tcp:// or ssl://. {_PORTS}"),
)

_UNREACHED: tuple[tuple[type[BaseException], Callable[[str, Exception], str], str], ...] = (
    (MissingExtra, lambda _, error: str(error), "run that command, and try again"),
    (ssl.SSLError, lambda _, error: str(error), "if the port does not speak TLS, write tcp:// instead of ssl://"),
    (
        socket.gaierror,
        lambda place, _: f"the name of {place} is unknown",
        "check its spelling, and the name service of this machine (getent hosts NAME)",
    ),
    (
        ConnectionRefusedError,
        lambda place, _: f"nobody listens on {place}: connection refused",
        f"is the broker running, is its STOMP connector switched on, is the port right? {_PORTS}. "
        "RabbitMQ: rabbitmq-plugins enable rabbitmq_stomp",
    ),
    (FileNotFoundError, lambda place, _: f"there is no socket {place}", "check the path; is the broker running?"),
    (PermissionError, lambda place, _: f"{place} may not be used by this user", "check the permissions"),
    (
        TimedOut,
        lambda place, error: f"{place} did not answer: {error}",
        "a firewall may drop the packets, the host be down, or the port not speak TLS or WebSocket",
    ),
)


def _refused(error: BrokerError, broker: Broker) -> Diagnosis:
    said = f"{error.frame.headers.get('message', '')} {error.frame.body.decode(errors='replace')}".lower()
    if "virtual host" in said or "vhost" in said:
        return Diagnosis(
            str(error),
            "name a virtual host that the broker has, behind the port: RabbitMQ's default one is "
            f"{broker.scheme}://{broker.host}:{broker.port}/%2F (or --host /)",
        )
    words = (
        "denied",
        "refused",
        "passw",
        "passcode",
        "credential",
        "authent",
        "security",
        "login",
        "unauthorized",
        "user",
    )
    if any(word in said for word in words):
        return Diagnosis(
            str(error),
            "check login and passcode: --login NAME --ask-passcode, or login:passcode@ in the URI with / ? : @ "
            "percent-encoded; RabbitMQ's user guest may connect from localhost only",
        )
    if "version" in said:
        return Diagnosis(str(error), "the broker speaks none of STOMP 1.0, 1.1 and 1.2")
    return Diagnosis(str(error), "the broker's log says more")
