"""Fill the outbox as an application does, in one transaction: ``python -m bench.projects.theirs.fill``."""

import os

import django
from django.db import transaction

from bench.projects.common import COUNT, DESTINATION


def main() -> None:
    django.setup()  # type: ignore[attr-defined]  # mypy takes the directory of the example for django
    from django_outbox_pattern.models import Published

    headers = {"persistent": "true"} if os.environ["BENCH_PERSISTENT"] == "1" else {}
    with transaction.atomic():
        for number in range(COUNT):
            Published.objects.create(
                destination=DESTINATION, body={"number": number, "text": "x" * 80}, headers=headers
            )


if __name__ == "__main__":
    main()
