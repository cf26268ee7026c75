"""The demo's job against real brokers that are killed and started twice while it runs, besides its own cuts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stomplistener.testing.containers import BrokerContainer

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"
MESSAGES = 6000
# Confirmed messages. The first kill comes 3.75 s after the queue was declared, which RabbitMQ writes within 2 s.
KILLED_AFTER = (1500, 3500)


@pytest.mark.parametrize("name", ["activemq", "rabbitmq"])
@pytest.mark.timeout(240, func_only=True)
def test_no_confirmed_message_is_missing(name: str, request: pytest.FixtureRequest) -> None:
    broker: BrokerContainer = request.getfixturevalue(name)
    command = [sys.executable, "-u", str(DEMO), "--broker", f"failover:({broker.uri})", "--messages", str(MESSAGES)]
    said: list[str] = []
    kills = iter(KILLED_AFTER)
    after: float = next(kills)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
        assert demo.stdout is not None
        try:
            for line in demo.stdout:
                said.append(line)
                progress = re.search(r"confirmed +(\d+)  received", line)
                if progress is not None and int(progress[1]) >= after:
                    broker.kill()
                    broker.start()
                    after = next(kills, float("inf"))
        finally:
            demo.kill()
    report = dict(line.rsplit(None, 1) for line in said[-7:])
    assert demo.returncode == 0, "".join(said)
    assert next(kills, None) is None
    assert after == float("inf")
    assert report["missing"] == "0"
    assert int(report["confirmed"]) > KILLED_AFTER[-1]
