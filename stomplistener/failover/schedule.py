"""Which broker to try next, and when: a sequence of attempts that the caller makes until one succeeds.

A **pass** tries each broker of the list once, without a wait between them. The waits between passes grow. There is no
clock here: an attempt names the wait before it, and the caller waits. The rules are those of ActiveMQ's failover
transport reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from random import Random, SystemRandom

from stomplistener._util.record import Record
from stomplistener.errors import InvalidURI
from stomplistener.failover.sources import read_brokers
from stomplistener.failover.uri import Broker, BrokerURI, FailoverOptions

# All schedules share one random source: separate ones would take 2.5 kB per connection. The system's random source
# differs in each forked process.
_DICE = SystemRandom()
# A connection that lives for this many seconds is good. CONNECTED alone proves little: a broker may accept a login and
# then close.
_PROVEN = 1.0
# The value, in seconds, from which a delay of zero grows: no factor would increase zero.
_LEAST_GROWN = 0.01


class Attempt(Record):
    """One broker to try.

    Attributes:
        broker: the broker.
        delay: the wait before the attempt, in seconds; only before the first broker of a pass.
        pass_number: counted from 1, for each start, outage and probing.
        is_last_of_pass: whether this is the last attempt of the pass.
        warn: whether to log a warning if this attempt fails.
    """

    broker: Broker
    delay: float
    pass_number: int
    is_last_of_pass: bool
    warn: bool


class Schedule:
    """The attempts that a broker URI asks for.

    A schedule keeps the delay from one outage to the next, and the latest list from ``update_uris_url``. One thread at
    a time may iterate over a start or an outage. Other threads may use ``probes`` and ``spares`` meanwhile.

    Args:
        uri: the brokers, and the options for choosing the next one.
        random: the random source for order and jitter; by default that of the operating system.
        read_uris: reads the file named by ``update_uris_url``; raises OSError or InvalidURI.

    Attributes:
        warnings: texts for the caller to log and clear: why the file of brokers was unusable.
    """

    def __init__(
        self,
        uri: BrokerURI,
        *,
        random: Random | None = None,
        read_uris: Callable[[str], list[Broker]] | None = None,
    ) -> None:
        self.warnings: list[str] = []
        self._uri = uri
        self._options = uri.options
        self._random = random or _DICE
        self._read_uris = read_uris or read_brokers
        self._from_file: tuple[Broker, ...] = ()
        self._complaint = ""
        self._back_off = _BackOff(uri.options, self._random)

    def start(self) -> Iterator[Attempt]:
        """Return the attempts of a first connect. The first attempt has no wait.

        The attempts end after ``startup_max_reconnect_attempts`` passes (-1: after ``max_reconnect_attempts``), but not
        before the first pass. The attempts also end if the file of brokers is unreadable and there is no other broker.
        """
        self._back_off.restart()
        return self._passes(self._start_limit(), lost=None)

    def is_last_start(self, number: int) -> bool:
        """Whether a start ends with the pass of this number."""
        limit = self._start_limit()
        return 0 <= limit <= number

    def _start_limit(self) -> int:
        limit = self._options.startup_max_reconnect_attempts
        if limit < 0:
            limit = self._options.max_reconnect_attempts
        return limit if limit < 0 else max(limit, 1)

    def outage(self, lost: Broker, lived: float) -> Iterator[Attempt]:
        """Return the attempts after a connection loss. Each pass tries the lost broker last.

        The attempts end after ``max_reconnect_attempts`` passes, counted from 0 for every outage. The delay is reset
        only if the connection lived long enough. So the waits grow for a broker that accepts connections and closes
        them.

        Args:
            lost: the broker whose connection ended.
            lived: how long the connection had been ready, in seconds.
        """
        if lived >= _PROVEN:
            self._back_off.restart()
        return self._passes(self._options.max_reconnect_attempts, lost)

    def is_preferred(self, broker: Broker) -> bool:
        """Whether ``priority_backup`` prefers this broker."""
        return broker.identity in {each.identity for each in self._preferred()}

    def probes(self) -> Iterator[Attempt]:
        """Return the endless attempts to go back to a preferred broker, with a growing wait before each pass.

        For ``priority_backup``. Stop when an attempt succeeds. The sequence is empty if no broker is known.
        """
        back_off = _BackOff(self._options, self._random)
        for number in count(1):
            brokers = self._shuffled(self._preferred())
            if not brokers:
                return
            yield from _attempts(brokers, back_off.wait(), number, warn=False)

    def spares(self, current: Broker, held: Sequence[Broker]) -> list[Broker]:
        """Return the brokers to try for further standby connections (``backup``), in order, until the pool is full.

        The list is longer than the pool needs, since some brokers may be dead. The list is empty if the pool is full or
        ``backup`` is off.

        Args:
            current: the broker in use.
            held: the brokers of the existing standby connections.
        """
        if not self._options.backup or len(held) >= self._options.backup_pool_size:
            return []
        taken = {each.identity for each in (current, *held)}
        free = self._shuffled(each for each in self._known() if each.identity not in taken)
        if self._options.priority_backup:
            free.sort(key=self.is_preferred, reverse=True)
        return free

    def _passes(self, limit: int, lost: Broker | None) -> Iterator[Attempt]:
        for number in count(1) if limit < 0 else range(1, limit + 1):
            self._refresh()
            brokers = self._in_order(lost)
            if not brokers:
                return
            at_once = lost is None and number == 1
            delay = 0.0 if at_once else self._back_off.wait()
            yield from _attempts(brokers, delay, number, warn=self._warns_of(number))

    def _in_order(self, lost: Broker | None) -> list[Broker]:
        known = self._known()
        if lost is None:
            return self._shuffled(known)
        last = [each for each in known if each.identity == lost.identity]
        return self._shuffled(each for each in known if each.identity != lost.identity) + last

    def _shuffled(self, brokers: Iterable[Broker]) -> list[Broker]:
        order = list(brokers)
        if self._options.randomize:
            self._random.shuffle(order)
        return order

    def _known(self) -> tuple[Broker, ...]:
        return tuple(dict.fromkeys(self._from_file + self._uri.brokers))

    def _preferred(self) -> Sequence[Broker]:
        """The preferred brokers, as entries of the list if it has them: these have the login and the options."""
        known = self._known()
        if not self._options.priority_uris:
            return self._uri.brokers[:1] or known[:1]
        listed = {each.identity: each for each in reversed(known)}
        return [listed.get(each.identity, each) for each in self._options.priority_uris]

    def _refresh(self) -> None:
        location = self._options.update_uris_url
        if location is None:
            return
        try:
            brokers = self._read_uris(location)
        except (OSError, InvalidURI) as error:
            complaint = f"the brokers in {location} cannot be used; the list of brokers does not change: {error}"
            # The file is read before each pass. Without this check, a bad file would repeat its warning for hours.
            if complaint != self._complaint:
                self.warnings.append(complaint)
            self._complaint = complaint
        else:
            self._complaint = ""
            self._from_file = tuple(each.with_options(self._options.nested) for each in brokers)

    def _warns_of(self, number: int) -> bool:
        every = self._options.warn_after_reconnect_attempts
        return every > 0 and (number == 1 or number % every == 0)


class _BackOff:
    """The waits between passes, in seconds. Each wait grows from the last one, without jitter, up to a maximum."""

    def __init__(self, options: FailoverOptions, random: Random) -> None:
        self._options = options
        self._random = random
        self.restart()

    def restart(self) -> None:
        self._next = self._options.initial_reconnect_delay

    def wait(self) -> float:
        options = self._options
        wait = self._next + self._random.uniform(0, options.reconnect_delay_jitter)
        if options.use_exponential_back_off:
            grown = self._next * options.reconnect_delay_exponent or _LEAST_GROWN
            self._next = min(grown, options.max_reconnect_delay)
        return min(wait, options.max_reconnect_delay)


def _attempts(brokers: Sequence[Broker], delay: float, number: int, *, warn: bool) -> Iterator[Attempt]:
    for place, broker in enumerate(brokers, 1):
        is_last = place == len(brokers)
        yield Attempt(
            broker=broker,
            delay=delay if place == 1 else 0.0,
            pass_number=number,
            is_last_of_pass=is_last,
            warn=warn and is_last,
        )
