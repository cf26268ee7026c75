"""The connection of one client: the thread that reads it, its state at the broker, and its possible ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count

from stomplistener.errors import InvalidHeader, ProtocolError
from stomplistener.protocol import HEARTBEAT, Decoder, Frame, HeartBeat, encode
from stomplistener.protocol.encoder import encode_block
from stomplistener.protocol.heartbeat import TOLERANCE
from stomplistener.testing import commands
from stomplistener.testing.destinations import local
from stomplistener.testing.messages import Stored
from stomplistener.testing.outgoing import Outgoing
from stomplistener.testing.refusal import Refusal
from stomplistener.testing.state import ConnectionInfo, State
from stomplistener.testing.subscriptions import Subscription
from stomplistener.testing.transactions import Transaction
from stomplistener.testing.wire import Wire


class Client:
    """A client's reader thread, and its writer thread in ``outgoing``. The broker's lock guards all changes.

    The reader owns the socket: only the reader closes it. Other threads cut the wire, which ends the reader. The last
    step of the reader is to call ``at_end`` with the number of the connection.
    """

    def __init__(self, number: int, state: State, wire: Wire, at_end: Callable[[int], object]) -> None:
        self.number = number
        self.name = f"broker-{number}"
        self.session = f"session-{number}"
        self.state = state
        self.version: str | None = None
        self.login: str | None = None
        self.client_id: str | None = None
        self.subscriptions: dict[str, Subscription] = {}
        self.transactions: dict[str, Transaction] = {}
        self.outgoing = Outgoing(self, state.watch, state.faults, state.log, wire)
        self.thread = threading.Thread(target=self.run, name=f"{self.name}-read", daemon=True)
        self._wire = wire
        self._at_end = at_end
        self._decoder = Decoder(limits=state.options.limits)
        self._ack_ids = count(1)
        self._withheld: list[bytes] = []
        self._ended = False
        self._drain = False

    def run(self) -> None:
        try:
            with suppress(OSError):
                self._wire.handshake()
                self.outgoing.thread.start()
                self._read()
        finally:
            with self.state.watch.lock:
                self.end()
            self._close()
            self._at_end(self.number)

    def _read(self) -> None:
        while True:
            self._wait_while_deaf()
            try:
                data = self._wire.receive()
            except TimeoutError:
                return
            if not data:
                return
            self._wait_while_deaf()
            failure: ProtocolError | None = None
            try:
                frames = self._decoder.feed(data)
            except ProtocolError as error:
                frames, failure = error.frames, error
            with self.state.watch.lock:
                self._process(frames, failure)
                if self._ended:
                    return

    def _wait_while_deaf(self) -> None:
        faults = self.state.faults
        if faults.silent or faults.deaf:
            self.state.watch.pause(lambda: self._ended or not (faults.silent or faults.deaf))

    def _process(self, frames: Iterable[Frame], failure: ProtocolError | None) -> None:
        for frame in frames:
            if self._ended:
                break
            self.state.log.received(self.number, frame)
            if frame is HEARTBEAT:
                continue
            if self.state.faults.waiting:
                self._handle_faultily(frame)
            else:
                self._handle(frame)
        if failure is not None and not self._ended:
            self.refuse(Refusal("malformed frame", str(failure), close=True), None)
        self.state.watch.changed()

    def _handle(self, frame: Frame, *, answer: bool = True) -> None:
        try:
            commands.process(self, frame, answer=answer)
        except Refusal as refusal:
            self.refuse(refusal, frame)
        except InvalidHeader as error:
            # The broker cannot write back a header of this frame, such as a carriage return in a receipt of STOMP 1.1.
            self.refuse(Refusal("bad header", str(error)), None)

    def _handle_faultily(self, frame: Frame) -> None:
        """Process one frame, with the faults that a test set for it."""
        faults, command = self.state.faults, frame.command
        if late := faults.take("late", command, self.number):
            self.state.watch.pause(lambda: self._ended, late.seconds)
            if self._ended:
                return
        if cut := faults.take("cut before", command, self.number):
            self.cut_after_writing(reset=cut.reset)
            return
        if error := faults.take("error", command, self.number):
            refusal = Refusal(error.message, close=error.close)
            self.refuse(refusal, frame if error.with_receipt_id else None)
            commands.give_up(self, frame)
            return
        cut = faults.take("cut after", command, self.number)
        self._handle(frame, answer=cut is None)
        if cut:
            self.cut_after_writing(reset=cut.reset)

    # For commands.

    def send(self, frame: Frame) -> None:
        self.outgoing.put(encode(frame, self.version))

    def confirm(self, frame: Frame) -> None:
        """Send the receipt that a frame requests."""
        receipt = frame.header("receipt")
        if receipt is None:
            return
        data = b"RECEIPT" + encode_block("RECEIPT", [("receipt-id", receipt)], self.version) + b"\n\n\0"
        if self.state.faults.take("withhold", frame.command, self.number):
            self._withheld.append(data)
        else:
            self.outgoing.put(data)

    def release_receipts(self) -> None:
        """Send the withheld receipts."""
        withheld, self._withheld = self._withheld, []
        for receipt in withheld:
            self.outgoing.put(receipt)

    def refuse(self, refusal: Refusal, frame: Frame | None) -> None:
        """Send ERROR, and end the connection if the refusal requires it."""
        headers = [("message", refusal.message), ("content-type", "text/plain"), *refusal.headers]
        receipt = None if frame is None else frame.header("receipt")
        if receipt is not None:
            headers.append(("receipt-id", receipt))
        body = refusal.body.encode()
        headers.append(("content-length", str(len(body))))
        self.send(Frame("ERROR", headers, body))
        lenient = self.state.options.lenient_errors and self.version is not None
        if refusal.close if refusal.close is not None else not lenient:
            self.finish()

    def welcomed(self, version: str, heartbeat: HeartBeat) -> None:
        """Start the heartbeats after CONNECTED."""
        self.version = self._decoder.version = version
        self.outgoing.heartbeat = heartbeat
        self.outgoing.wake()
        if heartbeat.receive:
            self._wire.expect_within(heartbeat.receive * TOLERANCE)

    def localized(self, message: Stored, version: str | None) -> bytes:
        """Return the header lines of a message, with the client's names for its temporary destinations."""
        assert version is not None
        if not message.temporary:
            return message.block(version)
        pairs = [(name, local(value, self.session) if name == "reply-to" else value) for name, value in message.pairs]
        return message.encode(local(message.destination, self.session), pairs, version)

    def next_ack_id(self) -> str:
        """Return a new value for the ``ack`` header, unique among all connections."""
        return f"{self.number}-{next(self._ack_ids)}"

    def dispatch(self) -> None:
        """Take messages for this client from the queues."""
        for subscription in self.subscriptions.values():
            subscription.queue.dispatch()

    # Ends.

    def finish(self) -> None:
        """Write the queued frames, and end the connection such that the peer can read all of them."""
        self._drain = True
        self.outgoing.finish(self._wire.half_close)
        self.end()

    def cut_after_writing(self, *, reset: bool) -> None:
        """Write the queued frames, then cut the connection."""
        self.outgoing.finish(lambda: self._wire.cut(reset=reset))
        self.end()

    def cut(self, *, reset: bool) -> None:
        """Cut the connection at once. Messages that were queued and not written count as not delivered."""
        self.leave_queues()
        for delivery in self.outgoing.discard():
            delivery.message.deliveries -= 1
            delivery.subscription.give_back([delivery])
        self.end()
        self._wire.cut(reset=reset)

    def lost(self) -> None:
        """End the connection after an error of the wire."""
        self.cut(reset=False)

    def end(self) -> None:
        """Undo open transactions and give back unacknowledged messages. Idempotent."""
        if self._ended:
            return
        self._ended = True
        self.state.clients.pop(self.number, None)
        for transaction in self.transactions.values():
            transaction.abort()
        self.transactions.clear()
        self.leave_queues()
        subscriptions = list(self.subscriptions.values())
        self.subscriptions.clear()
        for subscription in subscriptions:
            commands.close_subscription(self, subscription)
        self.state.destinations.end_session(self.session)
        self.state.watch.changed()

    def leave_queues(self) -> None:
        """Take no more messages: those of an ended subscription must not go to one that is about to end."""
        for subscription in self.subscriptions.values():
            subscription.queue.remove(subscription)

    def _close(self) -> None:
        writer = self.outgoing.thread
        if writer.ident is not None:
            # Wait until the writer has written its last frames, unless the peer does not read.
            with self.state.watch.lock:
                self.outgoing.finish(lambda: None)
            writer.join(1.0)
            if writer.is_alive():
                with self.state.watch.lock:
                    self.outgoing.discard()
                self._wire.cut(reset=True)
                writer.join()
        if self._drain:
            self._wire.drain()
        self._wire.close()

    def info(self) -> ConnectionInfo:
        return ConnectionInfo(
            self.number, self.version, self.login, self.client_id, self.session, self.outgoing.heartbeat
        )
