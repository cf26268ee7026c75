"""The Celery application of the tests: ten tasks, over the broker that the environment names."""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import Celery, Task, shared_task
from celery.exceptions import SoftTimeLimitExceeded

import stomplistener.contrib.kombu  # noqa: F401  (adds the scheme "stomp")


def make(broker: str, directory: str, queue: str, authority: str = "") -> Celery:
    """The application on a broker, now the current one: tasks that are called from now on go there.

    ``authority`` is the file of the certificate authority that an ``ssl://`` broker is verified by.
    """
    app = Celery("stomp", broker=broker, backend=f"file://{directory}/results", set_as_current=True)
    app.conf.update(
        task_default_queue=queue,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=4,
        broker_transport_options={"exchange_prefix": f"{queue}."},
        broker_use_ssl={"ca_certs": authority} if authority else None,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_publish_retry_policy={"max_retries": None, "interval_start": 0.2, "interval_step": 0.2, "interval_max": 1},
    )
    return app


DIRECTORY = Path(os.environ.get("CELERY_DIRECTORY", "."))


def record(name: str, line: object) -> None:
    """Append a line to a file that all processes share: one write each, so that lines stay whole."""
    with open(DIRECTORY / name, "ab", buffering=0) as file:
        file.write(f"{line}\n".encode())


@shared_task
def add(left: int, right: int) -> int:
    return left + right


@shared_task
def multiply(left: int, right: int) -> int:
    return left * right


@shared_task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@shared_task(bind=True, max_retries=5, default_retry_delay=0.2)
def succeed_at(self: Task, attempt: int) -> int:
    if self.request.retries + 1 < attempt:
        raise self.retry()
    return int(self.request.retries)


@shared_task
def now() -> float:
    return time.time()


@shared_task
def mark(number: int) -> None:
    record("marks", number)


@shared_task(soft_time_limit=1)
def sleep_until_the_limit() -> str:
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        return "limited"
    return "slept"


@shared_task(ignore_result=True)
def work(number: int) -> None:
    time.sleep(0.002)
    record("done", number)


@shared_task(acks_late=False, ignore_result=True)
def early(number: int) -> None:
    record("early", number)


@shared_task(bind=True)
def delivery(self: Task) -> dict[str, object]:
    info: dict[str, object] = self.request.delivery_info
    return {"routing_key": info["routing_key"], "priority": info.get("priority")}


if "CELERY_BROKER" in os.environ:
    app = make(
        os.environ["CELERY_BROKER"],
        str(DIRECTORY),
        os.environ["CELERY_QUEUE"],
        os.environ.get("CELERY_AUTHORITY", ""),
    )
