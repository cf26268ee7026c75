"""What this library and its peers can do, row by row: README shows the first columns, the manual all of it.

Each of our cells names tests that show it, or a page that is tested; each of a peer's says where in its source it was
read. ``generate.py`` makes the tables.
"""

from __future__ import annotations

from dataclasses import dataclass

PEERS = ("stomp.py 9.0.0", "stompest 2.3.0", "stompman 3.16.0")


@dataclass(frozen=True)
class Row:
    """One thing that a client may do.

    Attributes:
        what: the thing.
        tests: which of ours show it.
        page: where the manual tells how, from ``docs/``; empty where it needs no telling.
        peers: for each of PEERS whether it does, and where that was read.
    """

    what: str
    tests: tuple[str, ...]
    page: str
    peers: tuple[tuple[str, str], tuple[str, str], tuple[str, str]]


ROWS = (
    Row(
        "Made for",
        (),
        "",
        (
            ("threads", "`transport.py`: a receiver thread"),
            (
                "one thread, blocking",
                "`sync/client.py`; its part for Twisted, a package `async`, is not importable since Python 3.7",
            ),
            ("asyncio", "`client.py`"),
        ),
    ),
    Row(
        "Restores connection and subscriptions after every loss, automatically",
        (
            "test_the_first_program_survives_a_restart_and_ends_gracefully",
            "test_a_hundred_drops_under_load_lose_nothing_confirmed",
        ),
        "howto/failover.md",
        (
            (
                "no",
                "`transport.py`: only `start()` attempts to connect; its manual has a recipe for `on_disconnected`",
            ),
            ("at `connect()`", "`sync/client.py`: `connect()` replays; the program notices the loss and calls it"),
            ("yes", "`connection_manager.py`, `subscription.py`: `resubscribe_to_active_subscriptions`"),
        ),
    ),
    Row(
        "Sends a confirmed message again until its receipt has come",
        (
            "test_scenario_17_a_stored_send_whose_receipt_is_lost_completes",
            "test_subscriptions_come_first_then_confirmed_sends",
        ),
        "explanation/guarantees.md",
        (
            ("no", "`protocol.py`: `send` writes once; `listener.py`: `WaitingListener` waits without a timeout"),
            ("no", "`sync/client.py`: `send` writes once and waits for no receipt"),
            ("no", "`send.py`: `send_with_receipt` waits, and fails with the connection"),
        ),
    ),
    Row(
        "A slow listener loses no heartbeat and no connection",
        ("test_a_listener_that_sleeps_through_many_heart_beats_keeps_the_connection",),
        "howto/slow-listeners.md",
        (
            (
                "no",
                "`transport.py`: `notify` runs listeners in the receiver thread, which counts heartbeats",
            ),
            ("no", "`sync/client.py`: the program sends heartbeats itself, by `beat()`"),
            ("if it yields", "`client.py`: handlers are tasks of one event loop"),
        ),
    ),
    Row(
        "A listener may wait for a receipt, unsubscribe, disconnect",
        (
            "test_a_listener_waits_for_a_receipt_behind_a_full_hand_off",
            "test_a_listener_may_unsubscribe_and_disconnect",
        ),
        "howto/slow-listeners.md",
        (
            ("no", "`transport.py`: the thread that would read the receipt runs the listener"),
            ("no listeners", "`sync/client.py`: `receiveFrame`"),
            ("yes", "`client.py`: handlers are tasks"),
        ),
    ),
    Row(
        "An exception of a listener costs no connection",
        ("test_what_a_listener_raises_is_reported_and_the_next_message_comes",),
        "howto/acknowledge.md",
        (
            ("no", "`transport.py`: the receiver loop ends"),
            ("no listeners", "`sync/client.py`: `receiveFrame`"),
            (
                "not with manual ack",
                "`subscription.py`: `suppressed_exception_classes`, which `ManualAckSubscription` lacks",
            ),
        ),
    ),
    Row(
        "Tries a message again, then puts it aside with the reason",
        ("test_the_error_destination_gets_the_message_with_the_error_in_one_transaction",),
        "howto/acknowledge.md",
        (("no", "`listener.py`"), ("no", "`sync/client.py`"), ("no", "`subscription.py`: NACK at once")),
    ),
    Row(
        "ActiveMQ's failover URI with its options",
        ("test_scenario_01_each_row_of_the_uri_tables_without_a_socket",),
        "reference/uri.md",
        (
            ("list of hosts", "`transport.py`: `host_and_ports`"),
            ("yes", "`protocol/failover.py`"),
            ("list of hosts", "`config.py`: `ConnectionParameters`"),
        ),
    ),
    Row(
        "Offers STOMP 1.0, 1.1 and 1.2, and obeys the answer",
        ("test_the_answer_is_obeyed",),
        "reference/protocol.md",
        (
            ("no", "`protocol.py`: one class a version; the version of CONNECTED is not read"),
            ("yes", "`protocol/session.py`"),
            ("1.2 only", "`connection_lifespan.py`: another answer is an error"),
        ),
    ),
    Row(
        "Bounds memory against backlogs and hostile brokers",
        ("test_a_backlog_is_held_back_at_the_broker", "test_a_promised_body_is_refused_before_it_comes"),
        "reference/limits.md",
        (
            ("no", "`transport.py`: frames of any size"),
            ("no", "`protocol/parser.py`: frames of any size"),
            ("backlogs", "`client.py`: `max_concurrent_handlers`; `serde.py`: frames of any size"),
        ),
    ),
    Row(
        "`durable=`, `prefetch=`, `selector=` in the words of each broker",
        ("test_a_durable_subscription_is_kept_by_disconnect_and_deleted_by_unsubscribe",),
        "reference/brokers.md",
        (
            ("headers by hand", "`protocol.py`"),
            ("headers by hand", "`sync/client.py`"),
            ("headers by hand", "`client.py`"),
        ),
    ),
    Row(
        "Request and reply",
        ("test_an_answer_comes_back",),
        "howto/request-reply.md",
        (("no", "`protocol.py`"), ("no", "`sync/client.py`"), ("no", "`client.py`")),
    ),
    Row(
        "Workers for Django, Flask and scripts; metrics, tracing",
        ("test_prometheus_finds_counts_of_connections_and_handlers", "test_a_trace_goes_on_through_messages"),
        "howto/worker.md",
        (("no", "none in the package"), ("no", "none in the package"), ("no", "none in the package")),
    ),
    Row(
        "A broker with faults on request, for your tests",
        ("test_drop_before_or_after_a_send",),
        "howto/testing.md",
        (
            ("no", "`listener.py`: `TestListener` records"),
            ("no", "none in the package"),
            ("no", "none in the package"),
        ),
    ),
    Row(
        "Needs no other package / is typed",
        (),
        "explanation/decisions.md",
        (
            ("no / no", "its metadata: `docopt-ng`, `websocket-client`; no `py.typed`"),
            ("yes / no", "its metadata; no `py.typed`"),
            ("yes / yes", "its metadata; `py.typed`"),
        ),
    ),
)

OURS = {"Made for": "threads", "Needs no other package / is typed": "yes / yes"}
"""What we say where it is not just yes."""
