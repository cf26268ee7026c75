"""The frames of a client, one stateless function a command, each checking what its version allows.

All are pure and thread-safe, return a :class:`Frame`, take ``headers`` that are added last and win over the arguments,
and raise :class:`ProtocolError` for what the version has no way to say, ``ValueError`` for an argument out of range.
Source: the STOMP specifications, sections Connecting and Client Frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stomplistener.errors import ProtocolError
from stomplistener.protocol.frame import Frame
from stomplistener.protocol.heartbeat import HeartBeat
from stomplistener.protocol.spec import VERSIONS, Version, version_rules

_NEWEST = max(VERSIONS)

StrHeaders = Mapping[str, str] | None


def connect(
    versions: Iterable[str] = tuple(VERSIONS),
    host: str | None = None,
    login: str | None = None,
    passcode: str | None = None,
    heartbeat: tuple[float, float] = (0.0, 0.0),
    headers: StrHeaders = None,
    *,
    version: str | None = None,
    command: str = "CONNECT",
) -> Frame:
    """CONNECT: offer versions and heart-beats.

    Args:
        versions: the versions to offer; ``version`` offers one alone.
        host: the virtual host, required from 1.1 on.
        heartbeat: seconds between the beats that we can send, and that we want to receive; 0 for none.
    """
    offered = sorted({version_rules(name).name for name in ((version,) if version else versions)})
    if not offered:
        raise ValueError("no STOMP version to offer")
    pairs: dict[str, str] = {}
    if offered != ["1.0"]:
        if host is None and any(version_rules(name).host_required for name in offered):
            raise ProtocolError(f"{command} needs a host (the virtual host) from STOMP 1.1 on")
        pairs["accept-version"] = ",".join(offered)
        if any(heartbeat):
            pairs["heart-beat"] = HeartBeat(*heartbeat).header
    if host is not None:
        pairs["host"] = host
    if login is not None:
        pairs["login"] = login
    if passcode is not None:
        pairs["passcode"] = passcode
    return Frame(command, pairs | dict(headers or {}))


def stomp(
    versions: Iterable[str] = ("1.1", "1.2"),
    host: str | None = None,
    login: str | None = None,
    passcode: str | None = None,
    heartbeat: tuple[float, float] = (0.0, 0.0),
    headers: StrHeaders = None,
    *,
    version: str | None = None,
) -> Frame:
    """STOMP: CONNECT under the name that servers of 1.0 do not know."""
    offered = (version,) if version else tuple(versions)
    if "1.0" in offered:
        raise ProtocolError("STOMP 1.0 knows CONNECT, not the command STOMP")
    return connect(offered, host, login, passcode, heartbeat, headers, command="STOMP")


def send(
    destination: str,
    body: bytes | bytearray | memoryview | str = b"",
    headers: StrHeaders = None,
    *,
    content_type: str | None = None,
    transaction: str | None = None,
    receipt: str | None = None,
    auto_content_length: bool = True,
    version: str = _NEWEST,
) -> Frame:
    """SEND. A ``str`` body is sent as UTF-8, with a content-type that says so unless one is given.

    Args:
        auto_content_length: False leaves content-length out (ActiveMQ then makes a TextMessage); a body with a NUL
            cannot be sent so.
    """
    version_rules(version)
    if not destination:
        raise ValueError("SEND needs a destination")
    pairs = {"destination": destination}
    if isinstance(body, str):
        body = body.encode()
        content_type = content_type or "text/plain;charset=utf-8"
    if content_type:
        pairs["content-type"] = content_type
    if auto_content_length:
        pairs["content-length"] = str(len(body) if isinstance(body, (bytes, bytearray)) else memoryview(body).nbytes)
    _add(pairs, transaction=transaction, receipt=receipt)
    if headers:
        pairs.update(headers)
    return Frame("SEND", pairs, body)


def subscribe(
    destination: str,
    id: str | None = None,
    ack: str = "auto",
    headers: StrHeaders = None,
    *,
    receipt: str | None = None,
    version: str = _NEWEST,
) -> Frame:
    """SUBSCRIBE; the id is required from 1.1 on."""
    rules = version_rules(version)
    if not destination:
        raise ValueError("SUBSCRIBE needs a destination")
    if id is None and rules.subscription_id_required:
        raise ProtocolError(f"SUBSCRIBE needs an id in STOMP {version}")
    if ack not in rules.ack_modes:
        modes = ", ".join(sorted(rules.ack_modes))
        raise ProtocolError(f"STOMP {version} has no ack mode {ack!r}; it has {modes}")
    pairs = {"destination": destination}
    _add(pairs, id=id, ack=ack, receipt=receipt)
    return Frame("SUBSCRIBE", pairs | dict(headers or {}))


def unsubscribe(
    id: str | None = None,
    destination: str | None = None,
    headers: StrHeaders = None,
    *,
    receipt: str | None = None,
    version: str = _NEWEST,
) -> Frame:
    """UNSUBSCRIBE by id; in 1.0 by destination where there is no id."""
    rules = version_rules(version)
    if id is None and rules.subscription_id_required:
        raise ProtocolError(f"UNSUBSCRIBE needs an id in STOMP {version}")
    if id is None and destination is None:
        raise ProtocolError("UNSUBSCRIBE needs an id or a destination")
    pairs: dict[str, str] = {}
    _add(pairs, id=id, destination=destination if id is None else None, receipt=receipt)
    return Frame("UNSUBSCRIBE", pairs | dict(headers or {}))


def ack(
    message: Frame,
    transaction: str | None = None,
    headers: StrHeaders = None,
    *,
    receipt: str | None = None,
    version: str = _NEWEST,
) -> Frame:
    """ACK of a MESSAGE: by ``message-id`` in 1.0, with ``subscription`` in 1.1, by its ``ack`` header in 1.2."""
    return _settle("ACK", message, transaction, headers, receipt, version_rules(version))


def nack(
    message: Frame,
    transaction: str | None = None,
    headers: StrHeaders = None,
    *,
    receipt: str | None = None,
    version: str = _NEWEST,
) -> Frame:
    """NACK of a MESSAGE; STOMP 1.0 has none."""
    rules = version_rules(version)
    if not rules.nack:
        raise ProtocolError("STOMP 1.0 has no NACK: leave the message unacknowledged and disconnect to give it back")
    return _settle("NACK", message, transaction, headers, receipt, rules)


def _settle(
    command: str, message: Frame, transaction: str | None, headers: StrHeaders, receipt: str | None, rules: Version
) -> Frame:
    pairs: dict[str, str] = {}
    for name, source in rules.ack_headers:
        value = message.header(source)
        if value is None:
            raise ProtocolError(f"{command} needs the {source} header of the MESSAGE, which has none", frame=message)
        pairs[name] = value
    _add(pairs, transaction=transaction, receipt=receipt)
    if headers:
        pairs.update(headers)
    return Frame(command, pairs)


def begin(transaction: str, headers: StrHeaders = None, *, receipt: str | None = None, version: str = _NEWEST) -> Frame:
    """BEGIN a transaction."""
    return _transaction("BEGIN", transaction, headers, receipt, version)


def commit(
    transaction: str, headers: StrHeaders = None, *, receipt: str | None = None, version: str = _NEWEST
) -> Frame:
    """COMMIT a transaction."""
    return _transaction("COMMIT", transaction, headers, receipt, version)


def abort(transaction: str, headers: StrHeaders = None, *, receipt: str | None = None, version: str = _NEWEST) -> Frame:
    """ABORT a transaction."""
    return _transaction("ABORT", transaction, headers, receipt, version)


def _transaction(command: str, transaction: str, headers: StrHeaders, receipt: str | None, version: str) -> Frame:
    version_rules(version)
    if not transaction:
        raise ValueError(f"{command} needs the name of a transaction")
    pairs = {"transaction": transaction}
    _add(pairs, receipt=receipt)
    return Frame(command, pairs | dict(headers or {}))


def disconnect(receipt: str | None = None, headers: StrHeaders = None, *, version: str = _NEWEST) -> Frame:
    """DISCONNECT; its receipt says that the broker has processed everything before it."""
    version_rules(version)
    pairs: dict[str, str] = {}
    _add(pairs, receipt=receipt)
    return Frame("DISCONNECT", pairs | dict(headers or {}))


def _add(pairs: dict[str, str], **headers: str | None) -> None:
    pairs.update((name, value) for name, value in headers.items() if value is not None)
