"""Run the project: place orders, roll some back, and check that exactly the committed orders are billed.

    python examples/django/show.py          SQLite and an embedded broker
    STOMP_URL=tcp://mq1:61613 PGHOST=/run/postgresql python examples/django/show.py

The program starts the same processes as a deployment, ``manage.py stomp_worker`` and ``manage.py stomp_outbox``, and
ends both with SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE = 30.0


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process inside the block. At the end it gets a signal, and is killed if it does not end."""
    started = subprocess.Popen(
        [sys.executable, *arguments], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(PATIENCE)
        finally:
            started.kill()
    # The embedded broker also ends with exit code 0 after its signal.
    if started.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {started.returncode}")


def place_orders(count: int) -> int:
    """Place orders with the view, every fifth in a transaction that rolls back.

    Return the number of committed orders.
    """
    from django.db import transaction
    from django.test import Client

    from store.orders import place

    committed = 0
    for number in range(count):
        if number % 5 == 4:
            with transaction.atomic():
                place(f"article {number}")
                transaction.set_rollback(True)
        else:
            assert Client().post("/orders/", {"article": f"article {number}"}).status_code == 201
            committed += 1
    return committed


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until other processes have made the condition true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"did not happen within {PATIENCE} s: {what}")
        time.sleep(0.05)


def main() -> None:
    """Run the project."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=100)
    orders = parser.parse_args().orders
    with ExitStack() as stack:
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
        os.environ.setdefault("SQLITE", str(Path(stack.enter_context(tempfile.TemporaryDirectory()), "db.sqlite3")))
        if "STOMP_URL" not in os.environ:
            broker = stack.enter_context(process("-m", "stomplistener.testing", "--port", "0"))
            assert broker.stdout is not None
            os.environ["STOMP_URL"] = broker.stdout.readline().strip()
        sys.path.insert(0, str(HERE))

        from django import setup  # type: ignore[attr-defined]  # mypy takes this directory for django
        from django.core.management import call_command

        setup()
        call_command("migrate", verbosity=0)

        from stomplistener.contrib.django.models import OutboxMessage
        from stomplistener.contrib.django.publishing import close
        from store.models import Invoice, Order

        stack.callback(close)

        for command in ("stomp_worker", "stomp_outbox"):
            stack.enter_context(process("manage.py", command, "--log-level", "warning"))
        before = Order.objects.count()
        committed = place_orders(orders)
        wait_for(lambda: not Order.objects.filter(invoice=None).exists(), "an invoice for each order")
        assert Order.objects.count() == Invoice.objects.count() == before + committed
        published = OutboxMessage.objects.filter(state=OutboxMessage.State.PUBLISHED)
        wait_for(lambda: published.count() == before + committed, "each message marked as published")
        billed = f"{orders} orders placed, {orders - committed} rolled back, {committed} billed"
    print(f"{billed}; worker and relay ended gracefully")


if __name__ == "__main__":
    main()
