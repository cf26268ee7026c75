"""Every row of the tables of broker URIs: what a URI means, what is refused and where, and what is never shown."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import stomplistener.failover as failover_package
from stomplistener.errors import InvalidURI
from stomplistener.failover import Broker, BrokerOptions, BrokerURI, FailoverOptions, parse

SECRET = "Pa55-W0rd"


@pytest.fixture(autouse=True)
def _no_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("parsing must not touch the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "socket", refuse)


def tcp(host: str, port: int, **options: Any) -> Broker:
    return Broker(scheme="tcp", host=host, port=port, options=BrokerOptions(**options))


A, B = tcp("a", 1), tcp("b", 2)


def failover(*brokers: Broker, **options: Any) -> BrokerURI:
    return BrokerURI(brokers=brokers, options=FailoverOptions(**options))


def plain(broker: Broker, **options: Any) -> BrokerURI:
    options = {"startup_max_reconnect_attempts": 0} | options
    return BrokerURI(brokers=(broker,), options=FailoverOptions(**options), is_failover=False)


MEANINGS = {
    "plain": ("tcp://mq1:61613", plain(tcp("mq1", 61613))),
    "one broker": ("failover:tcp://mq1:61613", failover(tcp("mq1", 61613))),
    "normal form": (
        "failover:(tcp://a:61613,ssl://b:61614)?randomize=false&timeout=3000",
        failover(tcp("a", 61613), Broker(scheme="ssl", host="b", port=61614), randomize=False, timeout=3.0),
    ),
    "two slashes": ("failover://(tcp://a:1,tcp://b:2)?backup=true", failover(A, B, backup=True)),
    "two slashes, no brackets": ("failover://tcp://a:1,tcp://b:2", failover(A, B)),
    "no brackets": ("failover:tcp://a:1,tcp://b:2?randomize=false", failover(A, B, randomize=False)),
    "commas between options": (
        "failover:(tcp://a:1,tcp://b:2)?randomize=false,maxReconnectAttempts=3",
        failover(A, B, randomize=False, max_reconnect_attempts=3),
    ),
    "own and nested option": (
        "failover:(tcp://a:1?connectionTimeout=2000,tcp://b:2)?nested.connectionTimeout=5000",
        failover(
            tcp("a", 1, connection_timeout=5.0),
            tcp("b", 2, connection_timeout=5.0),
            nested=(("connection_timeout", 5.0),),
        ),
    ),
    "failover options on a plain URI": (
        "tcp://a:1?randomize=true,maxReconnectAttempts=-1",
        plain(A, randomize=True, max_reconnect_attempts=-1),
    ),
}

RULES = {
    "1, comma in a value": (
        "failover:(tcp://a:1,tcp://b:2)?priorityURIs=tcp://a:1,tcp://b:2&backup=true",
        failover(A, B, priority_uris=(A, B), backup=True),
    ),
    "1, comma ends a value": (
        "failover:(tcp://a:1,tcp://b:2)?priorityURIs=tcp://b:2,tcp://a:1,backup=true",
        failover(A, B, priority_uris=(B, A), backup=True),
    ),
    "1, value percent-encoded": (
        "failover:(tcp://a:1,tcp://b:2)?priorityURIs=tcp%3A%2F%2Fb%3A2%2Ctcp://a:1",
        failover(A, B, priority_uris=(B, A)),
    ),
    "1, commas between a broker's options": (
        "failover:(tcp://a:1?connectionTimeout=2000,keepAlive=false,tcp://b:2)",
        failover(tcp("a", 1, connection_timeout=2.0, keep_alive=False), B),
    ),
    "2, all names are the failover's": (
        "failover:tcp://a:1,tcp://b:2?priorityURIs=tcp://b:2,tcp://a:1,backup=true",
        failover(A, B, priority_uris=(B, A), backup=True),
    ),
    "2, all names are the broker's": (
        "failover:tcp://a:1,tcp://b:2?tcpNoDelay=false&keepAlive=false",
        failover(A, tcp("b", 2, tcp_no_delay=False, keep_alive=False)),
    ),
    "2, one query each": (
        "failover:tcp://a:1?keepAlive=false,tcp://b:2?randomize=false",
        failover(tcp("a", 1, keep_alive=False), B, randomize=False),
    ),
    "3, nested for the preferred ones": (
        "failover:(tcp://a:1)?nested.keepAlive=false&priorityURIs=tcp://a:1",
        failover(
            tcp("a", 1, keep_alive=False),
            priority_uris=(tcp("a", 1, keep_alive=False),),
            nested=(("keep_alive", False),),
        ),
    ),
    "no broker, but a file of them": ("failover:()?updateURIsURL=/etc/mq", failover(update_uris_url="/etc/mq")),
    "exact repeat": ("failover:(tcp://a:1,tcp://b:2,stomp://A:1)", failover(A, B)),
    "repeat with another option": (
        "failover:(tcp://a:1,tcp://a:1?keepAlive=false)",
        failover(A, tcp("a", 1, keep_alive=False)),
    ),
    "both kinds of option on a plain URI": (
        "tcp://a:1?keepAlive=false&startupMaxReconnectAttempts=-1",
        plain(tcp("a", 1, keep_alive=False), startup_max_reconnect_attempts=-1),
    ),
}

BROKERS = {
    "IPv6": ("tcp://[::1]:61613", tcp("::1", 61613)),
    "IPv6 with zone": ("tcp://[fe80::1%25eth0]:1", tcp("fe80::1%eth0", 1)),
    "IPv4": ("tcp://127.0.0.1:1", tcp("127.0.0.1", 1)),
    "name beyond ASCII": ("tcp://bücher.example:1", tcp("bücher.example", 1)),
    "final slash": ("tcp://a:1/", A),
    "capitals": ("TCP://A:1", A),
    "stomp": ("stomp://a:1", A),
    "ssl": ("ssl://a:1", Broker(scheme="ssl", host="a", port=1)),
    "stomp+ssl": ("stomp+ssl://a:1", Broker(scheme="ssl", host="a", port=1)),
    "ws": ("ws://a:80/x/y%20z", Broker(scheme="ws", host="a", port=80, path="/x/y%20z")),
    "wss without path": ("wss://a:443", Broker(scheme="wss", host="a", port=443, path="/")),
    "unix": ("unix:///run/my%20mq", Broker(scheme="unix", path="/run/my mq")),
    "login and virtual host": (
        f"tcp://user:{SECRET}@a:1/vhost",
        Broker(scheme="tcp", host="a", port=1, login="user", passcode=SECRET, virtual_host="vhost"),
    ),
    "percent-encoded": (
        "tcp://u%3Aser:p%40ss%2C+@a:1/%2F",
        Broker(scheme="tcp", host="a", port=1, login="u:ser", passcode="p@ss,+", virtual_host="/"),
    ),
    "login alone": ("tcp://user@a:1", Broker(scheme="tcp", host="a", port=1, login="user")),
    "empty passcode": ("tcp://user:@a:1", Broker(scheme="tcp", host="a", port=1, login="user", passcode="")),
    "TLS options": (
        f"ssl://a:1?caFile=/ca&certFile=/crt&keyFile=/key&keyPassword={SECRET}&verifyHostname=false",
        Broker(
            scheme="ssl",
            host="a",
            port=1,
            options=BrokerOptions(
                ca_file="/ca", cert_file="/crt", key_file="/key", key_password=SECRET, verify_hostname=False
            ),
        ),
    ),
    "proxy": (
        f"tcp://a:1?proxy=http%3A%2F%2Fu%3A{SECRET}%40proxy%3A3128",
        tcp("a", 1, proxy=f"http://u:{SECRET}@proxy:3128"),
    ),
    "proxy of the environment": ("tcp://a:1?proxy=env", tcp("a", 1, proxy="env")),
}


@pytest.mark.parametrize(("uri", "meaning"), [*MEANINGS.values(), *RULES.values()], ids=[*MEANINGS, *RULES])
def test_a_uri_means(uri: str, meaning: BrokerURI) -> None:
    assert parse(uri) == meaning


@pytest.mark.parametrize("uri", ["tcp://a:1", "failover:(tcp://a:1)", "failover:tcp://a:1?randomize=false"])
def test_defaults_hold_where_the_uri_says_nothing(uri: str) -> None:
    options = parse(uri, {"reconnect_delay_jitter": 1.0, "randomize": True}).options
    assert (options.reconnect_delay_jitter, options.randomize) == (1.0, "randomize=false" not in uri)
    assert options.startup_max_reconnect_attempts == parse(uri).options.startup_max_reconnect_attempts


@pytest.mark.parametrize(("uri", "broker"), BROKERS.values(), ids=BROKERS)
def test_a_broker_means(uri: str, broker: Broker) -> None:
    assert parse(uri) == plain(broker)
    assert parse(f"failover:({uri},tcp://last:9)").brokers == (broker, tcp("last", 9))


_ONE = "failover:(tcp://a:1)?"
MALFORMED = {
    "space": ("failover:(tcp://a:1, tcp://b:2)", "space"),
    "space before": (" tcp://a:1", "space"),
    "final newline": ("tcp://a:1\n", "control character at position 9: write it percent-encoded, as %0A"),
    "tab": ("tcp://a\t:1", "space or control"),
    "bracket not closed": ("failover:(tcp://a:1", "never closed at position 9"),
    "bracket not opened": ("failover:tcp://a:1)", "bracket .* at position 18"),
    "brackets the wrong way": ("failover:)tcp://a:1(", "bracket .* at position 9"),
    "brackets within brackets": ("failover:((tcp://a:1))", "bracket within brackets at position 10"),
    "text after the brackets": ("failover:(tcp://a:1)junk", "after the closing bracket at position 20"),
    "second list": ("failover:(tcp://a:1)(tcp://b:2)", "after the closing bracket at position 20"),
    "path after the brackets": ("failover:(tcp://a:1)/path?randomize=false", "after the closing bracket"),
    "fragment after the brackets": ("failover:(tcp://a:1)#x", "a # at position 20"),
    "prefix alone": ("failover:", "empty broker at position 9"),
    "empty text": ("", "no broker"),
    "None": (None, "is a str, not NoneType"),
    "bytes": (b"tcp://a:1", "is a str, not bytes"),
    "empty list": ("failover:()", "empty broker at position 10"),
    "empty list with other options": ("failover:()?randomize=false", "empty broker"),
    "empty first": ("failover:(,tcp://a:1)", "empty broker at position 10"),
    "empty between": ("failover:(tcp://a:1,,tcp://b:2)", "empty broker at position 20"),
    "empty last": ("failover:(tcp://a:1,)", "empty broker at position 20"),
    "flag 1": (f"{_ONE}randomize=1", "randomize must be true or false, at position 31"),
    "flag yes": (f"{_ONE}randomize=yes", "true or false"),
    "flag True": (f"{_ONE}randomize=True", "true or false"),
    "flag without value": (f"{_ONE}randomize=", "true or false"),
    "option without =": (f"{_ONE}randomize", "without =, at position 21"),
    "empty options": (f"{_ONE}&a=1&&", "empty option at position 21"),
    "empty query": (_ONE, "empty option"),
    "count abc": (f"{_ONE}maxReconnectAttempts=abc", "whole number from -1"),
    "count 1.5": (f"{_ONE}maxReconnectAttempts=1.5", "whole number"),
    "count of other digits": (f"{_ONE}maxReconnectAttempts=٣", "whole number"),
    "count -2": (f"{_ONE}maxReconnectAttempts=-2", "whole number from -1"),
    "start count -2": (f"{_ONE}startupMaxReconnectAttempts=-2", "whole number from -1"),
    "negative delay": (f"{_ONE}initialReconnectDelay=-1", "milliseconds, a whole number from 0"),
    "negative cap": (f"{_ONE}maxReconnectDelay=-1", "milliseconds"),
    "delay beyond all clocks": (f"{_ONE}maxReconnectDelay={'9' * 5000}", "to 2147483647"),
    "timeout -2": (f"{_ONE}timeout=-2", "0 or -1 for no limit"),
    "factor 0.5": (f"{_ONE}reconnectDelayExponent=0.5", "not less than 1"),
    "factor NaN": (f"{_ONE}backOffMultiplier=NaN", "backOffMultiplier must be a number not less than 1"),
    "factor inf": (f"{_ONE}backOffMultiplier=inf", "not less than 1"),
    "factor 1e999": (f"{_ONE}backOffMultiplier=1e999", "not less than 1"),
    "pool of none": (f"{_ONE}backupPoolSize=0", "from 1"),
    "time limit of nothing": ("tcp://a:1?connectionTimeout=0", "from 1"),
    "unknown option": (f"{_ONE}randomise=false", "'randomise' at position 21: did you mean 'randomize'"),
    "unknown option of a broker": ("tcp://a:1?tcpNodelay=true", "did you mean 'tcpNoDelay'"),
    "unknown option like none": (f"{_ONE}qqq=1", "unknown option 'qqq' at position 21$"),
    "unknown option after a comma": (
        f"{_ONE}randomize=false,maxReconectAttempts=3",
        "'maxReconectAttempts' at position 37: did you mean 'maxReconnectAttempts'",
    ),
    "wrong case": (f"{_ONE}Randomize=false", "did you mean 'randomize'"),
    "unknown nested option": (f"{_ONE}nested.keepalive=true", "did you mean 'nested.keepAlive'"),
    "failover option nested": (f"{_ONE}nested.randomize=true", "unknown option 'nested.randomize'"),
    "option twice": (f"{_ONE}randomize=true&randomize=true", "randomize is given twice, at position 36"),
    "option twice by both names": (f"{_ONE}reconnectDelayExponent=2&backOffMultiplier=2", "backOffMultiplier .* twice"),
    "nested option twice": (f"{_ONE}nested.keepAlive=true,nested.keepAlive=true", "nested.keepAlive is given twice"),
    "ignored option twice": (f"{_ONE}trace=true&trace=true", "trace is given twice"),
    "failover option within brackets": ("failover:(tcp://a:1?randomize=false,tcp://b:2)", "write it after the list"),
    "broker option after brackets": (f"{_ONE}connectionTimeout=1", "nested"),
    "final query of both kinds": (
        "failover:tcp://a:1,tcp://b:2?connectionTimeout=1&randomize=false",
        "connectionTimeout does not belong here, at position 29: .* brackets",
    ),
    "no port": ("tcp://a", "no port at position 7"),
    "IPv6 without port": ("tcp://[::1]", "no port"),
    "port 0": ("tcp://a:0", "port must be a number from 1 to 65535, at position 8"),
    "port 99999": ("tcp://a:99999", "port"),
    "port x": ("tcp://a:x", "port"),
    "port of other digits": ("tcp://a:٣", "port"),
    "empty host": ("tcp://:1", "empty host at position 6"),
    "host of dots": ("tcp://..:1", "not a host name"),
    "host too long": (f"tcp://{'a' * 64}:1", "not a host name"),
    "IPv4 out of range": ("tcp://1.2.3.256:1", "not a host name or address at position 6"),
    "IPv6 without brackets": ("tcp://::1:61613", r"an IPv6 address is written \[::1\]"),
    "IPv6 not closed": ("tcp://[::1:1", "not a host name or address"),
    "no IPv6": ("tcp://[xyz]:1", "not a host name or address"),
    "unknown scheme": ("tpc://a:1", "unknown scheme 'tpc' at position 0: did you mean 'tcp'"),
    "unknown scheme like none": ("amq://a:1", "unknown scheme 'amq' .*known are .*stomp"),
    "scheme of another protocol": ("amqp://a:1", "unknown scheme 'amqp' .*speaks STOMP.*61613 with tcp://"),
    "another's name for TLS": ("tls://a:1", r"unknown scheme 'tls' at position 0: did you mean ssl\?"),
    "another's name for WebSocket": ("https://a:1/ws", r"unknown scheme 'https' at position 0: did you mean wss\?"),
    "no scheme": ("a:1", "without scheme at position 0"),
    "no scheme in a list": ("failover:(tcp://a:1,b:2)", "without scheme at position 20"),
    "failover within failover": ("failover:(failover:(tcp://a:1),tcp://c:3)", "bracket within brackets"),
    "failover within failover, no brackets": (
        "failover:failover:tcp://a:1",
        "failover: within failover: at position 9",
    ),
    "list without prefix": ("tcp://a:1,tcp://b:2", r"a comma at position 9: .*failover:\("),
    "empty login": ("tcp://:x@a:1", "empty login"),
    "broken percent-encoding": ("tcp://a:1/%2", "% without .* at position 10"),
    "percent-encoding that is not UTF-8": ("tcp://a:1/%ff", "not UTF-8"),
    "unix with host": ("unix://host/path", "host in a unix URI"),
    "unix without path": ("unix:///", "no path"),
    "preferred broker malformed": (f"{_ONE}priorityURIs=tcp://a:1,tcp://b", "no port at position 51"),
    "preferred broker malformed, encoded": (f"{_ONE}priorityURIs=tcp%3A//a%3Ax", "port .* at position 34"),
    "file by http": (f"{_ONE}updateURIsURL=http://a/b", "a path or a file: URL"),
    "file on another host": (f"{_ONE}updateURIsURL=file://host/b", "a path or a file: URL"),
    "proxy without scheme": ("tcp://a:1?proxy=host:3128", "a URL such as"),
    "empty file name": ("ssl://a:1?caFile=", "path of a file"),
}


@pytest.mark.parametrize(("uri", "complaint"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_uri_is_refused_with_the_reason_and_the_place(uri: Any, complaint: str) -> None:
    with pytest.raises(InvalidURI, match=complaint):
        parse(uri)


OPTIONS = {
    "initialReconnectDelay=1500": ("initial_reconnect_delay", 1.5),
    "maxReconnectDelay=60000": ("max_reconnect_delay", 60.0),
    "useExponentialBackOff=false": ("use_exponential_back_off", False),
    "reconnectDelayExponent=1.5": ("reconnect_delay_exponent", 1.5),
    "backOffMultiplier=3": ("reconnect_delay_exponent", 3.0),
    "reconnectDelayJitter=250": ("reconnect_delay_jitter", 0.25),
    "maxReconnectAttempts=0": ("max_reconnect_attempts", 0),
    "startupMaxReconnectAttempts=3": ("startup_max_reconnect_attempts", 3),
    "timeout=3000": ("timeout", 3.0),
    "timeout=0": ("timeout", None),
    "timeout=-1": ("timeout", None),
    "randomize=false": ("randomize", False),
    "priorityBackup=true": ("priority_backup", True),
    "priorityURIs=tcp://b:2": ("priority_uris", (B,)),
    "backup=true": ("backup", True),
    "backupPoolSize=2": ("backup_pool_size", 2),
    "warnAfterReconnectAttempts=-1": ("warn_after_reconnect_attempts", -1),
    "trackMessages=true": ("track_messages", True),
    "maxCacheSize=1000": ("max_cache_size", 1000),
    "updateURIsURL=file:///etc/mq": ("update_uris_url", "file:///etc/mq"),
}


@pytest.mark.parametrize(("text", "field", "value"), [(text, *meant) for text, meant in OPTIONS.items()], ids=OPTIONS)
def test_an_option_means(text: str, field: str, value: object) -> None:
    uri = parse(f"failover:(tcp://a:1)?{text}")
    assert uri == failover(A, **{field: value})
    assert uri.warnings == ()


def test_the_defaults_are_those_of_activemq() -> None:
    assert parse("failover:tcp://a:1").options == FailoverOptions(
        initial_reconnect_delay=0.01,
        max_reconnect_delay=30.0,
        use_exponential_back_off=True,
        reconnect_delay_exponent=2.0,
        reconnect_delay_jitter=0.0,
        max_reconnect_attempts=-1,
        startup_max_reconnect_attempts=-1,
        timeout=None,
        randomize=True,
        priority_backup=False,
        priority_uris=(),
        backup=False,
        backup_pool_size=1,
        warn_after_reconnect_attempts=10,
        track_messages=False,
        max_cache_size=131072,
        update_uris_url=None,
    )
    assert parse("tcp://a:1").brokers[0].options == BrokerOptions(
        connection_timeout=30.0, tcp_no_delay=True, keep_alive=True, verify_hostname=True
    )


IGNORED = [
    "reconnectDelay=10",
    "trackTransactionProducers=true",
    "updateURIsSupported=false",
    "rebalanceUpdateURIs=true",
    "reconnectSupported=true",
    "soTimeout=0",
    "trace=true",
    "jms.useAsyncSend=true",
    "wireFormat.maxInactivityDuration=0",
    "nested.wireFormat.tightEncodingEnabled=true",
    "nested.soTimeout=5",
]


@pytest.mark.parametrize("text", IGNORED)
def test_an_option_without_a_meaning_in_stomp_is_accepted_with_one_warning(text: str) -> None:
    uri = parse(f"failover:(tcp://a:1)?randomize=false,{text}")
    assert uri.options == FailoverOptions(randomize=False)
    assert len(uri.warnings) == 1
    assert uri.warnings[0].startswith(text.partition("=")[0] + " has no effect: ")


def test_the_same_warning_for_two_brokers_is_given_once() -> None:
    assert len(parse("failover:(tcp://a:1?trace=true,tcp://b:2?trace=true)").warnings) == 1


def test_a_tls_option_of_a_broker_without_tls_is_warned_about() -> None:
    (warning,) = parse("failover:(tcp://a:1?caFile=/ca,ssl://b:2?caFile=/ca)").warnings
    assert warning == "caFile has no effect on tcp://, only on ssl, wss"


def test_the_identity_of_a_broker_is_apart_from_its_options_and_login() -> None:
    one, other = parse("failover:(tcp://u:p@a:1/v?keepAlive=false,stomp://A:1)").brokers
    assert one != other
    assert one.identity == other.identity == ("tcp", "a", 1, "")


SECRETIVE = [
    f"tcp://user:{SECRET}@a:1/vhost",
    f"failover:(ssl://user:{SECRET}@a:1?keyPassword={SECRET},tcp://b:2)?nested.proxy=http%3A%2F%2Fu%3A{SECRET}%40p:1",
    f"failover:(tcp://b:2)?priorityURIs=tcp://user:{SECRET}@a:1&nested.keyPassword={SECRET}",
]


@pytest.mark.parametrize("text", SECRETIVE)
def test_a_secret_is_masked_wherever_a_uri_is_shown(text: str) -> None:
    uri = parse(text)
    parts = [uri, uri.options, *uri.brokers, *(each.options for each in uri.brokers), *uri.options.priority_uris]
    for shown in [f(part) for part in parts for f in (str, repr)]:
        assert SECRET not in shown
    assert "***" in str(uri)


def test_the_package_knows_no_socket_thread_clock_or_log() -> None:
    sources = [path.read_text() for path in Path(failover_package.__file__).parent.glob("*.py")]
    assert len(sources) > 4
    assert not [
        text for text in sources if re.search(r"^(from|import) (socket|ssl|threading|time|logging)\b", text, re.M)
    ]


UNFORTUNATE = {
    "unknown option": f"tcp://user:{SECRET}@a:1?foo=1",
    "no port": f"tcp://user:{SECRET}@a",
    "bad encoding": f"tcp://user:{SECRET}%ff@a:1",
    "stray percent": f"tcp://user:{SECRET}%@a:1",
    "question mark in it": f"tcp://user:x?{SECRET}@a:1",
    "question mark and = in it": f"tcp://user:x?{SECRET}=@a:1",
    "slash in it": f"tcp://user:{SECRET}/x@a:1",
    "slash after a number": "tcp://user:5555/x@a:1",
    "colon in it, no @": f"tcp://user:{SECRET}:1",
    "comma in it": f"failover:(tcp://user:x,{SECRET}@a:1)",
    "scheme in it": f"failover:(tcp://user:x,{SECRET}://y@a:1)",
    "bracket in it": f"failover:(tcp://user:{SECRET}(@a:1)",
    "hash in it": f"tcp://user:{SECRET}#@a:1",
    "ampersand in the key's password": f"ssl://a:1?keyPassword=x&{SECRET}=1",
    "unknown scheme": f"foo://user:{SECRET}@a:1",
    "key's password misspelt": f"ssl://a:1?keypassword={SECRET}",
    "proxy malformed": f"tcp://a:1?proxy={SECRET}",
    "preferred broker malformed": f"failover:(tcp://a:1)?priorityURIs=tcp://u%3A{SECRET}%40a",
}


@pytest.mark.parametrize("text", UNFORTUNATE.values(), ids=UNFORTUNATE)
def test_a_complaint_never_repeats_a_secret(text: str) -> None:
    with pytest.raises(InvalidURI) as caught:
        parse(text)
    links: list[BaseException | None] = [caught.value, caught.value.__cause__, caught.value.__context__]
    assert not any(secret in f"{link!r}" for link in links for secret in (SECRET, "5555"))


_ALPHABET = st.sampled_from(
    [*"abz019:/?&,=@()[]%#.-+ ", "tcp://", "ws://", "unix:///", "failover:", "%2F", "randomize="]
)
_TEXTS = st.text() | st.lists(_ALPHABET, max_size=30).map("".join)


@given(_TEXTS | _TEXTS.map("tcp://a:1?".__add__) | _TEXTS.map("failover:(tcp://a:1".__add__))
def test_no_text_raises_anything_but_invalid_uri(text: str) -> None:
    try:
        uri = parse(text)
    except InvalidURI as error:
        complaint = str(error)
    else:
        assert parse(str(uri)).brokers == uri.brokers or "***" in str(uri)
        return
    assert re.search(r"at position \d+", complaint)


_WORDS = st.from_regex(r"[a-z%+,:@/()&?=\u00e9]{1,8}", fullmatch=True)


def _encoded(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


@given(_WORDS, _WORDS, _WORDS)
def test_whatever_a_passcode_consists_of_it_is_read_and_not_shown(login: str, passcode: str, host: str) -> None:
    uri = parse(f"failover:(tcp://{_encoded(login)}:{_encoded(SECRET + passcode)}@a:1/{_encoded(host)})")
    (broker,) = uri.brokers
    assert (broker.login, broker.passcode, broker.virtual_host) == (login, SECRET + passcode, host)
    assert SECRET not in f"{uri} {uri!r}"
    (again,) = parse(str(uri)).brokers
    assert (again.login, again.passcode, again.virtual_host) == (login, "***", host)


@pytest.mark.parametrize("uri", [uri for uri, _ in [*MEANINGS.values(), *RULES.values()]], ids=[*MEANINGS, *RULES])
def test_what_str_shows_means_the_same(uri: str) -> None:
    assert parse(str(parse(uri))) == parse(uri)


@pytest.mark.parametrize("text", OPTIONS)
def test_what_str_shows_has_the_option(text: str) -> None:
    uri = parse(f"failover:(tcp://a:1)?{text}")
    assert parse(str(uri)) == uri
