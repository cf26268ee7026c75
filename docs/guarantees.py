"""*What is guaranteed*, as data: what holds when a connection is lost before, during and after each operation.

Each row names the tests that show it, by name or by the number NN of a scenario (``test_scenario_NN_...`` in
``tests/unit/failover``). A test checks that every name exists; ``generate.py`` makes the tables of the manual.
"""

from __future__ import annotations

from dataclasses import dataclass

BEFORE = "before the call"
DURING = "during the call"
AFTER = "after the call"


@dataclass(frozen=True)
class Row:
    when: str
    holds: str
    tests: tuple[str, ...] = ()
    scenarios: tuple[int, ...] = ()


@dataclass(frozen=True)
class Operation:
    title: str
    text: str
    rows: tuple[Row, ...]


OPERATIONS = (
    Operation(
        "Unconfirmed send",
        "`connection.send(destination, body)`. At most once, as TCP allows.",
        (
            Row(
                BEFORE,
                "The call waits until the connection is restored, at most its `timeout` and the URI's `timeout`, "
                "whichever is less. `TimedOut` means: nothing was written, and nothing will be.",
                scenarios=(6, 14),
            ),
            Row(
                DURING,
                "If the frame was not written whole, it goes out once more after the replay, in its order. "
                "It may have arrived whole, so a duplicate is possible.",
                ("test_unwritten_sends_survive_behind_the_confirmed_ones_in_their_order",),
            ),
            Row(
                AFTER,
                "The message may be lost without a word, until the broker has read it.",
                ("test_an_unconfirmed_send_that_was_written_may_be_lost",),
            ),
        ),
    ),
    Operation(
        "Confirmed send",
        "`connection.send(destination, body, confirm=True)`. At least once, or the call raises.",
        (
            Row(
                BEFORE,
                "As for the unconfirmed send. `TimedOut` means: nothing was written, and nothing will be.",
                ("test_a_confirmed_send_whose_time_ends_without_a_connection_was_not_written",),
            ),
            Row(
                DURING,
                "The message is kept. After each loss it is sent again, behind the subscriptions, in the first order, "
                "with the same headers and body and a fresh receipt. A message that itself ends the connections, so "
                "that no other one is to blame, is given up and raises; the others are confirmed. The broker may have "
                "stored it before: a duplicate "
                "is possible, unless the broker detects it by its `duplicate_id`. If the time ends while cut off, "
                "`ConnectionLost` with `outcome_unknown=True`, and it is not sent any more.",
                (
                    "test_subscriptions_come_first_then_confirmed_sends",
                    "test_a_hundred_drops_under_load_lose_nothing_confirmed",
                    "test_unconfirmed_sends_are_resent_in_first_order_behind_the_subscriptions",
                    "test_a_confirmed_send_whose_time_ends_while_cut_off_is_in_doubt_and_not_sent_again",
                    "test_what_is_sent_again_is_stored_exactly_once",
                    "test_a_message_that_ends_connections_fails_alone",
                    "test_a_network_that_fails_again_and_again_convicts_no_good_message",
                ),
                (17, 26, 29),
            ),
            Row(
                AFTER,
                "The broker has confirmed it. It is not sent again.",
                ("test_a_confirmed_send_waits_for_its_receipt",),
            ),
        ),
    ),
    Operation(
        "send_async",
        "`connection.send_async(destination, body)` returns a future that resolves with the RECEIPT frame.",
        (
            Row(
                BEFORE,
                "The message is kept and sent when the connection is restored; the call does not wait. It waits only "
                "for room among the unconfirmed messages (`Limits`); `TimedOut` means: nothing was or will be written.",
                (
                    "test_send_async_keeps_its_message_while_cut_off",
                    "test_what_is_sent_while_cut_off_stays_behind_what_was_sent_before_over_any_number_of_losses",
                    "test_a_window_of_one_holds_through_an_outage",
                ),
            ),
            Row(
                DURING,
                "While the future is not done, as for the confirmed send, with no limit in time. If the connection "
                "is closed for good, the future fails with `ConnectionLost`; `outcome_unknown` tells whether the "
                "message was ever written.",
                (
                    "test_subscriptions_come_first_then_confirmed_sends",
                    "test_close_fails_what_waits_and_says_whether_it_was_written",
                ),
                (26, 27),
            ),
            Row(
                AFTER,
                "Once the future has its RECEIPT, the broker has the message.",
                ("test_a_hundred_drops_under_load_lose_nothing_confirmed",),
            ),
        ),
    ),
    Operation(
        "Subscribe",
        "`connection.subscribe(...)`. A subscription lives from the call until `unsubscribe()`, over any number of "
        "connections.",
        (
            Row(
                BEFORE,
                "It is registered, and said on connecting. With `confirm=True` the call waits for that, within its "
                "`timeout`; `TimedOut` leaves it registered.",
                ("test_what_is_subscribed_while_cut_off_or_replaying_is_carried_by_the_replay",),
                (15,),
            ),
            Row(
                DURING,
                "The replay says it, once, on the next connection. The call completes. One that the broker refuses is "
                "REJECTED and reported; the others go on.",
                (
                    "test_a_replay_changes_nothing_until_it_is_confirmed",
                    "test_a_subscription_refused_by_its_receipt_leaves_the_registry",
                ),
                (23, 24),
            ),
            Row(
                AFTER,
                "It is restored on every later connection, before any message is sent: in order of creation, with the "
                "same id and headers.",
                (
                    "test_a_replay_says_each_subscription_once_in_order_with_the_same_headers_and_a_new_receipt",
                    "test_subscriptions_come_first_then_confirmed_sends",
                ),
                (25,),
            ),
        ),
    ),
    Operation(
        "Unsubscribe",
        "`subscription.unsubscribe()`.",
        (
            Row(
                BEFORE,
                "It is forgotten at once, nothing is written, and it is not restored.",
                ("test_a_subscription_removed_in_between_is_not_replayed",),
                (15,),
            ),
            Row(
                DURING,
                "Success: the end of the connection did it. For a subscription made with `durable=`, "
                "`ConnectionLost` with `outcome_unknown=True`: whether the broker deleted it is not known.",
                ("test_unsubscribing_a_durable_subscription_without_an_answer_is_in_doubt",),
            ),
            Row(AFTER, "It is not restored.", ("test_a_subscription_removed_in_between_is_not_replayed",), (25,)),
        ),
    ),
    Operation(
        "Receive",
        "Messages that have come and that no listener has begun, when their connection is lost.",
        (
            Row(
                BEFORE,
                "Ack mode `auto`: what was received is still delivered, since the broker has forgotten it. What was on "
                "its way in the network is lost. Other modes: what no listener has begun is dropped here, and the "
                "broker delivers it again.",
                scenarios=(21, 22),
            ),
            Row(
                DURING,
                "A listener that runs goes on to its end, and a reconnect goes on meanwhile.",
                ("test_a_reconnect_goes_on_while_a_listener_blocks",),
                (20,),
            ),
            Row(
                AFTER,
                "What was not acknowledged comes again, on brokers that tell so with `redelivered:true`.",
                ("test_a_hundred_drops_under_load_lose_nothing_confirmed",),
                (22,),
            ),
        ),
    ),
    Operation(
        "Ack and nack",
        "`message.ack()`, `message.nack()`. An acknowledgement goes to the connection that brought its message, or "
        "nowhere.",
        (
            Row(
                BEFORE,
                "Returns `False`, and nothing is written: the broker delivers the message again, and an old "
                "acknowledgement could hit another message.",
                ("test_only_a_fresh_message_is_acknowledged",),
                (15, 20),
            ),
            Row(
                DURING,
                "Returns `True`: it was handed over for writing. It is not known to have arrived, it is never sent "
                "again, and the message may come again.",
                (
                    "test_nothing_but_plain_sends_survives_unwritten",
                    "test_an_acknowledgement_that_was_written_may_be_lost_and_the_message_comes_again",
                ),
            ),
            Row(
                AFTER,
                "The same, until the broker has read it. To be certain, acknowledge in a transaction.",
                (
                    "test_an_acknowledgement_that_was_written_may_be_lost_and_the_message_comes_again",
                    "test_messages_are_acknowledged_with_it",
                ),
            ),
        ),
    ),
    Operation(
        "settle=True",
        "The message is acknowledged when its listeners return; after an exception it is tried again, then rejected "
        "or forwarded to `error_destination`.",
        (
            Row(
                BEFORE,
                "The listener's end acknowledges nothing; the broker delivers the message again. A message that waits "
                "to be tried again is dropped here, and comes again with its tries counted afresh.",
                ("test_a_retry_that_waits_at_a_loss_is_dropped_and_the_message_comes_anew",),
                (20, 22),
            ),
            Row(
                DURING,
                "An acknowledgement: as above. Forwarding and acknowledging are one transaction: both happen at the "
                "broker, or neither. On RabbitMQ, which answers COMMIT before messages are stored, the copy is "
                "confirmed first and the message acknowledged then: it may be in both queues. So it is elsewhere after "
                "three connections that ended in the transaction. If the outcome is not known, that is logged. A copy "
                "that the broker refuses, or that ends each connection, is given up, and the message is rejected.",
                (
                    "test_forwarding_is_both_or_neither_over_a_loss",
                    "test_what_the_error_destination_refuses_is_rejected",
                    "test_a_copy_that_ends_each_connection_is_given_up_and_its_message_rejected",
                    "test_a_copy_is_not_sent_twice_if_its_message_comes_again",
                ),
            ),
            Row(
                AFTER,
                "As for ack.",
                ("test_with_several_workers_a_loss_repeats_only_what_was_not_acknowledged",),
            ),
        ),
    ),
    Operation(
        "Send in a transaction",
        "`transaction.send(...)`, `transaction.ack(message)`. A transaction lives and dies with its connection.",
        (
            Row(
                BEFORE,
                "`ConnectionLost` at once, without waiting for a connection. Nothing is written.",
                (
                    "test_an_open_transaction_raises_at_its_next_use_and_nothing_of_it_is_done",
                    "test_an_open_transaction_is_lost_with_its_connection",
                ),
                (19,),
            ),
            Row(
                DURING,
                "The broker rolls back. Nothing of it is written to a later connection.",
                ("test_nothing_but_plain_sends_survives_unwritten",),
                (19,),
            ),
            Row(
                AFTER,
                "The broker rolls back; the next use raises. `connection.transaction(retry=N).run(function)` does it "
                "all again.",
                (
                    "test_an_open_transaction_raises_at_its_next_use_and_nothing_of_it_is_done",
                    "test_run_again_from_the_start_when_the_loss_is_noticed_inside",
                ),
                (19,),
            ),
        ),
    ),
    Operation(
        "Commit",
        "`transaction.commit()`, or the end of its `with` block. Always asks for a receipt.",
        (
            Row(
                BEFORE,
                "`ConnectionLost` with `outcome_unknown=False`: nothing of it was done.",
                ("test_an_open_transaction_raises_at_its_next_use_and_nothing_of_it_is_done",),
                (19,),
            ),
            Row(
                DURING,
                "`ConnectionLost` with `outcome_unknown=True`: all of it was done, or nothing. COMMIT is never sent "
                "again, and `run()` does not repeat it.",
                ("test_a_commit_without_an_answer_is_in_doubt", "test_run_does_not_repeat_what_may_have_been_done"),
                (18,),
            ),
            Row(AFTER, "All of it was done.", ("test_all_of_it_is_there_at_the_end_and_nothing_before",)),
        ),
    ),
    Operation(
        "Abort",
        "`transaction.abort()`, or an exception that leaves its `with` block.",
        (
            Row(
                BEFORE,
                "Success, and nothing is written: the broker has rolled back.",
                ("test_an_open_transaction_raises_at_its_next_use_and_nothing_of_it_is_done",),
                (19,),
            ),
            Row(
                DURING,
                "Success: the same effect.",
                ("test_the_loss_of_each_command_means_what_the_table_says",),
                (19,),
            ),
            Row(
                AFTER,
                "Nothing of the transaction was done.",
                ("test_an_exception_aborts", "test_an_aborted_acknowledgement_leaves_the_message"),
            ),
        ),
    ),
    Operation(
        "Disconnect",
        "`connection.disconnect()`, the end of a `with` block, SIGTERM and SIGINT in `run_forever()`.",
        (
            Row(
                BEFORE,
                "Without a connection it is as `close()`: DISCONNECT cannot be sent. An attempt under way is ended. "
                "On the way to a preferred broker, DISCONNECT goes to the broker that is being left.",
                ("test_an_end_while_the_connection_is_lost", "test_disconnect_during_the_move_is_graceful"),
                (15,),
            ),
            Row(
                DURING,
                "It returns, and nothing is reconnected. Confirmed sends without a receipt fail with "
                "`ConnectionLost`. Messages that were not acknowledged go back to the broker.",
                (
                    "test_without_receipts_the_end_comes_in_time_and_futures_fail",
                    "test_what_runs_may_end_what_has_not_begun_goes_back",
                ),
            ),
            Row(
                AFTER,
                "No thread and no socket of the connection is left. `connect()` starts anew; subscriptions ended.",
                (
                    "test_two_hundred_connects_and_disconnects_leave_nothing",
                    "test_a_listener_may_unsubscribe_and_disconnect",
                    "test_a_connection_can_be_used_again",
                ),
            ),
        ),
    ),
    Operation(
        "Close",
        "`connection.close()`, from any thread.",
        (
            Row(
                BEFORE,
                "It ends the wait for the next attempt, or the attempt, also one that hangs in connecting.",
                scenarios=(16,),
            ),
            Row(
                DURING,
                "Whoever waits for a connection raises `NotConnected`. Whoever waits for a receipt raises "
                "`ConnectionLost`, with `outcome_unknown=True` if something was written.",
                ("test_close_fails_what_waits_and_says_whether_it_was_written",),
                (16,),
            ),
            Row(
                AFTER,
                "No thread and no socket of the connection is left. What was not acknowledged goes back to the broker.",
                scenarios=(16, 32),
            ),
        ),
    ),
)

TROUBLE = (
    Row(
        "A message fails while subscriptions are being restored, or at the first connect",
        "It is settled as any other: what cannot be settled now is settled when the connection is open.",
        ("test_what_fails_while_subscriptions_are_being_restored_is_settled_all_the_same",),
    ),
    Row(
        "A confirmed SEND that the broker cannot take, among good ones",
        "It alone is given up, with an exception that says why. The others are confirmed; each may be stored twice.",
        (
            "test_a_message_that_ends_connections_fails_alone",
            "test_an_error_without_receipt_id_convicts_a_lone_suspect_at_once",
            "test_a_network_that_fails_again_and_again_convicts_no_good_message",
        ),
    ),
    Row(
        "A preferred broker that flaps (`priorityBackup`)",
        "The broker that works is left only for one that has logged the client in and confirmed its subscriptions; "
        "looks at the preferred one become rarer.",
        (
            "test_a_preferred_broker_that_flaps_does_not_cost_the_one_that_works",
            "test_probes_go_to_the_preferred_ones_and_grow_rarer_without_end",
        ),
    ),
    Row(
        "A write fails, and answers lie in the buffer",
        "They are read before the end of the connection is acted on, over TLS and WebSocket too: what they confirm is "
        "not sent again, and an ERROR among them is the reason that is told.",
        ("test_after_the_peer_closed_and_a_send_failed", "test_after_the_peer_reset_and_a_send_failed"),
    ),
    Row(
        "The connection ends under an unconfirmed send, and no other comes",
        "The call raises `ConnectionLost`. What had returned before it was written is told by a warning at the end.",
        (
            "test_a_plain_send_that_nothing_carries_any_more_raises",
            "test_tracked_messages_that_are_lost_at_the_end_are_told",
        ),
    ),
    Row(
        "Checks and attempts of a connection that has ended",
        "None of them touches a later one.",
        (
            "test_an_old_life_never_touches_the_new_one",
            "test_the_heart_beat_check_of_an_old_connection_leaves_the_new_one_alone",
        ),
    ),
    Row(
        "The next broker speaks a version that cannot express a subscription or a message",
        "The subscription waits for a broker that can; the message is given back with an exception; the rest goes on.",
        (
            "test_what_one_version_cannot_express_comes_back_with_the_next_that_can",
            "test_what_the_next_version_cannot_write_is_given_back_and_the_rest_goes_on",
        ),
    ),
    Row(
        "Receipts that the library asks for",
        "`on_receipt` does not show them.",
        (
            "test_receipts_of_our_own_are_shown_to_nobody",
            "test_a_request_tells_whether_the_application_asked_for_its_receipt",
        ),
    ),
    Row(
        "A message that the version in use forbids",
        "Where its end is known it is delivered with what can be read of it, or rejected, and that is said. Where it "
        "is not, the connection ends; the same offence in a row is an ERROR in the log, and attempts thin out. An "
        "ERROR frame is never refused for its form.",
        (
            "test_a_frame_whose_end_is_known_is_read_as_far_as_it_can_be",
            "test_a_frame_whose_end_is_not_known_is_fatal",
            "test_an_error_is_never_refused_for_its_form",
            "test_the_same_offence_in_a_row_is_reported_at_a_bounded_rate",
            "test_scenario_11_attempts_thin_out",
        ),
    ),
    Row(
        "A broker that never answers SUBSCRIBE with a receipt",
        "After a while of silence on a live connection the subscription counts as active, with a warning.",
        ("test_what_is_assumed_to_be_active_is_and_a_late_answer_is_taken",),
    ),
    Row(
        "RabbitMQ, whose answer to COMMIT confirms nothing",
        "Each SEND of a transaction asks for a receipt there, and `commit()` waits for them.",
        (
            "test_a_transaction_is_committed_when_its_sends_are_confirmed_too",
            "test_a_send_refused_behind_its_commit_leaves_the_transaction_in_doubt",
        ),
    ),
    Row(
        "Many workers of a broker that was restarted",
        "They come back one after the other: a worker waits up to a second longer before each attempt, unless its URI "
        "sets `reconnectDelayJitter`.",
        ("test_workers_do_not_all_come_back_at_the_same_instant", "test_jitter_is_drawn_anew_and_does_not_grow"),
    ),
    Row(
        "A paused subscription, or one with `ordered_by`",
        "What waits when the connection is lost is dropped, and comes again; no value's turn is lost with it.",
        (
            "test_a_pause_outlasts_a_reconnect",
            "test_what_came_before_a_loss_counts_no_more",
            "test_messages_that_wait_when_the_connection_is_lost_come_again",
        ),
    ),
)
"""What holds when a broker or a message misbehaves: each situation in the place of ``when``."""
