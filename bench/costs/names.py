"""The names that the statements of the cost map use."""

from __future__ import annotations

from typing import Any

from bench import wire

_FOUR = {"order-id": "39281", "customer": "example-4711", "trace": "4bf92f3577b34da6", "kind": "created"}
_NINETEEN = {**_FOUR, **{f"header-{number}": f"value {number}" for number in range(4, 19)}}

NAMES: dict[str, Any] = {
    "DESTINATION": wire.DESTINATION,
    "BODY": wire.BODY,
    "TEXT": wire.BODY.decode(),
    "BODY_16K": b"x" * (16 << 10),
    "BODY_256K": b"x" * (256 << 10),
    "ONE": {"order-id": "39281"},
    "FOUR": _FOUR,
    "FIVE": {**_FOUR, "number": "1"},
    "NINETEEN": _NINETEEN,
    "TWENTY": {**_NINETEEN, "number": "1"},
}
