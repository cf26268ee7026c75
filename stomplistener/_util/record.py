"""Immutable records, declared like dataclasses, without generated code.

``dataclasses`` writes and compiles the methods of each class when the class is declared, and imports ``inspect`` for
this. With ``dataclasses``, the records took a third of the time of ``import stomplistener``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self, dataclass_transform

if TYPE_CHECKING:
    from inspect import Signature


class _FieldsAsArguments:
    """The signature of a record, for ``help`` and the manual."""

    def __get__(self, instance: Record | None, owner: type[Record]) -> Signature:
        from inspect import Parameter, Signature

        return Signature(
            [
                Parameter(
                    name, Parameter.KEYWORD_ONLY, default=owner._defaults.get(name, Parameter.empty), annotation=type_
                )
                for name, type_ in owner._fields.items()
            ]
        )


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Record:
    """Base of immutable records. A subclass annotates its fields, and assigns their defaults.

    A name that begins with an underscore is not a field. The arguments are keyword-only. Two records are equal if they
    have the same class and equal fields. A subclass may check its values in ``__post_init__``. The attribute
    ``_secret`` of a subclass names the fields that ``repr`` leaves out.
    """

    _fields: ClassVar[dict[str, Any]] = {}
    _defaults: ClassVar[dict[str, Any]] = {}
    _secret: ClassVar[frozenset[str]] = frozenset()
    __signature__: ClassVar[_FieldsAsArguments] = _FieldsAsArguments()

    def __init_subclass__(cls) -> None:
        own = {name: type_ for name, type_ in cls.__annotations__.items() if not name.startswith("_")}
        cls._fields = cls._fields | own
        cls._defaults = {name: getattr(cls, name) for name in cls._fields if hasattr(cls, name)}

    def __init__(self, *without_a_name: Any, **values: Any) -> None:
        if without_a_name:
            raise TypeError(f"{type(self).__name__} takes its fields by name, as in {self._example()}")
        given = self._defaults | values
        if given.keys() != self._fields.keys():
            self._refuse(given)
        self.__dict__.update(given)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Check the values when all fields are set; for subclasses."""

    def _example(self) -> str:
        return f"{type(self).__name__}({next(iter(self._fields))}=…)"

    def _refuse(self, given: dict[str, Any]) -> None:
        unknown = [name for name in given if name not in self._fields]
        missing = [name for name in self._fields if name not in given]
        what = f"has no field {', '.join(unknown)}" if unknown else f"needs {', '.join(missing)}"
        raise TypeError(f"{type(self).__name__} {what}")

    def replace(self, **changes: Any) -> Self:
        """Return a copy with other values in these fields."""
        return type(self)(**self._values() | changes)

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._fields}

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} never changes")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} never changes")

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self._values().values()))

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self._values().items() if name not in self._secret)
        return f"{type(self).__name__}({', '.join(shown)})"
