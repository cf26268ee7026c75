"""What a parent's objects do in the child of a fork: they touch nothing of the parent's, never wait, and say so."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import ExitStack
from typing import Any, NoReturn

import pytest
from client_support import QUEUE

from stomplistener import ClosedAfterFork, Connection
from stomplistener.testing import Broker

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def end_soon() -> None:
    """Let a child that waits for something be killed: what pytest does of a SIGALRM is for the parent."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(30)


def in_the_child(uses: dict[str, Callable[[], object]]) -> NoReturn:
    """Try each use, and exit with the number of those that do not raise what they should."""
    wrong = 0
    try:
        end_soon()
        for name, use in uses.items():
            try:
                raised: object = f"nothing; it returned {use()!r}"
            except Exception as error:
                raised = error
            if not isinstance(raised, ClosedAfterFork):
                wrong += 1
                os.write(2, f"{name} raised {raised!r}\n".encode())
    finally:
        os._exit(wrong)


def raise_from(future: Future[Any]) -> None:
    error = future.exception()
    if error is not None:
        raise error


def test_in_a_child_every_handle_of_the_parents_says_that_it_is_the_parents(broker: Broker) -> None:
    """Also where a thread of the parent's held a lock at the moment of the fork, as here: nothing waits for it."""
    broker.publish(QUEUE, "1")
    with Connection(broker.uri) as connection:
        consumer = connection.consume(QUEUE)
        message = consumer.receive(10)
        assert message is not None
        subscription = connection.subscribe("/queue/other", print, confirm=True)
        transaction = connection.transaction().begin()
        reply = connection.request_async(QUEUE, "unanswered", timeout=10)
        committing = connection.transaction().begin()
        committing.send(QUEUE, "from the parent, too")
        broker.go_silent()
        commit = committing.commit_async()
        answer = connection.send_async(QUEUE, "unanswered")
        futures: list[Future[Any]] = [answer, reply, commit]
        uses: dict[str, Callable[[], object]] = {
            "Message.ack": message.ack,
            "Message.nack": message.nack,
            "Message.ack in a transaction": lambda: message.ack(transaction),
            "Transaction.send": lambda: transaction.send(QUEUE, "never"),
            "Transaction.send with options": lambda: transaction.send(QUEUE, "never", persistent=True),
            "Transaction.ack": lambda: transaction.ack(message),
            "Transaction.commit": transaction.commit,
            "Transaction.abort": transaction.abort,
            "Subscription.unsubscribe": lambda: subscription.unsubscribe(confirm=True),
            "Subscription.wait_active": subscription.wait_active,
            "Consumer.receive": lambda: consumer.receive(None),
            "Consumer.close": consumer.close,
            "send_async().result": answer.result,
            "request_async().result": reply.result,
            "request_async().exception": lambda: raise_from(reply),
            "wait of concurrent.futures": lambda: [each.result() for each in wait(futures)[0]],
            "commit_async().result": commit.result,
        }
        engine = connection._engine
        with ExitStack() as held:
            held.enter_context(engine._life_lock)
            held.enter_context(engine.context.lock)
            child = os.fork()
            if child == 0:
                in_the_child(uses)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        broker.speak()
        answer.result(10)
        transaction.ack(message)
        transaction.send(QUEUE, "from the parent")
        transaction.commit()
        assert connection.statistics().reconnects == 0


def test_a_child_may_leave_the_blocks_that_its_parent_entered(broker: Broker) -> None:
    with Connection(broker.uri) as connection:
        child = 0
        try:
            with connection.consume(QUEUE), connection.transaction() as transaction:
                child = os.fork()
                if child == 0:
                    end_soon()
                    sys.exit(0)
                transaction.send(QUEUE, "from the parent")
        except SystemExit:
            os._exit(0)
        finally:
            if child == 0:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert connection.statistics().reconnects == 0
        # The consumer that has just gone may have had it in hand.
        broker.wait_for(lambda: [message.body for message in broker.messages(QUEUE)] == [b"from the parent"])


def test_a_child_connects_anew_whatever_locks_other_threads_held_at_the_fork(broker: Broker) -> None:
    heard: list[object] = []

    class Ears:
        def on_connected(self, _frame: object) -> None:
            heard.append(None)

    with Connection(broker.uri) as connection:
        with connection._listeners._lock:
            child = os.fork()
            if child == 0:
                wrong = 1
                try:
                    end_soon()
                    connection.add_listener(Ears())
                    connection.connect(timeout=10)
                    connection.send(QUEUE, "from the child", confirm=True, timeout=10)
                    connection.send_async(QUEUE, "from the child").result(10)
                    connection.disconnect(timeout=10)
                    wrong = not heard
                finally:
                    os._exit(wrong)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        connection.send(QUEUE, "from the parent", confirm=True, timeout=10)
        assert connection.statistics().reconnects == 0


def send_without_an_end(connection: Connection) -> None:
    connection.connect()
    for number in range(200):
        connection.send(QUEUE, str(number))


def connect_and_send(uri: str) -> None:
    send_without_an_end(Connection(uri))


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn", "parent"])
def test_what_a_child_of_multiprocessing_has_sent_arrives(method: Any, broker: Broker) -> None:
    """Such a child ends with os._exit, and runs no atexit. It may use a connection that its parent has made."""
    process: Any = multiprocessing.get_context("fork" if method == "parent" else method)
    if method == "parent":
        child = process.Process(target=send_without_an_end, args=(Connection(broker.uri),))
    else:
        child = process.Process(target=connect_and_send, args=(broker.uri,))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    broker.wait_for(lambda: len(broker.messages(QUEUE)) == 200)
