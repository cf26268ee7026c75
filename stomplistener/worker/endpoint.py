"""The HTTP endpoint of a worker: ``/metrics`` for Prometheus, ``/healthz`` and ``/readyz`` for orchestrators."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from stomplistener.errors import StompError

if TYPE_CHECKING:
    from prometheus_client.registry import Collector


def _always() -> bool:
    return True


@dataclass(frozen=True)
class Health:
    """The functions that answer the probes. Threads of the endpoint call them.

    Attributes:
        is_healthy: whether the process works. If not, a restart helps.
        is_ready: whether the process is connected to its broker. If not, a restart does not help.
    """

    is_healthy: Callable[[], bool] = _always
    is_ready: Callable[[], bool] = _always


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextmanager
def serving(registry: Collector, health: Health, host: str, port: int) -> Iterator[int]:
    """Run the HTTP endpoint inside the block, and yield its port.

    Args:
        registry: the metrics for Prometheus.
        health: the answers for orchestrators.
        host: the address to listen on.
        port: the port to listen on; with 0 the system chooses one.

    Raises:
        StompError: the port is taken.
    """
    from prometheus_client.exposition import choose_encoder

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._answer(200, encode(registry), content_type)
            elif path == "/healthz":
                self._probe(health.is_healthy)
            elif path == "/readyz":
                self._probe(health.is_ready)
            else:
                self._answer(404, b"there is /metrics, /healthz and /readyz\n")

        def _probe(self, holds: Callable[[], bool]) -> None:
            if holds():
                self._answer(200, b"ok\n")
            else:
                self._answer(503, b"not now\n")

        def _answer(self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Log nothing: requests are routine."""

    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        server = type("_Server", (_Server,), {"address_family": family})((host, port), Handler)
    except OSError as error:
        raise StompError(f"metrics: cannot listen on {host}:{port}: {error.strerror or error}") from error
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
