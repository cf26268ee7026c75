"""Messages that a test published, kept in memory as Django keeps its e-mail.

::

    from stomplistener.contrib.django import publish
    from stomplistener.contrib.django.test import outbox

    class OrderTests(TestCase):
        def test_an_order_is_published(self):
            publish("/queue/orders", json={"article": "a chair"})
            [message] = outbox
            self.assertEqual(message.json(), {"article": "a chair"})

Django's test runner, and pytest-django, replace the e-mail backend; ``publish`` and ``publish_on_commit`` go by the
same sign. The setting ``BACKEND`` decides otherwise: ``"broker"`` sends in tests, too, ``"locmem"`` sends nowhere.
"""

from __future__ import annotations

from collections import UserList

from django.core import mail

from stomplistener.contrib.django.conf import stomp_settings
from stomplistener.contrib.outgoing import SentMessage

__all__ = ["SentMessage", "outbox"]


class Outbox(UserList[SentMessage]):
    """A list of messages that is empty at the beginning of each test. Use it from one thread."""

    def __init__(self) -> None:
        # Not the initializer of UserList, which would assign to ``data``.
        self._mail: list[object] | None = None
        self._messages: list[SentMessage] = []

    @property
    def data(self) -> list[SentMessage]:  # type: ignore[override]
        """The messages of the current test.

        Django announces the beginning of a test nowhere, but gives ``mail.outbox`` another list at each.
        """
        current = getattr(mail, "outbox", None)
        if current is not self._mail:
            self._mail, self._messages = current, []
        return self._messages


outbox = Outbox()
"""The messages that the current test published, oldest first."""


def keeps_messages() -> bool:
    """Whether messages are kept here instead of being sent."""
    backend = stomp_settings().backend
    return hasattr(mail, "outbox") if backend is None else backend == "locmem"
