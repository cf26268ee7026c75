"""Received data: how a read ends, which queue a frame goes to, and what an answer completes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from errno import ETIMEDOUT
from types import SimpleNamespace
from typing import Any

import pytest
from engine_support import Running, make_context, wait_until

from stomplistener import BrokerError, ConnectionLost, Frame, Limits, ProtocolError
from stomplistener._engine import inbound as module
from stomplistener._engine.flow_control import FlowControl
from stomplistener._engine.inbound import LOOK_SECONDS, Inbound
from stomplistener._engine.receipts import Receipt
from stomplistener._util.deadline import Deadline
from stomplistener._util.locks import is_owned
from stomplistener.protocol import HEARTBEAT, Decoder, SubscriptionEntry, SubscriptionState

MESSAGE = b"MESSAGE\nsubscription:s\nmessage-id:1\n\nbody\0"
REFUSED = Frame("ERROR", {"message": "no"})
TOO_LATE = "a frame was not complete 5 s after its first byte (Limits.frame_timeout)"


class Queue:
    """A dispatch queue that only keeps what it is given."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.items: list[Any] = []
        self.begun = 0

    def line_up(self, batch: list[Any]) -> None:
        assert is_owned(self._lock)
        self.items += batch

    def begin(self) -> None:
        assert not is_owned(self._lock)
        self.begun += 1


class Wire:
    """A transport that brings what it is told; it is no ``Guided``."""

    def __init__(self, reads: list[object]) -> None:
        self._reads = reads
        self.next: bytes | BaseException = b""
        self.has_unread: bool | Exception = False

    def receive(self) -> bytes:
        self._reads.append("receive")
        if isinstance(self.next, BaseException):
            raise self.next
        return self.next

    def unread(self) -> bool:
        if isinstance(self.has_unread, Exception):
            raise self.has_unread
        return self.has_unread


class GuidedWire(Wire):
    def expect(self, size: int) -> None:
        self._reads.append(f"expect {size}")

    def limit_wait(self, seconds: float | None) -> bool:
        raise AssertionError("only inline_dispatch calls this")


class Rig:
    """The part that reads, and its neighbours: one object is the writer, the sender, the pause and the desk."""

    def __init__(self) -> None:
        self.context = make_context(limits=Limits(frame_timeout=5, max_pending_messages=1))
        self.session, self.lock = self.context.session, self.context.lock
        self.flow = FlowControl(self.context)
        self.main = Queue(self.lock)
        self.last_write = 0.0
        self.is_forgotten = False
        self.calls: list[Any] = []
        self.reads: list[object] = []
        self.heard: list[Any] = []
        rig: Any = self
        self.inbound = Inbound(self.context, self.flow, rig, rig, rig.main, self.rejected, rig)
        self.connect()

    def connect(self) -> list[Frame]:
        self.session.connect("broker")
        self.session.connected(Frame("CONNECTED", {"version": "1.2"}))
        self.session.replay()
        return self.session.restored()

    def attach(self, wire: Wire, early: bytes = b"", *secrets: str) -> Rig:
        decoder = Decoder("1.2")
        decoder.feed(early)
        self.wire = wire
        self.inbound.attach(wire, decoder, secrets)  # type: ignore[arg-type]
        return self

    def read(self, data: bytes | BaseException) -> Exception | None:
        self.wire.next = data
        return self.inbound.read()

    def hear(self, hook: str) -> None:
        self.context.listeners.add(SimpleNamespace(**{hook: lambda *args: self.heard.append((hook, *args))}))

    def run_main(self) -> None:
        for item in self.main.items:
            if callable(item):
                item()

    def new_receipt(self) -> Receipt:
        desk: Any = self
        return Receipt(desk)

    @property
    def writer(self) -> Rig:
        return self

    def hurry(self) -> None:
        """Do nothing: no batch is open."""

    def ask(self, context: object = None, **headers: str) -> str:
        """Send a message; return the name of the receipt that it waits for."""
        frame = self.session.send(Frame("SEND", {"destination": "/a", **headers}), confirm=True, context=context)
        assert frame is not None
        return frame.headers["receipt"]

    def subscribe(self, id: str, queue: Queue) -> SubscriptionEntry:
        return self.session.subscribe(f"/queue/{id}", id=id, context=SimpleNamespace(queue=queue))[0]

    def append(self, data: bytes) -> None:
        assert is_owned(self.lock)
        self.calls.append(data)

    def schedule(self) -> None:
        assert not is_owned(self.lock)
        self.calls.append("schedule")

    def notify_window(self) -> None:
        assert is_owned(self.lock)
        self.calls.append("window")

    def note_unexplained(self, at: float, error: BrokerError | None) -> None:
        self.calls.append((at, error))

    def rejected(self, entry: SubscriptionEntry) -> None:
        assert not is_owned(self.lock)
        self.calls.append(entry)

    def before_read(self) -> None:
        self.reads.append("pause")

    def after_read(self, size: int, *, answers: bool) -> None:
        self.reads.append((size, answers))

    def call(self, event: Callable[[], object]) -> None:
        assert not is_owned(self.lock)
        event()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.attach(GuidedWire(rig.reads))
    rig.calls.clear()
    return rig


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def receipt(id: str) -> Frame:
    return Frame("RECEIPT", {"receipt-id": id})


def logged(rig: Rig, caplog: pytest.LogCaptureFixture, name: str) -> list[tuple[str, str]]:
    """What this connection has logged: the records of earlier tests may still arrive."""
    prefix = f"{rig.context.config.name}: "
    found = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == name]
    return [(level, text.removeprefix(prefix)) for level, text in found if text.startswith(prefix)]


def test_bytes_may_gather_before_a_read_and_frames_sent_since_the_last_one_count(rig: Rig, clock: Clock) -> None:
    rig.last_write = 999.0
    assert rig.read(b"\n") is None
    assert rig.read(b"\n\n") is None
    assert rig.reads == ["pause", "receive", (1, True), "pause", "receive", (2, False)]
    assert (rig.context.last_received, rig.context.counters.bytes_received) == (1000.0, 3)


@pytest.mark.parametrize(
    ("brought", "kind", "text"),
    [
        (b"", ConnectionLost, "the broker closed the connection"),
        (ConnectionResetError("reset"), ConnectionResetError, "reset"),
        # The kernel has given up: this is no silence within the timeout of the transport.
        (TimeoutError(ETIMEDOUT, "gave up"), TimeoutError, f"[Errno {ETIMEDOUT}] gave up"),
        (SystemExit(3), ConnectionLost, "the transport raised SystemExit: 3"),
    ],
)
def test_a_read_returns_why_the_connection_has_ended(rig: Rig, brought: Any, kind: type[Exception], text: str) -> None:
    ended = rig.read(brought)
    assert (type(ended), str(ended)) == (kind, text)


@pytest.mark.parametrize("silence", [TimeoutError("timed out"), BlockingIOError("would block")])
def test_silence_is_not_the_end(rig: Rig, silence: Exception) -> None:
    with pytest.raises(TimeoutError, match=r"^nothing came in time$"):
        rig.read(silence)


def test_an_error_that_ends_with_the_connection_is_its_reason(rig: Rig) -> None:
    assert rig.read(b"ERROR\nmessage:out of memory\n\n") is None
    assert str(rig.read(b"")) == "the broker closed the connection"
    assert "answered ERROR: out of memory" in str(rig.inbound.last_error)


def test_good_frames_before_bad_bytes_are_dispatched(rig: Rig) -> None:
    ended = rig.read(MESSAGE + b"CONNECTED\nno colon\n\n\0")
    assert isinstance(ended, ProtocolError)
    assert [item.body for item in rig.main.items] == [b"body"]


def test_a_guided_transport_is_told_how_many_bytes_are_missing(rig: Rig) -> None:
    begun = b"MESSAGE\nmessage-id:1\ncontent-length:100\n\nbody"
    assert rig.read(begun[:10]) is None
    assert rig.read(begun[10:]) is None
    assert [each for each in rig.reads if isinstance(each, str) and each.startswith("expect")] == ["expect 96"]
    assert rig.attach(Wire(rig.reads)).read(begun) is None


def test_a_frame_that_takes_too_long_ends_the_connection(rig: Rig, clock: Clock) -> None:
    # The frame began behind CONNECTED.
    rig.attach(rig.wire, early=MESSAGE[:5])
    clock.now += 5.0
    assert rig.read(MESSAGE[5:10]) is None
    clock.now += 0.1
    assert str(rig.read(MESSAGE[10:15])) == TOO_LATE


def test_time_in_which_the_client_did_not_read_does_not_count(rig: Rig, clock: Clock) -> None:
    rig.read(MESSAGE[:5])
    with rig.lock:
        rig.flow.add(1, 0)
    clock.now += 100.0
    assert not rig.inbound.wait_for_room(Deadline(0.0))
    assert rig.read(MESSAGE[5:10]) is None
    with rig.lock:
        rig.flow.remove(1, 0)
    clock.now += 5.1
    assert rig.inbound.wait_for_room(Deadline(0.0))
    assert str(rig.read(MESSAGE[10:15])) == TOO_LATE


def test_when_to_check_a_frame_again(rig: Rig, clock: Clock) -> None:
    # A frame may begin right after this check.
    assert rig.inbound.overdue(1000.0) == (1005.0, None)
    rig.read(MESSAGE[:5])
    assert rig.inbound.overdue(1002.0) == (1005.0, None)
    assert rig.inbound.overdue(1005.0) == (1005.0 + LOOK_SECONDS, None)
    again, slow = rig.inbound.overdue(1005.1)
    assert (again, str(slow)) == (1005.1 + LOOK_SECONDS, TOO_LATE)
    rig.wire.has_unread = True
    assert rig.inbound.overdue(1005.1)[1] is None
    rig.wire.has_unread = OSError("closed")
    assert rig.inbound.overdue(1005.1)[1] is not None


def test_a_frame_is_not_too_late_while_the_client_does_not_read(rig: Rig, clock: Clock) -> None:
    rig.read(MESSAGE[:5])
    with rig.lock:
        rig.flow.add(1, 0)
    waiting = Running(lambda: rig.inbound.wait_for_room(Deadline(10.0)))
    wait_until(lambda: rig.flow.is_paused)
    assert rig.inbound.overdue(1006.0) == (1006.0 + LOOK_SECONDS, None)
    rig.flow.interrupt()
    assert waiting.result() is True


def test_each_message_goes_to_the_queue_of_its_subscription(rig: Rig) -> None:
    other = Queue(rig.lock)
    entries = {id: rig.subscribe(id, queue) for id, queue in (("mine", rig.main), ("other", other))}
    heads = [{"subscription": id} for id in ("other", "mine", "other", "unknown")]
    # A broker of STOMP 1.0 may name only the destination.
    rig.inbound.dispatch([Frame("MESSAGE", head) for head in (*heads, {"destination": "/queue/mine"})])
    assert [item.subscription for item in other.items] == [entries["other"].context] * 2
    assert [item.subscription for item in rig.main.items] == [entries["mine"].context, None, entries["mine"].context]
    assert [item.epoch for item in rig.main.items] == [1, 1, 1]
    assert (rig.main.begun, other.begun, rig.context.counters.messages_received) == (1, 1, 5)


def test_no_message_after_disconnect(rig: Rig) -> None:
    rig.session.disconnect()
    rig.inbound.dispatch([Frame("MESSAGE", {"subscription": "s"})])
    assert (rig.main.items, rig.calls, rig.context.counters.messages_received) == ([], [], 0)


def test_all_heartbeats_of_a_read_are_one_call(rig: Rig) -> None:
    rig.inbound.dispatch([HEARTBEAT, HEARTBEAT])
    assert rig.main.items == []
    rig.hear("on_heartbeat")
    rig.hear("on_receipt")
    rig.inbound.dispatch([HEARTBEAT])
    rig.inbound.dispatch([Frame("MESSAGE"), receipt("a"), HEARTBEAT, HEARTBEAT])
    rig.run_main()
    assert rig.heard == [("on_heartbeat",), ("on_receipt", receipt("a")), ("on_heartbeat",)]


def test_a_frame_that_no_thread_is_about_to_write_is_written(rig: Rig) -> None:
    rig.inbound.dispatch([Frame("MESSAGE")])
    rig.is_forgotten = True
    # A lone heartbeat is not worth the lock.
    rig.inbound.dispatch([HEARTBEAT])
    assert rig.calls == []
    rig.inbound.dispatch([Frame("MESSAGE")])
    assert rig.calls == ["schedule"]


def test_the_log_has_frames_but_no_heartbeats(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "stomplistener.frames"):
        rig.inbound.dispatch([HEARTBEAT, Frame("MESSAGE", {"message-id": "7"})])
        assert logged(rig, caplog, "stomplistener.frames") == [("DEBUG", "< MESSAGE message-id:7")]


def test_a_receipt_completes_its_future_and_frees_the_window(rig: Rig) -> None:
    futures = [rig.new_receipt(), rig.new_receipt()]
    for each in futures:
        each.add_done_callback(lambda future: rig.heard.append(future))
    rig.inbound.dispatch([receipt(rig.ask(each)) for each in futures])
    assert rig.heard == futures
    assert [each.result(0).command for each in futures] == ["RECEIPT", "RECEIPT"]
    assert (rig.calls, rig.session.unconfirmed) == (["window"], 0)


def test_the_application_sees_no_receipt_that_the_library_requested(rig: Rig) -> None:
    rig.hear("on_receipt")
    given_up, same = rig.context.new_id(), rig.context.new_id()
    # An application may choose a name of ours.
    rig.inbound.dispatch([receipt(id) for id in (rig.ask(), given_up, rig.ask(receipt=same), "unknown")])
    rig.run_main()
    assert rig.heard == [("on_receipt", receipt(same)), ("on_receipt", receipt("unknown"))]


def test_the_receipt_of_a_subscription_wakes_the_threads_that_wait_for_it(rig: Rig) -> None:
    entry = rig.subscribe("s", rig.main)
    waiting = Running(lambda: rig.context.wait_until(lambda: entry.state is SubscriptionState.ACTIVE, Deadline(10.0)))
    wait_until(lambda: rig.context.changes.gates)
    rig.inbound.dispatch([receipt(entry.receipt)])
    assert not rig.context.changes.gates
    assert waiting.result() is True


def suspects(rig: Rig) -> tuple[Receipt, str]:
    """Lose two connections on two messages; return the future and the receipt of the one that is written alone."""
    future = rig.new_receipt()
    rig.ask(future)
    rig.ask()
    rig.session.lost()
    assert len(rig.connect()) == 2
    rig.session.lost()
    (alone,) = rig.connect()
    return future, alone.headers["receipt"]


def test_the_next_suspect_is_written_after_the_answer_to_the_one_before(rig: Rig) -> None:
    future, alone = suspects(rig)
    rig.is_forgotten = True
    rig.inbound.dispatch([receipt(alone)])
    assert future.done()
    window, data, scheduled = rig.calls
    assert (window, data[:5], scheduled) == ("window", b"SEND\n", "schedule")


def test_an_error_without_a_name_that_can_only_mean_one_message(rig: Rig) -> None:
    future, _alone = suspects(rig)
    rig.inbound.dispatch([REFUSED])
    # The text is the session's, which tells how it found the message.
    assert str(future.exception(0)).startswith("SEND to '/a' failed: 3 connections were closed or brought an ERROR on")
    assert rig.calls == ["window"]


def test_an_error_that_names_its_frame_completes_the_future(rig: Rig) -> None:
    future = rig.new_receipt()
    rig.inbound.dispatch([REFUSED.adding("receipt-id", rig.ask(future))])
    assert str(future.exception(0)) == "no broker answered ERROR: no"
    assert future.exception(0) is rig.inbound.last_error
    assert rig.calls == ["window"]


def test_a_subscription_that_the_broker_rejects(rig: Rig) -> None:
    entry, other = rig.subscribe("s", rig.main), rig.subscribe("t", rig.main)
    unsubscribe = rig.session.unsubscribe(other, confirm=True)
    assert unsubscribe is not None
    for name in (entry.receipt, unsubscribe.headers["receipt"]):
        rig.inbound.dispatch([REFUSED.adding("receipt-id", name)])
    assert rig.calls == ["window", entry, "window"]
    assert entry.state is SubscriptionState.REJECTED


def test_only_the_first_error_of_a_connection_is_a_warning(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    error = "no broker answered ERROR: no"
    with caplog.at_level(logging.DEBUG, "stomplistener"):
        rig.inbound.dispatch([REFUSED, REFUSED])
        assert str(rig.inbound.last_error) == error
        rig.attach(rig.wire)
        assert rig.inbound.last_error is None
        rig.inbound.dispatch([REFUSED])
        levels = [level for level, text in logged(rig, caplog, "stomplistener") if text == error]
    assert levels == ["WARNING", "DEBUG", "WARNING"]


def test_an_error_without_a_name_may_explain_a_later_timeout_of_this_connection(rig: Rig) -> None:
    rig.context.last_received = 7.0
    rig.inbound.dispatch([REFUSED])
    error = rig.inbound.last_error
    rig.attach(rig.wire)
    assert rig.calls == [(7.0, error), (0.0, None)]
    assert rig.context.last_error is error


def test_no_secret_that_the_broker_quotes_reaches_a_listener(rig: Rig) -> None:
    rig.hear("on_error")
    rig.attach(rig.wire, b"", "swordfish").inbound.dispatch(
        [Frame("ERROR", {"message": "bad swordfish"}, b"swordfish")]
    )
    rig.run_main()
    assert rig.heard == [("on_error", Frame("ERROR", {"message": "bad ***"}, b"***"))]
    assert str(rig.inbound.last_error) == "no broker answered ERROR: bad ***"


def test_frames_before_one_that_breaks_the_protocol_are_handled(rig: Rig) -> None:
    future = rig.new_receipt()
    future.add_done_callback(lambda future: rig.heard.append(future))
    frames = [Frame("MESSAGE"), receipt(rig.ask(future)), REFUSED, Frame("CONNECTED"), Frame("MESSAGE")]
    with pytest.raises(ProtocolError, match=r"^the broker sent CONNECTED a second time$"):
        rig.inbound.dispatch(frames)
    assert (len(rig.main.items), rig.main.begun, rig.heard) == (1, 1, [future])
    assert rig.inbound.last_error is not None
