"""Django: listeners of apps, messages sent when a transaction commits, and an outbox in the database.

::

    INSTALLED_APPS = [..., "stomplistener.contrib.django"]
    STOMPLISTENER = {"URL": "failover:(tcp://mq1:61613,tcp://mq2:61613)"}

===================  ==================================================================
``listening``        handlers that apps declare in ``listeners.py``: ``manage.py stomp_worker``
``database``         what goes around each message so that no connection is stale or left
``publishing``       confirmed sends, now or when the transaction commits
``outbox``           sends that are part of the transaction
``relay``            from the outbox to the broker: ``manage.py stomp_outbox``
``conf``             the settings, which the system checks look at, too
===================  ==================================================================

Models are imported by ``outbox``, ``relay`` and ``admin`` only: this package can be imported before the apps are ready.
"""

from stomplistener.contrib.django.listening import app, listener
from stomplistener.contrib.django.publishing import publish, publish_on_commit

__all__ = ["app", "listener", "publish", "publish_on_commit"]
