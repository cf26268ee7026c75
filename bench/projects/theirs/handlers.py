"""The callback for ``pubsub``."""

from django_stomp.services.consumer import Payload

from bench.projects.common import Work

work = Work()


def handle(payload: Payload) -> None:
    work(payload.body)
    payload.ack()
