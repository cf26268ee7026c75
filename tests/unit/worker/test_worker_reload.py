"""A worker that starts anew when its program changes, and programs that cannot be loaded."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from worker_process import APPLICATION, PATIENCE, WorkerProcess, eventually

from stomplistener.testing import Broker
from stomplistener.worker import load
from stomplistener.worker.loading import LoadError

pytestmark = [pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them"), pytest.mark.timeout(60)]


def test_a_changed_file_starts_it_anew_and_a_broken_one_waits_for_its_repair(broker: Broker, tmp_path: Path) -> None:
    program = tmp_path / "application.py"
    with WorkerProcess(tmp_path, broker.uri, "--reload") as worker:
        broker.wait_for(lambda: broker.subscriptions, PATIENCE)
        eventually(lambda: "watching" in worker.err, "the watcher")
        program.write_text(APPLICATION.replace("/queue/work", "/queue/other"))
        broker.wait_for(lambda: [each.destination for each in broker.subscriptions] == ["/queue/other"], PATIENCE)
        program.write_text("this is no Python")
        eventually(lambda: "another one starts when a file changes" in worker.err, "the failure")
        program.write_text(APPLICATION)
        broker.wait_for(lambda: [each.destination for each in broker.subscriptions] == ["/queue/work"], PATIENCE)
        worker.signal(signal.SIGINT)
        assert worker.wait() == 0, worker.err


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("no_such_module:app", "no module 'no_such_module'"),
        ("json:app", "has no 'app'"),
        ("json:dumps", "is function, not a"),
        (":app", "names no module"),
        ("os.nothing.here", "no module"),
    ],
)
def test_a_target_that_is_no_application(target: str, why: str) -> None:
    with pytest.raises(LoadError, match=why):
        load(target)


def test_a_module_that_an_application_misses_is_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_more.py").write_text("import surely_missing_module\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="surely_missing_module"):
        load("needs_more")
