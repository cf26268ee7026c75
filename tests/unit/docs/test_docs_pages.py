"""What single pages of the manual claim: commands, tables, terms and groups."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from docs_support import DOCS, ROOT, load, pages, running, typed

from stomplistener import Connection, Limits
from stomplistener.brokers import PROFILES
from stomplistener.protocol import HeartBeat
from stomplistener.testing import Broker

FENCE = re.compile(r"^( *)(`{3,}|:{3,}).*?^\1\2$", re.DOTALL | re.MULTILINE)
QUOTED_BY_PEOPLE = ("Heartbeat timeout",)
"""What readers look for in these words."""


def text_of(page: str) -> str:
    return (DOCS / page).read_text()


def prose(text: str) -> str:
    """A page without blocks, code and targets of links."""
    text = FENCE.sub("", text)
    return re.sub(r"`[^`]*`|\]\([^)]*\)", "", text)


# Terms


def test_pages_spell_heartbeat_and_reconnect_as_the_glossary_does() -> None:
    for page in pages():
        text = prose(page.read_text())
        for words in QUOTED_BY_PEOPLE:
            text = text.replace(words, "")
        assert re.findall(r"heart[ -]beats?\b|re-connect\w*", text, re.IGNORECASE) == [], page


def test_docstrings_spell_heartbeat_as_the_glossary_does() -> None:
    for path in sorted((ROOT / "stomplistener").rglob("*.py")):
        if "compat" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
                # The header keeps its name.
                plain = re.sub(r"``[^`]*``|heart-beat headers?|header heart-beat", "", text)
                assert not re.search(r"\b[Hh]eart[ -]beats?\b", plain), f"{path}: {text}"


def test_the_glossary_is_in_order() -> None:
    block = re.search(r"```\{glossary\}\n(.*?)^```$", text_of("reference/glossary.md"), re.DOTALL | re.MULTILINE)
    assert block is not None
    terms = re.findall(r"^(\w.*)$", block[1], re.MULTILINE)
    assert terms == sorted(terms, key=lambda term: term.replace(" ", ""))
    assert {"heartbeat", "reconnect", "dead letter", "replay", "resend"} <= set(terms)


SOUGHT = {
    **dict.fromkeys(("heartbeat", "heart-beat", "heartbeat timeout"), "howto/heartbeats"),
    **dict.fromkeys(("reconnect", "failover"), "howto/failover"),
    **dict.fromkeys(
        ("nothing arrives", "listener never called", "messages twice", "port 61616"), "howto/troubleshooting"
    ),
    **dict.fromkeys(("dead letter", "DLQ"), "howto/dead-letters"),
    **dict.fromkeys(("queue depth", "purge"), "howto/queues"),
    **dict.fromkeys(("RabbitMQ", "virtual host", "exchange"), "howto/rabbitmq"),
    **dict.fromkeys(("WebSocket", "proxy"), "howto/websocket"),
    "signals": "howto/end",
    "JSON": "howto/json",
    "FAQ": "howto/faq",
    "big message": "howto/big-messages",
    "choosing a broker": "explanation/choosing-a-broker",
}
"""What people type into the search, and the page that it must lead to."""


@pytest.mark.parametrize(("words", "page"), SOUGHT.items())
def test_the_search_leads_to_the_page(words: str, page: str) -> None:
    """Sphinx gives a main entry of the index the score of a title, and more."""
    entries = re.search(r"^```\{index\} (.+)$", text_of(f"{page}.md"), re.MULTILINE)
    assert entries is not None
    assert f"! {words}" in entries[1].split(", ")


# The index


def test_each_how_to_is_in_one_group() -> None:
    index = text_of("howto/index.md")
    groups = dict(re.findall(r"^## (.+)\n\n```\{toctree\}\n:maxdepth: 1\n\n((?:[\w-]+\n)+)```", index, re.MULTILINE))
    listed = [name for names in groups.values() for name in names.split()]
    assert sorted(listed) == sorted(path.stem for path in (DOCS / "howto").glob("*.md") if path.stem != "index")
    for group in ("Start", "Receive well", "Send well", "Run in production", "Test", "Come over"):
        assert groups[group]


def test_the_faq_answers_thirty_questions_briefly_and_leads_on() -> None:
    answers = re.split(r"^### (.+\?)$", text_of("howto/faq.md"), flags=re.MULTILINE)[1:]
    assert len(answers) // 2 >= 30
    for question, answer in zip(answers[::2], answers[1::2], strict=True):
        answer = answer.partition("\n## ")[0].strip()
        assert "](" in answer, question
        assert len(answer.splitlines()) <= 5, question


# Brokers


def test_the_table_for_choosing_a_broker_is_that_of_the_profiles() -> None:
    generate = load("generate")
    table = generate.abilities().splitlines()
    assert set(generate.ABILITIES) == {option for profile in PROFILES.values() for option in profile.options}
    cells = {row.split(" | ")[0]: row.split(" | ") for row in table}
    selectors = cells[f"| {generate.ABILITIES['selector']}"]
    assert [cell.split(";")[0] for cell in selectors[1:4]] == ["yes", "yes", "yes"]
    assert selectors[4].startswith("no; ")


def test_the_dead_letters_that_name_their_origin() -> None:
    page = text_of("howto/dead-letters.md")
    naming = {profile.title: header for profile in PROFILES.values() for header in profile.origin}
    assert set(naming) == {"ActiveMQ Artemis", "RabbitMQ"}
    for title, header in naming.items():
        assert re.search(rf"^\| {title.removeprefix('ActiveMQ ')} \| yes, from `{header}` \|$", page, re.MULTILINE)


def test_rabbitmq_is_configured_as_the_brokers_of_the_tests_are() -> None:
    tested = ROOT / "tests" / "integration" / "brokers" / "rabbitmq"
    block = re.search(r"```ini\n(.*?)```", text_of("howto/rabbitmq.md"), re.DOTALL)
    assert block is not None
    keys = [line.partition(" = ")[0] for line in [*block[1].splitlines(), "web_stomp.ws_frame = binary"]]
    configured = (tested / "rabbitmq.conf").read_text()
    assert [key for key in keys if f"\n{key} = " not in configured] == []
    plugins = (tested / "enabled_plugins").read_text()
    for name in ("rabbitmq_stomp", "rabbitmq_web_stomp"):
        assert name in plugins
        assert name in text_of("howto/rabbitmq.md")


@pytest.mark.parametrize("server", ["ActiveMQ/5.18.3", "ActiveMQ-Artemis/2.44.0"])
def test_json_has_a_length_for_jms_brokers_and_a_string_has_none(server: str) -> None:
    with Broker(server_name=server) as broker, Connection(broker.uri) as connection:
        connection.send("/queue/a", json={"item": "pizza"}, confirm=True)
        connection.send("/queue/a", '{"item": "pizza"}', content_type="application/json", confirm=True)
        as_json, as_text = broker.frames(command="SEND")
    assert as_json.headers.get("content-length") == "16"
    assert as_text.headers.get("content-length") is None
    assert {each.headers.get("content-type") for each in (as_json, as_text)} == {"application/json"}


# Heartbeats and limits


def test_the_times_of_the_page_on_heart_beats() -> None:
    defaults = HeartBeat(10.0, 10.0)
    assert (defaults.send_due(0.0), defaults.dead_at(0.0)) == (7.5, 25.0)
    assert HeartBeat(4.0, 4.0).dead_at(0.0) == 10.0
    assert HeartBeat(60.0, 60.0).dead_at(0.0) == 150.0
    assert HeartBeat(0.0, 0.0).dead_at(0.0) == float("inf")


PROGRAM = """
import sys
from stomplistener import Connection, Listener

class Watch(Listener):
    def on_connected(self, frame):
        print("connected", flush=True)

    def on_disconnected(self):
        print("disconnected", flush=True)

connection = Connection(sys.argv[1], heartbeat=(0.3, 0.3))
connection.add_listener(Watch())
connection.subscribe("/queue/orders", lambda message: print(message.text, flush=True))
connection.run_forever()
"""


@pytest.mark.skipif(os.name != "posix", reason="no SIGSTOP on this platform")
def test_the_broker_ends_the_connection_of_a_process_that_stands_still_and_it_reconnects(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    with Broker(heartbeat=(0.3, 0.3)) as broker, running(["program.py", broker.uri], tmp_path) as program:
        program.expect("connected")
        program.process.send_signal(signal.SIGSTOP)
        broker.wait_for(lambda: not broker.connections, 15, "the end of the connection")
        program.process.send_signal(signal.SIGCONT)
        program.expect("connected", times=2)
        assert "disconnected" in program.lines
        broker.publish("/queue/orders", "pizza")
        program.expect("pizza")
        program.process.send_signal(signal.SIGTERM)
        assert program.end() == 0, program.lines


def test_the_limits_of_the_page_on_big_messages() -> None:
    page, limits, mib = text_of("howto/big-messages.md"), Limits(), 1024 * 1024
    for field in ("max_body", "max_pending_bytes", "max_unconfirmed_bytes"):
        assert re.search(rf"\| {getattr(limits, field) // mib} MiB[^|]*\| `Limits\({field}=\.\.\.\)`", page), field
    assert f"| {limits.frame_timeout:g} seconds | `Limits(frame_timeout=...)`" in page


# Commands


@pytest.mark.skipif(os.name != "posix", reason="the probe is for a POSIX shell")
def test_the_probe_of_a_container(tmp_path: Path) -> None:
    command = re.search(r'exec: \{command: \[sh, -c, "(.*)"\]\}', text_of("howto/containers.md"))
    assert command is not None
    alive = tmp_path / "alive"
    probe = ["sh", "-c", command[1].replace("/tmp/alive", str(alive))]
    alive.touch()
    assert subprocess.run(probe, check=False).returncode == 0
    os.utime(alive, (time.time() - 90,) * 2)
    assert subprocess.run(probe, check=False).returncode != 0


@pytest.mark.timeout(90)
@pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")
def test_the_commands_of_the_page_on_dead_letters(tmp_path: Path) -> None:
    with Broker() as broker:
        for number in range(3):
            broker.publish("/queue/parcels.failed", f"book {number}", {"original-destination": "/queue/parcels"})
        broker.publish("/queue/parcels.failed", "from nowhere")
        done = typed("howto/dead-letters.md", tmp_path, broker.uri)
        assert [letter.body for letter in broker.messages("/queue/parcels")] == [b"book 0", b"book 1", b"book 2"]
        assert broker.depth("/queue/parcels.failed") == 0
    assert done.stderr.count("without a header for the origin") == 2
    assert "from nowhere" in (tmp_path / "failed.jsonl").read_text()


@pytest.mark.timeout(60)
@pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")
def test_the_commands_of_the_page_on_queues(tmp_path: Path) -> None:
    with Broker() as broker:
        broker.publish("/queue/menu", "pizza")
        typed("howto/queues.md", tmp_path, broker.uri, answers="y\n")
        assert broker.depth("/queue/menu") == 0
