"""Which rows a relay takes, on SQLite: without locks, but with all the rest."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_support import empty_outbox

from stomplistener.contrib.django.claims import LOOKS, REST, Claims
from stomplistener.contrib.django.models import OutboxMessage

QUEUE = "/queue/a"
LATER = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _outbox() -> Iterator[None]:
    empty_outbox()
    yield
    empty_outbox()


def write(keys: list[str], *, wait: frozenset[int] = frozenset(), via: str = "default") -> list[int]:
    """Rows with these keys, those at the positions in ``wait`` not due; their primary keys."""
    now = timezone.now()
    rows = [
        OutboxMessage(
            uuid=uuid.uuid4(), destination=QUEUE, key=key, connection=via, due=now + LATER if n in wait else now
        )
        for n, key in enumerate(keys)
    ]
    return [row.pk for row in OutboxMessage.objects.bulk_create(rows)]


def taken(most: int = 100, shunned: tuple[int, ...] = ()) -> list[list[int]]:
    return [[row.pk for row in group] for group in Claims("default", "default").take(most, shunned)]


def test_rows_go_by_id_and_groups_in_their_order() -> None:
    a, b, c, d, e = write(["", "k", "", "k", "j"])
    assert taken() == [[a], [b, d], [c], [e]]


def test_no_more_than_wanted() -> None:
    pks = write(["k", "j", "k", "j", "k", "", ""])
    groups = taken(4)
    assert sum(map(len, groups)) == 4
    assert groups[:2] == [[pks[0]], [pks[1]]]


def test_long_groups_leave_room_for_others_side_by_side() -> None:
    write(["k"] * 50 + ["j"] * 50)
    assert [len(group) for group in taken(20)] == [10, 10]


def test_a_head_that_is_not_due_holds_up_its_key_alone() -> None:
    pks = write(["k", "k", "j", ""], wait=frozenset({0, 3}))
    assert taken() == [[pks[2]]]


def test_a_follower_that_is_not_due_ends_its_group() -> None:
    pks = write(["k", "k", "k", "k"], wait=frozenset({2}))
    assert taken() == [pks[:2]]


def test_a_row_to_be_left_alone_holds_up_its_key_alone() -> None:
    pks = write(["k", "k", "", "j", ""])
    assert taken(shunned=(pks[0], pks[2])) == [[pks[3]], [pks[4]]]


def test_rows_of_other_connections_are_left_to_their_relay() -> None:
    write(["", "k"], via="billing")
    [mine] = write(["k"])
    assert taken() == [[mine]]


def test_rows_behind_many_of_a_key_that_waits_are_found() -> None:
    write(["k"] * 2000, wait=frozenset({0}))
    write(["j"] * 2000, wait=frozenset({0}))
    write([f"h{n % 300}" for n in range(3000)], wait=frozenset(range(300)))
    behind = write(["", "i"])
    assert taken() == [[behind[0]], [behind[1]]]


def test_keys_that_were_written_one_after_the_other_go_side_by_side() -> None:
    for number in range(6):
        write([f"k{number}"] * 500)
    assert sorted(len(group) for group in taken(60)) == [10] * 6


@pytest.mark.parametrize("keys", [1, 10, 3000])
def test_the_number_of_queries_does_not_grow_with_the_backlog(keys: int) -> None:
    write([f"k{n % keys}" for n in range(3000)])
    mine = Claims("default", "default")
    with CaptureQueriesContext(
        connection,
    ) as first:
        mine.take(100)
    assert len(first) <= 2 * LOOKS + 1
    with CaptureQueriesContext(connection) as second:
        mine.take(100)
    # The first one may have looked further on, and found nothing: the next second's claims do not.
    assert len(second) <= 3


def test_a_look_further_on_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    write(["k"] * 1000)
    mine = Claims("default", "default")
    mine.take(100)
    [behind] = write([""])
    assert [row.pk for group in mine.take(100) for row in group].count(behind) == 0
    now = time.monotonic() + REST
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert [row.pk for group in mine.take(100) for row in group].count(behind) == 1
