"""Options that many commands share, from the command line and from the environment."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import click
import pytest
from cli_process import run

from stomplistener.cli.root import cli
from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(60)
A = "/queue/a"


# The environment


def test_every_option_comes_from_the_environment_too(broker: Broker) -> None:
    for number in range(3):
        broker.publish(A, str(number))
    some = {"STOMPLISTENER_LISTEN_COUNT": "2", "STOMPLISTENER_LISTEN_BODY": "1"}
    assert run("listen", A, STOMPLISTENER_URL=broker.uri, **some).stdout == "0\n1\n"
    assert run("listen", A, STOMPLISTENER_LISTEN_URL=broker.uri, STOMPLISTENER_LISTEN_IDLE="0.2").exit_code == 0
    late = {"STOMPLISTENER_TIMEOUT": "0.2"}
    assert run("request", A, "x", STOMPLISTENER_URL=broker.uri, **late).exit_code == 4
    assert run("send", A, "x", STOMPLISTENER_URL=broker.uri, STOMPLISTENER_SEND_HEADER="a:b c:d").exit_code == 0
    assert broker.frames(command="SEND")[-1].headers["c"] == "d"
    run("send", A, "x", STOMPLISTENER_URL=broker.uri, STOMPLISTENER_VERBOSE="1")
    assert logging.getLogger().level == logging.INFO
    # The one of a command goes before the one for all.
    own = run("request", A, "x", STOMPLISTENER_URL="tcp://127.0.0.1:1", STOMPLISTENER_REQUEST_URL=broker.uri, **late)
    assert own.exit_code == 4
    # A name like ours that says something else.
    assert run("ping", broker.uri, STOMPLISTENER_VERSION="1.2.3").exit_code == 0


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_each_option_has_a_variable_of_its_command_and_a_shared_one_a_variable_for_all(name: str) -> None:
    options = [each for each in cli.commands[name].params if isinstance(each, click.Option)]
    shared = {
        "--profile",
        "--config",
        "--login",
        "--passcode-file",
        "--timeout",
        "--stomp-version",
        "--verbose",
        "--url",
    }
    for option in options:
        word = option.opts[-1].removeprefix("--").replace("-", "_").upper()
        assert option.envvar is not None
        assert f"STOMPLISTENER_{name.upper()}_{word}" in option.envvar
        if option.opts[-1] in shared and name != "broker":
            assert f"STOMPLISTENER_{word}" in option.envvar, option


def test_what_is_typed_goes_before_the_environment(broker: Broker, tmp_path: Path) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text(f'[profiles.here]\nurl = "{broker.uri}"\n')
    nowhere = {"STOMPLISTENER_URL": "tcp://127.0.0.1:1"}
    assert run("ping", "-p", "here", "--config", str(file), **nowhere).exit_code == 0
    assert run("ping", broker.uri, **nowhere).exit_code == 0
    assert run("ping", **nowhere).exit_code == 3


def test_a_passcode_from_a_file_that_the_environment_names(tmp_path: Path) -> None:
    file = tmp_path / "passcode"
    file.write_text("s3cret\n")
    with Broker(login="joe", passcode="s3cret") as broker:
        uri = f"tcp://127.0.0.1:{broker.port}"
        assert run("ping", uri, STOMP_LOGIN="joe", STOMP_PASSCODE_FILE=str(file)).exit_code == 0
        assert run("ping", uri, STOMP_LOGIN="joe", STOMPLISTENER_PASSCODE_FILE=str(file)).exit_code == 0
        assert run("ping", uri, STOMP_LOGIN="joe", STOMP_PASSCODE="no", STOMP_PASSCODE_FILE=str(file)).exit_code == 1
        missing = run("ping", uri, STOMP_PASSCODE_FILE=str(tmp_path / "none"))
        assert missing.exit_code == 2
        assert "cannot be read" in missing.stderr


def test_old_names_work_and_are_told(broker: Broker, tmp_path: Path) -> None:
    result = run("ping", STOMP_URI=broker.uri)
    assert result.exit_code == 0
    assert "STOMP_URI is called STOMP_URL now" in result.stderr
    assert "STOMP_URI" not in run("ping", STOMP_URL=broker.uri, STOMP_URI="tcp://127.0.0.1:1").stderr
    file = tmp_path / "profiles.toml"
    file.write_text(f'[profiles.here]\nuri = "{broker.uri}"\n')
    result = run("ping", "-p", "here", "--config", str(file))
    assert result.exit_code == 0
    assert "called url now" in result.stderr
    result = run("send", A, "x", "--text", "-u", broker.uri)
    assert result.exit_code == 0
    assert "leave it out" in result.stderr


# Verbosity


@pytest.mark.parametrize("arguments", [("-v", "send", A, "x"), ("send", A, "x", "-v"), ("send", "-v", A, "x")])
def test_v_on_both_sides_of_the_command(broker: Broker, arguments: tuple[str, ...]) -> None:
    result = run(*arguments, STOMP_URL=broker.uri)
    assert result.exit_code == 0
    assert logging.getLogger().level == logging.INFO
    run("send", A, "x", "-vv", STOMP_URL=broker.uri)
    assert logging.getLogger().level == logging.DEBUG


def test_v_is_the_least_of_a_workers_log_options() -> None:
    for arguments, level in (
        (("worker", "no_such:app", "-vv"), logging.DEBUG),
        (("-vv", "worker", "no_such:app"), logging.DEBUG),
        (("worker", "no_such:app", "-vv", "--log-level", "error"), logging.ERROR),
        (("worker", "no_such:app"), logging.INFO),
    ):
        assert run(*arguments).exit_code == 2
        assert logging.getLogger().level == level, arguments


# The version of STOMP, and the broker's name


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_one_version_of_stomp(broker: Broker, version: str) -> None:
    ping = json.loads(run("ping", broker.uri, "--json", "--stomp-version", version).stdout)
    assert ping["version"] == version
    assert run("send", A, "x", "-u", broker.uri, "--stomp-version", version).exit_code == 0
    assert broker.connections == []
    assert run("send", A, "x", "-u", broker.uri, "--stomp-version", "1.3").exit_code == 2


def test_a_broker_that_hides_can_be_named() -> None:
    with Broker(server_name="x") as broker:
        broker.publish(A, "x")
        assert run("browse", A, "-u", broker.uri).exit_code == 2
        assert run("browse", A, "--body", "-u", broker.uri, "--broker", "activemq").stdout == "x\n"


# listen


def test_listen_with_headers_a_prefetch_and_whose_durable_subscription_it_is(broker: Broker) -> None:
    durable = ("listen", "/topic/p", "--durable", "all", "--client-id", "shop", "-u", broker.uri)
    assert run(*durable, "--idle", "0.2", "-H", "x:y", "--prefetch", "7").exit_code == 0
    [subscribe] = broker.frames(command="SUBSCRIBE")
    assert (subscribe.headers["x"], subscribe.headers["prefetch"]) == ("y", "7")
    assert broker.frames(command="CONNECT")[0].headers["client-id"] == "shop"
    broker.publish("/topic/p", "meanwhile")
    assert run(*durable, "--count", "1", "--body").stdout == "meanwhile\n"


@pytest.mark.parametrize("server", ["ActiveMQ/5.18.3", "ActiveMQ-Artemis/2"])
def test_listen_says_that_a_durable_subscription_needs_its_owner(server: str) -> None:
    with Broker(server_name=server) as broker:
        result = run("listen", "/topic/p", "--durable", "all", "-u", broker.uri)
        assert result.exit_code == 2
        assert "keeps a durable subscription for a client-id: give --client-id NAME" in result.stderr
        assert not broker.frames(command="SUBSCRIBE")


def test_listen_ends_when_nothing_comes(broker: Broker) -> None:
    broker.publish(A, "x")
    result = run("listen", A, "--idle", "0.3", "--body", "-u", broker.uri)
    assert (result.exit_code, result.stdout) == (0, "x\n")
    assert f"listening to {A}" in result.stderr
    assert run("listen", A, "--idle", "0.1", "-q", "-u", broker.uri).stderr == ""


def test_listen_asks_for_no_more_than_it_shows_and_unsubscribes_before_it_leaves(broker: Broker) -> None:
    for number in range(10):
        broker.publish(A, str(number))
    assert run("listen", A, "--keep", "--count", "3", "--body", "-u", broker.uri).stdout == "0\n1\n2\n"
    assert broker.frames(command="SUBSCRIBE")[0].headers["prefetch"] == "3"
    commands = [frame.command for frame in broker.frames()]
    assert commands.index("UNSUBSCRIBE") < commands.index("DISCONNECT")
    assert "ACK" not in commands
    broker.wait_for(lambda: broker.depth(A) == 10)
    assert [message.deliveries for message in broker.messages(A)] == [1, 1, 1, *[0] * 7]


def test_listen_by_a_template(broker: Broker) -> None:
    broker.publish(A, "hello", {"kind": "x"})
    template = r"{n}\t{destination} {id} {kind} {size} {missing}{{body}} {body}\n{headers}"
    shown = run("listen", A, "-n", "1", "--format", template, "-u", broker.uri).stdout
    first, headers = shown.splitlines()
    assert first == "1\t/queue/a m1 x 5 {hello} hello"
    assert json.loads(headers)["kind"] == "x"
    assert run("listen", A, "--format", "x", "--json", "-u", broker.uri).exit_code == 2


# send


def test_send_text_as_text_and_bytes_as_bytes() -> None:
    with Broker(server_name="ActiveMQ/5.18.3") as broker:
        for arguments, stdin in (
            (("grüß",), None),
            ((), "grüß".encode()),
            ((), b"\0\xff"),
            (("text", "--bytes"), None),
            (('{"a": 1}', "--json"), None),
            (("<a/>", "-t", "application/xml"), None),
        ):
            assert run("send", A, *arguments, "-u", broker.uri, stdin=stdin).exit_code == 0
        frames = broker.frames(command="SEND")
        counted = ["content-length" in frame.headers for frame in frames]
        types = [frame.headers.get("content-type") for frame in frames]
        # ActiveMQ makes a TextMessage of what has no content-length.
        assert counted == [False, False, True, True, False, False]
        text = "text/plain;charset=utf-8"
        assert types == [text, text, None, None, "application/json", "application/xml"]


def test_send_json_that_is_none(broker: Broker) -> None:
    result = run("send", A, "{'a': 1}", "--json", "-u", broker.uri)
    assert result.exit_code == 2
    assert "is not JSON" in result.stderr
    lines = run("send", A, "--json", "--lines", "-u", broker.uri, stdin="{}\nno\n")
    assert lines.exit_code == 2
    assert "message 2 is not JSON" in lines.stderr.replace("\n", " ")
    assert broker.depth(A) <= 1
    assert run("send", A, "{}", "--json", "--bytes", "-u", broker.uri).exit_code == 2


def test_send_templates(broker: Broker) -> None:
    assert (
        run("send", A, '{"n": {n}, "at": "{now}"}', "-H", "id:{uuid}", "--repeat", "3", "-u", broker.uri).exit_code == 0
    )
    sent = broker.messages(A)
    assert [json.loads(message.body)["n"] for message in sent] == [1, 2, 3]
    assert all(re.match(r"20\d\d-\d\d-\d\dT", json.loads(message.body)["at"]) for message in sent)
    assert len({message.headers["id"] for message in sent}) == 3
    broker.clear()
    # What is read is data, unless it is said to be a template.
    run("send", A, "-u", broker.uri, stdin="{n}")
    run("send", A, "--template", "-u", broker.uri, stdin="{n}")
    run("send", A, "{n}", "-H", "x:{n}", "--no-template", "-u", broker.uri)
    assert [message.body for message in broker.messages(A)] == [b"{n}", b"1", b"{n}"]
    assert broker.messages(A)[-1].headers["x"] == "{n}"


def test_send_at_a_rate(broker: Broker) -> None:
    result = run("send", A, "x", "--repeat", "6", "--rate", "10", "-u", broker.uri)
    assert float(result.stderr.partition(" in ")[2].partition(" s")[0]) >= 0.5
    assert run("send", A, "--lines", "--repeat", "2", "-u", broker.uri, stdin="x").exit_code == 2
    assert run("send", A, "x", "--repeat", "3", "--no-confirm", "-u", broker.uri).exit_code == 0
    assert broker.depth(A) == 9
