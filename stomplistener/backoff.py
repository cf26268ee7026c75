"""The wait between two tries of the same operation."""

from __future__ import annotations

from random import SystemRandom

from stomplistener._util import arguments

_DICE = SystemRandom()


class Backoff:
    """A wait that grows with each try. Immutable, so thread-safe.

    Args:
        first: seconds before the second try.
        factor: the factor from each wait to the next; 1 or more.
        maximum: the longest wait in seconds, including jitter.
        jitter: a part of the wait, 0 to 1: each wait is longer or shorter by a random share of this part.

    Raises:
        TypeError: an argument is not a number.
        ValueError: an argument is out of range.
    """

    __slots__ = ("factor", "first", "jitter", "maximum")

    def __init__(
        self,
        first: float,
        *,
        factor: float = 2.0,
        maximum: float = 60.0,
        jitter: float = 0.1,
    ) -> None:
        for what, value in (("first", first), ("factor", factor), ("maximum", maximum), ("jitter", jitter)):
            if value is None or arguments.seconds(f"Backoff.{what}", value) is None:
                raise TypeError(f"Backoff.{what} must be a number, not None")
        if factor < 1:
            raise ValueError(f"Backoff.factor must be at least 1, not {factor!r}: a wait must not shrink")
        if jitter > 1:
            raise ValueError(f"Backoff.jitter is a share of the wait, from 0 to 1, not {jitter!r}")
        self.first = first
        self.factor = factor
        self.maximum = maximum
        self.jitter = jitter

    @classmethod
    def of(cls, what: str, delay: float | Backoff) -> Backoff:
        """Return a Backoff unchanged, and a number of seconds as a Backoff whose waits all have this length.

        Args:
            what: the argument's name, for exceptions.
        """
        if isinstance(delay, Backoff):
            return delay
        seconds = arguments.seconds(what, delay)
        if seconds is None:
            raise TypeError(f"{what} must be a number of seconds or a Backoff, not None")
        return cls(seconds, factor=1.0, maximum=seconds, jitter=0.0)

    def delay(self, tries: int) -> float:
        """Return the seconds to wait after this number of failed tries, counted from 1."""
        try:
            wait = min(self.first * self.factor ** (tries - 1), self.maximum)
        except OverflowError:
            wait = self.maximum
        return min(wait * (1.0 + _DICE.uniform(-self.jitter, self.jitter)), self.maximum)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Backoff):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def _values(self) -> tuple[float, float, float, float]:
        return self.first, self.factor, self.maximum, self.jitter

    def __repr__(self) -> str:
        return f"Backoff({self.first}, factor={self.factor}, maximum={self.maximum}, jitter={self.jitter})"
