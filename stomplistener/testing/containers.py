"""Real brokers in Docker containers, as a project's ``docker-compose.yml`` describes them.

::

    from stomplistener.testing.containers import brokers

    with brokers()["activemq"] as broker:
        print(broker.uri)            # tcp://app:app-secret@127.0.0.1:61613/%2F
        broker.kill()
        broker.start()               # the same port, and the messages that were persistent

The compose file describes the services with their images, ports and settings. The ``x-stomp`` entry of a service has
the values that a client needs: the port in the container for each URI scheme. If the broker requires a login or a
virtual host, the entry also has ``login``, ``passcode`` and ``host``. Containers are named: one that already runs with
the same settings is used, and keeps running at the end. Needs the extra ``docker``.

You can also use the command line: ``python -m stomplistener.testing.containers start|remove|images|status [NAME ...]``.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import quote

from stomplistener.errors import StompError, TimedOut

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container
    from docker.models.networks import Network

__all__ = ["BrokerContainer", "ContainerError", "brokers", "engine_available"]

_CONFIG_LABEL = "stomplistener.config"
_PROJECT = "stomplistener"
_SCHEMES = ("tcp", "ssl", "ws", "wss")
_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_KNOWN_KEYS = frozenset(
    ("build", "command", "container_name", "depends_on", "environment", "hostname", "image", "ports", "profiles")
) | {"volumes", "x-stomp"}
# Tests do not need these keys: the harness waits for STOMP itself, and all brokers are in one network.
_IGNORED_KEYS = frozenset(("expose", "healthcheck", "labels", "logging", "networks", "restart", "stop_grace_period"))
_STOMP_KEYS = frozenset((*_SCHEMES, "login", "passcode", "host", "path", "standby"))
_PORT = re.compile(r"(?:(?P<address>[\d.]+):)?(?P<outside>\d+):(?P<inside>\d+)(?:/tcp)?")
_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<how>:?-)(?P<default>[^}]*))?\}|(?P<bare>\w+))")


class ContainerError(StompError):
    """The engine, an image or a container failed; the text says what to do."""


def engine_available() -> str | None:
    """Look for a Docker engine.

    Returns:
        None if an engine answers; otherwise a text with the reason, and how to install one.
    """
    try:
        with contextlib.closing(_engine(timeout=5.0)) as engine:
            engine.ping()
    except ImportError:
        return "The Docker SDK is not installed: pip install 'stomplistener[docker]'."
    except Exception as problem:
        return (
            f"No Docker engine answers ({_brief(problem)}): install Docker (https://docs.docker.com/engine/install/) "
            "and start it; in the repository of stomplistener, make engine does so on Debian."
        )
    return None


def brokers(
    compose_file: str | os.PathLike[str] | None = None,
    *,
    profiles: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
) -> dict[str, BrokerContainer]:
    """Read a compose file. Starts nothing and needs no engine.

    Args:
        compose_file: the file; None searches for ``docker-compose.yml`` (or ``compose.yaml``) in the current directory,
            and then in the directories above it.
        profiles: the profiles whose services are included, besides the services without a profile; ``*`` for all.
        environment: the values of ``${NAME}`` in the file; None uses the environment of the process.

    Returns:
        The brokers (the services with an ``x-stomp`` entry) by name, in the order of the file. Start the brokers in
        this order.

    Raises:
        FileNotFoundError: there is no compose file.
        ContainerError: the file contains something that the harness does not support.
    """
    import yaml

    path = find_compose_file() if compose_file is None else Path(compose_file).resolve()
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as problem:
        raise ContainerError(f"{path} is not YAML: {problem}") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("services"), dict):
        raise ContainerError(f"{path} has no services: it is not a compose file.")
    values = os.environ if environment is None else environment
    wanted = set(profiles)
    document, plain = _interpolate(raw, values), _interpolate(raw, {})
    found = {}
    for name, service in document["services"].items():
        if "x-stomp" not in service or not ("*" in wanted or wanted.issuperset(service.get("profiles", ()))):
            continue
        if "image" not in service:
            raise ContainerError(f"{name} in the compose file has no image: name the one that is to run.")
        replaced = service["image"] != plain["services"][name]["image"]
        build = None if replaced else _build_command(document, service)
        found[name] = BrokerContainer(Service.parse(name, service, path.parent, build, document.get("name", _PROJECT)))
    return found


@dataclass(frozen=True)
class Service:
    """One service of a compose file, or a similar one, in the form that the engine needs."""

    name: str
    container_name: str
    image: str
    directory: Path
    build: tuple[str, ...] | None
    ports: dict[int, tuple[str, int]]
    volumes: dict[str, dict[str, str]]
    environment: dict[str, str]
    command: str | list[str] | None
    hostname: str | None
    depends_on: tuple[str, ...]
    stomp: dict[str, Any]
    network: str = f"{_PROJECT}-testing"
    """The network of all brokers of one project. The names of their volumes begin with it."""
    files: dict[str, str] = field(default_factory=dict)
    """The files to copy into the container before it starts: contents by path."""

    @classmethod
    def parse(
        cls, name: str, service: dict[str, Any], directory: Path, build: tuple[str, ...] | None, project: str
    ) -> Service:
        if unknown := service.keys() - _KNOWN_KEYS - _IGNORED_KEYS:
            raise ContainerError(
                f"{name} in the compose file has {', '.join(sorted(unknown))}: not known to the harness."
            )
        ports = dict(_parse_port(name, entry) for entry in service.get("ports", ()))
        environment = service.get("environment") or {}
        if isinstance(environment, list):
            environment = dict(entry.partition("=")[::2] for entry in environment)
        network = f"{project}-testing"
        return cls(
            name=name,
            network=network,
            container_name=service.get("container_name", f"stomplistener-{name}"),
            image=service["image"],
            directory=directory,
            build=build,
            ports=ports,
            volumes=dict(_parse_volume(name, entry, directory, network) for entry in service.get("volumes", ())),
            environment={key: str(value) for key, value in environment.items()},
            command=service.get("command"),
            hostname=service.get("hostname"),
            depends_on=tuple(service.get("depends_on", ())),
            stomp=_parse_stomp(name, service["x-stomp"], ports),
        )

    def digest(self, image_id: str) -> str:
        """Return a digest that is equal for two containers that can replace each other."""
        settings = [image_id, self.ports, self.volumes, self.environment, self.command, self.hostname, self.files]
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for directory in self.directories():
            for file in sorted(directory.glob("*.pem")):
                digest.update(file.read_bytes())
        return digest.hexdigest()[:16]

    def directories(self) -> list[Path]:
        """The directories of this machine that are mounted in the container. Other volumes have only a name."""
        return [Path(source) for source in self.volumes if Path(source).is_absolute()]


class BrokerContainer:
    """One broker in a container.

    As a context manager, this object starts the broker, and removes the container at the end unless the broker already
    ran.

    Several threads may call the methods: only the engine keeps the state of the container, and it carries out one call
    at a time.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._client: DockerClient | None = None
        self._created = False  # whether this object created the container, and so removes it
        self._checked = False  # whether the settings were compared with the compose file

    def __repr__(self) -> str:
        return f"<BrokerContainer {self.name}: {self._service.image}>"

    # Values for clients

    @property
    def name(self) -> str:
        """The name of the service in the compose file, such as ``rabbitmq``."""
        return self._service.name

    @property
    def container_name(self) -> str:
        """The name of the container, as in ``docker ps``."""
        return self._service.container_name

    @property
    def image(self) -> str:
        """The image of the container, such as ``rabbitmq:4``."""
        return self._service.image

    @property
    def login(self) -> str:
        """The user that may log in; empty if the broker does not require a login."""
        return str(self._service.stomp.get("login", ""))

    @property
    def passcode(self) -> str:
        """The passcode of that user."""
        return str(self._service.stomp.get("passcode", ""))

    @property
    def virtual_host(self) -> str:
        """The ``host`` header for the broker; ``/`` if the compose file has none."""
        return str(self._service.stomp.get("host", "/"))

    @property
    def uri(self) -> str:
        """The URI of the plain STOMP port, with login and virtual host."""
        return self.uris["tcp"]

    @property
    def uris(self) -> dict[str, str]:
        """The URI for each scheme that the broker serves (of tcp, ssl, ws, wss), with the login.

        The URIs of tcp and ssl also have the virtual host. The path of ws and wss belongs to the URL, so they need
        ``host=``.
        """
        return {scheme: self._uri(scheme) for scheme in _SCHEMES if scheme in self._service.stomp}

    @property
    def is_standby(self) -> bool:
        """Whether this broker is the standby of a pair, which answers only when the other one is down."""
        return bool(self._service.stomp.get("standby"))

    @property
    def depends_on(self) -> tuple[str, ...]:
        """The names of the brokers that must answer before this one is started."""
        return self._service.depends_on

    def address(self, scheme: str = "tcp") -> tuple[str, int]:
        """Return the host and the published port of a scheme (one of tcp, ssl, ws, wss).

        Raises:
            KeyError: the broker does not serve that scheme.
        """
        return self._service.ports[self._service.stomp[scheme]]

    # Its life

    def start(self, *, timeout: float = 60.0, wait: bool | None = None) -> Self:
        """Start the broker if it never ran, was stopped or was killed. Do nothing if the broker runs.

        A missing image is built or pulled first. A container from an earlier run is used if its settings are the same;
        otherwise it is replaced.

        Args:
            timeout: seconds within which STOMP has to answer.
            wait: whether to wait until STOMP answers; None waits unless the broker is a standby.

        Raises:
            ContainerError: no engine, no image, or a port is taken.
            TimedOut: STOMP does not answer in time; the text has the end of the log.
        """
        with _explained(self.name):
            container = self._find() or self._create()
            if container.status == "paused":
                container.unpause()
            elif container.status != "running":
                container.start()
        if wait or (wait is None and not self.is_standby):
            self.wait_ready(timeout)
        return self

    def stop(self, timeout: float = 10.0) -> None:
        """Stop the broker as a shutdown of the system does: SIGTERM, then SIGKILL after ``timeout`` seconds."""
        self._container().stop(timeout=round(timeout))

    def kill(self) -> None:
        """Kill the broker with SIGKILL, as a power failure would. ``start()`` restores its data from disk."""
        container = self._container()
        if container.status == "paused":  # a frozen process gets its signal only after it thaws
            container.unpause()
        container.kill()
        container.wait()

    def restart(self, *, timeout: float = 60.0) -> None:
        """Call ``stop()`` and ``start()``; ``timeout`` is in seconds and applies to the start."""
        self.stop()
        self.start(timeout=timeout)

    def pause(self) -> None:
        """Freeze the broker: open connections fall silent, and new ones are accepted and not answered."""
        self._container().pause()

    def unpause(self) -> None:
        """Resume a paused broker."""
        self._container().unpause()

    def disconnect_network(self) -> None:
        """Disconnect the container: published ports refuse connections, and other containers cannot find it."""
        self._network().disconnect(self._container())

    def connect_network(self) -> None:
        """Undo ``disconnect_network()``."""
        self._network().connect(self._container(), aliases=[self.name])

    def remove(self) -> None:
        """End the container and remove it with its data. No container is no error."""
        with contextlib.suppress(ContainerError):
            container = self._container()
            if container.status == "paused":
                container.unpause()
            container.remove(force=True, v=True)
        self._created = self._checked = False
        for source in self._service.volumes:
            if source.startswith(self._service.network):
                with contextlib.suppress(Exception):  # another container still uses it, and removes it later
                    self._engine().volumes.get(source).remove()
        with contextlib.suppress(Exception):  # other containers may still be in it
            self._network().remove()

    def remove_if_created(self) -> None:
        """Call ``remove()`` if this object made the container and ``STOMPLISTENER_KEEP_BROKERS`` is not set."""
        if self._created and not os.environ.get("STOMPLISTENER_KEEP_BROKERS"):
            self.remove()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            if self._created:
                self.remove()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        self.remove_if_created()
        return False

    # Inspecting the broker

    @property
    def status(self) -> str:
        """``running``, ``paused``, ``exited`` or ``created``; ``absent`` if there is no such container."""
        try:
            return str(self._container().status)
        except ContainerError:
            return "absent"

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until the broker answers a STOMP login with CONNECTED.

        An open port is no proof: the engine's forwarder accepts before the broker runs, and RabbitMQ opens its port
        before it knows its users.

        Args:
            timeout: seconds.

        Raises:
            TimedOut: the broker does not answer in time; the text has the end of the log.
            ContainerError: the container has ended, or does not exist.
        """
        deadline = time.monotonic() + timeout
        while (answer := self._probe(min(5.0, timeout))) is not None:
            if (status := self.status) not in ("running", "paused"):
                raise ContainerError(f"{self.name} has ended ({status}); its log:\n{self.logs(tail=30)}")
            if time.monotonic() >= deadline:
                raise TimedOut(
                    f"{self.name} does not answer in {timeout:g} s ({answer}); its log:\n{self.logs(tail=30)}"
                )
            time.sleep(0.1)

    def logs(self, tail: int | None = None) -> str:
        """Return the output of the broker; ``tail`` is the number of last lines, None for all."""
        data = self._container().logs(tail="all" if tail is None else tail, stream=False)
        assert isinstance(data, bytes)
        return data.decode("utf-8", "replace")

    def exec(self, command: str | Sequence[str]) -> str:
        """Run a command in the container, as root.

        Args:
            command: a list of arguments, or a text for the shell of the container.

        Returns:
            The output of the command.

        Raises:
            ContainerError: the exit status is not 0; the text has the output.
        """
        arguments = ["sh", "-c", command] if isinstance(command, str) else list(command)
        code, output = self._container().exec_run(arguments)
        assert isinstance(output, bytes)
        text = output.decode("utf-8", "replace")
        if code != 0:
            raise ContainerError(f"{shlex.join(arguments)} in {self.name} ends with {code}:\n{text}")
        return text

    # Internals

    def _uri(self, scheme: str) -> str:
        host, port = self.address(scheme)
        path = (
            self._service.stomp.get("path", "") if scheme in ("ws", "wss") else f"/{quote(self.virtual_host, safe='')}"
        )
        user = f"{quote(self.login, safe='')}:{quote(self.passcode, safe='')}@" if self.login else ""
        return f"{scheme}://{user}{host}:{port}{path}"

    def _engine(self) -> DockerClient:
        if self._client is None:
            self._client = _engine(timeout=120.0)
        return self._client

    def _container(self) -> Container:
        import docker.errors

        try:
            return self._engine().containers.get(self.container_name)
        except docker.errors.NotFound:
            raise ContainerError(f"There is no container {self.container_name}: call start() first.") from None

    def _network(self) -> Network:
        name, networks = self._service.network, self._engine().networks
        found = networks.list(names=[f"^{name}$"])
        return found[0] if found else networks.create(name, driver="bridge")

    def _find(self) -> Container | None:
        """Return the usable container of an earlier start. A container of ours with other settings is removed."""
        try:
            container = self._container()
        except ContainerError:
            return None
        label = container.labels.get(_CONFIG_LABEL)
        if label is None:
            raise ContainerError(
                f"The container {self.container_name} was not made by this harness: "
                f"remove it (docker compose down, or docker rm --force {self.container_name}) and try again."
            )
        if self._checked or label == self._service.digest(self._image_id()):
            self._checked = True
            return container
        self.remove()
        return None

    def _image_id(self) -> str:
        """Return the id of the image, which is built or pulled first if needed."""
        import docker.errors

        service = self._service
        if service.build is not None:
            subprocess.run(service.build, cwd=service.directory, check=True)
        try:
            image = self._engine().images.get(service.image)
        except docker.errors.ImageNotFound:
            image = self._engine().images.pull(service.image)
        return str(image.id)

    def _create(self) -> Container:
        import docker.errors

        service = self._service
        image_id = self._image_id()
        engine = self._engine()
        network = self._network()
        for directory in service.directories():
            directory.mkdir(parents=True, exist_ok=True)
        try:
            container = engine.containers.create(
                service.image,
                command=service.command,
                name=service.container_name,
                hostname=service.hostname,
                environment=service.environment,
                ports={f"{inside}/tcp": outside for inside, outside in service.ports.items()},
                volumes=service.volumes,
                labels={_CONFIG_LABEL: service.digest(image_id)},
                # Nothing here asks the engine for it, and an image's own check would start a process every few seconds.
                healthcheck={"test": ["NONE"]},
                network=network.name,
                networking_config={
                    str(network.name): engine.api.create_endpoint_config(aliases=[service.name]),
                },
            )
        except docker.errors.APIError as problem:
            if problem.status_code != 409:
                raise
            return self._container()  # another process was faster
        if service.files:
            container.put_archive("/", _archive(service.files))
        self._created = self._checked = True
        return container

    def _probe(self, timeout: float) -> str | None:
        """Return None if the broker answers a login with CONNECTED, otherwise a description of its answer."""
        user = f"login:{self.login}\npasscode:{self.passcode}\n" if self.login else ""
        request = f"CONNECT\naccept-version:1.0,1.1,1.2\nhost:{self.virtual_host}\n{user}\n\0"
        try:
            with socket.create_connection(self.address(), timeout) as connection:
                connection.sendall(request.encode())
                answer = b""
                while b"\0" not in answer:
                    data = connection.recv(4096)
                    if not data:
                        return "it closes the connection"
                    answer += data
        except OSError as problem:
            return str(problem)
        first_line = answer.lstrip().split(b"\n", 1)[0].decode("utf-8", "replace").strip()
        return None if first_line == "CONNECTED" else f"it answers {first_line}"


def _archive(files: Mapping[str, str]) -> bytes:
    """Pack files for the engine: a tar archive whose paths start at the root."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for path, text in files.items():
            data = text.encode()
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    return written.getvalue()


def _engine(timeout: float) -> DockerClient:
    import docker

    return docker.from_env(timeout=round(timeout))


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Convert exceptions of the SDK and of the build to ContainerError."""
    try:
        yield
    except ContainerError:
        raise
    except subprocess.CalledProcessError as problem:
        raise ContainerError(f"The image of {name} could not be built: {shlex.join(problem.cmd)} failed.") from problem
    except Exception as problem:
        hint = "" if (state := engine_available()) is None else f" {state}"
        raise ContainerError(f"{name} cannot be started: {_brief(problem)}.{hint}") from problem


def _brief(problem: BaseException) -> str:
    return (str(problem) or type(problem).__name__).splitlines()[0][:200].rstrip(".")


def find_compose_file(start: Path | None = None) -> Path:
    """Find the compose file in a directory (None: the current one) or above it; FileNotFoundError if there is none."""
    start = Path.cwd() if start is None else start
    for directory in (start, *start.parents):
        for name in _FILES:
            if (path := directory / name).is_file():
                return path
    raise FileNotFoundError(f"There is no {' or '.join(_FILES[1:3])} in {start} or above it: name one.")


def _build_command(document: dict[str, Any], service: dict[str, Any]) -> tuple[str, ...] | None:
    if "build" not in service or "x-build-image" not in document:
        return None
    directory = Path(service["build"]["dockerfile"]).parent.name
    return (*document["x-build-image"], service["image"], directory)


def _interpolate(value: Any, environment: Mapping[str, str]) -> Any:
    """Replace ``${NAME}``, ``${NAME:-default}`` and ``${NAME-default}`` in ``value``, as compose does."""
    if isinstance(value, dict):
        return {key: _interpolate(entry, environment) for key, entry in value.items()}
    if isinstance(value, list):
        return [_interpolate(entry, environment) for entry in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        found = environment.get(match["name"] or match["bare"])
        if found is None or (not found and match["how"] == ":-"):
            return match["default"] or ""
        return found

    return _VARIABLE.sub(replace, value)


def _parse_port(name: str, entry: Any) -> tuple[int, tuple[str, int]]:
    match = _PORT.fullmatch(str(entry))
    if match is None:
        raise ContainerError(
            f"{name} in the compose file: the port {entry!r} is not PORT:PORT_INSIDE or ADDRESS:PORT:PORT_INSIDE."
        )
    return int(match["inside"]), (match["address"] or "127.0.0.1", int(match["outside"]))


def _parse_stomp(name: str, entry: Any, ports: dict[int, tuple[str, int]]) -> dict[str, Any]:
    if not isinstance(entry, dict) or "tcp" not in entry:
        raise ContainerError(f"{name} in the compose file: x-stomp names no port; write x-stomp: {{tcp: 61613}}.")
    if unknown := entry.keys() - _STOMP_KEYS:
        raise ContainerError(f"{name} in the compose file: x-stomp has {', '.join(sorted(unknown))}, not known.")
    for scheme in _SCHEMES:
        if scheme in entry and entry[scheme] not in ports:
            raise ContainerError(
                f"{name} in the compose file: x-stomp has {scheme} on port {entry[scheme]}, which ports do not publish."
            )
    return entry


def _parse_volume(name: str, entry: Any, directory: Path, network: str) -> tuple[str, dict[str, str]]:
    source, inside, *mode = [*str(entry).split(":"), ""]
    if not inside:
        raise ContainerError(f"{name} in the compose file: the volume {entry!r} is not SOURCE:DIRECTORY_INSIDE.")
    source = str((directory / source).resolve()) if source.startswith((".", "/")) else f"{network}-{source}"
    return source, {"bind": inside, "mode": mode[0] or "rw"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Start, remove or show the brokers of the compose file, or build their images."""
    parser = argparse.ArgumentParser(prog="python -m stomplistener.testing.containers", description=main.__doc__)
    parser.add_argument("action", choices=("start", "remove", "images", "status"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="services of the compose file (default: all)")
    parser.add_argument("--profile", action="append", default=[], help="take in the services of this profile too")
    options = parser.parse_args(arguments)
    try:
        known = brokers(profiles=options.profile)
        if unknown := set(options.names) - known.keys():
            raise ContainerError(f"No such broker: {', '.join(sorted(unknown))}; there are {', '.join(known)}.")
        for name in options.names or known:
            _carry_out(options.action, known[name])
    except (StompError, FileNotFoundError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def _carry_out(action: str, broker: BrokerContainer) -> None:
    if action == "images":
        with _explained(broker.name):
            broker._image_id()
    elif action == "remove":
        broker.remove()
    elif action == "status":
        print(f"{broker.name:12} {broker.status}")
    else:
        broker.start()
        print(broker.name)
        for uri in broker.uris.values():
            print(f"    {uri}")


if __name__ == "__main__":
    sys.exit(main())
