"""The interactive shell, by lines of a file and in a terminal."""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest
from cli_process import run

from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(60)


def script(broker: Broker, *lines: str, timeout: str = "10") -> tuple[int, str, str]:
    result = run("shell", "-u", broker.uri, "--timeout", timeout, stdin="\n".join(lines) + "\n")
    return result.exit_code, result.stdout, result.stderr


def test_what_lines_do(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"\0\xff")
    code, shown, said = script(
        broker,
        "# a remark, and an empty line",
        "",
        "send -H kind:x -H n:1 /queue/a hello  world",
        "browse /queue/a",
        f"sendfile /queue/b {tmp_path / 'body'}",
        "subscribe /queue/a client-individual",
        "wait",
        "ack m1",
        "begin",
        "send /queue/c lost",
        "abort",
        "begin",
        "send /queue/c kept",
        "commit",
        "unsubscribe /queue/a",
        "stats",
        "help",
        "quit",
        "never reached",
    )
    assert code == 0, said
    assert shown.count("hello  world") == 2
    assert "kind: x" in shown
    assert [message.body for message in broker.messages("/queue/b")] == [b"\0\xff"]
    assert [message.body for message in broker.messages("/queue/c")] == [b"kept"]
    assert broker.depth("/queue/a") == 0
    assert "stomplistener-testing/1, STOMP 1.2" in shown
    assert "subscribe [-H name:value] DESTINATION" in shown


@pytest.mark.parametrize(
    ("lines", "code", "why"),
    [
        (["foo"], 1, "line 1: no command 'foo'"),
        (["", "subscribe"], 1, "line 2: subscribe [-H name:value] DESTINATION"),
        (["subscribe /queue/a sometimes"], 1, "ack mode is one of"),
        (["unsubscribe /queue/a"], 1, "no subscription to /queue/a"),
        (["subscribe /queue/a", "subscribe /queue/a"], 1, "line 2: /queue/a is subscribed to already"),
        (["send"], 1, "send [-H name:value]"),
        (["request"], 1, "request [-H name:value]"),
        (["ack m7"], 1, "no message 'm7'"),
        (["commit"], 1, "no transaction is open"),
        (["begin", "begin"], 1, "commit or abort"),
        (["sendfile /queue/a /nonexistent"], 1, "/nonexistent"),
        (["browse /queue/a x"], 1, "invalid literal"),
        (["wait 2"], 4, "expected 2 messages within 0.3 s, got 0"),
        (["request /queue/a x"], 4, "no answer"),
    ],
)
def test_what_is_wrong_with_a_line(broker: Broker, lines: list[str], code: int, why: str) -> None:
    got, _shown, said = script(broker, *lines, timeout="0.3")
    assert got == code
    assert why in said.replace("\n", " ")


def test_an_error_of_the_broker_is_shown(broker: Broker) -> None:
    broker.error_next("SEND", "full", close=False)
    code, shown, said = script(broker, "send /queue/a x")
    assert code == 1
    assert "full" in shown + said


PROMPT = r"\x1b\[\?2004h.*?stomp>"
"""A new prompt, where keys are read one by one. A line that was entered or given up is drawn once more with its prompt;
then, until the next one, the terminal itself reads: it makes signals of Ctrl-C and Ctrl-D, and throws keys away."""


@contextmanager
def terminal(broker: Broker, home: Path, **variables: str) -> Iterator[pexpect.spawn[str]]:
    line = shlex.join([sys.executable, "-m", "stomplistener", "shell", "-u", broker.uri])
    # This terminal does not answer where its cursor is, which would be waited for.
    environment = {**os.environ, "XDG_STATE_HOME": str(home), "PROMPT_TOOLKIT_NO_CPR": "1", **variables}
    with pexpect.spawn(line, env=environment, dimensions=(24, 80), timeout=25, encoding="utf-8") as child:
        child.expect(PROMPT)
        yield child


@pytest.mark.skipif(os.name != "posix", reason="terminals as POSIX has them")
@pytest.mark.parametrize("no_color", ["", "1"])
def test_no_color_holds_in_the_shell(broker: Broker, tmp_path: Path, no_color: str) -> None:
    with terminal(broker, tmp_path, NO_COLOR=no_color) as child:
        child.logfile_read = shown = io.StringIO()
        child.send("send /queue/a x\rbrowse /queue/a\r")
        child.expect(r"1 B.*\r\nx\r\n")
        child.expect(PROMPT)
        child.send("nonsense\r")
        child.expect("no command 'nonsense'")
        child.expect(PROMPT)
        child.sendeof()
        child.expect(pexpect.EOF)
    assert bool(re.search(r"\x1b\[[\d;]*[1-9][\d;]*m", shown.getvalue())) is not bool(no_color)


@pytest.mark.skipif(os.name != "posix", reason="terminals as POSIX has them")
def test_in_a_terminal_it_completes_remembers_and_shows_what_comes(broker: Broker, tmp_path: Path) -> None:
    with terminal(broker, tmp_path) as child:
        child.send("subsc\t/queue/alpha\r")
        child.expect(PROMPT)
        broker.wait_for(lambda: broker.subscriptions, 20)
        broker.publish("/queue/alpha", "while a person types")
        child.expect("while a person types")
        child.expect(PROMPT)
        child.send("send /queue/al\thello\r")
        broker.wait_for(lambda: broker.frames(command="SEND"), 20)
        # The message itself, below its headline and no part of the line that was typed.
        child.expect(r"5 B.*\r\nhello\r\n")
        child.expect(PROMPT)
        child.send("nonsense\r")
        child.expect("no command 'nonsense'")
        child.expect(PROMPT)
        child.send("half a line")
        child.sendintr()
        child.expect(PROMPT)
        child.sendeof()
        child.expect(pexpect.EOF)
    assert child.exitstatus == 0
    assert broker.frames(command="SEND")[-1].headers["destination"] == "/queue/alpha"
    assert "nonsense" in (tmp_path / "stomplistener" / "history").read_text()
    with terminal(broker, tmp_path) as child:
        # The line before the last one of the other time.
        child.send("\x1b[A\x1b[A")
        child.expect("hello")
        child.sendintr()
        child.expect(PROMPT)
        child.sendeof()
        child.expect(pexpect.EOF)
    assert child.exitstatus == 0
