"""Fill the outbox as an application does, in one transaction: ``python -m bench.projects.ours.fill``."""

import django
from django.db import transaction

from bench.projects.common import COUNT, DESTINATION


def main() -> None:
    django.setup()  # type: ignore[attr-defined]  # mypy takes the directory of the example for django
    from stomplistener.contrib.django.outbox import enqueue

    with transaction.atomic():
        for number in range(COUNT):
            enqueue(DESTINATION, json={"number": number, "text": "x" * 80})


if __name__ == "__main__":
    main()
