"""Connections that are logged in and wait: for a loss (``backup``), or for the return to a preferred broker
(``priorityBackup``). One thread makes them, only where the URI asks for them; the timer keeps them alive.

A spare holds no subscription; a dead one is forgotten.
"""

from __future__ import annotations

import logging
import threading

from stomplistener._util.deadline import Deadline
from stomplistener.errors import StompError
from stomplistener.failover import Broker, Schedule
from stomplistener.options import Config
from stomplistener.states import ConnectionState
from stomplistener.threads.client import Client
from stomplistener.threads.spare import LOOK, Spare, dial
from stomplistener.transport import Interrupt

_log = logging.getLogger("stomplistener")

MOVE_PATIENCE = 5.0
"""Seconds that senders may be held back while a return to a preferred broker waits for what is open to end."""


class Standby:
    """The thread that makes spare connections, and what it has made."""

    def __init__(self, core: Client, schedule: Schedule, interrupt: Interrupt) -> None:
        self._core = core
        self._schedule = schedule
        self._interrupt = interrupt
        self._options = core.config.uri.options
        self._lock = threading.Lock()
        self._spares: list[Spare] = []
        self._number = 0
        self.thread = threading.Thread(target=self._run, name=f"{core.config.name}-standby", daemon=True)

    @staticmethod
    def is_wanted(config: Config) -> bool:
        return config.uri.options.backup or config.uri.options.priority_backup

    def take(self) -> Spare | None:
        """A spare that was alive when last looked at, preferred brokers first; it is the caller's now."""
        while True:
            with self._lock:
                self._spares.sort(key=lambda spare: not self._schedule.is_preferred(spare.broker))
                spare = self._spares.pop(0) if self._spares else None
            if spare is None or spare.take():
                return spare
            spare.transport.close()

    @property
    def held(self) -> list[Broker]:
        with self._lock:
            return [spare.broker for spare in self._spares]

    def _run(self) -> None:
        core = self._core
        try:
            while self._wait_connected():
                epoch = core.session.epoch
                if self._is_away():
                    self._go_home(epoch)
                elif self._options.backup:
                    self._fill_pool(epoch)
                else:
                    core.wait_until(lambda: self._is_over(epoch), Deadline(None))  # noqa: B023
        finally:
            while (spare := self.take()) is not None:
                spare.close()

    def _wait_connected(self) -> bool:
        core = self._core
        settled = (ConnectionState.CONNECTED, ConnectionState.CLOSING, ConnectionState.CLOSED)
        core.wait_until(lambda: core.state in settled, Deadline(None))
        return core.state is ConnectionState.CONNECTED

    def _is_over(self, epoch: int) -> bool:
        return self._core.state is not ConnectionState.CONNECTED or self._core.session.epoch != epoch

    def _is_away(self) -> bool:
        broker = self._core.broker
        return self._options.priority_backup and broker is not None and not self._schedule.is_preferred(broker)

    def _go_home(self, epoch: int) -> None:
        """Try the preferred brokers until one can be moved to, or this connection ends."""
        for attempt in self._schedule.probes():
            if self._core.wait_until(lambda: self._is_over(epoch), Deadline(attempt.delay)):
                return
            spare = self._open(attempt.broker)
            if spare is None:
                continue
            with self._lock:
                self._spares.append(spare)
            if self._core.move_away(Deadline(MOVE_PATIENCE)):
                self._core.wait_until(lambda: self._is_over(epoch), Deadline(MOVE_PATIENCE))
                return
            _log.info("%s: no return to %s yet: something is still open", self._core.config.name, spare.broker)
            with self._lock:
                mine = spare in self._spares
                if mine:
                    self._spares.remove(spare)
            if mine:
                spare.close()

    def _fill_pool(self, epoch: int) -> None:
        """Keep as many spares as wanted, and look again after a while or when the connection has changed."""
        with self._lock:
            dead = [spare for spare in self._spares if spare.is_dead]
            self._spares = [spare for spare in self._spares if not spare.is_dead]
        for spare in dead:
            spare.close()
        core = self._core
        assert core.broker is not None
        for broker in self._schedule.spares(core.broker, self.held):
            if len(self.held) >= self._options.backup_pool_size or self._is_over(epoch):
                break
            new = self._open(broker)
            if new is not None:
                with self._lock:
                    self._spares.append(new)
        core.wait_until(lambda: self._is_over(epoch), Deadline(max(LOOK, self._options.initial_reconnect_delay)))

    def _open(self, broker: Broker) -> Spare | None:
        config = self._core.config
        self._number += 1
        deadline = Deadline(broker.options.connection_timeout)
        transport = None
        try:
            transport, options = dial(config, broker, self._number, deadline, self._interrupt)
            spare = Spare(config, broker, transport, options)
            # close() breaks a log-in that hangs, as it breaks a connect.
            with self._interrupt.doing(transport.shutdown):
                spare.log_in(deadline)
        except (OSError, StompError, ValueError) as error:
            # Also a refused second login under the same client-id: then there is no spare on this broker.
            _log.info("%s: no spare connection to %s: %s", config.name, broker, error)
            if transport is not None:
                transport.close()
            return None
        return spare
