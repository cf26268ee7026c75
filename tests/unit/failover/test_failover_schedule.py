"""Which broker when: numbers only, no clock and no socket."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, islice
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stomplistener.errors import InvalidURI
from stomplistener.failover import Attempt, Broker, Schedule, parse

FIXED = "failover:(tcp://a:1,tcp://b:2,tcp://c:3)?randomize=false"
GOOD = 60.0


def schedule(uri: str) -> Schedule:
    return Schedule(parse(uri), random=Random(5))


def broker(host: str) -> Broker:
    return next(each for each in parse(FIXED).brokers if each.host == host)


A = broker("a")


def hosts(attempts: Iterator[Attempt], passes: int = 1) -> str:
    """The names of the brokers, the passes set apart by a blank."""
    shown = ""
    for attempt in attempts:
        shown += attempt.broker.host
        if attempt.is_last_of_pass:
            passes -= 1
            if not passes:
                return shown
            shown += " "
    return shown.strip()


def passes_at(attempts: Iterator[Attempt], passes: int | None = None) -> list[int]:
    """When each pass over a list of one broker starts, in milliseconds, failures taking no time."""
    return [round(at * 1000) for at in accumulate(attempt.delay for attempt in islice(attempts, passes))]


_TIMED = "failover:(tcp://a:1)?initialReconnectDelay=100&maxReconnectDelay=1000"


class TestTimes:
    def test_start(self) -> None:
        assert passes_at(schedule(_TIMED).start(), 6) == [0, 100, 300, 700, 1500, 2500]

    def test_outage(self) -> None:
        assert passes_at(schedule(_TIMED).outage(A, GOOD), 6) == [100, 300, 700, 1500, 2500, 3500]

    def test_outage_without_growth(self) -> None:
        times = passes_at(schedule(f"{_TIMED}&useExponentialBackOff=false").outage(A, GOOD), 6)
        assert times == [100, 200, 300, 400, 500, 600]

    def test_the_cap_holds_for_the_first_wait_too(self) -> None:
        uri = "failover:(tcp://a:1)?initialReconnectDelay=100&maxReconnectDelay=50"
        assert passes_at(schedule(uri).outage(A, GOOD), 3) == [50, 100, 150]

    def test_from_no_delay_growth_starts_at_ten_milliseconds(self) -> None:
        uri = "failover:(tcp://a:1)?initialReconnectDelay=0"
        assert passes_at(schedule(uri).outage(A, GOOD), 5) == [0, 10, 30, 70, 150]

    def test_no_delay_and_no_growth(self) -> None:
        uri = "failover:(tcp://a:1)?initialReconnectDelay=0&useExponentialBackOff=false"
        assert passes_at(schedule(uri).outage(A, GOOD), 3) == [0, 0, 0]

    def test_a_factor_of_one_repeats_the_first_wait(self) -> None:
        assert passes_at(schedule(f"{_TIMED}&backOffMultiplier=1").outage(A, GOOD), 3) == [100, 200, 300]

    def test_the_waits_stand_between_passes_only(self) -> None:
        attempts = list(islice(schedule(f"{FIXED}&initialReconnectDelay=100").outage(A, GOOD), 6))
        assert [attempt.delay for attempt in attempts] == [0.1, 0, 0, 0.2, 0, 0]

    def test_jitter_is_drawn_anew_and_does_not_grow(self) -> None:
        attempts = schedule(f"{_TIMED}&reconnectDelayJitter=50&useExponentialBackOff=false").outage(A, GOOD)
        delays = [attempt.delay for attempt in islice(attempts, 200)]
        assert all(0.1 <= delay <= 0.15 for delay in delays)
        assert max(delays) > 0.14
        assert len(set(delays)) == 200

    def test_jitter_stays_below_the_cap_and_out_of_the_growth(self) -> None:
        attempts = schedule(f"{_TIMED}&reconnectDelayJitter=90").outage(A, GOOD)
        delays = [attempt.delay for attempt in islice(attempts, 6)]
        assert all(
            wait <= delay <= min(wait + 0.09, 1.0)
            for wait, delay in zip([0.1, 0.2, 0.4, 0.8, 1.0, 1.0], delays, strict=True)
        )

    @given(
        initial=st.integers(0, 2**31 - 1),
        cap=st.integers(0, 2**31 - 1),
        factor=st.floats(1, 1e300),
        jitter=st.integers(0, 2**31 - 1),
        seed=st.integers(),
    )
    def test_every_delay_is_within_the_cap(self, initial: int, cap: int, factor: float, jitter: int, seed: int) -> None:
        uri = parse(
            f"failover:(tcp://a:1)?initialReconnectDelay={initial}&maxReconnectDelay={cap}"
            f"&backOffMultiplier={factor}&reconnectDelayJitter={jitter}"
        )
        for attempt in islice(Schedule(uri, random=Random(seed)).outage(A, GOOD), 50):
            assert 0 <= attempt.delay <= cap / 1000


class TestDelayFromOneOutageToTheNext:
    def test_a_connection_that_lasted_starts_the_delay_afresh(self) -> None:
        one = schedule(_TIMED)
        assert passes_at(one.outage(A, GOOD), 3) == [100, 300, 700]
        assert passes_at(one.outage(A, 1.0), 3) == [100, 300, 700]

    def test_a_broker_that_welcomes_and_throws_out_is_asked_ever_more_rarely(self) -> None:
        one = schedule(_TIMED)
        waits = [next(one.outage(A, 0.1)).delay for _ in range(6)]
        assert waits == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]

    def test_the_waits_of_a_start_count_too(self) -> None:
        one = schedule(_TIMED)
        assert passes_at(one.start(), 3) == [0, 100, 300]
        assert next(one.outage(A, 0.999)).delay == 0.4

    def test_an_explicit_start_is_afresh(self) -> None:
        one = schedule(_TIMED)
        passes_at(one.outage(A, GOOD), 5)
        assert passes_at(one.start(), 3) == [0, 100, 300]

    def test_count_and_delay_are_per_outage(self) -> None:
        """Limit 3: two failed passes, a success, a loss and two failed passes more are no failure."""
        one = schedule(f"{_TIMED}&maxReconnectAttempts=3")
        for _ in range(2):
            outage = one.outage(A, GOOD)
            assert [next(outage).pass_number for _ in range(3)] == [1, 2, 3]

    def test_the_count_starts_afresh_even_if_the_delay_does_not(self) -> None:
        one = schedule(f"{_TIMED}&maxReconnectAttempts=3")
        assert passes_at(one.outage(A, GOOD)) == [100, 300, 700]
        assert passes_at(one.outage(A, 0.0)) == [800, 1800, 2800]

    def test_the_first_connect_is_not_delayed_and_a_later_loss_is(self) -> None:
        one = schedule("failover:(tcp://a:1,tcp://b:2)?randomize=false&initialReconnectDelay=1500")
        assert next(one.start()).delay == 0
        first = next(one.outage(A, GOOD))
        assert (first.broker.host, first.delay) == ("b", 1.5)


class TestLimits:
    @pytest.mark.parametrize(
        ("options", "passes"),
        [
            ("startupMaxReconnectAttempts=3", 3),
            ("startupMaxReconnectAttempts=1", 1),
            ("startupMaxReconnectAttempts=0", 1),
            ("startupMaxReconnectAttempts=-1&maxReconnectAttempts=4", 4),
            ("maxReconnectAttempts=2", 2),
            ("maxReconnectAttempts=0", 1),
            ("maxReconnectAttempts=0&startupMaxReconnectAttempts=5", 5),
        ],
    )
    def test_passes_of_a_start(self, options: str, passes: int) -> None:
        assert hosts(schedule(f"{FIXED}&{options}").start(), 99) == " ".join(["abc"] * passes)

    @pytest.mark.parametrize("limit", [0, 1, 3])
    def test_passes_of_an_outage(self, limit: int) -> None:
        outage = schedule(f"{FIXED}&startupMaxReconnectAttempts=9&maxReconnectAttempts={limit}").outage(A, GOOD)
        assert hosts(outage, 99) == " ".join(["bca"] * limit)

    def test_dead_brokers_and_three_passes_at_start(self) -> None:
        uri = "failover:(tcp://a:1,tcp://b:2)?startupMaxReconnectAttempts=3&initialReconnectDelay=100&randomize=false"
        attempts = list(schedule(uri).start())
        assert passes_at(schedule(uri.replace("tcp://a:1,", "")).start()) == [0, 100, 300]
        assert [(each.broker.host, each.pass_number, each.delay) for each in attempts] == [
            ("a", 1, 0),
            ("b", 1, 0),
            ("a", 2, 0.1),
            ("b", 2, 0),
            ("a", 3, 0.2),
            ("b", 3, 0),
        ]

    def test_a_plain_uri_is_tried_once_at_start_and_for_ever_later(self) -> None:
        one = schedule("tcp://a:1")
        assert hosts(one.start(), 99) == "a"
        assert hosts(one.outage(A, GOOD), 99) == " ".join("a" * 99)

    def test_without_limit_a_thousand_passes_are_followed_by_another(self) -> None:
        attempts = schedule(
            "failover:(tcp://a:1,tcp://b:2)?initialReconnectDelay=0&useExponentialBackOff=false"
        ).start()
        assert next(islice(attempts, 2000, None)).pass_number == 1001


class TestOrder:
    def test_a_fixed_list_is_not_a_ring(self) -> None:
        assert hosts(schedule(FIXED).outage(broker("b"), GOOD), 2) == "acb acb"

    def test_a_fixed_list_starts_at_its_front(self) -> None:
        assert hosts(schedule(FIXED).start(), 2) == "abc abc"

    def test_fresh_clients_choose_either_broker_unless_told_not_to(self) -> None:
        uri = parse("failover:(tcp://a:1,tcp://b:2)")
        assert {next(Schedule(uri).start()).broker.host for _ in range(40)} == {"a", "b"}
        assert {next(Schedule(parse(FIXED)).start()).broker.host for _ in range(40)} == {"a"}

    def test_each_pass_is_shuffled_anew(self) -> None:
        order = hosts(schedule(FIXED.replace("false", "true")).start(), 100).split()
        assert set(order) == {"abc", "acb", "bac", "bca", "cab", "cba"}

    def test_the_broker_just_lost_is_last_in_a_shuffled_pass(self) -> None:
        order = hosts(schedule(FIXED.replace("false", "true")).outage(A, GOOD), 100).split()
        assert set(order) == {"bca", "cba"}

    def test_a_lost_broker_that_is_no_longer_listed_is_not_tried(self) -> None:
        assert hosts(schedule("failover:(tcp://b:2)").outage(A, GOOD)) == "b"

    def test_the_last_of_a_pass_is_marked(self) -> None:
        marks = [attempt.is_last_of_pass for attempt in islice(schedule(FIXED).start(), 6)]
        assert marks == [False, False, True, False, False, True]


@pytest.mark.parametrize(
    ("every", "warned"),
    [("10", [1, 10, 20]), ("3", [1, 3, 6, 9, 12, 15, 18]), ("1", list(range(1, 21))), ("0", []), ("-1", [])],
)
def test_a_warning_is_due_at_the_first_failed_pass_and_every_nth(every: str, warned: list[int]) -> None:
    attempts = islice(schedule(f"{FIXED}&warnAfterReconnectAttempts={every}").start(), 60)
    due = [attempt for attempt in attempts if attempt.warn]
    assert [attempt.pass_number for attempt in due] == warned
    assert all(attempt.is_last_of_pass for attempt in due)


class TestFileOfBrokers:
    URI = "failover:(tcp://a:1,tcp://b:2)?randomize=false&nested.keepAlive=false&updateURIsURL="

    def test_its_brokers_go_first_and_are_read_before_each_pass(self, tmp_path: Path) -> None:
        file = tmp_path / "brokers"
        file.write_text("tcp://x:1, \ntcp://b:2\r\n\n")
        one = schedule(f"{self.URI}file://{file}")
        attempts = one.start()
        assert hosts(attempts) == "xba"
        file.write_text("tcp://y:1,tcp://z:1\n")
        assert hosts(attempts) == "yzab"
        assert one.warnings == []

    def test_they_get_the_nested_options(self) -> None:
        one = Schedule(parse(f"{self.URI}/brokers"), read_uris=lambda location: list(parse("tcp://x:1").brokers))
        assert not next(one.start()).broker.options.keep_alive

    @pytest.mark.parametrize("content", [b"tcp://x", b"", b"failover:(tcp://x:1)", b"\xff", b"tcp://x:1 tcp://y:1"])
    def test_a_malformed_one_is_a_warning_and_the_old_list_holds(self, tmp_path: Path, content: bytes) -> None:
        file = tmp_path / "brokers"
        file.write_text("tcp://x:1")
        one = schedule(f"{self.URI}{file}")
        attempts = one.start()
        assert hosts(attempts) == "xab"
        file.write_bytes(content)
        assert hosts(attempts, 3) == "xab xab xab"
        (warning,) = one.warnings
        assert str(file) in warning

    def test_an_unreadable_one_is_warned_about_once_until_it_was_good_again(self) -> None:
        answers: list[list[Broker] | Exception] = [
            OSError("gone"),
            OSError("gone"),
            [],
            OSError("gone"),
            InvalidURI("bad"),
        ]

        def read(location: str) -> list[Broker]:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        one = Schedule(parse(f"{self.URI}/brokers"), read_uris=read)
        assert hosts(one.start(), 5) == "ab ab ab ab ab"
        assert [warning[-4:] for warning in one.warnings] == ["gone", "gone", " bad"]

    def test_no_broker_at_all_ends_a_start(self, tmp_path: Path) -> None:
        one = schedule(f"failover:()?updateURIsURL={tmp_path / 'missing'}")
        assert list(one.start()) == []
        assert list(one.probes()) == []
        assert len(one.warnings) == 1


class TestPriorityBackup:
    def test_the_first_of_the_list_as_written_is_preferred(self) -> None:
        one = schedule(FIXED.replace("false", "true"))
        assert [host for host in "abc" if one.is_preferred(broker(host))] == ["a"]

    def test_or_those_that_are_named_whatever_their_options(self) -> None:
        one = schedule(f"{FIXED}&priorityURIs=tcp://c:3?keepAlive=false,tcp://b:2")
        assert [host for host in "abc" if one.is_preferred(broker(host))] == ["b", "c"]

    def test_or_the_first_of_the_file_where_the_uri_names_none(self) -> None:
        uri = parse("failover:()?randomize=false&updateURIsURL=/brokers")
        one = Schedule(uri, read_uris=lambda location: list(parse(FIXED).brokers))
        next(one.start())
        assert one.is_preferred(A)
        assert not one.is_preferred(broker("b"))

    def test_probes_go_to_the_preferred_ones_and_grow_rarer_without_end(self) -> None:
        uri = f"{FIXED}&priorityURIs=tcp://c:3,tcp://b:2&initialReconnectDelay=100&maxReconnectDelay=400"
        probes = list(islice(schedule(f"{uri}&maxReconnectAttempts=0").probes(), 10))
        assert "".join(probe.broker.host for probe in probes) == "cbcbcbcbcb"
        assert [probe.delay for probe in probes[::2]] == [0.1, 0.2, 0.4, 0.4, 0.4]
        assert not any(probe.warn for probe in probes)

    def test_a_probe_logs_in_as_the_list_says(self) -> None:
        one = schedule("failover:(tcp://u:p@a:1/v,tcp://b:2)?priorityURIs=tcp://a:1")
        assert next(one.probes()).broker.login == "u"

    def test_probes_leave_the_delay_of_outages_alone(self) -> None:
        one = schedule(_TIMED)
        passes_at(one.probes(), 4)
        assert next(one.outage(A, 0.0)).delay == 0.1


class TestBackup:
    def test_spares_are_all_but_the_brokers_in_use(self) -> None:
        one = schedule(f"{FIXED}&backup=true&backupPoolSize=2")
        assert one.spares(A, []) == [broker("b"), broker("c")]
        assert one.spares(A, [broker("b")]) == [broker("c")]
        assert one.spares(A, [broker("b"), broker("c")]) == []

    def test_a_full_pool_wants_none(self) -> None:
        assert schedule(f"{FIXED}&backup=true").spares(A, [broker("c")]) == []

    def test_without_the_option_there_are_none(self) -> None:
        assert schedule(FIXED).spares(A, []) == []

    def test_preferred_brokers_come_first(self) -> None:
        one = schedule(f"{FIXED}&backup=true&priorityBackup=true&priorityURIs=tcp://c:3")
        assert one.spares(A, []) == [broker("c"), broker("b")]

    def test_they_are_shuffled_as_the_list_is(self) -> None:
        one = schedule("failover:(tcp://a:1,tcp://b:2,tcp://c:3)?backup=true")
        assert {one.spares(A, [])[0].host for _ in range(40)} == {"b", "c"}
