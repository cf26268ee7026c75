"""Signal handlers that raise, or call back, at any instant of a call of a transport or an interrupt."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from transport_pairs import SCHEMES, Certificate, connected_by
from transport_servers import Background
from transport_signals import handled, handling_everywhere, interrupted, raising_everywhere

from stomplistener._util.locks import ReentrantLock, TryLock
from stomplistener.transport import Interrupt, Transport

pytest.importorskip("websockets")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> str:
    scheme: str = request.param
    return scheme


def layers(transport: Any) -> Iterator[Any]:
    while transport is not None:
        yield transport
        transport = getattr(transport, "_inner", None)


def locks_are_free(transport: Transport) -> bool:
    """Whether another thread can have each lock of each layer."""

    def look() -> bool:
        for layer in layers(transport):
            for value in vars(layer).values():
                if isinstance(value, TryLock | type(threading.RLock())):
                    if not value.acquire(blocking=False):
                        return False
                    value.release()
        return True

    free: bool = Background(look).result()
    return free


def is_shut_down(transport: Transport) -> bool:
    return all(layer._is_shut_down for layer in layers(transport))


@pytest.mark.parametrize("call", ["send", "send_nowait"])
def test_an_exception_while_bytes_leave_breaks_the_connection_and_leaves_no_lock(
    scheme: str, call: str, certificate: Certificate
) -> None:
    """Nobody knows how much has left, so that the next frame might stand in the middle of this one."""
    for number in itertools.count():
        with connected_by(scheme, certificate) as (transport, _):
            function: Callable[[bytes], Any] = getattr(transport, call)
            if not interrupted(lambda: function(b"SEND\n\n\0"), number):  # noqa: B023
                break
            assert locks_are_free(transport)
            # When a function has just begun, nothing can have left yet.
            assert is_shut_down(transport) or number < 3, number
    assert number > 3


@pytest.mark.parametrize("call", ["unread", "shutdown"])
def test_an_exception_in_a_call_that_sends_nothing_leaves_no_lock(
    scheme: str, call: str, certificate: Certificate
) -> None:
    with connected_by(scheme, certificate) as (transport, peer):
        for _ in raising_everywhere(getattr(transport, call)):
            assert locks_are_free(transport)
        if call == "unread":
            assert transport.send(b"x") == 1
            assert peer.sock.recv(100)


@pytest.mark.parametrize("call", ["send", "send_nowait", "receive", "unread"])
def test_a_handler_that_sends_gets_an_answer_and_does_not_cut_a_message(
    scheme: str, call: str, certificate: Certificate
) -> None:
    with connected_by(scheme, certificate) as (transport, peer):
        answers: list[bool] = []

        def act() -> None:
            if call == "receive":
                peer.send(b"RECEIPT")
                assert transport.receive() == b"RECEIPT"
            elif call == "unread":
                transport.unread()
            else:
                assert getattr(transport, call)(b"A" * 50)

        def handler() -> None:
            answers.append(transport.send_nowait(b"H" * 50))

        gathered = Background(peer.gather)
        runs = Background(lambda: sum(1 for _ in handling_everywhere(act, handler)))
        count: int = runs.result()
        assert count == len(answers)
        assert True in answers
        assert call in ("unread", "receive") or False in answers
        transport.shutdown()
        text = gathered.result()
    assert text.replace(b"A" * 50, b"").replace(b"H" * 50, b"") == b""


def test_a_handler_that_shuts_down_waits_for_nothing(scheme: str, certificate: Certificate) -> None:
    # Each instant takes a connection of its own: it is gone then. Some instants will do.
    for number in itertools.count(0, 23):
        with connected_by(scheme, certificate) as (transport, _):
            transport.settimeout(0.01)

            def act() -> None:
                with suppress(OSError):
                    transport.send(b"SEND\n\n\0")
                    transport.send_nowait(b"\n")
                    transport.receive()

            went_on = Background(handled, act, transport.shutdown, number).result()
            assert locks_are_free(transport)
            if not went_on:
                break
            assert is_shut_down(transport)
    assert number > 50


def test_a_send_within_a_send_of_the_same_thread_is_refused(scheme: str, certificate: Certificate) -> None:
    with connected_by(scheme, certificate) as (transport, _):
        refused: list[Exception] = []

        def handler() -> None:
            try:
                transport.send(b"H")
            except RuntimeError as error:
                refused.append(error)

        sending = Background(lambda: sum(1 for _ in handling_everywhere(lambda: transport.send(b"A"), handler)))
        assert sending.result() > len(refused) > 0
        assert "signal handler" in str(refused[0])


def set_everywhere(action: Callable[[Interrupt], object]) -> int:
    """Have a signal handler set the interrupt, at one instant of the action after the other; how many there were."""

    def run() -> int:
        for number in itertools.count():
            interrupt = Interrupt()
            if not handled(lambda: action(interrupt), interrupt.set, number):  # noqa: B023
                return number
            assert interrupt.is_set()
            assert not interrupt._actions
        raise AssertionError

    count: int = Background(run).result()
    return count


class TestInterrupt:
    def test_a_handler_may_set_it_at_any_instant_of_a_wait(self) -> None:
        assert set_everywhere(lambda interrupt: interrupt.wait(0.001)) > 20

    def test_a_handler_may_set_it_at_any_instant_of_a_block(self) -> None:
        def blocks(interrupt: Interrupt) -> None:
            with interrupt.doing(lambda: ended.append(1)):
                pass
            with interrupt.waking():
                pass
            interrupt.set()

        ended: list[int] = []
        assert set_everywhere(blocks) > 50
        assert ended

    def test_an_exception_of_a_handler_leaves_neither_an_action_nor_the_lock(self) -> None:
        interrupt = Interrupt()

        def act() -> None:
            with interrupt.doing(lambda: None):
                pass
            interrupt.wait(0.0)

        for _ in raising_everywhere(act):
            assert not interrupt._actions
            assert Background(interrupt._lock.acquire, blocking=False).result()
            # Given to a thread that has ended: make a new one.
            interrupt._lock = ReentrantLock()

    def test_an_exception_of_a_handler_in_set_leaves_nothing_under_way(self) -> None:
        def act() -> None:
            interrupts.append(Interrupt())
            ended.clear()
            with interrupts[-1].doing(lambda: ended.append(1)), interrupts[-1].doing(lambda: ended.append(2)):
                interrupts[-1].set()

        interrupts: list[Interrupt] = []
        ended: list[int] = []
        for _ in raising_everywhere(act):
            if interrupts and interrupts[-1].is_set():
                assert {*ended} == {1, 2}

    def test_set_again_does_nothing(self) -> None:
        interrupt, calls = Interrupt(), []
        with interrupt.doing(lambda: calls.append(1)):
            for _ in range(3):
                interrupt.set()
        assert calls == [1]

    def test_what_an_action_raises_keeps_no_other_from_running(self) -> None:
        interrupt, calls = Interrupt(), []
        with interrupt.doing(lambda: 1 // 0), interrupt.doing(lambda: calls.append(1)):
            interrupt.set()
        assert calls == [1]

    def test_a_block_that_begins_too_late_is_ended_at_once(self) -> None:
        interrupt, calls = Interrupt(), []
        interrupt.set()
        with interrupt.doing(lambda: calls.append(1)):
            assert calls == [1]
        assert interrupt.wait(60)
        with interrupt.waking() as reader:
            reader.settimeout(5)
            assert reader.recv(1)
