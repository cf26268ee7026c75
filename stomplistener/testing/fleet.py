"""The brokers of a compose file, each started when a test first asks for it and kept for those that follow."""

from __future__ import annotations

import contextlib
import os
from types import TracebackType
from typing import Self

from stomplistener.testing.containers import BrokerContainer, ContainerError, brokers


class Fleet:
    """Real brokers by name, as one run of tests needs them.

    ::

        with Fleet() as fleet:
            fleet["activemq"].uri  # started at its first use
            fleet.start("activemq", "rabbitmq")  # at the same time
        # Here the brokers that it started are removed.

    A broker that ran before is used and stays running; ``STOMPLISTENER_KEEP_BROKERS=1`` leaves all of them running. For
    one thread. Needs the extra ``docker``.

    Args:
        compose_file: as for :func:`~stomplistener.testing.containers.brokers`.

    Raises:
        FileNotFoundError: there is no compose file.
        ContainerError: the compose file has something that the harness cannot do.
    """

    def __init__(self, compose_file: str | os.PathLike[str] | None = None) -> None:
        self._known = brokers(compose_file, profiles=["*"])
        self._exit = contextlib.ExitStack()
        self._started: dict[str, BrokerContainer] = {}

    @property
    def started(self) -> list[BrokerContainer]:
        """The brokers that were asked for so far."""
        return list(self._started.values())

    def __getitem__(self, name: str) -> BrokerContainer:
        """One broker, running, even if a test before this one has stopped it.

        Raises:
            ContainerError: the compose file has no such broker, or it cannot be started.
            TimedOut: STOMP does not answer in time; the end of the log is in the message.
        """
        return self.start(name)[0]

    def start(self, *names: str, timeout: float = 120.0) -> list[BrokerContainer]:
        """Start several brokers at the same time, but each after the brokers that it depends on.

        Args:
            timeout: seconds until each has to answer.

        Raises:
            ContainerError, TimedOut: as for one.
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
        """Remove the brokers that were started here, the last one first."""
        self._started.clear()
        self._exit.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
