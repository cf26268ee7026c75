"""What the commands put on the wire, and what they raise."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme
from compat_support import QUEUE, Heard, connect_and_subscribe, hosts

import stomplistener.compat.stomp as stomp
from stomplistener.compat.stomp.exception import (
    ConnectFailedException,
    ConnectionClosedException,
    NotConnectedException,
    StompException,
)
from stomplistener.compat.stomp.settings import broker_uri
from stomplistener.failover import parse
from stomplistener.testing import Broker

CLASSES = [stomp.Connection10, stomp.Connection11, stomp.Connection12]


def connected(kind: Any, broker: Broker, **arguments: Any) -> tuple[Any, Heard]:
    conn, heard = kind(hosts(broker), reconnect_sleep_initial=0.01, **arguments), Heard()
    conn.set_listener("", heard)
    conn.connect("admin", "password", wait=True)
    return conn, heard


def sent(broker: Broker, command: str) -> list[dict[str, str]]:
    return [dict(frame.headers) for frame in broker.frames(command=command)]


@pytest.mark.parametrize("kind", CLASSES)
def test_each_class_speaks_its_version(kind: Any, broker: Broker) -> None:
    conn, heard = connected(kind, broker)
    assert heard.wait("connected")[0].headers.get("version", "1.0") == conn.version
    conn.subscribe(QUEUE, id="one" if conn.version != "1.0" else None, ack="client")
    conn.send(QUEUE, "a")
    (frame,) = heard.wait("message")
    if conn.version == "1.2":
        conn.ack(frame.headers["ack"], receipt="r")
    elif conn.version == "1.1":
        conn.ack(frame.headers["message-id"], frame.headers["subscription"], receipt="r")
    else:
        conn.ack(frame.headers["message-id"], receipt="r")
    assert heard.wait("receipt") == ["r"]
    assert not broker.unacknowledged(QUEUE)
    conn.unsubscribe(QUEUE if conn.version == "1.0" else "one")
    broker.wait_for(lambda: not broker.subscriptions)
    conn.disconnect()


def test_a_broker_that_speaks_an_older_version_only_will_do() -> None:
    with Broker(versions=("1.0",)) as broker:
        conn, heard = connected(stomp.Connection12, broker)
        conn.subscribe(QUEUE, id=1, ack="client")
        conn.send(QUEUE, "a")
        (frame,) = heard.wait("message")
        conn.ack(frame.headers["message-id"])
        broker.wait_for(lambda: not broker.unacknowledged(QUEUE))
        conn.disconnect()


def test_nack_takes_headers_and_a_message_id_will_do_for_its_ack_header(broker: Broker) -> None:
    conn, heard = connected(stomp.Connection12, broker)
    conn.subscribe(QUEUE, id=1, ack="client-individual")
    conn.send(QUEUE, "a")
    (frame,) = heard.wait("message")
    conn.nack(frame.headers["message-id"], requeue="false")
    heard.wait("message", 2)
    conn.disconnect()
    assert sent(broker, "NACK") == [{"id": frame.headers["ack"], "requeue": "false"}]


def test_an_acknowledgement_covers_what_came_before_it_and_is_sent_once(broker: Broker) -> None:
    conn, heard = connected(stomp.Connection11, broker)
    conn.subscribe(QUEUE, id=1, ack="client")
    for body in "abc":
        conn.send(QUEUE, body)
    frames = heard.wait("message", 3)
    for frame in (frames[1], frames[0], frames[1]):
        conn.ack(frame.headers["message-id"], 1)
    conn.ack(frames[2].headers["message-id"], "another subscription")
    conn.disconnect()
    assert [headers["message-id"] for headers in sent(broker, "ACK")] == [frames[1].headers["message-id"]]
    assert [message.text for message in broker.messages(QUEUE)] == ["c"]


def test_an_acknowledgement_of_an_older_connection_is_not_sent(broker: Broker) -> None:
    conn, heard = connected(stomp.Connection12, broker)
    conn.subscribe(QUEUE, id=1, ack="client-individual")
    conn.send(QUEUE, "a")
    (old,) = heard.wait("message")
    broker.drop_connections()
    new = heard.wait("message", 2)[1]
    conn.ack(old.headers["ack"] + "?")
    assert new.headers["ack"] != old.headers["ack"]
    conn.ack(old.headers["ack"])
    conn.ack(new.headers["ack"])
    conn.disconnect()
    assert [headers["id"] for headers in sent(broker, "ACK")] == [new.headers["ack"]]


def test_transactions(broker: Broker) -> None:
    conn, heard = connected(stomp.Connection12, broker)
    conn.subscribe(QUEUE, id=1, ack="client-individual")
    conn.send(QUEUE, "a")
    (frame,) = heard.wait("message")
    assert conn.begin("mine") == "mine"
    conn.ack(frame.headers["ack"], transaction="mine")
    conn.send("/queue/out", "never", transaction="mine")
    conn.abort("mine")
    assert broker.unacknowledged(QUEUE)
    name = conn.begin(some="header")
    conn.ack(frame.headers["ack"], transaction=name)
    conn.send("/queue/out", "sent", transaction=name)
    conn.commit(name, receipt="done")
    assert heard.wait("receipt") == ["done"]
    assert [message.text for message in broker.messages("/queue/out")] == ["sent"]
    assert not broker.unacknowledged(QUEUE)
    with pytest.raises(StompException, match=name):
        conn.commit(name)
    conn.disconnect()


def test_a_commit_returns_when_every_message_is_stored() -> None:
    """RabbitMQ answers COMMIT before it has stored what belongs to it."""
    with Broker(server_name="RabbitMQ/3.10.8") as broker:
        conn, heard = connected(stomp.Connection12, broker)
        broker.withhold_receipts("SEND")
        name = conn.begin()
        conn.send(QUEUE, "a", transaction=name)
        committing = threading.Thread(target=conn.commit, args=(name,), kwargs={"receipt": "done"})
        committing.start()
        broker.wait_for(lambda: broker.frames(command="RECEIPT", direction="out"))
        committing.join(0.2)
        assert committing.is_alive()
        broker.release_receipts()
        committing.join(15.0)
        assert not committing.is_alive()
        assert heard.wait("receipt") == ["done"]
        conn.disconnect()


def test_abort_hides_no_error(broker: Broker) -> None:
    """Programs abort in an ``except``: what they handle there must come out."""
    conn, heard = connected(stomp.Connection12, broker)
    committed, lost = conn.begin(), conn.begin()
    conn.commit(committed)
    conn.abort(committed)
    broker.drop_connections()
    heard.wait("connected", 2)
    for name in (lost, "never begun"):
        conn.abort(name)
    conn.disconnect()


def test_a_transaction_that_was_lost_raises(broker: Broker) -> None:
    conn, heard = connected(stomp.Connection12, broker)
    name = conn.begin()
    broker.drop_connections()
    heard.wait("connected", 2)
    with pytest.raises(ConnectionClosedException):
        conn.send(QUEUE, "a", transaction=name)
    with pytest.raises(ConnectionClosedException):
        conn.commit(name)
    conn.begin(name)
    conn.commit(name)
    conn.disconnect()
    assert not broker.messages(QUEUE)


def test_receipts_of_every_command(broker: Broker) -> None:
    conn, heard = connected(stomp.Connection12, broker)
    conn.subscribe(QUEUE, id=1, receipt="subscribed")
    conn.subscribe(QUEUE, id=1, receipt="subscribed again")
    conn.begin("t", receipt="begun")
    conn.send(QUEUE, "a", transaction="t", receipt="in it")
    conn.abort("t", receipt="aborted")
    conn.unsubscribe(1, receipt="unsubscribed")
    conn.unsubscribe(1, receipt="never")
    heard.wait("receipt", 6)
    conn.disconnect(receipt="bye")
    expected = {"subscribed", "subscribed again", "begun", "in it", "aborted", "unsubscribed", "bye"}
    assert set(heard.of("receipt")) == expected
    assert len(heard.of("receipt")) == len(expected)


def test_a_send_with_a_receipt_survives_a_loss(broker: Broker) -> None:
    conn, heard = connected(stomp.Connection12, broker)
    broker.drop_before("SEND")
    conn.send(QUEUE, "a", receipt="r")
    assert heard.wait("receipt") == ["r"]
    conn.disconnect()
    assert [message.text for message in broker.messages(QUEUE)] == ["a"]


def test_another_subscription_under_the_same_id_takes_its_place(broker: Broker) -> None:
    conn, _heard = connected(stomp.Connection12, broker)
    conn.subscribe(QUEUE, id=1)
    conn.subscribe("/queue/other", id=1)
    broker.wait_for(lambda: [each.destination for each in broker.subscriptions] == ["/queue/other"])
    conn.disconnect()


def test_connect_adds_headers_to_every_connection(broker: Broker) -> None:
    conn, heard = stomp.Connection12(hosts(broker), vhost="here", reconnect_sleep_initial=0.01), Heard()
    conn.set_listener("", heard)
    conn.connect("admin", "password", True, {"client-id": "me"}, with_connect_command=True, other="header")
    broker.drop_connections()
    heard.wait("connected", 2)
    conn.disconnect()
    for headers in sent(broker, "CONNECT"):
        assert headers.items() >= {"client-id": "me", "other": "header", "host": "here", "login": "admin"}.items()


def test_a_refused_login_raises_only_where_it_is_waited_for(broker: Broker) -> None:
    conn, heard = stomp.Connection(hosts(broker)), Heard()
    conn.set_listener("", heard)
    conn.connect("admin", "wrong")
    heard.wait("error")
    with pytest.raises(ConnectFailedException, match="refused") as caught:
        conn.connect("admin", "wrong", wait=True)
    assert "wrong" not in str(caught.value)
    assert not conn.is_connected()
    with pytest.raises(NotConnectedException):
        conn.send(QUEUE, "a")
    connect_and_subscribe(conn)
    conn.disconnect()


@pytest.mark.parametrize("wait", [False, True])
def test_a_broker_that_is_not_there(broker: Broker, wait: bool) -> None:
    broker.stop()
    conn = stomp.Connection(hosts(broker), reconnect_attempts_max=2, reconnect_sleep_initial=0.01)
    with pytest.raises(NotConnectedException):
        conn.send(QUEUE, "a")
    with pytest.raises(ConnectFailedException, match=str(broker.port)):
        conn.connect("admin", "password", wait=wait)
    with pytest.raises(ConnectFailedException):
        conn.transport.wait_for_connection()
    conn.disconnect()


def test_required_arguments_are_required(broker: Broker) -> None:
    conn = stomp.Connection12(hosts(broker))
    calls: list[Any] = [
        lambda: conn.send(None, "a"),  # type: ignore[arg-type]
        lambda: conn.send(QUEUE, None),  # type: ignore[arg-type]
        lambda: conn.subscribe(QUEUE, None),
        lambda: conn.unsubscribe(None),
        lambda: conn.ack(None),  # type: ignore[arg-type]
        lambda: conn.commit(),
        lambda: stomp.Connection10(hosts(broker)).unsubscribe(),
    ]
    for call in calls:
        with pytest.raises(AssertionError, match="required"):
            call()
    with pytest.raises(TypeError, match="string or bytes"):
        conn.send(QUEUE, {"a": 1})  # type: ignore[arg-type]
    with pytest.raises(NotConnectedException):
        conn.send_frame("GREET")


def test_the_transport_can_be_cut_and_waited_for(broker: Broker) -> None:
    conn, heard = connected(stomp.Connection12, broker)
    assert conn.transport.current_host_and_port == hosts(broker)[0]
    conn.transport.wait_for_connection(1.0)
    conn.transport.disconnect_socket()
    assert len(heard.of("disconnected")) == 1
    assert conn.transport.current_host_and_port is None
    conn.connect("admin", "password")
    conn.transport.stop()
    assert len(heard.of("disconnected")) == 2


def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    asked: list[tuple[Any, str]] = []

    def validator(certificate: Any, host: str) -> tuple[bool, str]:
        asked.append((certificate, host))
        return len(asked) > 1, "not at first"

    with Broker(ssl_context=context) as broker:
        conn = stomp.Connection12(hosts(broker), reconnect_attempts_max=1)
        conn.set_ssl(for_hosts=hosts(broker))
        with pytest.raises(ConnectFailedException):
            conn.connect()
        conn.set_ssl(for_hosts=hosts(broker), ca_certs=str(tmp_path / "ca.pem"), cert_validator=validator)
        with pytest.raises(ConnectFailedException, match="not at first"):
            conn.connect()
        conn.connect(wait=True)
        assert (conn.get_ssl() or {})["ca_certs"] == str(tmp_path / "ca.pem")
        conn.disconnect()
        conn.set_ssl(for_hosts=hosts(broker), verify=False)
        conn.connect(wait=True)
        conn.disconnect()
        # stomp.py forgets the broker when the receipt comes, which is after disconnect() has returned.
        assert (conn.get_ssl() or {})["verify"] is False
        assert conn.get_ssl(("elsewhere", 1)) is None
    assert asked[0][1] == "127.0.0.1"
    assert asked[0][0]["subject"]


def test_the_arguments_become_a_uri() -> None:
    defaults: dict[str, Any] = {
        "scheme": "tcp",
        "path": "",
        "prefer_localhost": True,
        "try_loopback_connect": True,
        "reconnect_sleep_initial": 0.1,
        "reconnect_sleep_increase": 0.5,
        "reconnect_sleep_jitter": 0.1,
        "reconnect_sleep_max": 60.0,
        "reconnect_attempts_max": 3,
        "timeout": 7,
        "keepalive": ("linux", 1, 2, 3),
    }
    uri = parse(broker_uri([("far", 1), ("localhost", 2), ("fe80::1", 3)], **defaults))
    assert [(each.host, each.port) for each in uri.brokers] == [("localhost", 2), ("far", 1), ("fe80::1", 3)]
    assert uri.options.startup_max_reconnect_attempts == 1
    assert uri.options.max_reconnect_attempts == -1
    assert not uri.options.randomize
    assert (uri.options.initial_reconnect_delay, uri.options.max_reconnect_delay) == (0.1, 60.0)
    assert (uri.options.reconnect_delay_exponent, uri.options.reconnect_delay_jitter) == (1.5, 0.01)
    assert {each.options.connection_timeout for each in uri.brokers} == {7.0}
    assert {each.options.keep_alive for each in uri.brokers} == {True}
    own = stomp.utils.LOCALHOST_NAMES[2]
    uri = parse(broker_uri([(own, 1)], **defaults | {"reconnect_attempts_max": -1}))
    assert [each.host for each in uri.brokers] == list(dict.fromkeys(["127.0.0.1", own.lower()]))
    assert uri.options.startup_max_reconnect_attempts == -1
    assert [str(each).partition("?")[0] for each in parse(broker_uri(None, **defaults)).brokers] == [
        "tcp://localhost:61613"
    ]


def test_frames_can_be_written_and_read_by_hand() -> None:
    frame = stomp.utils.Frame("SEND", {"b": 1, "a": ("x", "y"), "none": None, "content-length": 9}, "é")
    data = stomp.utils.pack(stomp.utils.convert_frame(frame))
    assert data == b"SEND\na:x\na:y\nb:1\ncontent-length:2\n\n\xc3\xa9\x00"
    read = stomp.utils.parse_frame(b"\n" + data[:-1])
    assert read is not None
    assert (read.cmd, read.headers["a"], read.body) == ("SEND", "x", "é".encode())
    assert stomp.utils.parse_frame(b"\n") is None
    assert stomp.utils.parse_headers(["MESSAGE", "a:1", "a:2", "b:\\c"], 1) == {"a": "1", "b": ":"}
    assert stomp.utils.convert_frame(stomp.utils.Frame(None)) == [b"\n", b"", b""]
    assert stomp.utils.calculate_heartbeats(("10000", "0"), (4000, 4000)) == (0, 10000)
    assert "secret" not in str(stomp.utils.Frame("CONNECT", {"passcode": "secret"}))


def test_acknowledgements_one_by_one_in_stomp_1_0_wait_for_their_turn(broker: Broker) -> None:
    """Programs ask brokers for that mode in 1.0, which has none where an ACK covers one message alone."""
    conn, heard = connected(stomp.Connection10, broker)
    conn.subscribe(QUEUE, ack="client-individual")
    for body in "abcd":
        conn.send(QUEUE, body)
    names = [frame.headers["message-id"] for frame in heard.wait("message", 4)]
    for name in (names[2], names[1], "unknown", names[2]):
        conn.ack(name)
    transaction = conn.begin()
    conn.ack(names[3], transaction=transaction)
    conn.commit(transaction)
    assert not sent(broker, "ACK")
    conn.ack(names[0])
    conn.disconnect()
    assert [headers["message-id"] for headers in sent(broker, "ACK")] == [names[2]]
    assert [message.text for message in broker.messages(QUEUE)] == ["d"]


def test_a_host_may_be_bytes(broker: Broker) -> None:
    places: Any = [(b"127.0.0.1", broker.port)]
    conn = stomp.Connection(places)
    conn.connect("admin", "password", wait=True)
    assert conn.is_connected()
    conn.disconnect()


def test_tls_settings_for_what_is_no_place_have_no_effect(broker: Broker) -> None:
    """Programs give their files in the place of ``for_hosts``; in stomp.py that does nothing, either."""
    conn = stomp.Connection(hosts(broker))
    conn.set_ssl(("/key.pem",), "/certificate.pem")
    conn.set_ssl("/key.pem")
    conn.connect("admin", "password", wait=True)
    conn.disconnect()


def test_a_listener_that_raises_in_on_send_prevents_the_send(broker: Broker) -> None:
    class Guard(stomp.ConnectionListener):
        def on_send(self, frame: Any) -> None:
            if frame.cmd == "SEND" and "tenant" not in frame.headers:
                raise ValueError("no tenant")

    conn, _ = connected(stomp.Connection12, broker)
    conn.set_listener("guard", Guard())
    with pytest.raises(ValueError, match="no tenant"):
        conn.send(QUEUE, "secret")
    conn.send(QUEUE, "public", tenant="a")
    conn.disconnect()
    assert [message.body for message in broker.messages(QUEUE)] == [b"public"]


@pytest.mark.parametrize("receipt", [{}, {"receipt": "r"}])
def test_a_broker_that_reads_slowly_holds_a_send_back(
    receipt: dict[str, str], broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in stomp.py, however long it takes: the connection is not lost."""
    monkeypatch.setattr("stomplistener.compat.stomp.life._TIMEOUT", 0.1)
    conn, _ = connected(stomp.Connection12, broker)
    conn.stomplistener.flush()
    broker.stop_reading()
    threading.Timer(1.0, broker.resume_reading).start()
    for _ in range(60):
        conn.send(QUEUE, "x" * 200_000, **receipt)
    broker.wait_for(lambda: len(broker.messages(QUEUE)) == 60)
    conn.disconnect()


def test_a_late_answer_to_commit_is_no_failure(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """stomp.py does not wait for it, and the program would repeat what the broker commits."""
    monkeypatch.setattr("stomplistener.compat.stomp.life._TIMEOUT", 0.1)
    conn, _ = connected(stomp.Connection12, broker)
    broker.answer_late(0.5, "COMMIT")
    name = conn.begin()
    conn.send(QUEUE, "once", transaction=name)
    conn.commit(name)
    broker.wait_for(lambda: len(broker.messages(QUEUE)) == 1)
    conn.disconnect()


def test_a_destination_names_a_subscription_that_has_an_id(broker: Broker) -> None:
    conn, _ = connected(stomp.Connection10, broker)
    conn.subscribe(QUEUE, id="x", ack="auto")
    broker.wait_for(lambda: broker.subscriptions)
    conn.unsubscribe(destination=QUEUE)
    broker.wait_for(lambda: not broker.subscriptions)
    conn.disconnect()


def test_a_surrogate_in_a_header_becomes_a_question_mark(broker: Broker) -> None:
    conn, _ = connected(stomp.Connection12, broker)
    conn.send(QUEUE, "a", file="caf\udce9.txt", town="Köln")
    broker.wait_for(lambda: broker.messages(QUEUE))
    headers = broker.messages(QUEUE)[0].headers
    assert (headers["file"], headers["town"]) == ("caf?.txt", "Köln")
    conn.disconnect()


def test_headers_may_be_long_and_many(broker: Broker) -> None:
    conn, heard = connected(stomp.Connection12, broker)
    conn.subscribe(QUEUE, id=1)
    broker.publish(QUEUE, "long", headers={"big": "x" * 300_000})
    broker.publish(QUEUE, "many", headers={f"h{number}": "1" for number in range(3000)})
    heard.wait("message", 2)
    assert heard.bodies == ["long", "many"]
    conn.disconnect()


def test_a_value_that_the_client_refuses_is_a_stomp_exception(broker: Broker) -> None:
    conn, _ = connected(stomp.Connection12, broker)
    with pytest.raises(StompException):
        conn.subscribe(QUEUE, id=1, ack="Auto")
    conn.begin("t")
    with pytest.raises(StompException):
        conn.begin("t")
    conn.disconnect()


def test_client_individual_is_client_on_a_broker_that_agrees_on_1_0(broker: Broker) -> None:
    with Broker(versions=("1.0",)) as old:
        conn, _ = connected(stomp.Connection11, old)
        conn.subscribe(QUEUE, id=1, ack="client-individual")
        conn.disconnect()
        assert [headers["ack"] for headers in sent(old, "SUBSCRIBE")] == ["client"]
