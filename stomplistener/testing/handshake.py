"""CONNECT and STOMP: the login, version and heartbeats of a client."""

from __future__ import annotations

import hmac

from stomplistener.errors import ProtocolError
from stomplistener.protocol import Frame, HeartBeat, heartbeat
from stomplistener.protocol.spec import highest
from stomplistener.testing.refusal import Refusal
from stomplistener.testing.state import Options, Peer


def connect(client: Peer, frame: Frame, *, answer: bool) -> None:
    """Accept a client, or raise Refusal, which always ends the connection here."""
    if client.version is not None:
        raise Refusal("already connected", close=True)
    options = client.state.options
    version = _version(frame, options)
    _check_login(frame, options)
    _check_host(frame, options, version)
    client.client_id = _client_id(client, frame)
    client.login = frame.headers.get("login")
    beats = _heartbeat(frame, options, version)
    headers = [("session", client.session), ("server", options.server_name)]
    if options.versions != ("1.0",):
        headers = [("version", version), ("heart-beat", HeartBeat(*options.heartbeat).header), *headers]
    if answer:
        client.send(Frame("CONNECTED", headers))
    client.state.destinations.add_session(client.session)
    client.welcomed(version, beats)
    if cut := client.state.faults.take("connected then close", None, client.number):
        client.cut_after_writing(reset=cut.reset)


def _version(frame: Frame, options: Options) -> str:
    # A broker of STOMP 1.0 knows no versions: it neither reads nor sends one.
    if options.versions == ("1.0",):
        return "1.0"
    offered = [name.strip() for name in frame.headers.get("accept-version", "1.0").split(",")]
    version = highest(name for name in offered if name in options.versions)
    if version is None:
        supported = ",".join(options.versions)
        raise Refusal(
            "no common version",
            f"Supported protocol versions are {supported}; the client offered {','.join(offered)}",
            close=True,
            headers=[("version", supported)],
        )
    return version


def _check_login(frame: Frame, options: Options) -> None:
    if options.login is None:
        return
    for name, wanted in ("login", options.login), ("passcode", options.passcode or ""):
        if not hmac.compare_digest(frame.headers.get(name, "").encode(), wanted.encode()):
            raise Refusal("access refused", "The login or the passcode is wrong", close=True)


def _check_host(frame: Frame, options: Options, version: str) -> None:
    if options.virtual_hosts is None or version == "1.0":
        return
    host = frame.headers.get("host")
    if host not in options.virtual_hosts:
        raise Refusal("unknown virtual host", f"There is no virtual host {host!r} here", close=True)


def _client_id(client: Peer, frame: Frame) -> str | None:
    client_id = frame.headers.get("client-id")
    if client_id is not None and any(other.client_id == client_id for other in client.state.clients.values()):
        raise Refusal("client-id in use", f"Another connection has the client-id {client_id}", close=True)
    return client_id


def _heartbeat(frame: Frame, options: Options, version: str) -> HeartBeat:
    if version == "1.0":
        return HeartBeat(0.0, 0.0)
    try:
        theirs = heartbeat.parse(frame.headers.get("heart-beat", "0,0"))
    except ProtocolError as error:
        raise Refusal("bad heart-beat header", str(error), close=True) from None
    return heartbeat.negotiate(HeartBeat(*options.heartbeat), theirs)
