"""The ledger alone: what is registered, found, handed out again, and how it ends."""

from __future__ import annotations

import itertools

import pytest

from stomplistener.errors import ProtocolError
from stomplistener.protocol import Frame, Ledger, Outcome, Request, SubscriptionEntry, TransactionEntry, commands
from stomplistener.protocol.ledger import error_text


def new() -> Ledger:
    return Ledger(map(str, itertools.count(1)).__next__)


def keep(ledger: Ledger, receipt: str, epoch: int = 1, *, own: bool = False) -> Request:
    frame = commands.send("/q", receipt.encode(), receipt=receipt)
    request = Request("SEND", receipt, receipt, epoch, own, frame, len(frame.body))
    ledger.keep(request)
    return request


def wait(ledger: Ledger, command: str, **links: object) -> Request:
    request = Request(command, f"{command}-{len(ledger.requests)}", command, 1, **links)  # type: ignore[arg-type]
    ledger.wait(request)
    return request


def lose(
    ledger: Ledger, epoch: int = 1, unsent: tuple[Frame, ...] = (), *, explained: bool = True, begun: bool = False
) -> list[tuple[Request, Outcome]]:
    return ledger.lost(epoch, unsent, explained=explained, begun=begun)


def test_a_confirmed_send_is_found_by_its_receipt_and_by_its_context() -> None:
    ledger = new()
    first, second, third = (keep(ledger, name) for name in ("a", "bb", "ccc"))
    assert ledger.unconfirmed_bytes == 6
    assert [ledger.holds(name) for name in ("a", "x", None)] == [True, False, False]
    assert ledger.find("a") is first
    assert ledger.take("x", 1) is None
    assert ledger.take("a", 1) is first
    assert ledger.forget("bb") is second
    assert ledger.forget("bb") is None
    assert ledger.forget(None) is None
    assert ledger.take("ccc", 2) is None
    assert ledger.take("ccc", 1) is third
    assert ledger.unconfirmed_bytes == 0
    assert ledger.awaited() == ()


def test_of_two_requests_with_one_context_the_later_is_found() -> None:
    ledger = new()
    context = object()
    requests = [Request("ACK", name, context, 1) for name in "ab"]
    for request in requests:
        ledger.wait(request)
    ledger.drop(requests[0])
    assert ledger.forget(context) is requests[1]


def test_a_frame_is_made_before_its_request_is_registered() -> None:
    ledger = new()

    def refused(receipt: str | None) -> Frame:
        raise ProtocolError(f"no {receipt}")

    with pytest.raises(ProtocolError, match="no 1"):
        ledger.ask(refused, "ACK", 1)
    assert ledger.awaited() == ()


def test_asking() -> None:
    ledger = new()

    def make(receipt: str | None) -> Frame:
        return Frame("ACK", {} if receipt is None else {"receipt": receipt})

    assert ledger.ask(make, "ACK", 1, confirm=False).headers == {}
    assert ledger.awaited() == ()
    assert ledger.ask(make, "ACK", 1, context="a").headers["receipt"] == "1"
    assert ledger.ask(make, "ACK", 1, {"receipt": "mine"}, confirm=False).headers["receipt"] == "mine"
    with pytest.raises(ValueError, match="'mine'"):
        ledger.ask(make, "ACK", 1, {"receipt": "mine"})
    assert [(request.receipt, request.own_receipt) for request in ledger.awaited()] == [("1", False), ("mine", True)]


def test_what_was_not_issued_goes_out_in_order_with_the_receipt_that_it_has() -> None:
    ledger = new()
    requests = [keep(ledger, name, epoch=0) for name in ("a", "b", "c")]
    assert ledger.forget(requests[1].context) is requests[1]
    assert ledger.hand_out(3) == [requests[0].frame, requests[2].frame]
    assert [(request.receipt, request.epoch) for request in ledger.awaited()] == [("a", 3), ("c", 3)]
    assert ledger.hand_out(3) == []


def test_what_was_written_goes_out_again_with_another_receipt_unless_it_is_the_applications() -> None:
    ledger = new()
    keep(ledger, "a")
    keep(ledger, "b", own=True)
    lose(ledger)
    frames = ledger.hand_out(2)
    assert [frame.headers.getall("receipt") for frame in frames] == [["1"], ["b"]]
    assert list(ledger.unconfirmed) == ["b", "1"]
    # The first order counts, not that of the receipts.
    lose(ledger, 2)
    assert [frame.body for frame in ledger.hand_out(3)] == [b"a", b"b"]


def test_frames_that_were_not_written_keep_their_place() -> None:
    ledger = new()
    first, second = keep(ledger, "a"), keep(ledger, "b")
    plain = commands.send("/q", b"plain")
    assert second.frame is not None
    lose(ledger, 1, (plain, Frame("ACK"), commands.send("/q", transaction="t"), second.frame))
    keep(ledger, "c", epoch=0)
    lose(ledger, 1, (plain,))
    assert [frame.body for frame in ledger.hand_out(2)] == [b"a", b"plain", b"b", b"c"]
    assert first.epoch == 2


@pytest.mark.parametrize(
    ("command", "outcome"),
    [
        ("UNSUBSCRIBE", Outcome.DONE),
        ("ABORT", Outcome.DONE),
        ("DISCONNECT", Outcome.DONE),
        ("ACK", Outcome.NOT_CONFIRMED),
        ("NACK", Outcome.NOT_CONFIRMED),
        ("BEGIN", Outcome.LOST),
        ("SEND", Outcome.LOST),
        ("COMMIT", Outcome.IN_DOUBT),
    ],
)
def test_what_the_end_of_the_connection_means(command: str, outcome: Outcome) -> None:
    ledger = new()
    request = wait(ledger, command)
    assert lose(ledger) == [(request, outcome)]
    assert lose(ledger) == []
    assert ledger.forget(command) is None


def test_only_the_end_of_an_unsubscribe_from_a_durable_subscription_is_in_doubt() -> None:
    ledger = new()
    entry = SubscriptionEntry(id="a", destination="/q", ack="auto", durable="name")
    wait(ledger, "SUBSCRIBE", subscription=entry)
    request = wait(ledger, "UNSUBSCRIBE", subscription=entry)
    assert lose(ledger) == [(request, Outcome.IN_DOUBT)]


def test_what_a_transaction_awaits_is_released_with_it_and_can_still_be_told() -> None:
    ledger = new()
    entry = TransactionEntry("t", 1)
    sent, commit = wait(ledger, "SEND", transaction=entry), wait(ledger, "COMMIT", transaction=entry)
    ledger.drop(sent)
    assert list(entry.awaited.values()) == [commit]
    ledger.release(entry)
    assert ledger.awaited() == ()
    assert ledger.forget("COMMIT") is None
    assert list(entry.awaited.values()) == [commit]


def test_what_is_assumed_is_answered_nevertheless() -> None:
    ledger = new()
    request = wait(ledger, "SUBSCRIBE")
    ledger.assume(request)
    assert ledger.awaited() == ()
    assert ledger.holds(request.receipt)
    assert ledger.take(request.receipt, 1) is request
    assert not ledger.holds(request.receipt)


def test_the_number_of_bytes_mends_itself() -> None:
    ledger = new()
    keep(ledger, "a")
    ledger.unconfirmed_bytes += 5
    ledger.take("a", 1)
    assert ledger.unconfirmed_bytes == 0
    keep(ledger, "a")
    ledger.unconfirmed_bytes += 5
    ledger.withdraw(None)
    assert ledger.unconfirmed_bytes == 1


def test_a_resend_that_was_interrupted_is_mended() -> None:
    ledger = new()
    request = keep(ledger, "a")
    ledger.unconfirmed["fresh"] = request
    ledger.withdraw(None)
    assert list(ledger.unconfirmed) == ["a"]
    request.receipt = "fresh"
    ledger.unconfirmed["fresh"] = request
    ledger.withdraw(None)
    assert ledger.unconfirmed == {"fresh": request}


def test_a_receipt_takes_the_place_of_another() -> None:
    frame = Frame("SEND", [("receipt", "a"), ("x", "1"), ("x", "2"), ("receipt", "b")], b"body")
    assert frame.adding("receipt", "c") == Frame("SEND", [("x", "1"), ("x", "2"), ("receipt", "c")], b"body")
    assert Frame("SEND", {"x": "1"}).adding("receipt", "c") == Frame("SEND", {"x": "1", "receipt": "c"})


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (Frame("ERROR"), "it gave no reason"),
        (Frame("ERROR", {"message": "no"}, b"no"), "no"),
        (Frame("ERROR", {"message": "no"}, b"since\nnot"), "no: since"),
        (Frame("ERROR", {}, b"x" * 400), "x" * 300 + "…"),
    ],
)
def test_what_an_error_says(frame: Frame, text: str) -> None:
    assert error_text(frame) == text
