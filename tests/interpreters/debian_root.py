"""A Debian of today in a directory, for interpreters that this machine lacks.

The root is made by ``debootstrap`` and entered by ``chroot``, in a mount namespace of its own, so no mount outlives a
command. It shares the network and the tree. Both need root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

TREE = Path(__file__).parents[2]
ROOT = TREE / ".interpreters" / "debian"
SUITE = "sid"
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
TRIES = 3

# A mirror behind a cache may be weeks old: its Release file has then expired, and is signed all the same.
_APT = 'Acquire::Check-Valid-Until "false";\nAcquire::Check-Date "false";\nAcquire::Retries "5";\n'
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

_ENTER = """
mount --make-rprivate /
mount --rbind /proc "$1/proc" && mount --rbind /dev "$1/dev" && mount --bind "$2" "$1$2" || exit 125
root=$1 tree=$2 && shift 2 && exec chroot "$root" env --chdir="$tree" "$@"
"""


class Unavailable(Exception):
    """An interpreter cannot be had here; the text says what is missing."""


def retry(*command: str, what: str) -> None:
    """Run a command that asks a server, again after a pause if it fails.

    Raises:
        Unavailable: the last try failed, too.
    """
    for attempt in range(1, TRIES + 1):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode == 0:
            return
        print(f"{what} failed ({attempt} of {TRIES}): {done.stdout.strip()[-400:]}", file=sys.stderr, flush=True)
        if attempt < TRIES:
            time.sleep(5 * attempt)
    raise Unavailable(f"{what} failed {TRIES} times")


def command(*arguments: str) -> tuple[str, ...]:
    """The command that runs ``arguments`` inside the root, with the tree at its own path."""
    return ("unshare", "--mount", "sh", "-c", _ENTER, "enter", str(ROOT), str(TREE), *arguments)


def install(*packages: str) -> None:
    """Make the root if there is none, and install packages in it.

    Raises:
        Unavailable: this machine cannot do that, or its mirror does not answer.
    """
    if os.geteuid() != 0:
        raise Unavailable("a Debian root is made by root only")
    if missing := [name for name in ("debootstrap", "unshare", "chroot") if _which(name) is None]:
        raise Unavailable(f"{', '.join(missing)} is not installed")
    ready = ROOT / ".ready"
    if not ready.exists():
        _make()
        ready.touch()
    retry(
        *("chroot", str(ROOT), "env", "DEBIAN_FRONTEND=noninteractive"),
        *("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages),
        what=f"installing {', '.join(packages)} in {ROOT}",
    )


def _make() -> None:
    for attempt in range(1, TRIES + 1):
        # A root that was half made is of no use for another try.
        shutil.rmtree(ROOT, ignore_errors=True)
        ROOT.parent.mkdir(parents=True, exist_ok=True)
        made = subprocess.run(
            ("debootstrap", "--variant=minbase", "--include=ca-certificates", SUITE, str(ROOT), MIRROR),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if made.returncode == 0:
            break
        print(f"debootstrap failed ({attempt} of {TRIES}): {made.stdout[-400:]}", file=sys.stderr, flush=True)
        if attempt == TRIES:
            raise Unavailable(f"debootstrap of {SUITE} from {MIRROR} failed {TRIES} times")
        time.sleep(5 * attempt)
    (ROOT / "etc/apt/apt.conf.d/99mirror").write_text(_APT)
    shutil.copy("/etc/resolv.conf", ROOT / "etc/resolv.conf")
    if _CERTIFICATES.exists():
        # A company's own authority may stand before the package registry.
        shutil.copy(_CERTIFICATES, ROOT / _CERTIFICATES.relative_to("/"))
    (ROOT / TREE.relative_to("/")).mkdir(parents=True, exist_ok=True)
    retry("chroot", str(ROOT), "apt-get", "update", "--quiet", what="apt-get update")


def _which(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
