"""Build the package, and use it as those do who install it: nothing of the tree is in the way.

``make wheel`` runs this. Source distribution and wheel are built and checked; the wheel is installed into an empty
environment, first alone, then with every extra in turn; the examples run against what is installed.
"""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]

ALONE = """
import stomplistener.compat.stomp, stomplistener.contrib.asyncio, stomplistener.contrib.publisher
import stomplistener.failover, stomplistener.protocol
import stomplistener.testing, stomplistener.transport, stomplistener.worker
from stomplistener.testing import Broker, FaultProxy, Inbox
"""
"""What needs no other package."""

EXTRAS = {
    "cli": "import stomplistener.cli.root, stomplistener.worker.command",
    "django": "import django, stomplistener.contrib.django",
    "docker": "import docker, yaml, stomplistener.testing.containers",
    "flask": "import stomplistener.contrib.flask",
    "kombu": "import kombu, stomplistener.contrib.kombu",
    "metrics": "import prometheus_client, stomplistener.worker.metrics",
    "proxy": "import stomplistener.transport.proxy",
    "reload": "import watchfiles, stomplistener.worker.reload",
    "tracing": "import opentelemetry.trace, stomplistener.worker.tracing",
    "twisted": "import stomplistener.contrib.twisted",
    "websocket": "import stomplistener.transport.websocket",
}
"""What each extra makes possible."""

DEVELOPERS = {"core", "dev", "docs", "fuzz", "test", "unit"}
"""Extras for a clone of the source: its make targets install them."""

IN_SOURCE = (
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "deploy/kubernetes.yaml",
    "docs/conf.py",
    "examples/demo.py",
    "tests/unit/conftest.py",
)


class Environment:
    """An empty virtual environment, and a directory outside of the tree to run in."""

    def __init__(self, room: Path) -> None:
        self.room = room
        venv.create(room / "venv", with_pip=True)
        self.programs = room / "venv" / ("Scripts" if os.name == "nt" else "bin")

    def run(self, program: str, *arguments: str, status: int = 0) -> str:
        """Run a program of the environment to its end; its output.

        Raises:
            SystemExit: it ended with another status.
        """
        own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        done = subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.room,
            env=own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != status:
            raise SystemExit(f"{program} {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def install(self, *what: str) -> None:
        self.run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "5", *what)


def build(directory: Path) -> tuple[Path, Path]:
    """The source distribution, and the wheel that is built from it."""
    own_python = [sys.executable, "-m"]
    built = subprocess.run(
        [*own_python, "build", "--outdir", directory, ROOT], capture_output=True, text=True, check=False
    )
    if built.returncode:
        raise SystemExit(f"the build failed:\n{built.stdout[-4000:]}{built.stderr[-4000:]}")
    (source,), (wheel,) = directory.glob("*.tar.gz"), directory.glob("*.whl")
    subprocess.run([*own_python, "twine", "--no-color", "check", "--strict", source, wheel], check=True)
    return source, wheel


def check_contents(source: Path, wheel: Path) -> None:
    """The package, all of it and nothing else in the wheel; what packagers need, and nothing secret, in the source."""
    in_tree = {
        str(path.relative_to(ROOT)) for path in (ROOT / "stomplistener").rglob("*") if path.suffix in (".py", ".typed")
    }
    in_wheel = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expect(in_wheel == in_tree, f"wheel and package differ in {sorted(in_wheel ^ in_tree)}")
    with tarfile.open(source) as archive:
        in_source = {name.partition("/")[2] for name in archive.getnames()}
    missing = (in_tree | set(IN_SOURCE)) - in_source
    expect(not missing, f"the source distribution lacks {sorted(missing)}")
    waste = [name for name in in_source if "/.certs" in name or "_build" in name or name.endswith((".pyc", ".pem"))]
    expect(not waste, f"the source distribution has {waste}")


def check_metadata(wheel: Path) -> None:
    """Every extra is known here, so that none goes untested."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    extras = set(metadata.get_all("Provides-Extra", ()))
    expect(extras == {*EXTRAS, *DEVELOPERS}, f"extras that this check knows not: {extras ^ {*EXTRAS, *DEVELOPERS}}")
    required = [each for each in metadata.get_all("Requires-Dist", ()) if "extra ==" not in each]
    expect(not required, f"the package requires {required}")
    for field in ("License-Expression", "Project-URL", "Requires-Python"):
        expect(field in metadata, f"no {field} in the metadata")


def check_alone(environment: Environment, wheel: Path) -> None:
    """Without any extra; the command line says what it needs."""
    environment.install("--no-index", str(wheel))
    environment.run("python", "-c", ALONE)
    said = environment.run("stomplistener", "--help", status=1)
    expect("pip install 'stomplistener[cli]'" in said, f"no help on how to install the command line: {said}")


def check_extras(environment: Environment) -> None:
    """Each extra in turn, of the package that is installed, by what it makes possible."""
    for extra, program in EXTRAS.items():
        environment.install(f"stomplistener[{extra}]")
        environment.run("python", "-c", program)
        print(f"   [{extra}] works", flush=True)
    said = environment.run("stomplistener", "--help")
    expect("worker" in said, f"no command of that name: {said}")


def check_examples(environment: Environment) -> None:
    """Those that need no container, from a copy outside of the tree."""
    environment.install("pytest")
    shutil.copytree(ROOT / "examples", environment.room / "examples")
    # The example's tests name real brokers as well, which are left out here but must be known.
    shutil.copy(ROOT / "docker-compose.yml", environment.room)
    print(environment.run("python", "examples/demo.py", "--messages", "2000").splitlines()[-5])
    harness = ("--rootdir", "examples/harness", "examples/harness", "--stomp-brokers", "embedded")
    print(environment.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *harness).splitlines()[-1])


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise SystemExit(otherwise)


def main() -> None:
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        room = Path(directory).resolve()
        source, wheel = build(room)
        check_contents(source, wheel)
        check_metadata(wheel)
        environment = Environment(room)
        check_alone(environment, wheel)
        check_extras(environment)
        check_examples(environment)
        print(f"{wheel.name} and {source.name}: {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
