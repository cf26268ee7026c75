"""The scenarios of failover that speak of connecting: which broker, when, and when no more."""

from __future__ import annotations

import gc
import logging
import random
import socket
import time
from itertools import accumulate, islice, pairwise
from typing import Any

import pytest
from client_support import (
    QUEUE,
    QUICK,
    Dialer,
    Recorder,
    ScriptedServer,
    eventually,
    failover,
    in_thread,
    own_threads,
    reconnected,
    refusing_port,
    sockets,
)

from stomplistener import (
    ConnectFailed,
    Connection,
    ConnectionState,
    InvalidURI,
    Limits,
    Message,
    NotConnected,
    StompError,
    TimedOut,
)
from stomplistener.failover import Schedule, parse
from stomplistener.testing import Broker
from stomplistener.transport import Transport, connect

WELL_FORMED = {
    "tcp://mq1:61613": ["mq1:61613"],
    "failover:tcp://mq1:61613": ["mq1:61613"],
    "failover:(tcp://a:61613,ssl://b:61614)?randomize=false&timeout=3000": ["a:61613", "b:61614"],
    "failover://(tcp://a:1,tcp://b:2)?backup=true": ["a:1", "b:2"],
    "failover:tcp://a:1,tcp://b:2?randomize=false": ["a:1", "b:2"],
    "failover:(tcp://a:1,tcp://b:2)?randomize=false,maxReconnectAttempts=3": ["a:1", "b:2"],
    "failover:(tcp://a:1?connectionTimeout=2000,tcp://b:2)?nested.connectionTimeout=5000": ["a:1", "b:2"],
    "tcp://a:1?randomize=true,maxReconnectAttempts=-1": ["a:1"],
    "failover:(tcp://a:1,tcp://a:1)": ["a:1"],
    "tcp://user:secret@a:1/vhost": ["a:1"],
    "tcp://[::1]:61613": ["::1:61613"],
}
MALFORMED = """
    failover:(tcp://a:1|failover:tcp://a:1)|failover:)tcp://a:1(|failover:((tcp://a:1))|failover:(tcp://a:1)junk
    failover:(tcp://a:1)(tcp://b:2)|failover:(tcp://a:1)/path?randomize=true|failover:(tcp://a:1)#x|failover:
    failover:()|failover:(,tcp://a:1)|failover:(tcp://a:1,,tcp://b:2)|failover:(tcp://a:1,)
    failover:(tcp://a:1)?randomize=1|failover:(tcp://a:1)?randomize=yes|failover:(tcp://a:1)?randomize=True
    failover:(tcp://a:1)?randomize=|failover:(tcp://a:1)?randomize|failover:(tcp://a:1)?&timeout=1&&
    failover:(tcp://a:1)?maxReconnectAttempts=abc|failover:(tcp://a:1)?maxReconnectAttempts=1.5
    failover:(tcp://a:1)?maxReconnectAttempts=-2|failover:(tcp://a:1)?initialReconnectDelay=-1
    failover:(tcp://a:1)?reconnectDelayExponent=0.5|failover:(tcp://a:1)?reconnectDelayExponent=nan
    failover:(tcp://a:1)?reconnectDelayExponent=inf|failover:(tcp://a:1)?nonsense=1|failover:(tcp://a:1)?Randomize=true
    failover:(tcp://a:1)?timeout=1&timeout=2|tcp://a|tcp://a:0|tcp://a:99999|tcp://a:x|tcp://:1|gopher://a:1|a:1
    failover:(failover:(tcp://a:1),tcp://c:3)
"""


def test_scenario_01_each_row_of_the_uri_tables_without_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("parsing is pure")

    for name in ("socket", "getaddrinfo", "create_connection", "gethostbyname"):
        monkeypatch.setattr(socket, name, never)
    for uri, brokers in WELL_FORMED.items():
        assert [f"{each.host}:{each.port}" for each in Connection(uri)._config.uri.brokers] == brokers, uri
    malformed = [uri.strip() for line in MALFORMED.strip().splitlines() for uri in line.split("|")]
    assert len(malformed) >= 37
    for uri in [*malformed, "", "tcp://a:1 ", "tcp://a:1\n", "tcp://a\t:1"]:
        with pytest.raises(InvalidURI):
            Connection(uri)


def test_scenario_02_fresh_clients_choose_either_of_two_brokers() -> None:
    with Broker() as one, Broker() as two:
        for _ in range(40):
            with Connection(f"failover:({one.uri},{two.uri})"):
                pass
        shuffled = one.connection_count, two.connection_count
        assert sum(shuffled) == 40
        # Each would be left out once in 2 ** 40 runs.
        assert min(shuffled) > 0
        for _ in range(10):
            with Connection(failover(one.uri, two.uri)):
                pass
        assert two.connection_count == shuffled[1]


def test_scenario_03_three_passes_at_the_start_and_then_the_reason_of_each() -> None:
    recorder, dialer = Recorder(), Dialer()
    with refusing_port() as one, refusing_port() as two:
        options = "startupMaxReconnectAttempts=3&initialReconnectDelay=100"
        connection = Connection(failover(one, two, options=options), transport=dialer)
        connection.add_listener(recorder)
        with pytest.raises(ConnectFailed) as failed:
            connection.connect()
    assert [name for name, _ in failed.value.attempts] == [one, two]
    assert one in str(failed.value)
    assert two in str(failed.value)
    assert len(dialer.tried) == 6
    passes = [at - dialer.times[0] for at in dialer.times[::2]]
    assert passes[1] >= 0.1
    assert passes[2] - passes[1] >= 0.2
    eventually(lambda: recorder.count("connecting") == 6, "the announcements")
    assert recorder.args("reconnecting") == [(2, 0.1), (3, 0.2)]
    assert connection.state is ConnectionState.CLOSED


def test_scenario_04_the_only_pass_tries_the_second_broker(broker: Broker) -> None:
    options = "maxReconnectAttempts=0&startupMaxReconnectAttempts=0"
    with refusing_port() as dead, Connection(failover(dead, broker.uri, options=options)) as connection:
        connection.send(QUEUE, "x", confirm=True)
    assert [m.text for m in broker.messages(QUEUE)] == ["x"]


def test_scenario_05_a_limit_of_zero_makes_a_loss_final() -> None:
    recorder, dialer = Recorder(), Dialer()
    states: list[ConnectionState] = []
    with Broker() as one, Broker() as two:
        connection = Connection(failover(one.uri, two.uri, options="maxReconnectAttempts=0"), transport=dialer)
        connection.add_listener(recorder)
        context = connection._engine.context
        move = context.move
        context.move = lambda state: (states.append(state), move(state))  # type: ignore[func-returns-value,assignment,method-assign]
        connection.connect()
        one.stop()
        assert connection.wait(5)
        for call in (
            lambda: connection.send(QUEUE, "x"),
            lambda: connection.send(QUEUE, "x", confirm=True),
            lambda: connection.send_async(QUEUE, "x"),
            lambda: connection.transaction().begin(),
        ):
            with pytest.raises(StompError, match="lost"):
                call()
        eventually(lambda: "disconnected" in recorder.names, "the one event")
        assert recorder.names == ["connecting", "connected", "disconnected"]
        assert len(dialer.tried) == 1
        assert ConnectionState.SUSPENDED not in states
        assert two.connection_count == 0


def test_scenario_05_run_forever_tells_that_the_loss_was_final(broker: Broker) -> None:
    connection = Connection(failover(broker.uri, options="maxReconnectAttempts=0"))
    running = in_thread(connection.run_forever)
    eventually(lambda: connection.is_connected, "the connection")
    broker.drop_connections()
    running.done()
    assert isinstance(running.error, StompError)
    assert "lost" in str(running.error)


def test_scenario_06_the_start_is_not_delayed_and_a_loss_is() -> None:
    with Broker() as one, Broker() as two:
        begin = time.monotonic()
        with Connection(failover(one.uri, two.uri, options="initialReconnectDelay=1500")) as connection:
            assert time.monotonic() - begin < 1.4
            one.stop()
            lost = time.monotonic()
            eventually(lambda: connection.state is ConnectionState.SUSPENDED, "the loss")
            connection.send(QUEUE, "waits")
            assert time.monotonic() - lost >= 1.4
            assert time.monotonic() - lost < 5
            connection.flush()
            two.wait_for(lambda: two.depth(QUEUE) == 1)
        assert one.depth(QUEUE) == 0


TIMED = "failover:(tcp://a:1)?initialReconnectDelay=100&maxReconnectDelay=1000"


class LoadedDice(random.Random):
    """Always throws the same share of what is asked for."""

    def __init__(self, share: float) -> None:
        super().__init__(3)
        self._share = share

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self._share


def test_scenario_07_exactly_these_times() -> None:
    def times(options: str, *, outage: bool, factor: float = 0.0) -> list[int]:
        uri = parse(TIMED + options)
        dice = LoadedDice(factor)
        schedule = Schedule(uri, random=dice)
        attempts = schedule.outage(uri.brokers[0], lived=60) if outage else schedule.start()
        return [round(at * 1000) for at in accumulate(each.delay for each in islice(attempts, 6))]

    assert times("", outage=False) == [0, 100, 300, 700, 1500, 2500]
    assert times("", outage=True) == [100, 300, 700, 1500, 2500, 3500]
    assert times("&useExponentialBackOff=false", outage=True) == [100, 200, 300, 400, 500, 600]
    # The jitter is added to each wait and never to what grows, and the cap holds for both together.
    assert times("&reconnectDelayJitter=50", outage=True, factor=0.0) == times("", outage=True)
    assert times("&reconnectDelayJitter=50", outage=True, factor=1.0) == [150, 400, 850, 1700, 2700, 3700]


def test_scenario_08_count_and_delay_are_per_outage(broker: Broker) -> None:
    failures = [0]

    def refuse(_broker: str) -> bool:
        failures[0] -= 1
        return failures[0] >= 0

    recorder = Recorder()
    options = "maxReconnectAttempts=3&initialReconnectDelay=20"
    with Connection(failover(broker.uri, options=options), transport=Dialer(refuse)) as connection:
        connection.add_listener(recorder)
        for times in (1, 2):
            failures[0] = 2
            # The connection lasted, without a second's wait here.
            connection._engine.context.ready_since -= 60
            broker.drop_connections()
            reconnected(connection, times)
        eventually(lambda: recorder.count("connected") == 2, "the end of the second outage")
        assert recorder.args("reconnecting") == [(1, 0.02), (2, 0.04), (3, 0.08)] * 2
        assert connection.is_connected


def test_scenario_09_the_broker_just_lost_is_last_in_the_next_pass() -> None:
    with Broker() as a, Broker() as b, Broker() as c:
        a.refuse_connections()
        dialer = Dialer()
        with Connection(failover(a.uri, b.uri, c.uri), transport=dialer) as connection:
            assert dialer.ports == [a.port, b.port]
            c.refuse_connections()
            b.drop_connections()
            reconnected(connection)
            assert dialer.ports[2:5] == [a.port, c.port, b.port]


def test_scenario_10_a_thousand_failed_passes_leave_everything_flat(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "stomplistener")  # records that pytest keeps would count as memory
    dialer = Dialer(lambda _name: down)
    down = False
    options = "initialReconnectDelay=0&useExponentialBackOff=false&warnAfterReconnectAttempts=0"
    with Connection(failover(broker.uri, options=options), transport=dialer) as connection:
        down = True
        broker.drop_connections()
        eventually(lambda: len(dialer.tried) > 200, "two hundred passes", 30)
        tracemalloc = pytest.importorskip("tracemalloc", reason="this interpreter counts no memory")
        tracemalloc.start()
        try:
            gc.collect()
            before = len(own_threads("stomp-")), sockets(), tracemalloc.get_traced_memory()[0]
            eventually(lambda: len(dialer.tried) > 1200, "a thousand passes more", 30)
            gc.collect()
            threads, descriptors, memory = len(own_threads("stomp-")), sockets(), tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert (threads, descriptors) == before[:2]
        # What the test itself notes is the bulk of it.
        assert memory - before[2] < 500_000
        assert connection.state is ConnectionState.SUSPENDED
        down = False
        connection.send(QUEUE, "still trying", confirm=True)


@pytest.mark.parametrize("kind", ["accepts and closes", "welcomes and closes"])
def test_scenario_11_attempts_thin_out(broker: Broker, kind: str) -> None:
    if kind == "accepts and closes":
        broker.accept_and_close(10_000)
    else:
        broker.connected_then_close(10_000)
    recorder = Recorder()
    connection = Connection(failover(broker.uri, options="initialReconnectDelay=10"))
    connection.add_listener(recorder)
    begin = time.monotonic()
    connecting = in_thread(connection.connect)
    try:
        eventually(lambda: len(recorder.args("reconnecting")) >= 8, "eight waits")
        delays = [delay for _attempt, delay in recorder.args("reconnecting")][:8]
        assert delays == [0.01 * 2**n for n in range(8)]
        assert time.monotonic() - begin >= sum(delays[:7])
        # One connection for each wait, and none without.
        assert broker.connection_count <= len(recorder.args("reconnecting")) + 1
    finally:
        connection.close()
        connecting.done()


def test_scenario_12_a_silent_broker_is_left_after_the_time_limit(broker: Broker) -> None:
    with ScriptedServer(lambda sock, _number: sock.recv(10_000) and sock.recv(1)) as silent:
        options = "connectionTimeout=200"
        begin = time.monotonic()
        with Connection(failover(f"{silent.uri}?{options}", broker.uri)) as connection:
            assert time.monotonic() - begin >= 0.19
            assert connection.is_connected
            eventually(lambda: silent.open == 0, "the end of the half-open connection")
        assert silent.connections == 1


def test_scenario_12_never_two_half_open_sockets() -> None:
    opened: list[Counted] = []

    class Counted:
        """A transport that tells whether it was closed."""

        def __init__(self, transport: Transport) -> None:
            self.closed = False
            self._transport = transport

        def __getattr__(self, name: str) -> object:
            return getattr(self._transport, name)

        def close(self) -> None:
            self._transport.close()
            self.closed = True

    def dial(*args: Any, **kwargs: Any) -> Any:
        assert all(each.closed for each in opened)
        opened.append(Counted(connect(*args, **kwargs)))
        return opened[-1]

    with ScriptedServer(lambda sock, _number: sock.recv(10_000) and sock.recv(1)) as silent:
        uri = failover(f"{silent.uri}?connectionTimeout=100", options="initialReconnectDelay=1&maxReconnectDelay=1")
        connection = Connection(uri, transport=dial)
        with pytest.raises(TimedOut, match="CONNECT"):
            connection.connect(timeout=0.9)
        assert len(opened) >= 3
        assert all(each.closed for each in opened)
        assert silent.connections == len(opened)


def test_scenario_13_a_refused_login_ends_the_start_and_not_an_outage() -> None:
    with Broker(login="app", passcode="right") as one, Broker(login="app", passcode="right") as two:
        uri = f"failover:(tcp://127.0.0.1:{one.port},tcp://127.0.0.1:{two.port})?maxReconnectAttempts=-1"
        begin = time.monotonic()
        with pytest.raises(ConnectFailed, match="access refused"):
            Connection(uri, "app", "wrong").connect()
        assert time.monotonic() - begin < 5
        assert (one.connection_count, two.connection_count) == (1, 1)

        passcode = "right"

        def login(options: object) -> None:
            options.passcode = passcode  # type: ignore[attr-defined]

        recorder = Recorder()
        uri = f"failover:(tcp://127.0.0.1:{one.port})?initialReconnectDelay=1&maxReconnectDelay=20"
        with Connection(uri, "app", before_connect=login) as connection:
            connection.add_listener(recorder)
            passcode = "wrong"
            one.drop_connections()
            eventually(lambda: recorder.count("error") >= 3, "three refusals, each reported")
            assert connection.state is ConnectionState.SUSPENDED
            passcode = "right"
            reconnected(connection)


def test_scenario_13_a_broker_that_is_away_keeps_the_start_trying() -> None:
    with Broker(login="app", passcode="right") as refusing, refusing_port() as dead:
        uri = f"failover:({dead},tcp://127.0.0.1:{refusing.port})?randomize=false&startupMaxReconnectAttempts=3"
        with pytest.raises(ConnectFailed, match="access refused") as failed:
            Connection(uri, "app", "wrong").connect()
        # All that answered said no: asking again would only repeat it.
        assert refusing.connection_count == 1
        assert [name for name, _ in failed.value.attempts] == [dead, f"tcp://127.0.0.1:{refusing.port}"]


@pytest.mark.parametrize("confirm", [False, True])
def test_scenario_14_the_timeout_of_the_uri_bounds_a_send(broker: Broker, confirm: bool) -> None:
    with Connection(failover(broker.uri, options="timeout=1000&initialReconnectDelay=1")) as connection:
        connection.subscribe("/queue/other", print, confirm=True)
        broker.stop()
        eventually(lambda: connection.state is ConnectionState.SUSPENDED, "the loss")
        begin = time.monotonic()
        with pytest.raises(TimedOut, match="nothing was written"):
            connection.send(QUEUE, "never", confirm=confirm)
        assert 0.99 <= time.monotonic() - begin < 3
        # The call's own time wins where it is shorter.
        begin = time.monotonic()
        with pytest.raises(TimedOut):
            connection.send(QUEUE, "never either", confirm=confirm, timeout=0.1)
        assert time.monotonic() - begin < 0.9
        broker.start()
        reconnected(connection)
        connection.send(QUEUE, "next", confirm=True)
        assert [m.text for m in broker.messages(QUEUE)] == ["next"]


def test_scenario_14_the_timeout_of_the_uri_leaves_connecting_alone() -> None:
    with Broker() as late:
        late.refuse_connections()
        options = "timeout=100&initialReconnectDelay=10&maxReconnectDelay=20"
        connection = Connection(failover(late.uri, options=options))
        recorder = Recorder()
        connection.add_listener(recorder)
        connecting = in_thread(connection.connect)
        eventually(lambda: recorder.count("reconnecting") >= 15, "attempts past the timeout")
        late.accept_connections()
        assert connecting.value() is connection
        connection.disconnect()


@pytest.mark.parametrize("hangs", [False, True])
def test_scenario_16_close_ends_an_outage_at_once(broker: Broker, hangs: bool) -> None:
    before = sockets()
    with ScriptedServer(lambda sock, _number: sock.recv(10_000) and sock.recv(1)) as silent:
        listening = sockets() - before
        uris = (broker.uri, silent.uri) if hangs else (broker.uri,)
        connection = Connection(failover(*uris, options="initialReconnectDelay=5000" if not hangs else "timeout=0"))
        connection.connect()
        broker.stop()
        if hangs:
            eventually(lambda: silent.open == 1, "the connect that hangs")
        else:
            eventually(lambda: connection.state is ConnectionState.SUSPENDED, "the loss")
        senders = [
            in_thread(lambda: connection.send(QUEUE, "x", timeout=None)),
            in_thread(lambda: connection.send(QUEUE, "x", confirm=True, timeout=None)),
            in_thread(lambda: connection.transaction().begin(timeout=None)),
            in_thread(lambda: connection.subscribe(QUEUE, print, confirm=True, timeout=None)),
        ]
        future = connection.send_async(QUEUE, "x")
        eventually(lambda: connection.statistics().unconfirmed >= 1, "a sender that waits")
        begin = time.monotonic()
        connection.close()
        assert time.monotonic() - begin < 1.0
        assert own_threads(f"{connection._config.name}-receiver") == []
        for sender in senders:
            sender.done()
            assert isinstance(sender.error, NotConnected), sender.error
        with pytest.raises(StompError, match="closed"):
            future.result(5)
        eventually(lambda: silent.open == 0, "the end of the half-open connection")
        eventually(lambda: sockets() <= before + listening, "the end of all sockets")
        assert own_threads(f"{connection._config.name}-") == []
        with pytest.raises(NotConnected):
            connection.send(QUEUE, "x")


def test_scenario_16_close_wakes_a_start_that_waits() -> None:
    with refusing_port() as dead:
        connection = Connection(failover(dead, options="initialReconnectDelay=60000&maxReconnectDelay=60000"))
        recorder = Recorder()
        connection.add_listener(recorder)
        connecting = in_thread(connection.connect)
        eventually(lambda: recorder.count("reconnecting") == 1, "the wait")
        begin = time.monotonic()
        connection.close()
        connecting.done()
        assert time.monotonic() - begin < 1.0
        assert isinstance(connecting.error, NotConnected)


def test_delays_are_kept_over_connections_that_do_not_last(broker: Broker) -> None:
    """A start's delay goes on in the outage that follows at once."""
    recorder = Recorder()
    broker.connected_then_close(3)
    connection = Connection(failover(broker.uri, options="initialReconnectDelay=10"))
    connection.add_listener(recorder)
    with connection:
        eventually(lambda: recorder.count("connected") == 4, "a connection that lasts")
        delays = [delay for _pass, delay in recorder.args("reconnecting")]
        assert all(later == 2 * earlier for earlier, later in pairwise(delays))


def test_a_warning_of_being_not_connected_ends_at_its_own_level(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "stomplistener")
    with Connection(failover(broker.uri)) as connection:
        broker.refuse_connections()
        broker.drop_connections()
        eventually(lambda: "not connected, pass 1 failed" in caplog.text, "the warning")
        broker.accept_connections()
        reconnected(connection)
        eventually(lambda: ": connected, pass " in caplog.text, "its end")
        broker.drop_connections()
        reconnected(connection, 2)
    assert caplog.messages[-1].count("was lost") == 1, "nothing was told that would have to end"
    assert sum(": connected, pass " in text for text in caplog.messages) == 1


def test_an_attempt_is_told_once_whether_its_pass_is_warned_of_or_not(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stomplistener")
    with Connection(failover(broker.uri, options=f"{QUICK}&warnAfterReconnectAttempts=3")) as connection:
        broker.refuse_connections()
        broker.drop_connections()
        eventually(lambda: "not connected, pass 3 failed" in caplog.text, "the second warning")
        broker.accept_connections()
        reconnected(connection)
    refused = [record.levelname for record in caplog.records if "Connection refused" in record.getMessage()]
    assert refused[:3] == ["WARNING", "INFO", "WARNING"]


TWO = "tcp://127.0.0.1:1,tcp://127.0.0.1:2"


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("tcp://127.0.0.1:1", []),
        (f"failover:({TWO})?startupMaxReconnectAttempts=0", []),
        (f"failover:({TWO})?maxReconnectAttempts=2&{QUICK}", ["WARNING"]),
        (f"failover:({TWO})?maxReconnectAttempts=2&{QUICK}&warnAfterReconnectAttempts=-1", ["INFO", "INFO"]),
    ],
    ids=["one broker", "two", "two passes", "without warnings"],
)
def test_a_first_connect_that_fails_is_told_by_its_exception_and_not_by_the_log(
    uri: str, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Of several passes the last one is told by the exception, and the log tells those before."""
    caplog.set_level(logging.INFO, "stomplistener")
    with pytest.raises(ConnectFailed, match="Connection refused"):
        Connection(uri).connect(timeout=10)
    assert [record.levelname for record in caplog.records] == told


def test_a_refused_login_is_told_by_its_exception_and_not_by_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stomplistener")
    with Broker(login="joe", passcode="s3cret") as broker:
        for uri in (f"tcp://127.0.0.1:{broker.port}", f"failover:(tcp://127.0.0.1:{broker.port},tcp://127.0.0.1:1)"):
            with pytest.raises(ConnectFailed, match="refused the login"):
                Connection(uri, "joe", "wrong").connect(timeout=10)
    assert caplog.messages == []


def test_a_broker_that_is_skipped_is_told(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stomplistener")
    with Connection(failover("tcp://127.0.0.1:1", broker.uri)):
        pass
    first, second = caplog.messages[:2]
    assert "tcp://127.0.0.1:1: cannot connect" in first
    assert "connected to" in second


@pytest.mark.parametrize(
    ("headers", "limits"),
    [({}, Limits(max_body=100)), ({str(number): "x" for number in range(50)}, Limits(max_headers=40))],
    ids=["max_body", "max_headers"],
)
def test_a_message_that_breaks_a_limit_on_each_connection_is_one_error_with_the_number(
    broker: Broker, caplog: pytest.LogCaptureFixture, headers: dict[str, str], limits: Limits
) -> None:
    """It comes again behind the replayed SUBSCRIBE, so that most connections end before they are ready."""
    caplog.set_level(logging.ERROR, "stomplistener")
    with Connection(failover(broker.uri), limits=limits) as connection:
        connection.subscribe(QUEUE, print, ack="client-individual")
        broker.publish(QUEUE, bytes(1000), headers)
        eventually(lambda: len(broker.frames(command="CONNECT")) > 6, "connections that end alike")
        connection.close()
    [told] = caplog.messages
    assert "3 connections in a row ended by the same offence: a frame exceeds Limits." in told


def test_a_message_whose_connection_is_lost_is_not_told_to_be_rejected(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "stomplistener")

    def fail(message: Message) -> None:
        if not message.redelivered:
            broker.drop_connections()
            reconnected(connection)
            raise LookupError("no such item")

    with Connection(failover(broker.uri)) as connection:
        connection.subscribe(QUEUE, fail, settle=True, confirm=True)
        broker.publish(QUEUE, "x")
        broker.wait_for(lambda: not broker.messages(QUEUE) and not broker.unacknowledged(QUEUE), what="the second try")
    [told] = [text for text in caplog.messages if "LookupError" in text or "raised on" in text]
    assert told.endswith("its connection is lost, so the broker delivers it again")
