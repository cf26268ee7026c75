"""The ways of a SEND, of a MESSAGE and of a reconnect through the code, step by step.

The pictures and the tables of the pages on internals are made from these steps. A test records what is really called
(``tests/unit/docs/test_docs_internals.py``), and fails if a step is not taken, or not in this order.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One call.

    Attributes:
        file: in the package.
        function: its qualified name.
        what: what it does.
        locked: whether the lock of the connection is held.
        state: the state of the connection that begins here; None if it stays.
        hands_over: whether the steps of the next thread follow from this one.
    """

    file: str
    function: str
    what: str
    locked: bool = False
    state: str | None = None
    hands_over: bool = False


@dataclass(frozen=True)
class Lane:
    """The steps that one thread takes, in order."""

    thread: str
    steps: tuple[Step, ...]


SEND = (
    Lane(
        "the thread that sends",
        (
            Step("connection.py", "Connection.send", "takes the call"),
            Step("_engine/sender.py", "Sender.make_send", "adds the options in the words of the broker"),
            Step("protocol/commands.py", "send", "checks the headers, makes the frame"),
            Step("_engine/sender.py", "Sender.transmit", "the one way out"),
            Step("protocol/encoder.py", "encode", "makes bytes, for the version in use"),
            Step("_engine/writer.py", "Writer.append", "puts the bytes at the end of the write queue", locked=True),
            Step("_engine/writer.py", "Writer.schedule", "decides which thread writes"),
            Step("_engine/writer.py", "Writer._write_now", "takes what waits, if no other thread writes"),
            Step("transport/stream.py", "SocketTransport.send_nowait", "sends, and never waits"),
            Step("_engine/writer.py", "Writer._end_write", "counts what was written", locked=True),
        ),
    ),
)

MESSAGE = (
    Lane(
        "receiver",
        (
            Step("_engine/inbound.py", "Inbound._take", "takes what one read returned"),
            Step("protocol/decoder.py", "Decoder.feed", "makes frames"),
            Step("_engine/inbound.py", "Inbound.dispatch", "one pass for all frames of the read"),
            Step("_engine/inbound.py", "Inbound._sort", "finds the subscription of each MESSAGE", locked=True),
            Step(
                "_engine/dispatch_queue.py",
                "DispatchQueue.line_up",
                "hands the batch over",
                locked=True,
                hands_over=True,
            ),
            Step("_engine/flow_control.py", "FlowControl.add", "counts messages and bytes", locked=True),
        ),
    ),
    Lane(
        "dispatcher",
        (
            Step("_engine/settlement.py", "Settlement.run", "works the batch off in order"),
            Step("_engine/settlement.py", "Settlement._begin", "drops a message of an old epoch", locked=True),
            Step("_engine/settlement.py", "Settlement._deliver", "calls the listeners"),
            Step("_engine/settlement.py", "Settlement._settle", "decides: ACK, again, forward or NACK"),
            Step("_engine/sender.py", "Sender.settle", "makes the ACK"),
            Step("_engine/sender.py", "Sender.transmit", "as for a SEND"),
            Step("_engine/writer.py", "Writer.append", "puts the bytes into the write queue", locked=True),
            Step("_engine/settlement.py", "Settlement._end", "notes that the listener has ended", locked=True),
            Step("_engine/flow_control.py", "FlowControl.remove", "makes room for the receiver", locked=True),
        ),
    ),
)

RECONNECT = (
    Lane(
        "receiver",
        (
            Step("_engine/connection_cycle.py", "ConnectionCycle.lost", "the connection has ended"),
            Step("_engine/writer.py", "Writer.detach", "stops writing; keeps the SENDs not written", locked=True),
            Step("protocol/session.py", "Session.lost", "ends the epoch", locked=True),
            Step("_engine/context.py", "Context.move", "in the same step", locked=True, state="SUSPENDED"),
            Step("_engine/settlement.py", "Settlement.lost", "drops retries: the broker has them back"),
            Step("_engine/settlement.py", "Settlement.discard_stale", "drops what waits in the queues, too"),
            Step("_engine/reconnector.py", "Reconnector.again", "asks the schedule for the next broker"),
            Step("_engine/reconnector.py", "Reconnector._begin_pass", "waits as long as the schedule says"),
            Step("_engine/login.py", "log_in", "TCP, TLS, CONNECT, CONNECTED"),
            Step("_engine/connection_cycle.py", "ConnectionCycle._attach", "a new epoch begins", locked=True),
            Step("_engine/connection_cycle.py", "ConnectionCycle._replay", "sends SUBSCRIBEs, reads their receipts"),
            Step("_engine/connection_cycle.py", "ConnectionCycle._open", "opens the connection to all"),
            Step("protocol/session.py", "Session.restored", "gives the SENDs to resend", locked=True),
            Step("_engine/context.py", "Context.move", "calls that waited go on", locked=True, state="CONNECTED"),
            Step("_engine/writer.py", "Writer.wake", "writes what was resent"),
        ),
    ),
)

ALL = {"send": SEND, "message": MESSAGE, "reconnect": RECONNECT}
