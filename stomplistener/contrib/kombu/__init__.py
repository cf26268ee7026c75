"""A kombu transport: Celery over any STOMP broker. Needs the extra ``kombu``.

::

    import stomplistener.contrib.kombu          # adds the scheme "stomp" to kombu

    app = Celery(broker="stomp+failover:(tcp://mq1:61613,tcp://mq2:61613)")

After ``stomp+`` you write a broker URI as for :class:`stomplistener.Connection`.
"""

from __future__ import annotations

from stomplistener.worker.extras import needed_for

with needed_for("stomplistener.contrib.kombu", "kombu"):
    from kombu.transport import TRANSPORT_ALIASES

from stomplistener.contrib.kombu.channel import Channel
from stomplistener.contrib.kombu.transport import Transport

__all__ = ["Channel", "Transport"]

TRANSPORT_ALIASES.setdefault("stomp", "stomplistener.contrib.kombu:Transport")
