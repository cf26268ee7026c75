"""Connect to a host by TCP: to all of its addresses, within one deadline."""

from __future__ import annotations

import errno
import selectors
import socket
from collections import deque
from collections.abc import Iterable

from stomplistener.errors import ConnectFailed, TimedOut
from stomplistener.transport import socket_errors
from stomplistener.transport.address import Address, look_up
from stomplistener.transport.interrupt import ConnectInterrupted, Interrupt, remaining
from stomplistener.transport.stream import Selector

# How long an address may delay the next one: the "Connection Attempt Delay" that RFC 8305, section 5 recommends.
ATTEMPT_DELAY = 0.25

_UNDER_WAY = {errno.EINPROGRESS, errno.EWOULDBLOCK}


def dial(
    host: str, port: int, *, no_delay: bool, keep_alive: bool, deadline: float, interrupt: Interrupt
) -> socket.socket:
    """Return a connected TCP socket, in non-blocking mode.

    Every address of the host is tried. An address that does not answer delays the next one by ``ATTEMPT_DELAY`` only,
    and both attempts go on. The first address that answers is used (RFC 8305, without its cache).

    Args:
        host: a name, or a numeric address.
        port: the port.
        no_delay: send small frames at once, instead of waiting to fill a packet (TCP_NODELAY).
        keep_alive: let the kernel probe an idle connection (SO_KEEPALIVE).
        deadline: a time of ``time.monotonic()`` that limits all attempts.
        interrupt: ends the attempts when set.

    Raises:
        ConnectFailed: no address accepted a connection, or there is none; ``attempts`` has the error of each.
        TimedOut: the deadline passed.
        ConnectInterrupted: the interrupt was set.
    """
    interrupt.step = f"the look-up of the name {host}"
    try:
        addresses = look_up(host, port, deadline=deadline, interrupt=interrupt)
    except TimeoutError as error:
        raise TimedOut(f"the name {host} was not looked up in time: {error}") from error
    except OSError as error:
        raise ConnectFailed(f"the name {host} cannot be looked up: {socket_errors.told(error)}") from error
    interrupt.step = f"a TCP connection to {host}:{port}"
    return _Race(f"{host}:{port}", addresses, (no_delay, keep_alive)).run(deadline, interrupt)


class _Race:
    """Simultaneous connections to several addresses of one host. The first established connection wins."""

    def __init__(self, where: str, addresses: Iterable[Address], options: tuple[bool, bool]) -> None:
        self._where = where
        self._no_delay, self._keep_alive = options
        self._waiting = deque(addresses)
        self._running: dict[socket.socket, Address] = {}
        self._failures: list[tuple[str, Exception]] = []

    def run(self, deadline: float, interrupt: Interrupt) -> socket.socket:
        with interrupt.waking() as wake, Selector() as selector:
            selector.register(wake, selectors.EVENT_READ)
            try:
                while self._waiting or self._running:
                    self._start_next(selector)
                    ready = [key.fileobj for key, _ in selector.select(self._patience(deadline))]
                    if wake in ready:
                        raise ConnectInterrupted(f"interrupted while connecting to {self._where}")
                    for sock in [each for each in self._running if each in ready]:
                        if self._is_connected(sock, selector):
                            return sock
            finally:
                for sock in self._running:
                    sock.close()
        raise ConnectFailed(f"cannot connect to {self._where}: {self._told()}", self._failures)

    def _start_next(self, selector: selectors.BaseSelector) -> None:
        if not self._waiting:
            return
        address = self._waiting.popleft()
        try:
            sock = self._start(address)
        except OSError as error:
            self._failures.append((str(address), error))
            return
        self._running[sock] = address
        selector.register(sock, selectors.EVENT_WRITE)

    def _start(self, address: Address) -> socket.socket:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if self._no_delay:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._keep_alive:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            code = sock.connect_ex(address.sockaddr)
            if code and code not in _UNDER_WAY:
                raise socket_errors.from_code(code)
        except BaseException:
            sock.close()
            raise
        return sock

    def _patience(self, deadline: float) -> float:
        if not self._running:
            return 0.0
        try:
            left = remaining(deadline)
        except TimeoutError as error:
            self._failures += [(str(address), error) for address in self._running.values()]
            raise TimedOut(f"no connection to {self._where} in time: {self._told()}") from error
        return min(left, ATTEMPT_DELAY) if self._waiting else left

    def _is_connected(self, sock: socket.socket, selector: selectors.BaseSelector) -> bool:
        address = self._running.pop(sock)
        selector.unregister(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0:
            return True
        sock.close()
        self._failures.append((str(address), socket_errors.from_code(code)))
        return False

    def _told(self) -> str:
        def why(error: Exception) -> str:
            return "no answer" if isinstance(error, TimeoutError) else socket_errors.what(error)

        # Usually, all addresses of a host fail in the same way, so each piece of advice is given once.
        advice = dict.fromkeys(socket_errors.advice(error) for _, error in self._failures)
        return "; ".join(f"{address}: {why(error)}" for address, error in self._failures) + "".join(advice)
