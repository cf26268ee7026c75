"""The end of a program: what a send took is written, or a warning says how many messages were not."""

from __future__ import annotations

import re

import pytest
from application_support import run_program

from stomplistener.testing import Broker

pytestmark = pytest.mark.timeout(40)

MESSAGES = 100
END = 2.0
"""Seconds within which a program ends whose messages cannot be written."""
START = 1.5
"""What an interpreter on a busy machine needs besides."""

PREAMBLE = f"""
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from stomplistener import Connection, StompError

URI = "failover:(" + sys.argv[1] + ")?initialReconnectDelay=10&maxReconnectDelay=100"
MESSAGES = {MESSAGES}

def connect(**options):
    return Connection(URI, **options).connect(timeout=10)
"""

WAYS = {
    "send": """
connection = connect()
for number in range(MESSAGES):
    connection.send("/queue/end", str(number))
""",
    "send with headers": """
connection = connect()
for number in range(MESSAGES):
    connection.send("/queue/end", str(number), {"number": str(number)}, content_type="text/plain")
""",
    "send_async": """
connection = connect()
for number in range(MESSAGES):
    connection.send_async("/queue/end", str(number))
""",
    "in a pool": """
connection = connect()
pool = ThreadPoolExecutor(4)
for number in range(MESSAGES):
    pool.submit(connection.send, "/queue/end", str(number))
pool.shutdown()
""",
    "in a pool that is left open": """
connection = connect()
pool = ThreadPoolExecutor(4)
for number in range(MESSAGES):
    pool.submit(connection.send, "/queue/end", str(number))
""",
    "in a thread": """
connection = connect()
def work():
    for number in range(MESSAGES):
        connection.send("/queue/end", str(number))
thread = threading.Thread(target=work)
thread.start()
""",
    "a batch": """
connection = connect()
with connection.batch():
    for number in range(MESSAGES):
        connection.send("/queue/end", str(number))
""",
    "two connections": """
connection, second = connect(), connect()
for number in range(MESSAGES // 2):
    connection.send("/queue/end", str(number))
    second.send("/queue/end", str(number))
""",
    "one was disconnected": """
first, connection = connect(), connect()
first.disconnect()
for number in range(MESSAGES):
    connection.send("/queue/end", str(number))
""",
    "in a function": """
def main():
    connection = connect()
    for number in range(MESSAGES):
        connection.send("/queue/end", str(number))
main()
""",
    "with a listener that still runs": """
connection = connect()
begun = threading.Event()
def listen(message):
    begun.set()
    time.sleep(60)
connection.subscribe("/queue/listened", listen, confirm=True)
connection.send("/queue/listened", "x")
begun.wait(5)
for number in range(MESSAGES):
    connection.send("/queue/end", str(number))
""",
}
SAY_END = 'print("END", time.monotonic(), flush=True)\n'
ENDS = {
    "the last line": (SAY_END, 0),
    "an exception": (SAY_END + 'raise ValueError("not caught")\n', 1),
    "sys.exit": (SAY_END + "sys.exit(3)\n", 3),
    "KeyboardInterrupt": (SAY_END + "raise KeyboardInterrupt\n", -2),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("way", WAYS)
def test_what_was_sent_is_written(way: str, end: str, broker: Broker) -> None:
    last, code = ENDS[end]
    ended = run_program(PREAMBLE + WAYS[way] + last, broker.uri, timeout=20)
    assert ended.code == code, ended.err
    broker.wait_for(lambda: broker.depth("/queue/end") >= MESSAGES, 2, f"{MESSAGES} messages; {ended.err}")
    assert broker.depth("/queue/end") == MESSAGES
    assert ended.after < END + START


def test_an_exception_inside_a_batch(broker: Broker) -> None:
    source = PREAMBLE + (
        "connection = connect()\n"
        "with connection.batch():\n"
        "    for number in range(MESSAGES):\n"
        '        connection.send("/queue/end", str(number))\n'
        '    raise ValueError("not caught")\n'
    )
    assert run_program(source, broker.uri, timeout=20).code == 1
    broker.wait_for(lambda: broker.depth("/queue/end") == MESSAGES, 2, "the batch")


def numbers_in(text: str) -> list[int]:
    """The numbers in the lines that speak of messages."""
    return [
        int(number)
        for line in text.splitlines()
        if "message" in line.lower()
        for number in re.findall(r"(?<![\w.])\d+(?![\w.]*\d)", line)
    ]


AWAY = """
from stomplistener.testing import Broker
broker = Broker().start()
URI = f"failover:({broker.uri})?initialReconnectDelay=10&maxReconnectDelay=100"
connection = connect()
broker.close()
while connection.is_connected:
    time.sleep(0.01)
for number in range(MESSAGES):
    connection.send_async("/queue/end", str(number))
"""


@pytest.mark.parametrize("end", ENDS)
def test_a_broker_that_is_away(end: str) -> None:
    last, code = ENDS[end]
    ended = run_program(PREAMBLE + AWAY + last, "", timeout=20)
    assert ended.code == code, ended.err
    assert ended.after < END + START
    assert MESSAGES in numbers_in(ended.err), ended.err


DEAF = """
import socket
from stomplistener.protocol import Decoder, Frame, encode
def serve(server):
    held = []
    while True:
        peer, _ = server.accept()
        peer.recv(65536)
        peer.sendall(encode(Frame("CONNECTED", {"version": "1.2"})))
        held.append(peer)
server = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=(server,), daemon=True).start()
URI = f"tcp://127.0.0.1:{server.getsockname()[1]}"
connection = connect()
"""
UNREAD = {
    "send": """
sent = 0
try:
    while True:
        connection.send("/queue/end", b"x" * 100_000, timeout=0.3)
        sent += 1
except StompError:
    pass
""",
    "send_async": """
for number in range(300):
    connection.send_async("/queue/end", b"x" * 100_000)
""",
    "a thread that waits in send": """
def work():
    while True:
        connection.send("/queue/end", b"x" * 100_000, timeout=None)
threading.Thread(target=work, daemon=True).start()
sent = -1
while sent != connection.statistics().messages_sent:
    sent = connection.statistics().messages_sent
    time.sleep(0.5)
""",
}


@pytest.mark.parametrize("end", ["the last line", "sys.exit"])
@pytest.mark.parametrize("way", UNREAD)
def test_a_broker_that_does_not_read(way: str, end: str) -> None:
    last, code = ENDS[end]
    ended = run_program(PREAMBLE + DEAF + UNREAD[way] + last, "", timeout=25)
    assert ended.code == code, ended.err
    assert ended.after < END + START
    assert any(number > 0 for number in numbers_in(ended.err)), f"a number of messages: {ended.err}"


def test_a_program_that_disconnects_has_nothing_to_say(broker: Broker) -> None:
    source = PREAMBLE + 'connection = connect()\nconnection.send("/queue/end", "x")\nconnection.disconnect()\n'
    ended = run_program(source + SAY_END, broker.uri, timeout=20)
    assert (ended.code, ended.err) == (0, "")
    assert ended.after < START
