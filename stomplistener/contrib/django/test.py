"""Keep the messages that a test publishes in memory, as Django does with e-mail.

::

    from stomplistener.contrib.django import publish
    from stomplistener.contrib.django.test import outbox

    class OrderTests(TestCase):
        def test_an_order_is_published(self):
            publish("/queue/orders", json={"article": "a chair"})
            [message] = outbox
            self.assertEqual(message.json(), {"article": "a chair"})

Django's test runner and pytest-django replace the e-mail backend. While this backend is replaced, ``publish`` and
``publish_on_commit`` keep messages, too. The setting ``BACKEND`` overrides this: ``"broker"`` sends even in tests,
``"locmem"`` never sends.
"""

from __future__ import annotations

from collections import UserList

from django.core import mail

from stomplistener.contrib.django.conf import stomp_settings
from stomplistener.contrib.outgoing import SentMessage

__all__ = ["SentMessage", "outbox"]


class Outbox(UserList[SentMessage]):
    """A list of messages, empty at the beginning of each test. Use it from one thread."""

    def __init__(self) -> None:
        # Do not call the initializer of UserList: it would assign to ``data``.
        self._mail: list[object] | None = None
        self._messages: list[SentMessage] = []

    @property
    def data(self) -> list[SentMessage]:  # type: ignore[override]
        """The messages of the current test.

        Django does not announce the beginning of a test, but it gives ``mail.outbox`` a new list for each test.
        """
        current = getattr(mail, "outbox", None)
        if current is not self._mail:
            self._mail, self._messages = current, []
        return self._messages


outbox = Outbox()
"""The messages that the current test published, oldest first."""


def keeps_messages() -> bool:
    """Whether messages are kept in this list instead of being sent."""
    backend = stomp_settings().backend
    return hasattr(mail, "outbox") if backend is None else backend == "locmem"
