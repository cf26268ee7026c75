"""What the harness reads in a compose file, without an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from stomplistener.testing import Fleet
from stomplistener.testing.containers import ContainerError, brokers, engine_available, find_compose_file

COMPOSE = """
services:
  one:
    image: ${ONE_IMAGE:-mine:1}
    ports: ["127.0.0.1:7000:61613", "127.0.0.1:7001:15674"]
    x-stomp: {tcp: 61613, ws: 15674, path: /ws, login: "a b", passcode: "${SECRET-p@ss}", host: /}
  two:
    profiles: [more]
    image: two
    restart: always
    ports: ["7002:61613"]
    x-stomp: {tcp: 61613, login: x, passcode: y, host: /}
  database:
    image: none-of-ours
"""


def test_the_compose_file_says_what_a_client_needs(tmp_path: Path) -> None:
    (file := tmp_path / "docker-compose.yml").write_text(COMPOSE)
    found = brokers(file, environment={})
    assert list(found) == ["one"]
    assert found["one"].uris == {
        "tcp": "tcp://a%20b:p%40ss@127.0.0.1:7000/%2F",
        "ws": "ws://a%20b:p%40ss@127.0.0.1:7001/ws",
    }
    assert (found["one"].login, found["one"].passcode, found["one"].virtual_host) == ("a b", "p@ss", "/")
    assert list(brokers(file, profiles=["more"], environment={"SECRET": "$x"})) == ["one", "two"]


def test_an_image_is_replaced_by_the_environment(tmp_path: Path) -> None:
    (file := tmp_path / "docker-compose.yml").write_text(COMPOSE)
    assert "mine:1" in repr(brokers(file, environment={"ONE_IMAGE": ""})["one"])
    assert "theirs:2" in repr(brokers(file, environment={"ONE_IMAGE": "theirs:2"})["one"])


@pytest.mark.parametrize(("name", "project"), [("", "stomplistener"), ("name: ${SET:-shop}\n", "shop")])
def test_network_and_volumes_are_those_of_the_project(tmp_path: Path, name: str, project: str) -> None:
    text = COMPOSE.replace("    image: two", '    image: two\n    volumes: ["store:/data", "./here:/there"]')
    (file := tmp_path / "docker-compose.yml").write_text(name + text)
    service = brokers(file, profiles=["more"], environment={})["two"]._service
    assert service.network == f"{project}-testing"
    assert list(service.volumes) == [f"{project}-testing-store", str(tmp_path / "here")]


def test_what_the_harness_does_not_know_is_an_error(tmp_path: Path) -> None:
    (file := tmp_path / "docker-compose.yml").write_text(COMPOSE.replace("    ports", "    cap_add: [x]\n    ports"))
    with pytest.raises(ContainerError, match="cap_add"):
        brokers(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "compose.yml is not YAML"),
        ("a: 1", "compose.yml has no services"),
        ("services: {one: {image: x, x-stomp: {tcp: 61613}}}", "one in .*: x-stomp has tcp on port 61613, which ports"),
        ("services: {one: {image: x, x-stomp: {}}}", "one in .*: x-stomp names no port"),
        ("services: {one: {image: x, ports: ['1:2'], x-stomp: {tcp: 2, passwort: x}}}", "one in .*passwort, not known"),
        ("services: {one: {image: x, ports: ['2'], x-stomp: {tcp: 2}}}", "one in .*: the port '2' is not PORT:PORT_IN"),
        ("services: {one: {build: ., x-stomp: {tcp: 2}}}", "one in the compose file has no image"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, text: str, message: str) -> None:
    (file := tmp_path / "compose.yml").write_text(text)
    with pytest.raises(ContainerError, match=message):
        brokers(file)


def test_a_broker_that_wants_no_login(tmp_path: Path) -> None:
    (file := tmp_path / "compose.yml").write_text(
        "services: {one: {image: x, ports: ['7000:61613/tcp'], x-stomp: {tcp: 61613}}}"
    )
    one = brokers(file)["one"]
    assert (one.uri, one.address(), one.login) == ("tcp://127.0.0.1:7000/%2F", ("127.0.0.1", 7000), "")


def test_the_nearest_compose_file_counts(tmp_path: Path) -> None:
    (deep := tmp_path / "a" / "b").mkdir(parents=True)
    (far := tmp_path / "docker-compose.yml").touch()
    assert find_compose_file(deep) == far
    (near := tmp_path / "a" / "compose.yaml").touch()
    assert find_compose_file(deep) == near


def test_a_fleet_knows_every_profile_and_no_other_name(tmp_path: Path) -> None:
    (file := tmp_path / "docker-compose.yml").write_text(COMPOSE)
    with Fleet(file) as fleet:
        assert fleet.started == []
        with pytest.raises(ContainerError, match="No broker three in the compose file; there are one, two"):
            fleet["three"]


def test_a_missing_engine_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    reason = engine_available()
    assert reason is not None
    assert "install Docker" in reason
    (file := tmp_path / "docker-compose.yml").write_text(COMPOSE)
    with pytest.raises(ContainerError, match="install Docker"):
        brokers(file)["one"].start()
