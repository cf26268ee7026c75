"""The containers without a compose file: on our own images, which need no registry, and on the public ones."""

from __future__ import annotations

import pytest

from stomplistener import Connection
from stomplistener.testing import ActiveMQContainer, ArtemisContainer, Fleet, Inbox, RabbitMQContainer
from stomplistener.testing.containers import ContainerError
from stomplistener.testing.public_images import PublicImage

KINDS = {"activemq": ActiveMQContainer, "artemis": ArtemisContainer, "rabbitmq": RabbitMQContainer}

pytestmark = pytest.mark.timeout(300, func_only=True)


def serves(broker: PublicImage, inbox: Inbox) -> None:
    """It delivers, and after a kill it is at the same address again."""
    with broker, Connection(f"failover:({broker.uri})", timeout=120) as connection:
        connection.add_listener(inbox)
        connection.subscribe("/queue/orders", confirm=True)
        connection.send("/queue/orders", "pizza", confirm=True)
        inbox.expect(1, timeout=30)
        broker.kill()
        broker.start(timeout=120)
        connection.send("/queue/orders", "salad", confirm=True)
        inbox.wait_for(lambda: "salad" in [message.text for message in inbox.messages], 60)
    assert broker.status == "absent"


@pytest.mark.parametrize("name", KINDS)
def test_a_broker_of_our_own_image(name: str, stomp_brokers: Fleet, stomp_inbox: Inbox) -> None:
    serves(KINDS[name](stomp_brokers[name].image), stomp_inbox)


@pytest.mark.parametrize("name", KINDS)
def test_a_broker_of_the_public_image(name: str, stomp_brokers: Fleet, stomp_inbox: Inbox) -> None:
    broker = KINDS[name]()
    try:
        broker._image_id()
    except Exception as problem:
        broker.remove()
        pytest.skip(f"{broker.image} cannot be pulled here: {problem}")
    serves(broker, stomp_inbox)


def test_an_image_that_there_is_not(stomp_brokers: Fleet) -> None:
    with pytest.raises(ContainerError, match="cannot be started"):
        RabbitMQContainer("stomplistener/no-such-image:1").start()
