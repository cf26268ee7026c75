"""Listening and sending from the command line."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import run, shell

from stomplistener import Message
from stomplistener.cli.bodies import dump, printable
from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(60)
posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")


PATIENCE = 25.0
"""Seconds for another process to start or to end: a second or two, unless the machine has much else to do."""


def bodies(broker: Broker, queue: str) -> list[bytes]:
    return [message.body for message in broker.messages(queue)]


# send


def test_send_an_argument_with_headers(broker: Broker) -> None:
    result = run(
        "send", "/queue/a", '{"id": 1}', "-t", "application/json", "-H", "x:y:z", "-H", "n: 1", "-u", broker.uri
    )
    assert result.exit_code == 0
    assert "1 message to /queue/a confirmed" in result.stderr
    [message] = broker.messages("/queue/a")
    assert message.body == b'{"id": 1}'
    assert message.headers["content-type"] == "application/json"
    assert (message.headers["x"], message.headers["n"]) == ("y:z", "1")


def test_send_stdin_and_a_file(broker: Broker, tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(b"\0\1two\nlines\n")
    assert run("send", "/queue/a", "-u", broker.uri, stdin=b"all\nof it").exit_code == 0
    assert run("send", "/queue/a", "-u", broker.uri, "--file", str(file), "--quiet").stderr == ""
    assert bodies(broker, "/queue/a") == [b"all\nof it", b"\0\1two\nlines\n"]


def test_send_lines(broker: Broker) -> None:
    result = run("send", "/queue/a", "-u", broker.uri, "--lines", stdin=b"one\ntwo\r\n\nlast")
    assert result.exit_code == 0
    assert "4 messages" in result.stderr
    assert bodies(broker, "/queue/a") == [b"one", b"two", b"", b"last"]


def test_send_tells_the_first_line_that_is_not_confirmed(broker: Broker) -> None:
    broker.error_next("SEND", "full", close=False)
    result = run("send", "/queue/a", "-u", broker.uri, "--lines", stdin=b"one\ntwo\nthree\n")
    assert result.exit_code == 1
    assert "the first that is not is line 1" in result.stderr
    assert "full" in result.stderr


@posix
def test_send_100_000_lines(broker: Broker, tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(100_000)]
    (tmp_path / "lines").write_text("\n".join(lines) + "\n")
    result = shell("$C send /queue/a --lines --file lines", broker.uri, directory=tmp_path)
    assert result.returncode == 0, result.stderr
    told = re.fullmatch(r"100,000 messages to /queue/a confirmed in [\d.]+ s, [\d,]+/s\n", result.stderr)
    assert told is not None, result.stderr
    assert bodies(broker, "/queue/a") == [line.encode() for line in lines]
    print(result.stderr)


def test_a_wrong_header_or_too_many_bodies_are_wrong_use(broker: Broker) -> None:
    assert run("send", "/queue/a", "x", "-H", "nothing", "-u", broker.uri).exit_code == 2
    assert run("send", "/queue/a", "x", "--lines", "-u", broker.uri).exit_code == 2


# listen


def test_listen_shows_text_json_and_bytes(broker: Broker) -> None:
    broker.publish("/queue/a", "plain \x1b[31mred")
    broker.publish("/queue/a", b'{"a":[1]}', {"content-type": "application/json", "kind": "x\x07y"})
    broker.publish("/queue/a", b"\0\xff" * 10)
    result = run("listen", "/queue/a", "--count", "3", "-u", broker.uri)
    assert result.exit_code == 0
    assert "plain \\x1b[31mred" in result.stdout
    assert "kind: x\\x07y" in result.stdout
    assert '{\n  "a": [\n    1\n  ]\n}' in result.stdout
    assert "000010  00 ff 00 ff" in result.stdout
    assert len(broker.frames(command="ACK")) == 3


def test_listen_json_one_object_a_line(broker: Broker) -> None:
    broker.publish("/queue/a", "grüß\ngott", {"x": "y"})
    broker.publish("/queue/a", b"\0\xff")
    broker.publish("/queue/a", gzip.compress(b"small"), {"content-encoding": "gzip"})
    result = run("listen", "/queue/a", "--count", "3", "--json", "-u", broker.uri)
    text, data, packed = map(json.loads, result.stdout.splitlines())
    assert text["body"] == "grüß\ngott"
    assert text["headers"]["x"] == "y"
    assert data["body_base64"] == "AP8="
    assert packed["body"] == "small"


def test_listen_takes_only_what_it_shows(broker: Broker) -> None:
    for number in range(10):
        broker.publish("/queue/a", str(number))
    assert run("listen", "/queue/a", "-n", "2", "--body", "-u", broker.uri).stdout == "0\n1\n"
    assert run("listen", "/queue/a", "-n", "2", "--body", "--keep", "-u", broker.uri).stdout == "2\n3\n"
    broker.wait_for(lambda: broker.depth("/queue/a") == 8)
    assert run("listen", "/queue/a", "-n", "2", "--body", "--ack", "client", "-u", broker.uri).stdout == "2\n3\n"
    assert run("listen", "/queue/a", "--keep", "--ack", "auto", "-u", broker.uri).exit_code == 2


@posix
def test_what_the_terminals_encoding_lacks_is_escaped(broker: Broker) -> None:
    broker.publish("/queue/a", "grüß € ")
    result = shell("PYTHONIOENCODING=latin-1 $C listen /queue/a -n 1 --body -q | iconv -f latin1 -t utf-8", broker.uri)
    assert (result.returncode, result.stdout, result.stderr) == (0, "grüß \\u20ac \n", "")
    assert shell("PYTHONIOENCODING=latin-1 $C ping", broker.uri).stdout.startswith("\\u2713")


def test_a_message_that_cannot_be_shown_ends_the_listening_and_stays(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_message: Message) -> str:
        raise LookupError("no such thing")

    monkeypatch.setattr("stomplistener.cli.bodies.as_json", fail)
    broker.publish("/queue/a", "x")
    assert isinstance(run("listen", "/queue/a", "--json", "-u", broker.uri).exception, LookupError)
    broker.wait_for(lambda: broker.depth("/queue/a") == 1)


def test_listen_for_a_time(broker: Broker) -> None:
    result = run("listen", "/queue/a", "/topic/b", "--for", "0.1", "-u", broker.uri)
    assert (result.exit_code, result.output) == (0, "listening to /queue/a, /topic/b; Ctrl-C ends it\n")
    assert len(broker.frames(command="SUBSCRIBE")) == 2


@posix
@pytest.mark.parametrize("count", [1, 5000])
def test_listen_into_head_ends_quietly(broker: Broker, count: int) -> None:
    for number in range(count):
        broker.publish("/queue/a", f"number {number}")
    result = shell("$C listen /queue/a --body --quiet | head -1", broker.uri)
    assert (result.returncode, result.stdout, result.stderr) == (0, "number 0\n", "")
    broker.wait_for(lambda: not broker.unacknowledged("/queue/a"))


# A signal that another thread takes does not wake the main thread, as one that comes just before a wait does not.
UNSEEN = """
import signal, sys, threading
from stomplistener.cli.root import cli

def pull():
    sys.stdin.readline()
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

threading.Thread(target=pull, daemon=True).start()
cli()
"""


@posix
def test_ctrl_c_ends_listening_with_130_even_just_before_it_waits_and_gives_messages_back(broker: Broker) -> None:
    command = [sys.executable, "-c", UNSEEN, "listen", "/queue/a", "--keep", "-q", "-u", broker.uri]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        broker.publish("/queue/a", "x")
        assert process.stdout is not None
        assert process.stdout.readline()
        assert process.communicate("now\n", PATIENCE)[1] == ""
    assert process.returncode == 130
    assert broker.wait_for(lambda: broker.depth("/queue/a") == 1, PATIENCE)


def test_listening_goes_on_over_a_lost_connection(broker: Broker) -> None:
    broker.connected_then_close(1)
    broker.publish("/queue/a", "later")
    result = run("listen", "/queue/a", "-n", "1", "--body", "-u", f"failover:({broker.uri})")
    assert result.stdout == "later\n"


def test_no_connection_and_a_refused_subscription_have_their_codes(broker: Broker) -> None:
    broker.error_next("SUBSCRIBE", "not for you", close=False)
    result = run("listen", "/queue/a", "-u", broker.uri)
    assert result.exit_code == 1
    assert "not for you" in result.stderr
    broker.stop()
    result = run("listen", "/queue/a", "-u", broker.uri)
    assert result.exit_code == 3
    assert "refused" in result.stderr


def test_texts_do_not_steer_a_terminal() -> None:
    assert printable("a\x1b[2J\x9bb\tc\nd\x7f") == "a\\x1b[2J\\x9bb\tc\nd\\x7f"
    assert dump(b"0123456789abcdef!").splitlines()[1].startswith("000010  21 ")
