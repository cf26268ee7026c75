"""The file that ``updateURIsURL`` names: the one place of this package that reads something."""

from __future__ import annotations

from stomplistener.errors import InvalidURI
from stomplistener.failover.options import path_of
from stomplistener.failover.uri import Broker, parse_brokers


def read_brokers(location: str) -> list[Broker]:
    """Read brokers from a file: URIs with commas or line ends between them, as ActiveMQ's ``updateURIsURL`` has them.

    Args:
        location: a path or a ``file:`` URL.

    Raises:
        OSError: the file cannot be read.
        InvalidURI: the location or what the file holds is malformed, or it holds no broker.
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
    # Raised outside the handler: the UnicodeDecodeError holds the whole file, passcodes included.
    raise InvalidURI("the file is not UTF-8")
