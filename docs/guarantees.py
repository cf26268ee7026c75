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
                "The call waits for the new connection, at most the smaller of its `timeout` and the URI's "
                "`timeout`. `TimedOut` means that nothing was written, and nothing will be.",
                scenarios=(6, 14),
            ),
            Row(
                DURING,
                "If the frame was not written whole, the client sends it again after the replay, in order. It may "
                "have arrived nevertheless, so a duplicate is possible.",
                ("test_unwritten_sends_survive_behind_the_confirmed_ones_in_their_order",),
            ),
            Row(
                AFTER,
                "The message may be lost silently, until the broker has read it.",
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
                "As for the unconfirmed send. `TimedOut` means that nothing was written, and nothing will be.",
                ("test_a_confirmed_send_whose_time_ends_without_a_connection_was_not_written",),
            ),
            Row(
                DURING,
                "The client keeps the message. After each loss it resends it after the subscriptions, in the first "
                "order, with the same headers and body and a fresh receipt. It gives up a message that itself ends "
                "the connections: the call raises, and the other messages are confirmed. The broker may have stored "
                "the message before, so a duplicate is possible, unless the broker detects it by its `duplicate_id`."
                " If the time ends without a connection, the call raises `ConnectionLost` with "
                "`outcome_unknown=True`, and the message is not sent any more.",
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
                "The broker has confirmed the message. It is not sent again.",
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
                "The client keeps the message and sends it when the connection is restored. The call waits only for "
                "room among the unconfirmed messages (`Limits`). `TimedOut` means that nothing was written, and "
                "nothing will be.",
                (
                    "test_send_async_keeps_its_message_while_cut_off",
                    "test_what_is_sent_while_cut_off_stays_behind_what_was_sent_before_over_any_number_of_losses",
                    "test_a_window_of_one_holds_through_an_outage",
                ),
            ),
            Row(
                DURING,
                "Until the future is done, the same holds as for the confirmed send, without a time limit. If the "
                "connection is closed and not restored, the future fails with `ConnectionLost`, and `outcome_unknown` "
                "says whether the message was ever written.",
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
                "The client registers the subscription and sends it when it connects. With `confirm=True` the call "
                "waits for that, within its `timeout`. After `TimedOut` the subscription stays registered.",
                ("test_what_is_subscribed_while_cut_off_or_replaying_is_carried_by_the_replay",),
                (15,),
            ),
            Row(
                DURING,
                "The replay sends it once, on the next connection, and the call completes. If the broker rejects it,"
                " it is `REJECTED` and reported; the other subscriptions go on.",
                (
                    "test_a_replay_changes_nothing_until_it_is_confirmed",
                    "test_a_subscription_refused_by_its_receipt_leaves_the_registry",
                ),
                (23, 24),
            ),
            Row(
                AFTER,
                "The client restores it on every later connection, before it sends any message, in order of "
                "creation, with the same id and headers.",
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
                "The client removes the subscription at once. Nothing is written, and nothing is restored.",
                ("test_a_subscription_removed_in_between_is_not_replayed",),
                (15,),
            ),
            Row(
                DURING,
                "The call succeeds, because the end of the connection ended the subscription. For a durable "
                "subscription it raises `ConnectionLost` with `outcome_unknown=True`: the client cannot know whether"
                " the broker deleted it.",
                ("test_unsubscribing_a_durable_subscription_without_an_answer_is_in_doubt",),
            ),
            Row(AFTER, "It is not restored.", ("test_a_subscription_removed_in_between_is_not_replayed",), (25,)),
        ),
    ),
    Operation(
        "Receive",
        "What happens to received messages when their connection is lost.",
        (
            Row(
                BEFORE,
                "Ack mode `auto`: received messages are still delivered, since the broker has forgotten them. "
                "Messages on their way in the network are lost. Other modes: the client drops messages that no "
                "listener has begun, and the broker delivers them again.",
                scenarios=(21, 22),
            ),
            Row(
                DURING,
                "A running listener continues to its end. The client reconnects meanwhile.",
                ("test_a_reconnect_goes_on_while_a_listener_blocks",),
                (20,),
            ),
            Row(
                AFTER,
                "The broker delivers unacknowledged messages again, on most brokers with `redelivered:true`.",
                ("test_a_hundred_drops_under_load_lose_nothing_confirmed",),
                (22,),
            ),
        ),
    ),
    Operation(
        "Ack and nack",
        "`message.ack()`, `message.nack()`. An acknowledgement is sent only on the connection that brought the "
        "message.",
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
                "Returns `True`: the frame was handed over for writing. It may not arrive, it is never sent again, "
                "and the message may come again.",
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
                "When the listener ends, nothing is acknowledged, and the broker delivers the message again. The "
                "client drops a message that waits for its next try; it comes again, and its tries are counted from "
                "the start.",
                ("test_a_retry_that_waits_at_a_loss_is_dropped_and_the_message_comes_anew",),
                (20, 22),
            ),
            Row(
                DURING,
                "An acknowledgement: as above. On ActiveMQ, forwarding and acknowledging are one transaction: both "
                "take effect at the broker, or neither. RabbitMQ answers COMMIT before it stores messages, and "
                "Artemis acknowledges before COMMIT. There, and on Apollo, the client acknowledges the message "
                "after the copy is confirmed, and the message may be in both queues. The client does the same on "
                "ActiveMQ after three connections that ended in the transaction. It logs an unknown outcome. If the"
                " broker refuses the copy, or the copy ends each connection, the client gives up the copy and "
                "rejects the message.",
                (
                    "test_forwarding_is_both_or_neither_over_a_loss",
                    "test_where_no_transaction_does_both_a_copy_is_confirmed_before_its_message_is_acknowledged",
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
        "`transaction.send(...)`, `transaction.ack(message)`. A transaction ends with its connection.",
        (
            Row(
                BEFORE,
                "The call raises `ConnectionLost` at once, without waiting for a connection. Nothing is written.",
                (
                    "test_an_open_transaction_raises_at_its_next_use_and_nothing_of_it_is_done",
                    "test_an_open_transaction_is_lost_with_its_connection",
                ),
                (19,),
            ),
            Row(
                DURING,
                "The broker rolls back. Nothing of the transaction is written to a later connection.",
                ("test_nothing_but_plain_sends_survives_unwritten",),
                (19,),
            ),
            Row(
                AFTER,
                "The broker rolls back, and the next use raises. `connection.transaction(retry=N).run(function)` "
                "repeats the whole transaction.",
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
                "The call raises `ConnectionLost` with `outcome_unknown=False`: none of it took effect.",
                ("test_an_open_transaction_raises_at_its_next_use_and_nothing_of_it_is_done",),
                (19,),
            ),
            Row(
                DURING,
                "The call raises `ConnectionLost` with `outcome_unknown=True`: all of it took effect, or none. The "
                "client never resends COMMIT, and `run()` does not repeat it.",
                ("test_a_commit_without_an_answer_is_in_doubt", "test_run_does_not_repeat_what_may_have_been_done"),
                (18,),
            ),
            Row(AFTER, "All of it took effect.", ("test_all_of_it_is_there_at_the_end_and_nothing_before",)),
        ),
    ),
    Operation(
        "Abort",
        "`transaction.abort()`, or an exception that leaves its `with` block.",
        (
            Row(
                BEFORE,
                "The call succeeds, and nothing is written: the broker has rolled back.",
                ("test_an_open_transaction_raises_at_its_next_use_and_nothing_of_it_is_done",),
                (19,),
            ),
            Row(
                DURING,
                "The call succeeds: the broker rolls back.",
                ("test_the_loss_of_each_command_means_what_the_table_says",),
                (19,),
            ),
            Row(
                AFTER,
                "None of the transaction took effect.",
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
                "Without a connection DISCONNECT cannot be sent. The call ends a running attempt, and running "
                "listeners can end within its time. During the replay, the client settles messages of that connection "
                "and sends the messages that it kept. During a move to a preferred broker, DISCONNECT goes to the old "
                "broker.",
                (
                    "test_an_end_while_the_connection_is_lost",
                    "test_an_end_while_cut_off_waits_for_the_listeners_that_run",
                    "test_what_runs_while_subscriptions_are_restored_may_end_and_is_settled",
                    "test_what_fails_while_subscriptions_are_restored_is_given_up_before_the_end",
                    "test_disconnect_during_the_move_is_graceful",
                ),
                (15,),
            ),
            Row(
                DURING,
                "The call returns, and the client does not reconnect. Confirmed sends without a receipt fail with "
                "`ConnectionLost`. The broker delivers unacknowledged messages again.",
                (
                    "test_without_receipts_the_end_comes_in_time_and_futures_fail",
                    "test_what_runs_may_end_what_has_not_begun_goes_back",
                ),
            ),
            Row(
                AFTER,
                "No thread and no socket of the connection is left. The subscriptions have ended. `connect()` starts"
                " again.",
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
                "The call ends the wait for the next attempt, or the attempt itself, even if it hangs.",
                scenarios=(16,),
            ),
            Row(
                DURING,
                "Calls that wait for a connection raise `NotConnected`. Calls that wait for a receipt raise "
                "`ConnectionLost`, with `outcome_unknown=True` if something was written.",
                ("test_close_fails_what_waits_and_says_whether_it_was_written",),
                (16,),
            ),
            Row(
                AFTER,
                "No thread and no socket of the connection is left. The broker delivers unacknowledged messages again.",
                scenarios=(16, 32),
            ),
        ),
    ),
)

TROUBLE = (
    Row(
        "A message fails while subscriptions are being restored, or at the first connect",
        "The client settles it like any other, if necessary when the connection is ready.",
        (
            "test_what_fails_while_subscriptions_are_being_restored_is_settled_all_the_same",
            "test_a_backlog_of_messages_that_fail_at_the_start_is_settled",
        ),
    ),
    Row(
        "A confirmed SEND that the broker cannot take, among good ones",
        "The client gives up only this message, with an exception that says why. The others are confirmed, and each "
        "may be stored twice.",
        (
            "test_a_message_that_ends_connections_fails_alone",
            "test_an_error_without_receipt_id_convicts_a_lone_suspect_at_once",
            "test_a_network_that_fails_again_and_again_convicts_no_good_message",
            "test_a_send_that_is_refused_fails_alone",
        ),
    ),
    Row(
        "A preferred broker that flaps (`priorityBackup`)",
        "The client leaves a working broker only for one that has accepted its login and confirmed its "
        "subscriptions. It tries the preferred broker less and less often.",
        (
            "test_a_preferred_broker_that_flaps_does_not_cost_the_one_that_works",
            "test_probes_go_to_the_preferred_ones_and_grow_rarer_without_end",
            "test_a_move_comes_under_a_steady_stream_of_send_async",
            "test_the_pool_is_filled_while_away_from_the_preferred_broker",
        ),
    ),
    Row(
        "A write fails, and answers lie in the buffer",
        "The client reads them before it handles the end of the connection, over TLS and WebSocket too. It does not "
        "resend confirmed messages, and it reports an ERROR among the answers as the reason.",
        ("test_after_the_peer_closed_and_a_send_failed", "test_after_the_peer_reset_and_a_send_failed"),
    ),
    Row(
        "The connection ends under an unconfirmed send, and no other comes",
        "The call raises `ConnectionLost`. At the end a warning reports messages whose calls had returned before "
        "they were written.",
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
            "test_connect_after_an_end_during_a_hook_that_hangs",
        ),
    ),
    Row(
        "The next broker speaks a version that cannot express a subscription or a message",
        "The subscription waits for a broker that can. The call that sends the message raises. Everything else goes "
        "on.",
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
        "A message with `settle=True` that cannot be settled as was asked",
        "The client settles it in another way and logs that. If a listener acknowledged it in a transaction that was "
        "aborted or refused, the end of the listener counts. If the error destination refuses the copy, the client "
        "rejects the message. A subscription that the broker refused does not delay `disconnect()`.",
        (
            "test_what_an_aborted_transaction_settled_is_settled_again",
            "test_a_listener_whose_transaction_is_refused_has_not_settled_its_message",
            "test_an_acknowledgement_that_counts_although_its_transaction_is_aborted_is_not_repeated",
            "test_what_the_error_destination_refuses_is_rejected",
            "test_forwarding_a_text_that_the_version_cannot_write",
            "test_what_an_aborted_transaction_acknowledged_is_settled_by_its_listeners_return",
            "test_what_the_error_destination_refuses_is_rejected_and_said",
            "test_an_error_whose_text_cannot_be_encoded_is_forwarded",
            "test_a_refused_subscription_does_not_hold_up_the_end",
        ),
    ),
    Row(
        "A message that ends each connection, or each program, that receives it",
        "With `max_deliveries=N` the listener is called N times. Then the client forwards or rejects the message.",
        (
            "test_a_message_that_ends_each_connection_is_given_up_after_so_many_calls",
            "test_artemis_is_quicker_than_a_max_deliveries_that_is_not_lower",
            "test_a_quorum_queue_counts_for_programs_that_know_nothing_of_each_other",
        ),
    ),
    Row(
        "A message that the version in use forbids",
        "If its end is known, the client delivers the readable parts or rejects the message, and says so. Otherwise "
        "the connection ends. If that happens several times in a row, the log has an `ERROR`, and the waits between "
        "attempts grow. The client never refuses an ERROR frame for its form.",
        (
            "test_a_frame_whose_end_is_known_is_read_as_far_as_it_can_be",
            "test_a_frame_whose_end_is_not_known_is_fatal",
            "test_an_error_is_never_refused_for_its_form",
            "test_the_same_offence_in_a_row_is_reported_at_a_bounded_rate",
            "test_scenario_11_attempts_thin_out",
            "test_a_message_that_a_version_forbids_starves_no_consumer",
        ),
    ),
    Row(
        "A broker that never answers SUBSCRIBE with a receipt",
        "After some seconds of silence on a live connection the subscription counts as active, with a warning.",
        (
            "test_what_is_assumed_to_be_active_is_and_a_late_answer_is_taken",
            "test_a_broker_that_never_confirms_a_subscription_can_be_connected_to_again_and_again",
        ),
    ),
    Row(
        "RabbitMQ, whose answer to COMMIT confirms nothing",
        "Each SEND of a transaction asks for a receipt there, and `commit()` waits for them.",
        (
            "test_a_transaction_is_committed_when_its_sends_are_confirmed_too",
            "test_a_send_refused_behind_its_commit_leaves_the_transaction_in_doubt",
            "test_where_the_answer_to_commit_confirms_nothing_each_message_is_confirmed",
            "test_what_was_committed_outlives_a_kill",
            "test_what_was_forwarded_outlives_a_kill",
        ),
    ),
    Row(
        "Many workers of a broker that was restarted",
        "They reconnect at different times: a worker waits up to one second longer before each attempt, unless its "
        "URI sets `reconnectDelayJitter`.",
        ("test_workers_do_not_all_come_back_at_the_same_instant", "test_jitter_is_drawn_anew_and_does_not_grow"),
    ),
    Row(
        "A broker that does not read",
        "Each call ends within its own time, on every platform, and other connections keep their heartbeats.",
        (
            "test_a_call_ends_within_its_time",
            "test_a_sender_that_may_not_wait_does_not",
            "test_a_limited_wait_is_none_of_the_senders",
        ),
    ),
    Row(
        "A paused subscription, or one with `ordered_by`",
        "The client drops messages that wait when the connection is lost, and they come again. The order of each "
        "value is kept.",
        (
            "test_a_pause_outlasts_a_reconnect",
            "test_what_came_before_a_loss_counts_no_more",
            "test_messages_that_wait_when_the_connection_is_lost_come_again",
        ),
    ),
)
"""What holds when a broker or a message misbehaves: each situation in the place of ``when``."""
