"""The frames of a client: one stateless function for each command, which checks what its STOMP version allows.

All functions are pure and thread-safe, and return a :class:`Frame`. ``headers`` are added last and win over the
arguments. A function raises :class:`ProtocolError` if the version cannot express the frame. An argument out of range
raises ``ValueError``, and one of a wrong type ``TypeError``. ``encode`` checks the type of each header. Source: the
STOMP specifications, sections Connecting and Client Frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stomplistener.errors import ProtocolError
from stomplistener.protocol.frame import Frame, as_bytes
from stomplistener.protocol.heartbeat import HeartBeat
from stomplistener.protocol.spec import NEWEST, VERSIONS, Version, version_rules

_NEWEST = NEWEST.name
_new = Frame.__new__

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
    host_required: bool = True,
) -> Frame:
    """CONNECT: offer versions and heartbeats.

    Args:
        versions: the versions to offer; ``version`` offers only one.
        host: the virtual host, required from 1.1 on.
        heartbeat: seconds between the heartbeats that the client can send and that it wants to receive; 0 for none.
    """
    offered = sorted({version_rules(name).name for name in ((version,) if version else versions)})
    if not offered:
        raise ValueError("no STOMP version to offer")
    fields: dict[str, str] = {}
    if offered != ["1.0"]:
        if host is None and host_required and any(version_rules(name).host_required for name in offered):
            raise ProtocolError(f"{command} needs a host (the virtual host) from STOMP 1.1 on")
        fields["accept-version"] = ",".join(offered)
        if any(heartbeat):
            fields["heart-beat"] = HeartBeat(*heartbeat).header
    if host is not None:
        fields["host"] = host
    if login is not None:
        fields["login"] = login
    if passcode is not None:
        fields["passcode"] = passcode
    return _frame(command, fields, headers)


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
    """STOMP: the same as CONNECT, under a name that servers of STOMP 1.0 do not know."""
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
    """SEND. A ``str`` body is sent as UTF-8, with a content-type that says so, unless ``headers`` has one.

    Args:
        auto_content_length: False leaves out content-length (ActiveMQ then makes a TextMessage). A body with a NUL
            needs the header.
    """
    if version not in VERSIONS:
        version_rules(version)
    if type(destination) is not str or not destination:
        _check_text("SEND", "destination", destination)
    if type(body) is not bytes:
        if isinstance(body, str):
            body = body.encode()
            content_type = content_type or "text/plain;charset=utf-8"
        else:
            body = as_bytes(body)
    fields = {"destination": destination}
    if content_type:
        fields["content-type"] = content_type
    if auto_content_length:
        fields["content-length"] = str(len(body))
    return _frame("SEND", fields, headers, transaction, receipt, body)


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
    _check_text("SUBSCRIBE", "destination", destination)
    if id is None and rules.subscription_id_required:
        raise ProtocolError(f"SUBSCRIBE needs an id in STOMP {version}")
    if ack not in rules.ack_modes:
        modes = ", ".join(sorted(rules.ack_modes))
        raise ProtocolError(f"STOMP {version} has no ack mode {ack!r}; it has {modes}")
    fields = {"destination": destination}
    if id is not None:
        fields["id"] = id
    fields["ack"] = ack
    return _frame("SUBSCRIBE", fields, headers, receipt=receipt)


def unsubscribe(
    id: str | None = None,
    destination: str | None = None,
    headers: StrHeaders = None,
    *,
    receipt: str | None = None,
    version: str = _NEWEST,
) -> Frame:
    """UNSUBSCRIBE by id; in STOMP 1.0 by destination if there is no id."""
    rules = version_rules(version)
    if id is None and rules.subscription_id_required:
        raise ProtocolError(f"UNSUBSCRIBE needs an id in STOMP {version}")
    if id is not None:
        fields = {"id": id}
    elif destination is not None:
        fields = {"destination": destination}
    else:
        raise ProtocolError("UNSUBSCRIBE needs an id or a destination")
    return _frame("UNSUBSCRIBE", fields, headers, receipt=receipt)


def ack(
    message: Frame,
    transaction: str | None = None,
    headers: StrHeaders = None,
    *,
    receipt: str | None = None,
    version: str = _NEWEST,
) -> Frame:
    """ACK of a MESSAGE: by ``message-id`` in 1.0, also with ``subscription`` in 1.1, by its ``ack`` header in 1.2."""
    return _settle("ACK", message, transaction, headers, receipt, version_rules(version))


def nack(
    message: Frame,
    transaction: str | None = None,
    headers: StrHeaders = None,
    *,
    receipt: str | None = None,
    version: str = _NEWEST,
) -> Frame:
    """NACK of a MESSAGE; STOMP 1.0 does not have it."""
    rules = version_rules(version)
    if not rules.nack:
        raise ProtocolError("STOMP 1.0 has no NACK: leave the message unacknowledged and disconnect to give it back")
    return _settle("NACK", message, transaction, headers, receipt, rules)


def _settle(
    command: str, message: Frame, transaction: str | None, headers: StrHeaders, receipt: str | None, rules: Version
) -> Frame:
    fields: dict[str, str] = {}
    for name, source in rules.ack_headers:
        value = message.header(source)
        if value is None:
            raise ProtocolError(f"{command} needs the {source} header of the MESSAGE, which has none", frame=message)
        fields[name] = value
    return _frame(command, fields, headers, transaction, receipt)


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
    _check_text(command, "transaction", transaction)
    return _frame(command, {"transaction": transaction}, headers, receipt=receipt)


def disconnect(receipt: str | None = None, headers: StrHeaders = None, *, version: str = _NEWEST) -> Frame:
    """DISCONNECT. The receipt means that the broker has processed all earlier frames."""
    version_rules(version)
    return _frame("DISCONNECT", {}, headers, receipt=receipt)


def _frame(
    command: str,
    fields: dict[str, str],
    headers: StrHeaders,
    transaction: str | None = None,
    receipt: str | None = None,
    body: bytes = b"",
) -> Frame:
    """Add the optional headers, and last the application's headers, which win."""
    if transaction is not None:
        fields["transaction"] = transaction
    if receipt is not None:
        fields["receipt"] = receipt
    if headers:
        try:
            fields.update(headers)
        except (TypeError, ValueError):
            kind = type(headers).__name__
            raise TypeError(f"{command}: headers must be a mapping of str to str, not {kind}") from None
    # Frame() would copy the fields and the body's type is known: every frame that is sent comes through here.
    frame = _new(Frame)
    frame.command, frame.fields, frame.body = command, fields, body
    frame.problem = frame._headers = None
    return frame


def _check_text(command: str, name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{command}: {name} must be a str, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{command} needs a {name}")
