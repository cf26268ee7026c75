"""Look up the addresses of a host at each attempt, so that a broker that moved is found at its new address."""

from __future__ import annotations

import errno
import queue
import socket
import threading
from itertools import chain, zip_longest
from typing import Any, NamedTuple

from stomplistener.transport.interrupt import ConnectInterrupted, Interrupt, remaining


class Address(NamedTuple):
    """One address of a host, in the form that ``socket`` uses."""

    family: int
    sockaddr: tuple[Any, ...]

    def __str__(self) -> str:
        host, port = self.sockaddr[:2]
        return f"[{host}]:{port}" if self.family == socket.AF_INET6 else f"{host}:{port}"


def look_up(host: str, port: int, *, deadline: float, interrupt: Interrupt) -> list[Address]:
    """Return every address of a host, in the order to try them.

    Args:
        host: a name, or a numeric IPv4 or IPv6 address, which needs no look-up.
        port: the port of every address.
        deadline: a time of ``time.monotonic()``.
        interrupt: ends the wait when set.

    Raises:
        OSError: the name is unknown or malformed, or the resolver failed.
        TimeoutError: the resolver has not answered by the deadline.
        ConnectInterrupted: the interrupt was set.
    """
    if _is_numeric(host):
        return _ask_resolver(host, port, socket.AI_NUMERICHOST)
    return interleave(_ask_in_helper(host, port, deadline, interrupt))


def interleave(addresses: list[Address]) -> list[Address]:
    """Alternate the families, starting with the first address, so that one broken family costs little (RFC 8305, 4)."""
    if not addresses:
        return []
    first = [each for each in addresses if each.family == addresses[0].family]
    others = [each for each in addresses if each.family != addresses[0].family]
    return [each for each in chain.from_iterable(zip_longest(first, others)) if each is not None]


def _is_numeric(host: str) -> bool:
    # The last label of a host name is never all digits (RFC 1123, section 2.1), and no host name has a colon.
    return ":" in host or host.rpartition(".")[2].isdigit()


def _ask_in_helper(host: str, port: int, deadline: float, interrupt: Interrupt) -> list[Address]:
    # The resolver of the C library cannot be interrupted, and has its own timeout (minutes, with several dead servers).
    # Only a look-up in another thread respects our deadline. A late helper thread is abandoned: it is a daemon, holds
    # only the queue, and ends when the resolver gives up.
    answers: queue.SimpleQueue[list[Address] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_ask_resolver(host, port))
        except Exception as error:
            answers.put(error)

    with interrupt.doing(lambda: answers.put(ConnectInterrupted(f"interrupted while looking up {host}"))):
        try:
            threading.Thread(target=ask, name=f"stomplistener-look-up-{host}", daemon=True).start()
        except (RuntimeError, MemoryError) as error:
            # A limit of the container may be reached for a while, so this ends only the current attempt.
            raise OSError(errno.EAGAIN, f"no thread could be started for it ({error or 'out of memory'})") from error
        try:
            answer = answers.get(timeout=remaining(deadline))
        except queue.Empty:
            raise TimeoutError("the resolver has not answered") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _ask_resolver(host: str, port: int, flags: int = 0) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError as error:
        # A label is empty, or has more than 63 characters.
        raise OSError(f"not a valid host name ({error})") from error
    # A resolver may return an address twice (from two lines in the hosts file). A second try would be useless.
    return list(dict.fromkeys(Address(family, sockaddr) for family, _, _, _, sockaddr in found))
