"""Convert the plain values of JSON to the type that a handler declares, and back.

This module checks dataclasses field by field. Pydantic and msgspec check their own models and structs; the program has
imported these packages already. Error texts of this module quote no value, because they may be logged.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

Fit = Callable[[Any, str], Any]
"""Converts a plain value to a value of one type. The text is its position, such as ``lines[2].article``."""

_NAMES = {type(None): "null", bool: "a boolean", str: "a text", list: "a list", dict: "an object"}
_OF_TEXT: Mapping[type, Callable[[str], Any]] = {
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    time: time.fromisoformat,
    UUID: UUID,
    Decimal: Decimal,
}


class PayloadError(ValueError):
    """A message does not fit the type that its handler declares. The text names the field and quotes no value."""


def fitter(kind: Any, names: Mapping[str, Any]) -> Fit:
    """Return the function that converts plain values to a type.

    Args:
        kind: the type, as in an annotation.
        names: the names that annotations of dataclasses may use besides the globals of their module.

    Raises:
        TypeError: values of this type cannot be made from JSON.
    """
    return _Fitters(names).of(kind)


class _Fitters:
    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names
        self._dataclasses: dict[type, Fit] = {}

    def of(self, kind: Any) -> Fit:
        origin, parts = get_origin(kind), get_args(kind)
        if kind in (Any, object) or isinstance(kind, TypeVar):
            return lambda value, _where: value
        if origin is Annotated:
            return self.of(parts[0])
        if hasattr(kind, "__supertype__"):
            return self.of(kind.__supertype__)
        if origin in (Union, types.UnionType):
            return self._union(kind, parts)
        if origin is Literal:
            return _literal(parts)
        found = self._of_model(kind) or self._of_container(kind, origin or kind, parts) or self._of_scalar(kind)
        if found is None:
            raise TypeError(f"{_name(kind)} cannot be made from JSON: declare a dataclass, a model, or a plain type")
        return found

    def _union(self, kind: Any, parts: Sequence[Any]) -> Fit:
        fits = [self.of(part) for part in parts]

        def fit(value: Any, where: str) -> Any:
            # Try the exact type first: for ``float | int``, 1 is an int.
            for part in parts:
                if isinstance(part, type) and type(value) is part:
                    return value
            errors = []
            for each, part in zip(fits, parts, strict=True):
                try:
                    return each(value, where)
                except PayloadError as error:
                    errors.append((part, error))
            optional = [error for part, error in errors if part is not type(None)]
            if len(optional) == 1 and value is not None:
                raise optional[0]
            raise _misfit(where, _name(kind), value)

        return fit

    def _of_model(self, kind: Any) -> Fit | None:
        if not isinstance(kind, type):
            return None
        if hasattr(kind, "model_validate"):
            return _pydantic(kind)
        if hasattr(kind, "__struct_fields__"):
            return _msgspec(kind)
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind)
        return None

    def _dataclass(self, kind: type) -> Fit:
        # Register the type before its fields, which may be of the same type.
        if kind in self._dataclasses:
            return lambda value, where: self._dataclasses[kind](value, where)
        self._dataclasses[kind] = lambda value, _where: value
        hints = get_type_hints(kind, localns={**self._names, kind.__name__: kind}, include_extras=True)
        fields = [(each, self.of(hints[each.name])) for each in dataclasses.fields(kind) if each.init]

        def fit(value: Any, where: str) -> Any:
            if isinstance(value, kind):
                return value
            if not isinstance(value, dict):
                raise _misfit(where, f"an object for {kind.__name__}", value)
            given = {}
            for field, each in fields:
                inner = f"{where}.{field.name}" if where else field.name
                if field.name in value:
                    given[field.name] = each(value[field.name], inner)
                elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                    raise PayloadError(f"{inner}: it is missing")
            try:
                return kind(**given)
            except (TypeError, ValueError) as error:
                # Raised by __post_init__. The text may quote a value, but the application itself has written it.
                raise PayloadError(f"{where or kind.__name__}: {error}") from error

        self._dataclasses[kind] = fit
        return fit

    def _of_container(self, kind: Any, origin: Any, parts: Sequence[Any]) -> Fit | None:
        if origin is tuple and parts and Ellipsis not in parts:
            return self._tuple(kind, [self.of(part) for part in parts])
        if origin in (list, set, frozenset, tuple, Sequence):
            made = list if origin is Sequence else origin
            return _list(made, self.of(parts[0]) if parts else self.of(Any))
        if origin in (dict, Mapping):
            if parts and parts[0] is not str:
                raise TypeError(f"{_name(kind)} cannot be made from JSON: its keys must be text")
            return _dict(self.of(parts[1]) if parts else self.of(Any))
        return None

    def _tuple(self, kind: Any, fits: Sequence[Fit]) -> Fit:
        def fit(value: Any, where: str) -> Any:
            if not isinstance(value, list) or len(value) != len(fits):
                raise _misfit(where, f"a list for {_name(kind)}", value)
            return tuple(each(item, f"{where}[{at}]") for at, (each, item) in enumerate(zip(fits, value, strict=True)))

        return fit

    def _of_scalar(self, kind: Any) -> Fit | None:
        if kind in (None, type(None)):
            return _exactly(type(None))
        if kind in (str, bool):
            return _exactly(kind)
        if kind in (int, float):
            return _number(kind)
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return _enum(kind)
        if kind in _OF_TEXT:
            return _of_text(kind, _OF_TEXT[kind])
        return None


def _list(made: Any, fits: Fit) -> Fit:
    def fit(value: Any, where: str) -> Any:
        if not isinstance(value, list):
            raise _misfit(where, "a list", value)
        return made(fits(item, f"{where}[{at}]") for at, item in enumerate(value))

    return fit


def _dict(fits: Fit) -> Fit:
    def fit(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise _misfit(where, "an object", value)
        return {key: fits(item, f"{where}.{key}" if where else key) for key, item in value.items()}

    return fit


def _exactly(kind: type) -> Fit:
    def fit(value: Any, where: str) -> Any:
        if type(value) is not kind:
            raise _misfit(where, _NAMES[kind], value)
        return value

    return fit


def _number(kind: type) -> Fit:
    def fit(value: Any, where: str) -> Any:
        # JSON does not distinguish 1 from 1.0, and True is not a number.
        if type(value) is int or (type(value) is float and (kind is float or value.is_integer())):
            return kind(value)
        raise _misfit(where, "an integer" if kind is int else "a number", value)

    return fit


def _of_text(kind: type, make: Callable[[str], Any]) -> Fit:
    def fit(value: Any, where: str) -> Any:
        if isinstance(value, kind):
            return value
        if kind is Decimal and type(value) in (int, float):
            value = str(value)
        if not isinstance(value, str):
            raise _misfit(where, f"a text for {kind.__name__}", value)
        try:
            return make(value)
        except (ValueError, InvalidOperation):
            raise PayloadError(f"{_at(where)}the text is no {kind.__name__}") from None

    return fit


def _enum(kind: type[enum.Enum]) -> Fit:
    def fit(value: Any, where: str) -> Any:
        try:
            return kind(value)
        except ValueError:
            raise PayloadError(f"{_at(where)}it is no value of {kind.__name__}") from None

    return fit


def _literal(values: Sequence[Any]) -> Fit:
    def fit(value: Any, where: str) -> Any:
        for each in values:
            if type(each) is type(value) and each == value:
                return value
        raise PayloadError(f"{_at(where)}it is none of {', '.join(map(repr, values))}")

    return fit


def _pydantic(kind: Any) -> Fit:
    refused = sys.modules["pydantic"].ValidationError

    def fit(value: Any, where: str) -> Any:
        if isinstance(value, kind):
            return value
        try:
            return kind.model_validate(value)
        except refused as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            raise PayloadError("; ".join(_at(_path(where, each["loc"])) + each["msg"] for each in found)) from None

    return fit


def _path(where: str, parts: Sequence[str | int]) -> str:
    for part in parts:
        where = f"{where}[{part}]" if isinstance(part, int) else f"{where}.{part}" if where else part
    return where


def _msgspec(kind: Any) -> Fit:
    msgspec = sys.modules["msgspec"]

    def fit(value: Any, where: str) -> Any:
        try:
            return value if isinstance(value, kind) else msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            raise PayloadError(_at(where) + str(error)) from None

    return fit


def _at(where: str) -> str:
    return f"{where}: " if where else ""


def _misfit(where: str, wanted: str, value: Any) -> PayloadError:
    kind = type(value)
    found = "a number" if kind in (int, float) else _NAMES.get(kind, kind.__name__)
    return PayloadError(f"{_at(where)}it must be {wanted}, not {found}")


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)


def plain(value: Any) -> Any:
    """Convert a value that ``json.dumps`` cannot write to one that it can write: a function for its ``default``.

    Raises:
        TypeError: the value cannot be converted.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "__struct_fields__"):
        return sys.modules["msgspec"].to_builtins(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (UUID, Decimal)):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def to_json(value: Any) -> bytes:
    """Write a value as JSON: plain values, dataclasses, models, structs, dates, UUIDs, decimals, enumerations.

    Raises:
        TypeError: the value contains an object of another type.
    """
    return json.dumps(value, default=plain, ensure_ascii=False, separators=(",", ":")).encode()
