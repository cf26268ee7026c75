"""The programs for event loops that a reader starts: the examples, and the pages' blocks."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from docs_support import ROOT, captioned, running

from stomplistener.testing import Broker

EXAMPLES = {
    "asyncio/kitchen.py": ["40 orders were confirmed", "40 orders are cooked"],
    "twisted/bakery.py": ["40 orders were confirmed", "40 orders are baked"],
}
PAGE = "howto/asyncio-twisted.md"


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_end_with_all_orders_done(name: str) -> None:
    example = [sys.executable, "-X", "dev", str(ROOT / "examples" / name)]
    done = subprocess.run(example, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout.splitlines()) == (0, EXAMPLES[name]), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM on this platform")
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_end_gracefully_by_a_signal(broker: Broker, name: str) -> None:
    first, last = EXAMPLES[name]
    with running([str(ROOT / "examples" / name), broker.uri], ROOT) as program:
        program.expect(first)
        (queue,) = broker.destinations
        broker.wait_for(lambda: not broker.depth(queue) and not broker.unacknowledged(queue), 20)
        program.process.send_signal(signal.SIGTERM)
        program.expect(last)
        assert program.end() == 0, program.lines
    assert broker.frames(command="DISCONNECT")


@pytest.mark.parametrize(
    ("caption", "lines"), [("bakery.py", {"confirmed", "baked bread"}), ("greenlets.py", {"confirmed"})]
)
def test_the_programs_of_the_page(broker: Broker, tmp_path: Path, caption: str, lines: set[str]) -> None:
    (tmp_path / caption).write_text(captioned(PAGE, caption))
    with running([caption], tmp_path, STOMP_URL=broker.uri) as program:
        assert program.end(30) == 0, program.lines
    assert set(program.lines) == lines
    assert broker.frames(command="DISCONNECT")
