"""Brokers in containers without a compose file: public images with STOMP enabled. Needs the extra ``docker``.

::

    from stomplistener.testing import RabbitMQContainer

    with RabbitMQContainer() as broker, Connection(broker.uri) as connection:
        connection.send("/queue/orders", "pizza", confirm=True)

Each object has a separate container with a unique name and port, so tests that run at the same time do not share one. A
container keeps its port when it is killed and started again.
"""

from __future__ import annotations

import socket
import uuid
from collections.abc import Mapping
from pathlib import Path

from stomplistener.testing.containers import BrokerContainer, Service

_STOMP = 61613


class PublicImage(BrokerContainer):
    """A broker from a public image. See the subclasses below, one for each broker.

    Args:
        image: another image or version of the same broker, for example from a private registry; None uses the image
            that the class names. The image must accept the same environment variables.
        login: the user that may log in.
        passcode: the passcode of that user.
        environment: additional variables for the container.
    """

    IMAGE = ""
    """The image if the argument names no other one."""

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
        """Return the variables that define the user for the image."""
        raise NotImplementedError

    def _files(self) -> dict[str, str]:
        """Return the files that the image needs for STOMP."""
        return {}


class ActiveMQContainer(PublicImage):
    """ActiveMQ Classic, from the image of its project, which has STOMP enabled.

    As a context manager, the object starts the broker, waits until STOMP answers, and removes the container at the end.
    All other methods are those of :class:`~stomplistener.testing.containers.BrokerContainer`, such as ``uri``,
    ``kill()``, ``start()`` and ``logs()``.

    Args:
        image: another image or version of the same broker, for example from a private registry. The image must accept
            the same environment variables.
        login: the user that may log in.
        passcode: the passcode of that user.
        environment: additional variables for the container.
    """

    IMAGE = "apache/activemq-classic:6.1.8"

    def _variables(self, login: str, passcode: str) -> dict[str, str]:
        return {"ACTIVEMQ_CONNECTION_USER": login, "ACTIVEMQ_CONNECTION_PASSWORD": passcode}


class ArtemisContainer(PublicImage):
    """ActiveMQ Artemis, from the image of its project, which has STOMP enabled.

    Arguments and methods are those of :class:`ActiveMQContainer`.
    """

    IMAGE = "apache/activemq-artemis:2.44.0"

    def _variables(self, login: str, passcode: str) -> dict[str, str]:
        return {"ARTEMIS_USER": login, "ARTEMIS_PASSWORD": passcode}


class RabbitMQContainer(PublicImage):
    """RabbitMQ, from its official image, with the STOMP plugin enabled.

    Arguments and methods are those of :class:`ActiveMQContainer`.
    """

    IMAGE = "rabbitmq:4.1"

    def _variables(self, login: str, passcode: str) -> dict[str, str]:
        return {"RABBITMQ_DEFAULT_USER": login, "RABBITMQ_DEFAULT_PASS": passcode}

    def _files(self) -> dict[str, str]:
        # This is the file that rabbitmq-plugins writes. The broker reads this file at the start, so no restart is
        # needed.
        return {"/etc/rabbitmq/enabled_plugins": "[rabbitmq_stomp].\n"}


def _free_port() -> int:
    """Return a port that is free now. The engine would choose another port at each start."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
