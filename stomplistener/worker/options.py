"""How an application is to be run: everything that the deployment decides, and not the program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How an application is to be run.

    Attributes:
        uris: broker URIs by connection's name, in place of those in the program.
        processes: how many run side by side; from 2 on they are supervised and started again when they end.
        grace: seconds that running handlers get to end after the first signal.
        alive_file: touched every second while all connections live; with several processes, while those of all do.
        metrics_port: where Prometheus finds the statistics, and orchestrators ``/healthz`` and ``/readyz``; with
            several processes the supervisor answers there for all.
        metrics_host: the address to listen on for that.
        tracing: whether every message is a span of OpenTelemetry, and its context goes on in headers.
        reload: restart whenever a file changes; for development.
        reload_paths: directories to watch.
        workers: threads by destination, in place of those in the program.
        max_messages: end after so many attempts; a supervisor then starts another process.
        max_memory: end when the process holds more than so many MiB of memory; likewise.
    """

    uris: Mapping[str, str] = field(default_factory=dict, repr=False)
    processes: int = 1
    grace: float = 30.0
    alive_file: Path | None = None
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    tracing: bool = False
    reload: bool = False
    reload_paths: Sequence[Path] = (Path(),)
    workers: Mapping[str, int] = field(default_factory=dict)
    max_messages: int | None = None
    max_memory: int | None = None

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise ValueError("processes must be at least 1")
        if self.grace < 0:
            raise ValueError("grace must not be negative")
        for destination, count in self.workers.items():
            if count < 1:
                raise ValueError(f"workers of {destination} must be at least 1, not {count}")
        for name in ("max_messages", "max_memory"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
