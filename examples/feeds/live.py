"""Record public feeds, and show them live.

python examples/feeds/live.py                            made-up feeds on an embedded broker
python examples/feeds/live.py --accounts accounts.toml   your accounts at the providers

The page is at http://127.0.0.1:8023/; Ctrl-C or SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvicorn

import recording
from accounts import Account, load
from board import Board
from consumer import follow
from recorder import Recorder
from stomplistener.testing import Broker
from web import application

HERE = Path(__file__).parent


class Server(uvicorn.Server):
    """A web server that leaves signals to the program, because the program must end more than the page."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(accounts: Sequence[Account], database: Path, page: socket.socket) -> None:
    """Record and show until a signal comes."""
    ending, board = asyncio.Event(), Board()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    with Recorder(database) as recorder:
        config = uvicorn.Config(
            application(accounts, recorder, board), lifespan="off", ws="none", log_level="warning", access_log=False
        )
        server = Server(config)
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve([page]))
            followers = [group.create_task(follow(account, recorder, board)) for account in accounts]
            await ending.wait()
            for follower in followers:
                follower.cancel()
            board.close()
            server.should_exit = True


@contextlib.contextmanager
def show(speed: float, up: float, directory: Path) -> Iterator[tuple[Account, ...]]:
    """Yield the accounts of the demo show, whose provider is a player with an embedded broker."""
    tape = directory / "recording.jsonl"
    recording.make(tape)
    with Broker() as broker:
        player = recording.Player(broker, tape, speed, up)
        player.start()
        try:
            yield load(HERE / "show.toml", [broker.uri])
        finally:
            player.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description="Record public feeds, and show them live.")
    parser.add_argument(
        "--accounts", type=Path, help="a file of accounts; without it, a demo show on an embedded broker"
    )
    parser.add_argument(
        "--database", type=Path, help="the database file; the default: feeds.db, or a temporary file for the show"
    )
    parser.add_argument("--port", type=int, default=8023, help="the port of the page; with 0 the system chooses one")
    parser.add_argument(
        "--speed", type=float, default=1.0, help="the factor by which the show is faster than the recording"
    )
    parser.add_argument("--up", type=float, default=50.0, help="seconds between two restarts of the show's broker")
    options = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("stomplistener").setLevel(logging.INFO)
    with contextlib.ExitStack() as stack:
        page = stack.enter_context(socket.create_server(("127.0.0.1", options.port)))
        if options.accounts is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            database = options.database or directory / "feeds.db"
            if database.exists():
                parser.error(
                    "the broker of the show numbers its messages from 1, so use a database that does not exist yet"
                )
            accounts = stack.enter_context(show(options.speed, options.up, directory))
        else:
            database = options.database or Path("feeds.db")
            accounts = load(options.accounts)
        print(f"page: http://127.0.0.1:{page.getsockname()[1]}/", flush=True)
        asyncio.run(serve(accounts, database, page))


if __name__ == "__main__":
    main()
