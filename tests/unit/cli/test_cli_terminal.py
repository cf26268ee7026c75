"""Commands as a person sees them: in 80 columns, without colour, in other encodings, interrupted."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest
from cli_process import COMMAND, run, shell, started, terminal

from stomplistener.testing import Broker
from stomplistener.worker import Application
from stomplistener.worker.handling import Tasks
from stomplistener.worker.metrics import Metrics

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(os.name != "posix", reason="terminals as POSIX has them"),
]
A = "/queue/a"
COLOUR = re.compile(r"\x1b\[[\d;]*m")
CONTROL = re.compile(r"\x1b\[[?\d;]*[A-Za-z]")
PATIENCE = 30.0


@contextmanager
def spawned(*arguments: str, **variables: str) -> Iterator[pexpect.spawn[str]]:
    line = shlex.join([sys.executable, "-m", "stomplistener", *arguments])
    environment = {**os.environ, **variables}
    with pexpect.spawn(line, env=environment, dimensions=(24, 80), timeout=PATIENCE, encoding="utf-8") as child:
        yield child


def ended(child: pexpect.spawn[str]) -> int | None:
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus


# Colour


def test_no_color_holds_for_what_listeners_print_too(broker: Broker) -> None:
    for command in (("listen", A, "--count", "1"), ("browse", A)):
        for no_color in ("", "1"):
            broker.publish(A, "hello", {"kind": "x"})
            shown = terminal(*command, "-u", broker.uri, columns=80, NO_COLOR=no_color)
            assert "hello" in shown
            assert bool(COLOUR.search(shown)) is not bool(no_color), command


def test_no_color_holds_for_tables_and_bars(broker: Broker) -> None:
    for no_color in ("", "1"):
        shown = terminal("bench", broker.uri, "-n", "20", "--samples", "2", columns=80, NO_COLOR=no_color)
        assert "messages/s" in shown
        assert bool(COLOUR.search(shown)) is not bool(no_color)
        shown = terminal("send", A, "x", "--repeat", "300", "-u", broker.uri, columns=80, NO_COLOR=no_color)
        assert "300 messages" in shown
        assert not (no_color and COLOUR.search(shown))


# 80 columns


@pytest.fixture
def metrics_port(broker: Broker) -> Iterator[int]:
    app = Application(broker.uri)
    tasks = Tasks()
    metrics = Metrics(lambda: app.connections, tasks)
    app.listener(A)(lambda message: None)
    with metrics.served("127.0.0.1", 0) as port, app.open({}, tasks) as running:
        connection = running.connections["default"]
        connection.connect()
        broker.publish(A, "x")
        broker.wait_for(lambda: broker.frames(command="ACK"))
        yield port
        connection.disconnect()


def test_top_in_80_columns_shows_every_number_and_name_in_full(metrics_port: int) -> None:
    shown = CONTROL.sub("", terminal("top", str(metrics_port), "nobody.example:1", "--count", "1", columns=80))
    # A carriage return begins the last line anew.
    lines = shown.replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in shown
    for name in ("received/s", "sent/s", "pending", "unconfirmed", "handled/s", "errors", "reconnects", "mean time"):
        assert name in shown
    for cell in (str(metrics_port), "default", "connected", "no answer", "nobody.example:1"):
        assert cell in shown
    assert re.search(r"[\d.]+ ms", shown)


def test_top_in_a_wide_terminal_is_one_line_a_connection(metrics_port: int) -> None:
    shown = CONTROL.sub("", terminal("top", str(metrics_port), "--count", "1", columns=160))
    # A live table is drawn once more at its end.
    [row] = {line for line in shown.splitlines() if str(metrics_port) in line}
    assert "default" in row
    assert "connected" in row


# Other encodings


@pytest.mark.parametrize("variable", ["PYTHONIOENCODING=latin-1", "PYTHONIOENCODING=ascii LC_ALL=C", "LC_ALL=POSIX"])
def test_no_command_fails_for_what_an_encoding_lacks(broker: Broker, variable: str, tmp_path: Path) -> None:
    broker.publish(A, "grüß € \U0001f355", {"ü": "€"})
    for command in (
        f"browse {A}",
        f"browse {A} --json",
        f"browse {A} --format '{{ü}} {{body}}'",
        f"dump {A}",
        "bench -n 20 --samples 5",
        f"send {A} 'grüß €' -H 'x:€'",
        "listen --help",
        "top 1 --count 1 || true",
    ):
        done = shell(f"{variable} $C {command} > out 2>&1 || {{ cat out; exit 1; }}", broker.uri, directory=tmp_path)
        assert done.returncode == 0, f"{command}: {done.stdout}"
    bench = shell(f"{variable} $C bench -n 20 --samples 5 | tail -1", broker.uri).stdout
    assert "\\u" not in bench
    assert broker.messages(A)[-1].body == "grüß €".encode()


# stdin


def test_send_says_on_a_terminal_that_it_reads_from_there(broker: Broker) -> None:
    with spawned("send", A, "-u", broker.uri) as child:
        child.expect(r"reading from the terminal \(the body\); Ctrl-D")
        child.sendline("typed")
        child.sendeof()
        child.expect("1 message to /queue/a confirmed")
        assert ended(child) == 0
    assert broker.messages(A)[0].body == b"typed\n"
    with spawned("send", A, "--lines", "-u", broker.uri) as child:
        child.expect(r"each line is a message")
        child.sendintr()
        assert ended(child) == 130
    assert "reading" not in run("send", A, "-u", broker.uri, stdin="x").stderr


def test_purge_asks_on_a_terminal(broker: Broker) -> None:
    broker.publish(A, "x")
    with spawned("purge", A, "--idle", "0.3", "-u", broker.uri) as child:
        child.expect(r"Drop all messages of /queue/a on tcp://.*\? \[y/N\]")
        child.sendline("y")
        child.expect("1 message of /queue/a dropped")
        assert ended(child) == 0
    assert broker.depth(A) == 0


# Ctrl-C


@pytest.mark.parametrize(
    "arguments",
    [
        ("listen", A, "--keep"),
        ("move", A, "/queue/b", "--idle", "60"),
        ("purge", A, "--yes", "--idle", "60"),
        ("dump", A, "--take", "--idle", "60"),
        ("reply", A, "--command", "cat"),
        ("request", "/queue/none", "x", "--timeout", "60"),
        ("send", "/queue/none", "x", "--repeat", "100000", "--rate", "1"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_ctrl_c_ends_a_command_with_130_and_without_a_traceback(broker: Broker, arguments: tuple[str, ...]) -> None:
    with started(*arguments, "-u", broker.uri, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        broker.wait_for(lambda: broker.frames(command="SEND") or broker.frames(command="SUBSCRIBE"), PATIENCE)
        process.send_signal(signal.SIGINT)
        shown, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert b"Traceback" not in shown + said
    # With a DISCONNECT, or without one where the signal hit the thread in the middle of writing the frame seen above.
    broker.wait_for(lambda: not broker.connections, PATIENCE, "the connection closed")


@pytest.mark.parametrize("arguments", [("ping",), ("restore", A), ("send", A, "--lines"), ("shell",)], ids=" ".join)
def test_ctrl_c_while_a_command_waits_for_the_broker_or_for_its_input(
    broker: Broker, arguments: tuple[str, ...]
) -> None:
    if arguments[0] == "ping":
        broker.go_silent()
    command = (*arguments, "--timeout", "60", "-u", broker.uri)
    with started(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        broker.wait_for(lambda: broker.frames(command="CONNECT") or broker.connections, PATIENCE, "the connection")
        process.send_signal(signal.SIGINT)
        shown, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert b"Traceback" not in shown + said


@pytest.mark.parametrize(
    ("arguments", "question"), [(("purge", A), r"\[y/N\]"), (("ping", "--ask-passcode"), "passcode")]
)
def test_ctrl_c_at_a_question(broker: Broker, arguments: tuple[str, ...], question: str) -> None:
    with spawned(*arguments, "-u", broker.uri) as child:
        child.expect(question)
        child.sendintr()
        assert ended(child) == 130
    assert not broker.frames()


def test_ctrl_c_in_a_wait_disconnects(broker: Broker) -> None:
    broker.publish(A, "x")
    with started("listen", A, "-u", broker.uri, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        broker.wait_for(lambda: broker.frames(command="ACK"), PATIENCE, "the acknowledgement")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert broker.frames(command="DISCONNECT")


def test_a_bench_that_is_interrupted_leaves_nothing_behind(broker: Broker) -> None:
    with started("bench", broker.uri, "-n", "200000", "--samples", "2", "--destination", A) as process:
        broker.wait_for(lambda: broker.depth(A) > 500, PATIENCE, "messages of the measurement")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    broker.wait_for(lambda: not broker.connections)
    assert broker.depth(A) == 0


# Ways to call it


def test_python_m_stomplistener(broker: Broker) -> None:
    done = subprocess.run([sys.executable, "-m", "stomplistener", "ping", broker.uri], capture_output=True, timeout=60)
    assert done.returncode == 0
    assert COMMAND.endswith("stomplistener.cli")
