"""Make the arguments of each call from the signature of the handler.

::

    @app.listener("/queue/orders")
    def book(order: Order, message: Message, tenant: str = Header("x-tenant")) -> Receipt: ...

At most one parameter is the *payload*: the body is converted to the type in its annotation. The other parameters are
recognized by their annotation, or by a ``Header`` as default or in ``Annotated``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from stomplistener._util.callables import name_of, refuse_unrun
from stomplistener.message import Message
from stomplistener.protocol import Headers
from stomplistener.worker.codecs import Codecs
from stomplistener.worker.payload import PayloadError, fitter

Source = Callable[[Message], Any]
"""Makes one argument of a call."""

_MISSING: Any = object()
_WORDS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class HeaderParameter:
    """A parameter that takes a header; see ``Header``."""

    name: str | None
    default: Any


def Header(name: str | None = None, *, default: Any = _MISSING) -> Any:  # noqa: N802 (it stands for a value)
    """Declare that a handler's parameter takes a header of the message.

    Write ``Header(...)`` as default or in ``Annotated``.

    Args:
        name: the name of the header; None takes the parameter's name with ``-`` for each ``_``.
        default: the value if the header is missing. Without a default, a message without the header is rejected.
    """
    return HeaderParameter(name, default)


class Binding:
    """Calls one handler with the arguments that its signature declares. Thread-safe.

    Args:
        handler: the function.
        codecs: read the bodies.

    Raises:
        TypeError: the function cannot be called with a message.
    """

    def __init__(self, handler: Callable[..., Any], codecs: Codecs) -> None:
        self._handler = handler
        self._codecs = codecs
        self._names = _names_around(handler)
        self._sources: dict[str, Source] = {}
        self._first: Source | None = None
        self._payload: str | None = None
        self._bind()

    def call(self, message: Message) -> Any:
        """Call the handler, and return what it returns.

        Raises:
            PayloadError: the message does not fit the signature; the handler was not called.
        """
        first, sources = self._first, self._sources
        if first is None:
            return self._handler(message)
        arguments = {name: source(message) for name, source in sources.items()}
        return self._handler(first(message), **arguments)

    def _bind(self) -> None:
        refuse_unrun(self._handler)
        try:
            parameters = list(inspect.signature(self._handler).parameters.values())
        except (TypeError, ValueError):
            # Some callables that are written in C have no signature.
            return
        hints = self._hints()
        positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
        if not positional:
            if any(each.kind is each.VAR_POSITIONAL for each in parameters):
                return
            raise TypeError(
                f"{name_of(self._handler)} takes no argument: a handler must take the message or its payload"
            )
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            is_first = parameter is positional[0]
            source = self._source(parameter, hints.get(parameter.name, _MISSING), is_first=is_first)
            if is_first:
                self._first = source
            elif source is not None:
                self._sources[parameter.name] = source
        if self._first is None:
            raise TypeError(f"{name_of(self._handler)}: its first parameter is neither the message nor its payload")

    def _hints(self) -> Mapping[str, Any]:
        function = self._handler
        while isinstance(function, functools.partial):
            function = function.func
        if not (inspect.isfunction(function) or inspect.ismethod(function)) and not isinstance(function, type):
            function = getattr(function, "__call__", function)  # noqa: B004 (its annotations are needed)
        function = inspect.unwrap(function)
        try:
            return get_type_hints(function, localns=dict(self._names), include_extras=True)
        except NameError:
            return self._hints_one_by_one(function)
        except TypeError:
            return {}

    def _hints_one_by_one(self, function: Any) -> Mapping[str, Any]:
        """Evaluate annotations one by one, since ``Message`` may be imported for type checkers only."""
        hints: dict[str, Any] = {}
        for name, annotation in inspect.get_annotations(function).items():
            if name == "return":
                continue
            try:
                hint = (
                    eval(annotation, function.__globals__, dict(self._names)) if type(annotation) is str else annotation
                )
            except NameError as error:
                if annotation.rpartition(".")[2] != Message.__name__:
                    raise TypeError(
                        f"{name_of(self._handler)}: {name!r} is annotated with {annotation}, but {error.name!r} does "
                        "not exist when the handler is declared"
                    ) from None
                hint = Message
            hints[name] = hint
        return hints

    def _source(self, parameter: inspect.Parameter, hint: Any, *, is_first: bool) -> Source | None:
        header = parameter.default if isinstance(parameter.default, HeaderParameter) else None
        if get_origin(hint) is Annotated:
            header = next((each for each in get_args(hint)[1:] if isinstance(each, HeaderParameter)), header)
            hint = get_args(hint)[0]
        if header is not None:
            return self._header(parameter.name, header, hint)
        if hint is Any and parameter.name == "message":
            # A parameter ``message: Any`` is the message, as if it had no annotation.
            hint = _MISSING
        if hint is _MISSING:
            if is_first or parameter.name == "message":
                return lambda message: message
        elif isinstance(hint, type) and issubclass(hint, Message):
            return lambda message: message
        if parameter.name == "headers" and (hint is _MISSING or hint is Headers or get_origin(hint) is not None):
            return lambda message: message.headers
        if hint is Headers:
            return lambda message: message.headers
        if parameter.default is not parameter.empty and not is_first:
            return None
        if hint is _MISSING:
            raise TypeError(
                f"{name_of(self._handler)}: parameter {parameter.name!r} has no type: annotate it, or give it a default"
            )
        return self._payload_source(parameter.name, hint)

    def _payload_source(self, name: str, hint: Any) -> Source:
        if self._payload is not None:
            raise TypeError(
                f"{name_of(self._handler)}: both {self._payload!r} and {name!r} would be the payload; declare a "
                "header with Header(...)"
            )
        self._payload = name
        if hint is bytes:
            return lambda message: message.body
        if hint is str:
            return _text
        try:
            fit = fitter(hint, self._names)
        except (TypeError, NameError) as error:
            raise TypeError(f"{name_of(self._handler)}: {name!r}: {error}") from error
        return lambda message: fit(self._codecs.decoded(message), "")

    def _header(self, parameter: str, declared: HeaderParameter, hint: Any) -> Source:
        name = declared.name or parameter.replace("_", "-")
        kinds = get_args(hint) if get_origin(hint) is not None else (hint,)
        default = None if declared.default is _MISSING and type(None) in kinds else declared.default
        kind = next((each for each in kinds if each is not type(None)), str)
        if kind not in (str, int, float, bool, Any, _MISSING):
            raise TypeError(f"{name_of(self._handler)}: the header {name!r} can be str, int, float or bool, not {kind}")

        def source(message: Message) -> Any:
            text = message.headers.get(name)
            if text is None:
                if default is _MISSING:
                    raise PayloadError(f"header {name}: it is missing")
                return default
            if kind in (str, Any, _MISSING):
                return text
            try:
                return _WORDS[text.lower()] if kind is bool else kind(text)
            except (KeyError, ValueError):
                raise PayloadError(f"header {name}: it is no {kind.__name__}") from None

        return source


def _text(message: Message) -> str:
    try:
        return message.text
    except (UnicodeDecodeError, LookupError) as error:
        raise PayloadError(f"the body is not text ({type(error).__name__})") from None


def _names_around(handler: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the local names at the declaration. An annotation in quotes may name a class inside a function."""
    module, frame = getattr(handler, "__module__", None), inspect.currentframe()
    names: dict[str, Any] = {}
    while frame is not None:
        if frame.f_globals.get("__name__") == module:
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names
