"""The settings of a run: everything that the deployment decides and not the program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The settings of a run.

    Attributes:
        uris: broker URIs by connection name; they override those in the program.
        processes: the number of processes. Two or more are supervised and started again when they end.
        grace: seconds within which running handlers may end after the first signal.
        alive_file: the file that is touched every second while all connections of all processes are ready.
        metrics_port: the port of the HTTP endpoint with ``/metrics``, ``/healthz`` and ``/readyz``. With several
            processes, the supervisor answers for all.
        metrics_host: the address of the HTTP endpoint.
        tracing: whether to make an OpenTelemetry span for every message and to send its context in headers.
        reload: whether to restart when a file changes; for development.
        reload_paths: the directories to watch.
        workers: threads by destination; they override those in the program.
        max_messages: the number of attempts after which the process ends; a supervisor then starts another one.
        max_memory: the memory in MiB above which the process ends; a supervisor then starts another one.
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
