"""Workers in operation: handlers that hang or kill, replacement of processes, probes, systemd."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from worker_applications import DEPLOYED, HANGS, HEAD, KILLS
from worker_process import WorkerProcess, eventually

from stomplistener.testing import Broker
from stomplistener.worker import notify

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them"),
    pytest.mark.timeout(120),
]

QUEUE = "/queue/work"
PATIENCE = 40.0

NEVER = (
    HEAD
    + """
if os.environ.get("STOMPLISTENER_WORKER_SLOT"):
    raise SystemExit(2)
"""
)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def test_a_handler_that_hangs_is_told_with_its_stack_and_the_alive_file_ages(broker: Broker, tmp_path: Path) -> None:
    alive, port = tmp_path / "alive", free_port()
    options = ("--alive-file", str(alive), "--metrics-port", str(port), "--grace", "0.5")
    with WorkerProcess(tmp_path, broker.uri, *options, application=HANGS) as worker:
        eventually(alive.exists, "the alive-file", PATIENCE)
        assert get(port, "/healthz")[0] == 200
        broker.publish(QUEUE, "hang")
        eventually(lambda: "runs longer than its time limit of 0.5 s" in worker.err, "the log of it", PATIENCE)
        assert "the handler of /queue/work runs longer" in worker.err
        assert re.search(r'application\.py", line \d+, in work', worker.err)
        touched = alive.stat().st_mtime
        page = get(port, "/metrics")[1]
        labels = 'connection="default",destination="/queue/work"'
        assert f"stomplistener_time_limit_exceeded_total{{{labels}}} 1.0" in page
        assert f"stomplistener_handlers_running{{{labels}}} 1.0" in page
        [age] = re.findall(rf"stomplistener_handler_oldest_seconds{{{re.escape(labels)}}} (\S+)", page)
        assert float(age) > 0.5
        assert get(port, "/healthz")[0] == 503
        # Another handler goes on meanwhile.
        broker.publish(QUEUE, "other")
        eventually(lambda: len(worker.lines) == 2, "the other message", PATIENCE)
        eventually(lambda: float(_oldest(port)) > float(age) + 2.0, "two seconds", PATIENCE)
        assert alive.stat().st_mtime == touched
        worker.signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 4, worker.err


def _oldest(port: int) -> str:
    oldest: str = re.findall(r"stomplistener_handler_oldest_seconds{\S+} (\S+)", get(port, "/metrics")[1])[0]
    return oldest


def test_a_child_that_hangs_is_replaced_and_its_messages_come_again(broker: Broker, tmp_path: Path) -> None:
    with WorkerProcess(tmp_path, broker.uri, "--processes", "2", application=HANGS) as worker:
        broker.wait_for(lambda: len(broker.subscriptions) == 2, PATIENCE)
        broker.publish(QUEUE, "hang")
        eventually(lambda: "runs longer than its time limit" in worker.err, "the log of it", PATIENCE)
        eventually(lambda: len(worker.lines) == 2, "the message comes again", PATIENCE)
        broker.wait_for(lambda: broker.connection_count == 3 and len(broker.subscriptions) == 2, PATIENCE)
        first, second = worker.lines
        assert (first.text, second.text, second.redelivered) == ("hang", "hang", True)
        assert first.pid != second.pid
        worker.signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0, worker.err
    assert broker.depth(QUEUE) == 0


def test_sigusr2_shows_the_stacks_of_all_processes(broker: Broker, tmp_path: Path) -> None:
    with WorkerProcess(tmp_path, broker.uri, "--processes", "2") as worker:
        broker.wait_for(lambda: len(broker.subscriptions) == 2, PATIENCE)
        worker.signal(signal.SIGUSR2)
        eventually(lambda: worker.err.count("stacks of process ") == 3, "three processes", PATIENCE)
        eventually(lambda: worker.err.count("most recent call last") >= 6, "their threads", PATIENCE)
        worker.signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0, worker.err
    with WorkerProcess(tmp_path, broker.uri) as worker:
        broker.wait_for(lambda: len(broker.subscriptions) == 1, PATIENCE)
        worker.signal(signal.SIGUSR2)
        eventually(lambda: "most recent call last" in worker.err, "the stacks", PATIENCE)
        worker.signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0, worker.err


def test_stacks_shown_under_load_do_not_kill_the_worker(broker: Broker, tmp_path: Path) -> None:
    with WorkerProcess(tmp_path, broker.uri) as worker:
        broker.wait_for(lambda: len(broker.subscriptions) == 1, PATIENCE)
        for number in range(1, 101):
            broker.publish(QUEUE, f"good-{number}")
            worker.signal(signal.SIGUSR2)
            eventually(lambda n=number: len(worker.lines) == n, "the message", PATIENCE)  # type: ignore[misc]
        worker.signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0, worker.err


def test_a_message_that_kills_its_process_is_given_up_after_exactly_so_many_calls(
    broker: Broker, tmp_path: Path
) -> None:
    with WorkerProcess(tmp_path, broker.uri, "--processes", "2", application=KILLS) as worker:
        broker.wait_for(lambda: len(broker.subscriptions) == 2, PATIENCE)
        broker.publish(QUEUE, "kill", {"outbox-id": "7"})
        [failed] = broker.wait_for(lambda: broker.messages(f"{QUEUE}.failed"), PATIENCE)
        for number in range(10):
            broker.publish(QUEUE, f"good-{number}")
        eventually(lambda: len(worker.lines) == 13, "all others", PATIENCE)
        assert [line.text for line in worker.lines].count("kill") == 3
        worker.signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0, worker.err
    assert failed.headers["original-destination"] == QUEUE
    assert broker.depth(QUEUE) == 0


def test_a_child_that_can_never_start_ends_the_supervisor(broker: Broker, tmp_path: Path) -> None:
    with WorkerProcess(tmp_path, broker.uri, "--processes", "2", application=NEVER) as worker:
        assert worker.wait(PATIENCE) == 2
    assert "starting it again cannot help" in worker.err


def test_wrong_use_ends_the_supervisor(broker: Broker, tmp_path: Path) -> None:
    command = ("-m", "stomplistener.cli", "worker", "application:nothing")
    with WorkerProcess(tmp_path, broker.uri, "--processes", "2", command=command) as worker:
        assert worker.wait(PATIENCE) == 2
    assert "has no 'nothing'" in worker.err


def test_sighup_replaces_processes_one_after_the_other(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "version").write_text("old")
    with WorkerProcess(tmp_path, broker.uri, "--processes", "2", application=DEPLOYED) as worker:
        broker.wait_for(lambda: len(broker.subscriptions) == 2, PATIENCE)
        texts = [str(number) for number in range(1500)]
        for text in texts[:500]:
            broker.publish(QUEUE, text)

        def versions() -> list[str]:
            return [row[2] for row in worker.rows]

        eventually(lambda: "old" in versions(), "the old code at work", PATIENCE)
        (tmp_path / "version").write_text("new")
        worker.signal(signal.SIGHUP)
        fewest = 2
        for text in texts[500:]:
            broker.publish(QUEUE, text)
            fewest = min(fewest, len(broker.subscriptions))
        eventually(lambda: len({row[1] for row in worker.rows}) == 4, "4 pids", 80)
        eventually(lambda: len(worker.rows) >= len(texts), "all messages handled", PATIENCE)
        lines = worker.rows
        assert sorted(text for text, _, _ in lines) == sorted(texts)
        assert fewest >= 1
        kinds = [version for _, _, version in lines]
        # A new child works before the last old one is gone.
        assert kinds.index("new") < len(kinds) - 1 - kinds[::-1].index("old")
        worker.signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0, worker.err


def test_a_deploy_under_load_loses_nothing_and_does_nothing_twice_within_once(broker: Broker, tmp_path: Path) -> None:
    """Every message comes twice, and two deploys go on meanwhile."""
    (tmp_path / "version").write_text("0")
    application = DEPLOYED.replace("app = Application()", 'app = Application(inbox=SQLiteInbox("inbox"))')
    application = application.replace("@app.listener(queue)", "@app.listener(queue, once=True)")
    assert application.count("inbox") == 2
    with WorkerProcess(tmp_path, broker.uri, "--processes", "2", application=application) as worker:
        broker.wait_for(lambda: len(broker.subscriptions) == 2, PATIENCE)

        def handled() -> list[list[str]]:
            return [line.split() for line in worker.book.read_text().splitlines()]

        texts: list[str] = []

        def load_until(processes: int) -> None:
            """Keep the queue filled until so many processes have handled something."""
            end = time.monotonic() + 80
            while len({line[1] for line in handled()}) < processes:
                assert time.monotonic() < end, f"no {processes} processes"
                texts.append(str(len(texts)))
                for _ in range(2):
                    broker.publish(QUEUE, texts[-1], {"outbox-id": texts[-1]})
                broker.wait_for(lambda: broker.depth(QUEUE) < 100, PATIENCE)

        load_until(2)
        for deploy in (1, 2):
            (tmp_path / "version").write_text(str(deploy))
            worker.signal(signal.SIGHUP)
            load_until(2 + 2 * deploy)
        broker.wait_for(lambda: not broker.depth(QUEUE) and not broker.unacknowledged(QUEUE), 60)
        worker.signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0, worker.err
        assert sorted(line[0] for line in handled()) == sorted(texts)


def test_new_code_that_does_not_start_replaces_no_more_than_one(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "version").write_text("old")
    with WorkerProcess(tmp_path, broker.uri, "--processes", "2", application=DEPLOYED) as worker:
        broker.wait_for(lambda: len(broker.subscriptions) == 2, PATIENCE)
        eventually(lambda: worker.err.count(": listening to") == 2, "both connected", PATIENCE)
        (tmp_path / "version").unlink()
        worker.signal(signal.SIGHUP)
        eventually(lambda: "the others are not replaced" in worker.err, "the end of the deployment", PATIENCE)
        broker.publish(QUEUE, "x")
        eventually(lambda: worker.book.read_text().endswith("old\n"), "the old code at work", PATIENCE)
        worker.signal(signal.SIGTERM)
        worker.wait(PATIENCE)


def test_processes_are_recycled(broker: Broker, tmp_path: Path) -> None:
    options = ("--processes", "2", "--max-messages", "10")
    with WorkerProcess(tmp_path, broker.uri, *options, WORK="0.05") as worker:
        broker.wait_for(lambda: len(broker.subscriptions) == 2, PATIENCE)
        texts = [str(number) for number in range(60)]
        for text in texts:
            broker.publish(QUEUE, text)
        eventually(lambda: len(worker.lines) >= 60, "all messages handled", 80)
        assert sorted(line.text for line in worker.lines) == sorted(texts)
        assert len({line.pid for line in worker.lines}) > 2
        assert "messages" in worker.err
        assert "another one takes over" in worker.err
        worker.signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0, worker.err
    with WorkerProcess(tmp_path, broker.uri, "--max-memory", "1") as worker:
        assert worker.wait(PATIENCE) == 0
    assert "MiB of memory" in worker.err


def test_one_port_answers_for_all_processes(broker: Broker, tmp_path: Path) -> None:
    port = free_port()
    options = ("--processes", "2", "--metrics-port", str(port))
    with WorkerProcess(tmp_path, broker.uri, *options, WORK="0.02") as worker:
        eventually(lambda: get(port, "/readyz")[0] == 200, "readiness", PATIENCE)
        for number in range(100):
            broker.publish(QUEUE, str(number))
        broker.wait_for(lambda: len(broker.frames(command="ACK")) == 100, PATIENCE)
        labels = 'connection="default",destination="/queue/work",outcome="acked"'

        def handled() -> dict[str, float]:
            page = get(port, "/metrics")[1]
            found = re.findall(rf'stomplistener_handled_total{{{labels},process="(\d)"}} (\S+)', page)
            return {process: float(value) for process, value in found}

        eventually(lambda: sum(handled().values()) == 100, "100 attempts", PATIENCE)
        assert set(handled()) == {"1", "2"}
        assert all(handled().values())
        broker.stop()
        eventually(lambda: get(port, "/readyz")[0] == 503, "no readiness", PATIENCE)
        assert get(port, "/healthz")[0] == 200
        assert get(port, "/other")[0] == 404
        broker.start()
        eventually(lambda: get(port, "/readyz")[0] == 200, "readiness again", PATIENCE)
        worker.signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0, worker.err


def test_readiness_of_one_process(broker: Broker, tmp_path: Path) -> None:
    port = free_port()
    with WorkerProcess(tmp_path, broker.uri, "--metrics-port", str(port)) as worker:
        eventually(lambda: get(port, "/readyz")[0] == 200, "readiness", PATIENCE)
        broker.stop()
        eventually(lambda: get(port, "/readyz")[0] == 503, "no readiness", PATIENCE)
        assert get(port, "/healthz")[0] == 200
        assert get(port, "/")[0] == 404
        broker.start()
        eventually(lambda: get(port, "/readyz")[0] == 200, "readiness again", PATIENCE)
        worker.signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0, worker.err


@pytest.mark.parametrize("options", [(), ("--processes", "2")])
def test_systemd_is_told(broker: Broker, tmp_path: Path, options: tuple[str, ...]) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(PATIENCE)
        variables = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "5000000"}
        with WorkerProcess(tmp_path, broker.uri, *options, **variables) as worker:
            told: list[bytes] = []
            while b"READY=1" not in told or told[-1] != b"WATCHDOG=1":
                told.append(systemd.recv(100))
            assert told.count(b"READY=1") == 1
            assert len(broker.subscriptions) == (2 if options else 1)
            worker.signal(signal.SIGTERM)
            while told[-1] != b"STOPPING=1":
                told.append(systemd.recv(100))
            assert worker.wait(PATIENCE) == 0, worker.err
    assert set(told) == {b"READY=1", b"WATCHDOG=1", b"STOPPING=1"}


def test_an_abstract_socket_and_none_at_all(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0stomplistener-test-notify")
        monkeypatch.setenv("NOTIFY_SOCKET", "@stomplistener-test-notify")
        notifier = notify.Notifier()
        notifier.ready()
        notifier.lives()
        assert systemd.recv(100) == b"READY=1"
    notifier.stopping()
    assert "sending STOPPING=1 to systemd failed" in caplog.text
    assert "NOTIFY_SOCKET" not in os.environ
    notify.Notifier().ready()


def test_workers_from_the_command_line(broker: Broker, tmp_path: Path) -> None:
    with WorkerProcess(tmp_path, broker.uri, "--workers", f"{QUEUE}=4", WORK="0.5") as worker:
        broker.wait_for(lambda: len(broker.subscriptions) == 1, PATIENCE)
        for number in range(4):
            broker.publish(QUEUE, str(number))
        broker.wait_for(lambda: len(broker.unacknowledged(QUEUE)) == 4, PATIENCE)
        eventually(lambda: len(worker.lines) == 4, "all messages handled", PATIENCE)
        worker.signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0, worker.err
    with WorkerProcess(tmp_path, broker.uri, "--workers", "/queue/other=4") as worker:
        assert worker.wait(PATIENCE) == 2
    assert "no handler listens to /queue/other" in worker.err
    assert "Traceback" not in worker.err
    with WorkerProcess(tmp_path, broker.uri, "--workers", "/queue/work") as worker:
        assert worker.wait(PATIENCE) == 2
