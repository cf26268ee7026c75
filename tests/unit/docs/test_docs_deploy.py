"""The page on deployment: its probes, its numbers, and its programs in processes that fork."""

from __future__ import annotations

import configparser
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs_support import DOCS, captioned, running

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


def test_children_of_multiprocessing_say_no_goodbye_by_themselves(broker: Broker, tmp_path: Path) -> None:
    program = captioned("howto/deploy.md", "fork.py").replace("    publisher.close()\n", "")
    (tmp_path / "fork.py").write_text(program)
    done = subprocess.run([sys.executable, "fork.py"], cwd=tmp_path, env={**os.environ, "STOMP_URL": broker.uri})
    assert done.returncode == 0
    assert broker.depth("/queue/orders") == 4
    assert len(broker.frames(command="DISCONNECT")) == 1
