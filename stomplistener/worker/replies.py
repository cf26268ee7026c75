"""The return types of a handler. With them, type checkers reject a coroutine, or a value that JSON cannot represent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import Field
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar, Protocol
from uuid import UUID


class DataclassValue(Protocol):
    """An instance of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


class Model(Protocol):
    """An instance of a pydantic model."""

    def model_dump_json(self) -> str: ...


class Struct(Protocol):
    """An instance of a msgspec struct."""

    __struct_fields__: ClassVar[tuple[str, ...]]


Plain = str | bytes | bytearray | memoryview | bool | int | float | date | time | Decimal | UUID | Enum
Reply = Plain | Mapping[str, Any] | Sequence[Any] | DataclassValue | Model | Struct | None
"""None sends no reply. Text and bytes are sent unchanged, everything else as JSON."""
