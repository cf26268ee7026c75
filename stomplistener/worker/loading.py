"""Import an application by its name on the command line, ``module:app``."""

from __future__ import annotations

import importlib
import os
import sys

from stomplistener.worker.application import Application


class LoadError(ValueError):
    """The text names no application. The message of the error says what is missing."""


def load(target: str) -> Application:
    """Import an application.

    Modules are first looked for in the working directory, as with ``python -m``.

    Args:
        target: ``package.module:name``; without a name it is ``app``.

    Raises:
        LoadError: the module or the name does not exist, or the object is not an Application. Exceptions that the
            module raises during the import are passed on.
    """
    module_name, _, path = target.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # If an import inside the application fails, keep that error and its traceback.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise LoadError(f"there is no module {error.name!r}, here ({os.getcwd()}) or installed") from None
    except (TypeError, ValueError) as error:
        if module_name and not module_name.startswith("."):
            raise
        raise LoadError(f"{target!r} names no module: write it as module:app") from error
    for name in (path or "app").split("."):
        if not hasattr(found, name):
            raise LoadError(f"{module_name!r} has no {name!r}: write module:name with the name of your Application")
        found = getattr(found, name)
    if not isinstance(found, Application):
        raise LoadError(f"{target!r} is {type(found).__name__}, not a stomplistener.worker.Application")
    return found
