"""The brokers of a compose file. A broker starts when a test first needs it, and runs for the later tests."""

from __future__ import annotations

import contextlib
import os
from types import TracebackType
from typing import Self

from stomplistener.testing.containers import BrokerContainer, ContainerError, brokers


class Fleet:
    """Real brokers by name, for one run of tests.

    ::

        with Fleet() as fleet:
            fleet["activemq"].uri  # started at its first use
            fleet.start("activemq", "rabbitmq")  # at the same time
        # Here the brokers that it started are removed.

    A broker that was already running is used and keeps running. With ``STOMPLISTENER_KEEP_BROKERS=1`` all brokers keep
    running. Only one thread may use a fleet. Needs the extra ``docker``.

    Args:
        compose_file: as in :func:`~stomplistener.testing.containers.brokers`.

    Raises:
        FileNotFoundError: there is no compose file.
        ContainerError: the compose file contains something that the harness does not support.
    """

    def __init__(self, compose_file: str | os.PathLike[str] | None = None) -> None:
        self._known = brokers(compose_file, profiles=["*"])
        self._exit = contextlib.ExitStack()
        self._started: dict[str, BrokerContainer] = {}

    @property
    def started(self) -> list[BrokerContainer]:
        """The brokers that were used so far."""
        return list(self._started.values())

    def __getitem__(self, name: str) -> BrokerContainer:
        """Return one broker, which runs even if an earlier test has stopped it.

        Raises:
            ContainerError: the compose file has no such broker, or the broker cannot be started.
            TimedOut: STOMP does not answer in time; the text has the end of the log.
        """
        return self.start(name)[0]

    def start(self, *names: str, timeout: float = 120.0) -> list[BrokerContainer]:
        """Start several brokers at the same time, but each after the brokers that it depends on.

        Args:
            timeout: seconds within which each broker has to answer.

        Raises:
            ContainerError, TimedOut: as for a single broker.
        """
        if unknown := [name for name in names if name not in self._known]:
            raise ContainerError(
                f"No broker {', '.join(unknown)} in the compose file; there are {', '.join(self._known) or 'none'}."
            )
        chosen = [self._known[name] for name in names]
        for broker in chosen:
            self.start(*self._known.keys() & broker.depends_on, timeout=timeout)
            if broker.name not in self._started:
                self._started[broker.name] = broker
                self._exit.callback(broker.remove_if_created)
            broker.start(timeout=timeout, wait=False)
        for broker in chosen:
            if not broker.is_standby:
                broker.wait_ready(timeout)
        return chosen

    def close(self) -> None:
        """Remove the brokers that this object started, the last one first."""
        self._started.clear()
        self._exit.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
