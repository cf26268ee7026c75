"""Brokers in containers without a compose file: public images, with STOMP switched on. Needs the extra ``docker``.

::

    from stomplistener.testing import RabbitMQContainer

    with RabbitMQContainer() as broker, Connection(broker.uri) as connection:
        connection.send("/queue/orders", "pizza", confirm=True)

Each object is a container of its own, with a name and a port that no other one has: tests that run at the same time do
not meet. It keeps its port when it is killed and started again.
"""

from __future__ import annotations

import socket
import uuid
from collections.abc import Mapping
from pathlib import Path

from stomplistener.testing.containers import BrokerContainer, Service

_STOMP = 61613


class PublicImage(BrokerContainer):
    """A broker from a public image. See the classes below, one for each broker.

    Args:
        image: another image or version of the same broker, such as one of your own registry; None takes the one that
            the class names. It has to be configured by the same variables.
        login: the user that may log in.
        passcode: that user's passcode.
        environment: more variables for the container.
    """

    IMAGE = ""
    """The image that is taken unless another one is named."""

    def __init__(
        self,
        image: str | None = None,
        *,
        login: str = "app",
        passcode: str = "app-secret",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        name = type(self).__name__.removesuffix("Container").lower()
        super().__init__(
            Service(
                name=name,
                container_name=f"stomplistener-{name}-{uuid.uuid4().hex[:12]}",
                image=image or self.IMAGE,
                directory=Path(),
                build=None,
                ports={_STOMP: ("127.0.0.1", _free_port())},
                volumes={},
                environment={**self._variables(login, passcode), **(environment or {})},
                command=None,
                hostname=None,
                depends_on=(),
                stomp={"tcp": _STOMP, "login": login, "passcode": passcode, "host": "/"},
                files=self._files(),
            )
        )

    def _variables(self, login: str, passcode: str) -> dict[str, str]:
        """What tells the image of its user."""
        raise NotImplementedError

    def _files(self) -> dict[str, str]:
        """What the image lacks for STOMP."""
        return {}


class ActiveMQContainer(PublicImage):
    """ActiveMQ Classic, from the image of its project, which has STOMP switched on.

    As a context manager it starts the broker, waits until STOMP answers, and removes the container at the end. All else
    is that of :class:`~stomplistener.testing.containers.BrokerContainer`, such as ``uri``, ``kill()``, ``start()`` and
    ``logs()``.

    Args:
        image: another image or version of the same broker, such as one of your own registry. It has to be configured by
            the same variables.
        login: the user that may log in.
        passcode: that user's passcode.
        environment: more variables for the container.
    """

    IMAGE = "apache/activemq-classic:6.1.8"

    def _variables(self, login: str, passcode: str) -> dict[str, str]:
        return {"ACTIVEMQ_CONNECTION_USER": login, "ACTIVEMQ_CONNECTION_PASSWORD": passcode}


class ArtemisContainer(PublicImage):
    """ActiveMQ Artemis, from the image of its project, which has STOMP switched on.

    Arguments and methods are those of :class:`ActiveMQContainer`.
    """

    IMAGE = "apache/activemq-artemis:2.44.0"

    def _variables(self, login: str, passcode: str) -> dict[str, str]:
        return {"ARTEMIS_USER": login, "ARTEMIS_PASSWORD": passcode}


class RabbitMQContainer(PublicImage):
    """RabbitMQ, from its official image, with the STOMP plugin switched on.

    Arguments and methods are those of :class:`ActiveMQContainer`.
    """

    IMAGE = "rabbitmq:4.1"

    def _variables(self, login: str, passcode: str) -> dict[str, str]:
        return {"RABBITMQ_DEFAULT_USER": login, "RABBITMQ_DEFAULT_PASS": passcode}

    def _files(self) -> dict[str, str]:
        # The file that rabbitmq-plugins writes. Read at the start, so that no restart is needed.
        return {"/etc/rabbitmq/enabled_plugins": "[rabbitmq_stomp].\n"}


def _free_port() -> int:
    """A port that is free now. It is chosen here, since the engine would choose another one at each start."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
