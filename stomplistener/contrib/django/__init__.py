"""Django: listeners of apps, messages sent when a transaction commits, and an outbox in the database.

::

    INSTALLED_APPS = [..., "stomplistener.contrib.django"]
    STOMPLISTENER = {"URL": "failover:(tcp://mq1:61613,tcp://mq2:61613)"}

===================  ==================================================================
``listening``        handlers that apps declare in ``listeners.py``: ``manage.py stomp_worker``
``database``         closes stale database connections before and after each message
``publishing``       confirmed sends, now or when the transaction commits
``outbox``           sends that commit and roll back with the database transaction
``relay``            publishes the outbox to the broker: ``manage.py stomp_outbox``
``conf``             reads and checks the settings, also for ``manage.py check``
===================  ==================================================================

Only ``outbox``, ``relay`` and ``admin`` import models, so this package can be imported before the apps are ready.
"""

from stomplistener.contrib.django.listening import app, listener
from stomplistener.contrib.django.publishing import publish, publish_on_commit

__all__ = ["app", "listener", "publish", "publish_on_commit"]
