"""Read the file named by ``updateURIsURL``. This is the only module of the package that reads anything."""

from __future__ import annotations

from stomplistener.errors import InvalidURI
from stomplistener.failover.options import path_of
from stomplistener.failover.uri import Broker, parse_brokers


def read_brokers(location: str) -> list[Broker]:
    """Read brokers from a file: URIs with commas or line ends between them, as in ActiveMQ's ``updateURIsURL``.

    Args:
        location: a path or a ``file:`` URL.

    Raises:
        OSError: the file cannot be read.
        InvalidURI: the location or the content of the file is malformed, or the file has no broker.
    """
    try:
        path = path_of(location)
    except ValueError as error:
        raise InvalidURI("neither a path nor a file: URL") from error
    with open(path, "rb") as file:
        text = _text(file.read())
    lines = (line.strip().removesuffix(",") for line in text.splitlines())
    return list(parse_brokers(",".join(filter(None, lines))))


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    # Raise outside the handler: the UnicodeDecodeError contains the whole file, including passcodes.
    raise InvalidURI("the file is not UTF-8")
