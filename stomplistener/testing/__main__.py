"""An embedded STOMP broker as a process, for tests and first steps: it keeps messages in memory only.

The first line of output is the URI for clients. The broker ends on SIGTERM, SIGINT or the line "quit" on standard
input. Other lines are commands: drop (cut every connection), stop, start, silent, speak, status; each is answered by a
line of JSON.
"""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import threading
from collections.abc import Sequence

from stomplistener.testing.broker import Broker
from stomplistener.testing.control import obey


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a broker until a signal or a command ends it."""
    options = _parser().parse_args(arguments)
    broker = Broker(
        host=options.host,
        port=options.port,
        login=options.login,
        passcode=options.passcode,
        heartbeat=(options.heartbeat, options.heartbeat),
        lenient_errors=options.lenient_errors,
    )
    try:
        broker.start()
    except OSError as error:
        print(f"cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    ended, end = socket.socketpair()
    with broker, ended, end:
        _end_on_signals(end)
        print(broker.uri, flush=True)
        if sys.stdin is not None:
            threading.Thread(target=_take_commands, args=(broker, end), daemon=True).start()
        ended.recv(1)
        signal.set_wakeup_fd(-1)
    return 0


def _end_on_signals(end: socket.socket) -> None:
    """Let SIGTERM and SIGINT write to a socket.

    A Python handler cannot end a wait for a lock that begins just when the signal arrives: the handler runs only after
    the wait.
    """
    end.setblocking(False)
    signal.set_wakeup_fd(end.fileno())
    for number in signal.SIGTERM, signal.SIGINT:
        signal.signal(number, lambda *_: None)


def _take_commands(broker: Broker, end: socket.socket) -> None:
    """Read commands from standard input. The end of the input does not end the broker: a process may have no input."""
    # Read without a buffer: this thread would hold the lock of a buffer forever, which can disturb the end of the
    # process.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as lines:
        for line in lines:
            command = line.decode(errors="replace").strip()
            if command == "quit":
                end.send(b"q")
                return
            if command:
                print(obey(broker, command), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stomplistener.testing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=61613, help="0 for one that is free")
    parser.add_argument("--login", help="required from clients if given")
    parser.add_argument("--passcode")
    parser.add_argument(
        "--heartbeat", type=float, default=10.0, metavar="SECONDS", help="offered both ways; 0 for none"
    )
    parser.add_argument("--lenient-errors", action="store_true", help="keep the connection after an ERROR")
    return parser


if __name__ == "__main__":
    sys.exit(main())
