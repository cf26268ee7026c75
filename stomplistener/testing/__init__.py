"""For tests and first steps: an embedded broker, a proxy that breaks connections, and a listener that records.

With the extra ``docker`` this package also starts real brokers in containers.

::

    from stomplistener.testing import Broker, FaultProxy, Fleet, Inbox

Run ``python -m stomplistener.testing`` for a broker in a separate process. With pytest, you have the marker
``stomp_brokers`` and the fixtures ``stomp_broker``, ``stomp_session_broker``, ``stomp_brokers``, ``stomp_proxy``,
``stomp_inbox``, ``stomp_queue`` and ``stomp_strict``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stomplistener.testing.any_broker import AnyBroker
    from stomplistener.testing.broker import Broker
    from stomplistener.testing.fleet import Fleet
    from stomplistener.testing.inbox import Inbox
    from stomplistener.testing.proxy import FaultProxy
    from stomplistener.testing.public_images import ActiveMQContainer, ArtemisContainer, RabbitMQContainer
    from stomplistener.testing.recorded import RecordedMessage, message
    from stomplistener.testing.strict import Strict

__all__ = [
    "ActiveMQContainer",
    "AnyBroker",
    "ArtemisContainer",
    "Broker",
    "FaultProxy",
    "Fleet",
    "Inbox",
    "RabbitMQContainer",
    "RecordedMessage",
    "Strict",
    "message",
]

_MODULES = {
    "ActiveMQContainer": "public_images",
    "AnyBroker": "any_broker",
    "ArtemisContainer": "public_images",
    "Broker": "broker",
    "FaultProxy": "proxy",
    "Fleet": "fleet",
    "Inbox": "inbox",
    "RabbitMQContainer": "public_images",
    "RecordedMessage": "recorded",
    "Strict": "strict",
    "message": "recorded",
}


def __getattr__(name: str) -> object:
    # Import each name at its first use: pytest imports this package for its plugin in every run.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
