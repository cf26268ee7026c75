"""CONNECT, STOMP and what the broker makes of them, in hand-written bytes."""

from __future__ import annotations

import pytest
from broker_support import Raw, connected

from stomplistener.testing import Broker

TAIL = b"heart-beat:10000,10000\nsession:session-1\nserver:stomplistener-testing/1\n\n\0"


@pytest.mark.parametrize(
    ("asked", "version"),
    [
        (b"CONNECT\naccept-version:1.0,1.1,1.2\nhost:a\n\n\0", b"1.2"),
        (b"CONNECT\naccept-version:1.2\nhost:a\n\n\0", b"1.2"),
        (b"CONNECT\naccept-version:1.1,1.0\nhost:a\n\n\0", b"1.1"),
        (b"CONNECT\naccept-version: 1.1 , 9.9\nhost:a\n\n\0", b"1.1"),
        (b"CONNECT\naccept-version:1.0\n\n\0", b"1.0"),
        (b"CONNECT\n\n\0", b"1.0"),
        (b"STOMP\naccept-version:1.1,1.2\nhost:a\n\n\0", b"1.2"),
        (b"CONNECT\r\naccept-version:1.2\r\nhost:a\r\n\r\n\0", b"1.2"),
        (b"\n\n\nCONNECT\naccept-version:1.2\nhost:a\n\n\0\n", b"1.2"),
    ],
)
def test_the_newest_version_that_both_know(asked: bytes, version: bytes) -> None:
    with Broker() as broker, Raw(broker) as client:
        client.send(asked)
        client.expect(b"CONNECTED\nversion:%b\n%b" % (version, TAIL))


def test_a_broker_of_1_0_knows_no_versions() -> None:
    with Broker(versions=("1.0",)) as broker, Raw(broker) as client:
        client.send(b"CONNECT\naccept-version:1.1,1.2\nhost:a\nheart-beat:1,1\n\n\0")
        client.expect(b"CONNECTED\nsession:session-1\nserver:stomplistener-testing/1\n\n\0")
        assert broker.connections[0].version == "1.0"


def test_no_common_version_is_an_error_that_names_ours() -> None:
    with Broker(versions=("1.1", "1.2")) as broker, Raw(broker) as client:
        client.send(b"CONNECT\naccept-version:1.0\nhost:a\n\n\0")
        client.expect(
            b"ERROR\nmessage:no common version\ncontent-type:text/plain\nversion:1.1,1.2\ncontent-length:63\n\n"
            b"Supported protocol versions are 1.1,1.2; the client offered 1.0\0"
        )
    assert broker.connection_count == 1


@pytest.mark.parametrize(
    ("login", "welcome"),
    [
        (b"login:me\npasscode:s\xc3\xa9cret\n", True),
        (b"login:me\npasscode:wrong\n", False),
        (b"login:you\npasscode:s\xc3\xa9cret\n", False),
        (b"login:me\n", False),
        (b"", False),
    ],
)
def test_login(login: bytes, welcome: bool) -> None:
    with Broker(login="me", passcode="sécret") as broker, Raw(broker) as client:
        client.send(b"CONNECT\naccept-version:1.2\nhost:a\n%b\n\0" % login)
        if welcome:
            client.expect(b"CONNECTED\n")
            assert broker.connections[0].login == "me"
        else:
            client.expect(
                b"ERROR\nmessage:access refused\ncontent-type:text/plain\ncontent-length:34\n\n"
                b"The login or the passcode is wrong\0"
            )
            client.expect_end()


def test_the_uri_carries_the_login_and_no_text_shows_the_passcode() -> None:
    with Broker(login="a@b", passcode="p:/w") as broker:
        assert broker.uri == f"tcp://a%40b:p%3A%2Fw@127.0.0.1:{broker.port}"
        with Raw(broker) as client:
            client.send(b"CONNECT\naccept-version:1.2\nhost:a\nlogin:a@b\npasscode:p:/w\n\n\0")
            client.expect(b"CONNECTED\n")
        assert "p:/w" not in repr(broker) + repr(broker._state.options) + repr(broker.log) + repr(broker.connections)
        assert broker.frames(command="CONNECT")[0].headers["passcode"] == "p:/w"


def test_a_colon_or_backslash_in_connect_is_no_escape() -> None:
    with Broker(login=r"me\c:x", passcode="") as broker, Raw(broker) as client:
        client.send(b"STOMP\naccept-version:1.2\nhost:a\nlogin:me\\c:x\n\n\0")
        client.expect(b"CONNECTED\n")


@pytest.mark.parametrize(("host", "welcome"), [(b"host:a\n", True), (b"host:b\n", False), (b"", False)])
def test_virtual_hosts(host: bytes, welcome: bool) -> None:
    with Broker(virtual_hosts={"a"}) as broker, Raw(broker) as client:
        client.send(b"CONNECT\naccept-version:1.2\n%b\n\0" % host)
        client.expect(b"CONNECTED\n" if welcome else b"ERROR\nmessage:unknown virtual host\n")


def test_1_0_needs_no_virtual_host() -> None:
    with Broker(virtual_hosts={"a"}) as broker, Raw(broker) as client:
        client.send(b"CONNECT\n\n\0")
        client.expect(b"CONNECTED\n")


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"SEND\ndestination:/queue/a\n\nx\0", b"not connected"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"malformed frame"),
        (b"CONNECT\naccept-version:1.2\nhost:a\nheart-beat:soon\n\n\0", b"bad heart-beat header"),
    ],
)
def test_what_is_no_handshake_gets_an_error_and_the_end(sent: bytes, message: bytes) -> None:
    with Broker(lenient_errors=True) as broker, Raw(broker) as client:
        client.send(sent)
        client.expect(b"ERROR\nmessage:%b\n" % message)
        assert client.frame()
        client.expect_end()
        broker.wait_for(lambda: not broker.connections)


def test_connect_twice() -> None:
    with Broker(lenient_errors=True) as broker, connected(broker) as client:
        client.send(b"CONNECT\naccept-version:1.2\nhost:a\n\n\0")
        client.expect(b"ERROR\nmessage:already connected\n")


def test_a_client_id_belongs_to_one_connection_at_a_time() -> None:
    with Broker() as broker:
        with connected(broker, headers=b"client-id:c\n"), Raw(broker) as second:
            second.send(b"CONNECT\naccept-version:1.2\nhost:a\nclient-id:c\n\n\0")
            second.expect(b"ERROR\nmessage:client-id in use\n")
        broker.wait_for(lambda: not broker.connections)
        with connected(broker, headers=b"client-id:c\n"):
            assert broker.connections[0].client_id == "c"


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="versions"):
        Broker(versions=("1.3",))
    with pytest.raises(ValueError, match="prefetch"):
        Broker(prefetch=0)
