"""Flask applications that tests run as processes: their source, and gunicorn around them."""

from __future__ import annotations

import json
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from worker_process import ServerProcess, eventually

WORKER = """
import os
import time

from flask import Flask, current_app, g

from stomplistener.contrib.flask import Stomp

stomp = Stomp()
book = os.open(os.environ["BOOK"], os.O_WRONLY | os.O_APPEND)
ends = os.open("ends", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@stomp.listener("/queue/work", workers=4, prefetch=20)
def work(message):
    open("begun", "w").close()
    time.sleep(0.002)
    g.text = message.text
    os.write(book, f"{message.text} {os.getpid()} {message.redelivered}\\n".encode())


def create_app():
    app = Flask("shop")
    app.config["STOMP_URL"] = os.environ["STOMP_URL"]
    stomp.init_app(app)

    @app.teardown_appcontext
    def end(_error):
        if "text" in g:
            os.write(ends, f"{g.text} {current_app.name}\\n".encode())

    return app
"""

PUBLISHER = """
import atexit
import os
import threading
import time

from flask import Flask, request


def tell_what_is_left():
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    with open(f"end-{os.getpid()}", "w") as file:
        print(*names, file=file)


# Before the extension's own end, so that it is called after it.
atexit.register(tell_what_is_left)

from stomplistener.contrib.flask import Stomp

stomp = Stomp()


def create_app():
    app = Flask("shop")
    app.config["STOMP_URL"] = os.environ["STOMP_URL"]
    stomp.init_app(app)

    @app.post("/orders")
    def order():
        text = request.get_data(as_text=True)
        stomp.send("/queue/orders", text, {"pid": str(os.getpid())}, confirm=True)
        # So long that the next request finds another worker.
        time.sleep(float(request.args.get("hold", 0)))
        return {"pid": os.getpid()}, 202

    if os.environ.get("SEND_BEFORE_FORK"):
        with app.app_context():
            stomp.send("/queue/orders", "from the master", {"pid": str(os.getpid())}, confirm=True)
    return app
"""


class Gunicorn(ServerProcess):
    """gunicorn on the publisher, on a port that is free."""

    def __init__(self, directory: Path, uri: str, *options: str, **variables: str) -> None:
        (directory / "application.py").write_text(PUBLISHER)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        address = f"127.0.0.1:{self.port}"
        arguments = ["-m", "gunicorn", "--bind", address, *options, "application:create_app()"]
        # gunicorn puts a socket to control it there, and else into the home directory.
        super().__init__(directory, *arguments, STOMP_URL=uri, XDG_RUNTIME_DIR=str(directory), **variables)

    def wait_until_it_answers(self) -> None:
        eventually(lambda: self._answers(), f"gunicorn answers: {self.err}")

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.err
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def post(self, text: str, hold: float = 0) -> int:
        """Order something; which process answered."""
        url = f"http://127.0.0.1:{self.port}/orders?hold={hold}"
        with urllib.request.urlopen(urllib.request.Request(url, text.encode(), method="POST"), timeout=20) as response:
            answer: dict[str, Any] = json.load(response)
        return int(answer["pid"])

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()
