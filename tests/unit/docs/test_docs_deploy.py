"""The page on deployment: its probes, its numbers, and its programs in processes that fork."""

from __future__ import annotations

import configparser
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from docs_support import DOCS, ROOT, captioned, eventually, files, running

from stomplistener.testing import Broker
from stomplistener.worker import RunOptions
from stomplistener.worker.supervisor import OVERTIME

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="fork, signals and a shell as POSIX has them"),
    pytest.mark.timeout(60),
]

PAGE = (DOCS / "howto" / "deploy.md").read_text()
ENDS_WITHIN = RunOptions().grace + OVERTIME


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.mark.parametrize("probe", ["liveness", "readiness"])
def test_a_probe_sees_an_alive_file_grow_old(tmp_path: Path, probe: str) -> None:
    command = re.search(rf'{probe}Probe:\n +exec: {{command: \[sh, -c, "(.*)"\]}}', PAGE)
    assert command is not None
    alive = tmp_path / "alive"

    def passes() -> bool:
        line = command[1].replace("/tmp/alive", str(alive))
        return subprocess.run(["sh", "-c", line], stderr=subprocess.DEVNULL).returncode == 0

    assert not passes()
    alive.touch()
    assert passes()
    os.utime(alive, (time.time() - 600, time.time() - 600))
    assert not passes()


def test_whoever_ends_a_worker_waits_longer_than_the_worker_takes() -> None:
    (kubernetes,) = re.findall(r"terminationGracePeriodSeconds: (\d+)", PAGE)
    (compose,) = re.findall(r"stop_grace_period: (\d+)s", PAGE)
    unit = configparser.ConfigParser()
    unit.read_string(re.findall(r":caption: shop-worker.service\n\n(.*?)```", PAGE, re.DOTALL)[0])
    for seconds in (kubernetes, compose, unit["Service"]["TimeoutStopSec"]):
        assert float(seconds) > ENDS_WITHIN


DEPLOY = ROOT / "deploy"


def test_the_image_runs_as_a_number_that_is_not_roots() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    (user,) = [line.removeprefix("USER ") for line in lines if line.startswith("USER ")]
    assert all(int(number) >= 10000 for number in user.split(":"))
    copied = max(number for number, line in enumerate(lines) if line.startswith(("COPY", "RUN")))
    assert copied < lines.index(f"USER {user}"), "what runs must not be its own to change"


def test_the_manifest_is_restricted_and_agrees_with_the_page_and_the_image() -> None:
    template = yaml.safe_load((DEPLOY / "kubernetes.yaml").read_text())["spec"]["template"]
    pod = template["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] >= 10000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["terminationGracePeriodSeconds"] > ENDS_WITHIN
    assert {each["mountPath"] for each in container["volumeMounts"]} == {"/tmp"}
    on_the_page = yaml.safe_load(files(DOCS / "howto" / "deploy.md")["worker.yaml"])["spec"]
    assert on_the_page["terminationGracePeriodSeconds"] == pod["terminationGracePeriodSeconds"]
    assert on_the_page["securityContext"].items() <= pod["securityContext"].items()
    assert on_the_page["containers"][0]["securityContext"].items() <= container["securityContext"].items()
    assert on_the_page["containers"][0]["livenessProbe"]["exec"] == container["livenessProbe"]["exec"]
    image = (DEPLOY / "Dockerfile").read_text()
    assert f'"--metrics-port", "{container["ports"][0]["containerPort"]}"' in image
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(container["ports"][0]["containerPort"])
    assert '"--alive-file", "/tmp/alive"' in image


def test_the_compose_file_takes_away_what_a_worker_does_not_need() -> None:
    worker = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["worker"]
    assert int(worker["user"].partition(":")[0]) >= 10000
    assert worker["read_only"] is True
    assert worker["cap_drop"] == ["ALL"]
    assert worker["security_opt"] == ["no-new-privileges:true"]
    assert float(worker["stop_grace_period"].removesuffix("s")) > ENDS_WITHIN
    assert [each.partition(":")[0] for each in worker["tmpfs"]] == ["/tmp"]


def command_of_the_image() -> list[str]:
    """What the image runs, as a list."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "")
    (command,) = re.findall(r"(?m)^CMD (\[.*\])$", text)
    words: list[str] = json.loads(command)
    return words


def nobody() -> int | None:
    """The uid of nobody; None if the tests are not root's, or if nobody may not run their interpreter."""
    if os.geteuid() != 0:
        return None
    try:
        subprocess.run([sys.executable, "-c", ""], user=65534, check=True, cwd="/")
    except (OSError, subprocess.CalledProcessError):
        return None
    return 65534


def test_the_command_of_the_image_needs_no_root_and_writes_to_its_tmp_only(broker: Broker) -> None:
    """Without a home, and in a directory that is another's."""
    program, *arguments = command_of_the_image()
    assert program == "stomplistener"
    with tempfile.TemporaryDirectory() as room:
        (application := Path(room, "application")).mkdir(mode=0o755)
        (application / "handlers.py").write_text(captioned("howto/worker.md", "handlers.py"))
        (tmp := Path(room, "tmp")).mkdir()
        tmp.chmod(0o777)
        Path(room).chmod(0o755)
        arguments = ["0" if word == "9100" else word.replace("/tmp/", f"{tmp}/") for word in arguments]
        worker = subprocess.Popen(
            [sys.executable, "-m", "stomplistener", *arguments],
            cwd=application,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "STOMP_URL": broker.uri, "HOME": "/nonexistent"}
            | {"PYTHONDONTWRITEBYTECODE": "1"},
            user=nobody(),
            stderr=subprocess.PIPE,
        )
        try:
            eventually(tmp / "alive", 20)
            broker.publish("/queue/orders", '{"id": 7}')
            broker.wait_for(lambda: broker.depth("/queue/invoices") == 1, 20, "the invoice")
            worker.send_signal(signal.SIGTERM)
            _, log = worker.communicate(timeout=20)
        finally:
            worker.kill()
        assert worker.returncode == 0, log
        assert [path.name for path in application.iterdir()] == ["handlers.py"]
        assert {json.loads(line)["level"] for line in log.splitlines()} == {"INFO"}


def test_children_of_a_fork_publish_by_connections_of_their_own(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "fork.py").write_text(captioned("howto/deploy.md", "fork.py"))
    with running(["fork.py"], tmp_path, STOMP_URL=broker.uri) as program:
        assert program.end(30) == 0, program.lines
        assert program.lines == ["child ended with 0"] * 2
    bodies = sorted(message.body.decode() for message in broker.messages("/queue/orders"))
    assert bodies == ["from child 0", "from child 1", "from the parent", "from the parent again"]
    assert broker.connection_count == len(broker.frames(command="DISCONNECT")) == 3


def test_celery_publishes_from_its_pool_and_says_goodbye(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(captioned("howto/deploy.md", "tasks.py"))
    (tmp_path / "celeryconfig.py").write_text(
        "broker_url = 'filesystem://'\n"
        "broker_transport_options = dict(data_folder_in='in', data_folder_out='in', control_folder='control')\n"
        "worker_concurrency = 2\n"
    )
    for folder in ("in", "control"):
        (tmp_path / folder).mkdir()
    variables = {"CELERY_CONFIG": "celeryconfig", "STOMP_URL": broker.uri}
    order = "import tasks; [tasks.invoice.delay(number) for number in range(20)]"
    # Ordered before the worker looks: Celery's queue of files may read one that is just being written, and drops it.
    with running(["-c", order], tmp_path, **variables) as customer:
        assert customer.end(30) == 0, customer.lines
    with running(["-m", "celery", "--app", "tasks", "worker"], tmp_path, **variables) as celery:
        broker.wait_for(lambda: broker.depth("/queue/invoices") == 20, 30, "every invoice")
        celery.process.send_signal(signal.SIGTERM)
        assert celery.end(30) == 0, celery.lines
    assert broker.connection_count == len(broker.frames(command="DISCONNECT")) <= 2


def test_children_of_multiprocessing_say_goodbye_by_themselves(broker: Broker, tmp_path: Path) -> None:
    program = captioned("howto/deploy.md", "fork.py").replace("    publisher.close()\n", "")
    (tmp_path / "fork.py").write_text(program)
    done = subprocess.run([sys.executable, "fork.py"], cwd=tmp_path, env={**os.environ, "STOMP_URL": broker.uri})
    assert done.returncode == 0
    assert broker.depth("/queue/orders") == 4
    assert len(broker.frames(command="DISCONNECT")) == 3
