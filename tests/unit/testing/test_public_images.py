"""Containers without a compose file: what the engine is asked for, with an engine that only writes it down."""

from __future__ import annotations

import io
import re
import tarfile
from typing import Any

import docker.errors
import pytest

from stomplistener.failover import parse
from stomplistener.testing import ActiveMQContainer, ArtemisContainer, RabbitMQContainer, containers
from stomplistener.testing.public_images import PublicImage

ALL = [ActiveMQContainer, ArtemisContainer, RabbitMQContainer]


class Notes:
    """Stands for the engine, its collections and a container: notes calls, and knows of no container."""

    id = "sha256:1"
    name = "a-network"
    status = "created"

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.containers = self.images = self.networks = self.api = self

    def get(self, name: str) -> Notes:
        if name.startswith("stomplistener"):
            raise docker.errors.NotFound(name)
        return self

    def list(self, **options: Any) -> list[Notes]:
        return [self]

    def __getattr__(self, call: str) -> Any:
        def note(*given: Any, **options: Any) -> Notes:
            self.calls.append((call, given, options))
            return self

        return note

    def call(self, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        [(given, options)] = [(given, options) for call, given, options in self.calls if call == name]
        return given, options


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Notes:
    notes = Notes()
    monkeypatch.setattr(containers, "_engine", lambda timeout: notes)
    return notes


@pytest.mark.parametrize("kind", ALL)
def test_the_engine_is_asked_for_the_public_image_with_a_port_of_its_own(
    kind: type[PublicImage], engine: Notes
) -> None:
    broker = kind(login="shop", passcode="s p", environment={"TZ": "UTC"}).start(wait=False)
    (image,), options = engine.call("create")
    assert image == broker.image == kind.IMAGE
    assert options["name"] == broker.container_name
    assert options["ports"] == {"61613/tcp": broker.address()}
    assert {"shop", "s p", "UTC"} <= set(options["environment"].values())
    assert options["command"] is None
    [uri] = parse(broker.uri).brokers
    assert (uri.login, uri.passcode, uri.host, uri.port) == ("shop", "s p", *broker.address())
    assert [call for call, _, _ in engine.calls][-1] == "start"


def test_two_of_a_kind_do_not_meet() -> None:
    one, two = RabbitMQContainer(), RabbitMQContainer()
    assert one.container_name != two.container_name
    assert one.address() != two.address()
    assert re.fullmatch(r"stomplistener-rabbitmq-[0-9a-f]{12}", one.container_name)


def test_another_image_of_the_same_broker(engine: Notes) -> None:
    broker = ActiveMQContainer("registry.example.org/activemq:5").start(wait=False)
    assert engine.call("create")[0] == ("registry.example.org/activemq:5",)
    assert broker.name == "activemq"


def test_rabbitmq_finds_its_plugin_switched_on_when_it_starts(engine: Notes) -> None:
    RabbitMQContainer().start(wait=False)
    (root, data), _ = engine.call("put_archive")
    assert root == "/"
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        [entry] = tar.getmembers()
        assert (entry.name, entry.mode) == ("etc/rabbitmq/enabled_plugins", 0o644)
        text = tar.extractfile(entry)
        assert text is not None
        assert b"rabbitmq_stomp" in text.read()
    names = [call for call, _, _ in engine.calls]
    assert names.index("put_archive") < names.index("start")


@pytest.mark.parametrize("kind", [ActiveMQContainer, ArtemisContainer])
def test_the_others_need_no_file(kind: type[PublicImage], engine: Notes) -> None:
    kind().start(wait=False)
    assert not [call for call, _, _ in engine.calls if call == "put_archive"]


def test_without_an_engine_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with pytest.raises(containers.ContainerError, match="No Docker engine answers"):
        RabbitMQContainer().start()
