"""once=True of a plain worker: the inbox on SQLite."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path

import pytest

from stomplistener import Message
from stomplistener.testing import Broker
from stomplistener.worker import Application, NoIdentity, Repeated, SQLiteInbox, TryAgain, inbox

pytestmark = pytest.mark.timeout(60)

QUEUE = "/queue/a"


@pytest.mark.parametrize(("once", "header"), [(True, "outbox-id"), (True, "dop-msg-id"), ("x-order", "x-order")])
def test_the_second_copy_is_acknowledged_and_not_handled(
    broker: Broker, tmp_path: Path, once: bool | str, header: str
) -> None:
    app, seen = Application(broker.uri, inbox=SQLiteInbox(tmp_path / "inbox")), list[str]()
    app.listener(QUEUE, once=once)(lambda message: seen.append(message.text))
    with app.running():
        for identity, text in (("1", "a"), ("1", "a again"), ("2", "b")):
            broker.publish(QUEUE, text, {header: identity})
        broker.wait_for(lambda: len(broker.frames(command="ACK")) == 3)
    assert seen == ["a", "b"]


def test_two_copies_at_the_same_moment(broker: Broker, tmp_path: Path) -> None:
    app, seen = Application(broker.uri, inbox=SQLiteInbox(tmp_path / "inbox")), list[str]()
    copy_came = threading.Event()

    @app.listener(QUEUE, once=True, workers=2)
    def slow(message: Message) -> None:
        seen.append(message.text)
        broker.publish(QUEUE, "copy", {"outbox-id": "1"})
        copy_came.wait(1.0)

    with app.running():
        broker.publish(QUEUE, "first", {"outbox-id": "1"})
        broker.wait_for(lambda: len(broker.frames(command="ACK")) == 2, 20)
    assert seen == ["first"]


def test_what_raises_is_forgotten(tmp_path: Path) -> None:
    store = SQLiteInbox(tmp_path / "inbox")
    with pytest.raises(ZeroDivisionError), store.handling("handler", "1"):
        raise ZeroDivisionError
    with store.handling("handler", "1"):
        pass
    with pytest.raises(Repeated), store.handling("handler", "1"):
        pass
    with store.handling("other", "1"):
        pass


def _handle_in_child(path: Path, answers: multiprocessing.SimpleQueue[str]) -> None:
    try:
        with SQLiteInbox(path).handling("handler", "1"):
            answers.put("handled")
    except (Repeated, TryAgain) as error:
        answers.put(type(error).__name__)


def test_it_holds_across_processes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    store = SQLiteInbox(tmp_path / "inbox")

    def ask() -> str:
        child = context.Process(target=_handle_in_child, args=(tmp_path / "inbox", answers))
        child.start()
        child.join(30)
        answer: str = answers.get()
        return answer

    with store.handling("handler", "1"):
        assert ask() == "TryAgain"
    assert ask() == "Repeated"


def test_a_note_of_a_dead_process_counts_no_more_after_its_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "LEASE", 0.0)
    monkeypatch.setattr(SQLiteInbox, "_renew", lambda self: None)  # as in a process that is dead
    dead = SQLiteInbox(tmp_path / "inbox").handling("handler", "1")
    dead.__enter__()
    with SQLiteInbox(tmp_path / "inbox").handling("handler", "1"):
        pass


def test_old_rows_are_purged(tmp_path: Path) -> None:
    store = SQLiteInbox(tmp_path / "inbox", keep=0.0)
    with store.handling("handler", "1"):
        pass
    assert store.purge() == 1
    with store.handling("handler", "1"):
        pass


def test_message_ids_identify_on_activemq_alone(broker: Broker) -> None:
    from stomplistener.testing import message

    assert inbox.identity_of(message(), True, "ActiveMQ/5.18.3").startswith("message-id:")
    assert inbox.identity_of(message(headers={"outbox-id": "1"}), True, "ActiveMQ/5.18.3") == "outbox-id:1"
    assert inbox.identity_of(message(headers={"x": "y" * 500}), "x", "").startswith("sha256:")
    for server in ("RabbitMQ/3.13", "ActiveMQ-Artemis/2.44.0", ""):
        with pytest.raises(NoIdentity, match="no header outbox-id or dop-msg-id or cap-msg-id"):
            inbox.identity_of(message(), True, server)


def test_once_without_an_inbox_says_what_is_missing() -> None:
    app = Application("tcp://localhost:1")
    app.listener(QUEUE, once=True)(lambda message: None)
    with pytest.raises(ValueError, match="once, which needs an inbox"), app.running():
        pass


def test_an_inbox_goes_with_the_handlers_that_are_included(tmp_path: Path) -> None:
    part, whole = Application(inbox=SQLiteInbox(tmp_path / "inbox")), Application()
    part.listener(QUEUE, once=True)(lambda message: None)
    whole.include(part)
    client = whole.test_client()
    assert client.deliver(QUEUE, "x", {"outbox-id": "1"}).name == "acked"
    assert client.deliver(QUEUE, "x").name == "rejected"
