"""Help, profiles, completion, and the commands bench, top, broker and worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import run, shell

from stomplistener.cli.histogram import histogram
from stomplistener.cli.root import cli
from stomplistener.testing import Broker
from stomplistener.worker import Application
from stomplistener.worker.handling import Tasks
from stomplistener.worker.metrics import Metrics

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_teaches_by_examples_and_exit_codes(name: str) -> None:
    text = run(name, "--help").stdout
    assert "Examples:" in text
    assert f"stomplistener {name}" in text
    if name != "completion":
        assert "Exit codes:" in text


@pytest.mark.parametrize("name", [None, *sorted(cli.commands)])
def test_the_help_fits_into_80_columns(name: str | None) -> None:
    text = run(*filter(None, [name]), "--help", COLUMNS="80").stdout
    assert [line for line in text.splitlines() if len(line) > 80] == []


def test_the_help_tells_the_exit_codes() -> None:
    text = run("--help").stdout
    for code in ("0 ", "1 ", "2 ", "3 ", "4 ", "130 "):
        assert f"\n    {code}" in text


# Profiles


PROFILES = """
default = "here"
[profiles.here]
url = "{uri}"
[profiles.there]
url = "tcp://127.0.0.1:{port}"
login = "joe"
passcode_env = "JOES"
heartbeat = [0, 5]
"""


def test_a_broker_by_profile(tmp_path: Path) -> None:
    with Broker(login="joe", passcode="s3cret") as broker:
        file = tmp_path / "stomplistener.toml"
        file.write_text(PROFILES.format(uri=broker.uri, port=broker.port))
        assert run("send", "/queue/a", "1", XDG_CONFIG_HOME=str(tmp_path)).exit_code == 0
        assert run("send", "/queue/a", "2", "--config", str(file)).exit_code == 0
        assert run("send", "/queue/a", "3", "--config", str(file), "-p", "there", JOES="s3cret").exit_code == 0
        assert len(broker.messages("/queue/a")) == 3
        assert broker.frames(command="CONNECT")[-1].headers["heart-beat"] == "0,5000"
        result = run("ping", "--config", str(file), "-p", "there", JOES="wrong")
        assert result.exit_code == 1
        assert "s3cret" not in result.output
    both = run("ping", "-p", "here", "-u", "tcp://h:1", "--config", str(file))
    assert both.exit_code == 2
    assert "not both" in both.stderr


def test_a_profile_whose_passcode_is_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "passcode").write_text("s3cret\n")
    with Broker(login="joe", passcode="s3cret") as broker:
        file = tmp_path / "profiles.toml"
        keys = f'url = "tcp://127.0.0.1:{broker.port}"\nlogin = "joe"\npasscode_file = "~/passcode"'
        file.write_text(f"[profiles.mine]\n{keys}\n")
        result = run("ping", "-p", "mine", "--config", str(file), HOME=str(tmp_path), STOMP_PASSCODE="another")
        assert result.exit_code == 0, result.output
        (tmp_path / "passcode").unlink()
        result = run("ping", "-p", "mine", "--config", str(file), HOME=str(tmp_path))
        assert result.exit_code == 2
        assert "cannot be read" in result.stderr


def test_options_go_before_the_environment_and_that_before_the_file(broker: Broker, tmp_path: Path) -> None:
    file = tmp_path / "stomplistener.toml"
    file.write_text(PROFILES.format(uri="tcp://127.0.0.1:1", port=1))
    assert run("ping", STOMP_URL=broker.uri, STOMP_CONFIG=str(file)).exit_code == 0
    assert run("ping", "-u", broker.uri, STOMP_URL="tcp://127.0.0.1:1").exit_code == 0
    assert run("ping", STOMP_CONFIG=str(file)).exit_code == 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[profiles.a]\nurl = 'tcp://h:1'\npascode = 's3cret'", "did you mean 'passcode'"),
        ("[profiles.a]\nlogin = 'x'", "has no url"),
        ("[profiles.a]\nurl = 'tcp://h:1'\npasscode = 7", "passcode must be a string"),
        ("[profiles.a]\nurl = 'tcp://h:1'\nheartbeat = 10", "two numbers"),
        ("[profiles.b]\nurl = 'tcp://h:1'", "no profile 'a'"),
        ("no toml", "is not TOML"),
    ],
)
def test_a_wrong_profile_file_is_told_without_its_values(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text(text)
    result = run("ping", "-p", "a", "--config", str(file))
    assert result.exit_code == 2
    assert why in result.stderr.replace("\n", " ")
    assert "s3cret" not in result.output


def test_a_passcode_from_a_file_and_from_a_prompt(tmp_path: Path) -> None:
    file = tmp_path / "passcode"
    file.write_text("s3cret\n")
    with Broker(login="joe", passcode="s3cret") as broker:
        uri = f"tcp://joe@127.0.0.1:{broker.port}"
        assert run("ping", uri, "--passcode-file", str(file)).exit_code == 0
        asked = run("ping", uri, "--ask-passcode", stdin="s3cret\n")
        assert asked.exit_code == 0
        assert "s3cret" not in asked.output
        # The log of every frame is the likeliest place to give it away.
        logged = run("-vv", "ping", broker.uri)
        assert "s3cret" not in logged.output


# Completion and missing packages


def test_completion_knows_commands_and_profiles(tmp_path: Path) -> None:
    assert "_STOMPLISTENER_COMPLETE" in run("completion", "bash").stdout
    (tmp_path / "stomplistener.toml").write_text(PROFILES.format(uri="tcp://joe:s3cret@h:1", port=1))
    environment = {**os.environ, "_STOMPLISTENER_COMPLETE": "bash_complete", "XDG_CONFIG_HOME": str(tmp_path)}

    def complete(words: str, word: int) -> str:
        asked = {**environment, "COMP_WORDS": words, "COMP_CWORD": str(word)}
        return subprocess.run(
            [sys.executable, "-m", "stomplistener.cli"], env=asked, capture_output=True, text=True, timeout=20
        ).stdout

    assert "plain,listen" in complete("stomplistener li", 1)
    profiles = complete("stomplistener listen -p ", 3)
    assert "here" in profiles
    assert "s3cret" not in profiles


def test_without_its_packages_the_command_says_how_to_install_them() -> None:
    code = "import sys; sys.modules['click'] = None; from stomplistener.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert result.returncode == 1
    assert result.stderr == (
        "The command line needs packages that are not installed: pip install 'stomplistener[cli]'\n"
    )


# bench, top, broker, worker


def test_bench_leaves_its_queue_empty(broker: Broker) -> None:
    result = run("bench", broker.uri, "-n", "700", "--samples", "20", "--size", "11", "--destination", "/queue/b")
    assert result.exit_code == 0, result.output
    for text in ("send, confirmed", "receive", "p99", "█"):
        assert text in result.stdout
    assert broker.depth("/queue/b") == 0
    numbers = json.loads(run("bench", broker.uri, "-n", "10", "--samples", "2", "--json").stdout)
    assert set(numbers["rates"]) == {"send, confirmed", "send, unconfirmed", "receive"}


def test_histograms() -> None:
    rows = histogram([1.0] * 50 + [2.0] * 25 + [11.0] * 10, rows=10, width=8)
    assert [count for *_, count, _ in rows] == [50, 25, 0, 0, 0, 0, 0, 0, 0, 10]
    assert [bar for *_, bar in rows[:2]] == ["█" * 8, "█" * 4]
    assert histogram([3.0])[0][2] == 1


def test_top_shows_what_workers_tell(broker: Broker) -> None:
    app = Application(broker.uri)
    tasks = Tasks()
    metrics = Metrics(lambda: app.connections, tasks)
    app.listener("/queue/a")(lambda message: None)
    with metrics.served("127.0.0.1", 0) as port, app.open({}, tasks) as running:
        connection = running.connections["default"]
        connection.connect()
        broker.publish("/queue/a", "x")
        broker.wait_for(lambda: broker.frames(command="ACK"))
        result = run("top", str(port), "--count", "2", "--interval", "0.05", COLUMNS="200")
        connection.disconnect()
    assert result.exit_code == 0, result.output
    assert result.stdout.count("received/s") == 2
    assert "connected" in result.stdout
    nobody = run("top", f"127.0.0.1:{broker.port}")
    assert nobody.exit_code == 3
    assert "--metrics-port" in nobody.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_the_embedded_broker(tmp_path: Path) -> None:
    (tmp_path / "passcode").write_text("s3cret")
    command = [sys.executable, "-m", "stomplistener.cli", "broker", "--port", "0"]
    options = ["--login", "joe", "--passcode-file", str(tmp_path / "passcode")]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        uri = process.stdout.readline().strip()
        assert "s3cret" not in uri
        assert run("ping", uri, "--login", "joe", STOMP_PASSCODE="s3cret").exit_code == 0
        assert run("ping", uri).exit_code == 1
        taken = run("broker", "--port", uri.rpartition(":")[2])
        assert taken.exit_code == 1
        assert "cannot listen" in taken.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    result = run("worker", "no_such_module:app")
    assert result.exit_code == 2
    assert "no module 'no_such_module'" in result.stderr
    assert run("worker", "json:app", "--url", "tpc://h:1").exit_code == 2
    (tmp_path / "handlers_of_a_test.py").write_text(
        "from stomplistener.worker import Application\napp = Application('tcp://h:1')\n"
    )
    environment = {**os.environ, "STOMP_PASSCODE_FILE": "/nonexistent/passcode", "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "stomplistener", "worker", "handlers_of_a_test:app"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50)
    assert done.returncode == 2
    assert "the passcode file /nonexistent/passcode cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
    assert run("worker", "json:app", "--processes", "0").exit_code == 2


def test_a_closed_output_is_no_failure(broker: Broker) -> None:
    """A script that repeats a failed send would send twice."""
    done = shell("$C send /queue/closed x >&-; echo code $? >&2", broker.uri)
    assert "code 0" in done.stderr, done.stderr
    assert len(broker.messages("/queue/closed")) == 1
