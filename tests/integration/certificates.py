"""The certificates that the brokers in containers use: made once, kept in ``.certs`` beside this file (not in git).

``server.pem`` and ``server.key`` are the brokers', for localhost and 127.0.0.1; ``ca.pem`` is the authority that a
client trusts; ``client.pem`` holds a client's certificate and key by the same authority.
``python certificates.py`` makes them for a person who plays with the brokers.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import trustme
from filelock import FileLock

FILES = ("server.pem", "server.key", "ca.pem", "client.pem")


def directory() -> Path:
    """The directory of the certificates, which ``docker-compose.yml`` mounts; they are made where there are none."""
    path = Path(os.environ.get("STOMPLISTENER_CERTS") or Path(__file__).with_name(".certs"))
    # Two processes of pytest-xdist start at once. The lock is not beside the files: a directory that has them all need
    # not be writable.
    with FileLock(Path(tempfile.gettempdir()) / f"stomplistener-certificates-{os.getuid()}.lock"):
        if not all((path / name).is_file() for name in FILES):
            _issue(path)
    return path


def _issue(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    chain = b"".join(blob.bytes() for blob in server.cert_chain_pems)
    (path / "server.pem").write_bytes(chain)
    (path / "server.key").write_bytes(server.private_key_pem.bytes())
    client = authority.issue_cert("client@stomplistener.test")
    client.private_key_and_cert_chain_pem.write_to_path(path / "client.pem")
    authority.cert_pem.write_to_path(path / "ca.pem")


if __name__ == "__main__":
    print(directory())
