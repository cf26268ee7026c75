"""A free-threaded CPython, built from Debian's source where this machine has none.

``python tests/interpreters/free_threaded.py`` prints the path of its program. The build takes eight minutes of CPU; a
C compiler and the headers of OpenSSL, libffi and zlib have to be there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from debian_root import MIRROR, TREE, Unavailable, retry

VERSION = "3.13"
RELEASE = "3.13.5"
SHA256 = "93e583f243454e6e9e4588ca2c2662206ad961659863277afcdb96801647d640"
"""Debian 13's, as its signed index of sources has it."""

PREFIX = TREE / ".interpreters" / f"{VERSION}t"
PROGRAM = PREFIX / "bin" / f"python{VERSION}t"


def build() -> Path:
    """Build it, unless that was done before; the path of the program.

    Raises:
        Unavailable: the source cannot be had, or does not build here.
    """
    if PROGRAM.exists():
        return PROGRAM
    if shutil.which("cc") is None or shutil.which("make") is None:
        raise Unavailable("a free-threaded Python is built by a C compiler and make: install them")
    with tempfile.TemporaryDirectory() as room:
        source = _source(Path(room))
        print(f"building CPython {RELEASE} with --disable-gil: eight minutes of CPU", file=sys.stderr, flush=True)
        _run(
            source,
            *("./configure", "-q", "--disable-gil", "--disable-test-modules", "--with-ensurepip=install"),
            *(f"--prefix={PREFIX}", "CFLAGS=-O2"),
        )
        _run(source, "make", "-s", f"-j{os.cpu_count()}")
        _run(source, "make", "-s", "install")
    return PROGRAM


def _source(room: Path) -> Path:
    archive = room / "source.tar.xz"
    url = f"{MIRROR}/pool/main/p/python{VERSION}/python{VERSION}_{RELEASE}.orig.tar.xz"
    retry("curl", "-fsS", "--retry", "3", "-o", str(archive), url, what=f"fetching {url}")
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        raise Unavailable(f"{url} has the SHA-256 {found} and not {SHA256}")
    with tarfile.open(archive) as packed:
        packed.extractall(room, filter="data")
    return next(path for path in room.iterdir() if path.is_dir())


def _run(source: Path, *command: str) -> None:
    done = subprocess.run(
        ("nice", "-n", "19", *command),
        cwd=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command)} failed: {done.stdout[-1500:]}")


if __name__ == "__main__":
    try:
        print(build())
    except Unavailable as problem:
        sys.exit(f"free-threaded: {problem}")
