"""Programs for stomp.py before 7, whose hooks take headers and a body, and before 6, whose connections took more."""

from __future__ import annotations

import functools
import logging
import ssl
import warnings
from pathlib import Path
from typing import Any

import pytest
import trustme
from compat_support import LOSING, OURS, QUEUE, RESTORING, Heard, Library

import stomplistener
from stomplistener.testing import Broker

LOGIN = ("admin", "password")


class Old:
    """A listener as ssm and DIRAC have it: hooks of two arguments, beside one that already takes a frame."""

    def __init__(self) -> None:
        self.heard = Heard()

    def on_connected(self, unused_headers: Any, unused_body: Any) -> None:
        self.heard.note("connected", unused_headers["version"])

    def on_before_message(self, headers: Any, body: Any) -> tuple[Any, Any]:
        return {**headers, "seen": "yes"}, body.upper()

    def on_message(self, headers: Any, body: Any) -> None:
        self.heard.note("message", (headers["seen"], body))

    def on_receipt(self, headers: Any, unused_body: Any) -> None:
        self.heard.note("receipt", headers["receipt-id"])

    def on_error(self, headers: Any, body: Any) -> None:
        self.heard.note("error", headers["message"])

    def on_send(self, frame: Any, unused_body: Any = None) -> None:
        self.heard.note("send", frame.cmd)

    def on_receiver_loop_completed(self, headers: Any, body: Any) -> None:
        self.heard.note("completed", (headers, body))

    def on_disconnected(self) -> None:
        self.heard.note("disconnected")


@pytest.mark.parametrize("library", OURS)
def test_hooks_that_take_headers_and_a_body(library: Library, broker: Broker) -> None:
    conn, listener = library.connection(broker), Old()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        conn.set_listener("SSM", listener)
        conn.set_listener("again", Old())
        conn.connect(*LOGIN, wait=True)
        conn.subscribe(QUEUE, id=1)
        conn.send(QUEUE, "hello", receipt="r")
        listener.heard.wait("receipt")
        listener.heard.wait("message")
        broker.error_next("SEND", message="full")
        conn.send(QUEUE, "no")
        listener.heard.wait("error")
        conn.disconnect()
    (told,) = [each for each in warned if each.category is DeprecationWarning]
    assert "Old takes (headers, body)" in str(told.message)
    assert Path(told.filename) == Path(__file__)
    assert listener.heard.of("connected")[0] == "1.2"
    assert listener.heard.of("message") == [("yes", "HELLO")]
    assert listener.heard.of("error") == ["full"]
    assert listener.heard.wait("completed")[0] == (None, None)
    assert listener.heard.of("send")[:3] == ["STOMP", "SUBSCRIBE", "SEND"]


def test_hooks_of_both_kinds_and_of_any_number(broker: Broker) -> None:
    """The shape of gridappsd, whose hooks take whatever comes, and of hooks that are no functions."""
    heard = Heard()

    class Whatever:
        def on_message(self, *args: Any) -> None:
            heard.note("message", len(args))

        # From Python 3.14 on, a partial in a class would be a method.
        on_connected = staticmethod(functools.partial(heard.note, "connected"))

    conn = LOSING.connection(broker)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conn.set_listener("", Whatever())
        conn.connect(*LOGIN, wait=True)
        conn.subscribe(QUEUE, id=1)
        conn.send(QUEUE, "a")
        assert heard.wait("message") == [1]
        assert heard.of("connected")[0].cmd == "CONNECTED"
        conn.disconnect()


def test_start_is_not_needed_any_more(broker: Broker) -> None:
    conn = LOSING.connection(broker)
    with pytest.warns(DeprecationWarning, match=r"start\(\)") as warned:
        conn.start()
    assert (len(warned), Path(warned[0].filename)) == (1, Path(__file__))
    conn.transport.start()
    conn.connect(*LOGIN, wait=True)
    conn.disconnect()


@pytest.fixture
def secure(tmp_path: Path) -> Any:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Broker(ssl_context=context) as broker:
        yield broker, str(tmp_path / "ca.pem"), authority


def test_use_ssl(secure: Any) -> None:
    broker, file, _ = secure
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        checked = LOSING.connection(broker, use_ssl=True, ssl_ca_certs=file, ssl_version=ssl.PROTOCOL_TLS_CLIENT)
        unchecked = LOSING.connection(broker, use_ssl=True, ssl_key_file=None, ssl_cert_file=None)
        plain = LOSING.connection(broker, use_ssl=False, ssl_key_file="none", ssl_cert_file="none")
    assert [each.category for each in warned if "use_ssl" in str(each.message)] == [DeprecationWarning] * 3
    assert plain.get_ssl(("127.0.0.1", broker.port)) is None
    with pytest.warns(DeprecationWarning, match="set_ssl"):
        plain.set_ssl(use_ssl=True, ssl_key_file=None, ssl_cert_file=None)
    for conn in (checked, unchecked, plain):
        conn.connect(wait=True)
        assert conn.is_connected()
        conn.disconnect()


def test_a_context_of_ones_own_and_settings_that_are_changed(secure: Any) -> None:
    broker, file, authority = secure
    context = ssl.create_default_context()
    authority.configure_trust(context)
    place = ("127.0.0.1", broker.port)
    given = LOSING.connection(broker, ssl_context=context)
    as_version = LOSING.connection(broker)
    as_version.set_ssl([place], ssl_version=context)
    changed = LOSING.connection(broker, reconnect_attempts_max=1)
    changed.set_ssl([place], ca_certs=None)
    with pytest.raises(LOSING.stomp.exception.ConnectFailedException):
        changed.connect(wait=True)
    changed.get_ssl(place)["ca_certs"] = file
    later = LOSING.connection(broker)
    later.set_ssl([place])
    later.get_ssl(place)["ssl_context"] = context
    for conn in (given, as_version, changed, later):
        conn.connect(wait=True)
        assert conn.is_connected()
        assert conn.transport.socket.getpeername() == place
        conn.disconnect()


@pytest.mark.parametrize("name", ["stomp", "stomp.py"])
def test_what_a_program_silences_is_silent(name: str, broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger(name)
    for level, is_told in ((logging.WARNING, True), (logging.CRITICAL, False)):
        caplog.clear()
        logger.setLevel(level)
        try:
            conn, heard = RESTORING.connection(broker), Heard()
            conn.set_listener("", heard)
            conn.connect(*LOGIN, wait=True)
            broker.drop_connections()
            heard.wait("connected", 2)
            conn.disconnect()
        finally:
            logger.setLevel(logging.NOTSET)
        told = {each.name for each in caplog.records if each.levelno >= logging.WARNING}
        assert told == ({"stomp.py"} if is_told else set())


def test_what_stomp_py_has_not_is_reached_through_the_connection(broker: Broker) -> None:
    conn, heard = RESTORING.connection(broker), Heard()
    conn.set_listener("", heard)
    with pytest.raises(RESTORING.stomp.exception.NotConnectedException):
        conn.stomplistener.statistics()
    conn.connect(*LOGIN, wait=True)
    conn.subscribe("/queue/asked", id=1)
    engine = conn.stomplistener
    assert isinstance(engine, stomplistener.Connection)

    def answer(message: stomplistener.Message) -> None:
        engine.reply(message, message.body.upper())

    engine.subscribe("/queue/service", answer)
    assert engine.request("/queue/service", "hello", timeout=5).text == "HELLO"
    assert engine.statistics().messages_received >= 2
    assert heard.bodies == []
    conn.disconnect()
    with pytest.raises(RESTORING.stomp.exception.NotConnectedException):
        conn.stomplistener.statistics()


def test_a_proxy_is_an_argument() -> None:
    conn = RESTORING.connection(1, proxy="socks5://me:secret@proxy:1080", reconnect_attempts_max=1)
    assert conn.transport.proxy == "socks5://me:secret@proxy:1080"
    with pytest.raises(RESTORING.stomp.exception.ConnectFailedException, match="proxy"):
        conn.connect(wait=True)
