"""The connections that the environment configures, with the same names for workers, Flask, Django and the command line.

The variables are ``STOMP_URL``, ``STOMP_LOGIN`` and ``STOMP_PASSCODE``; ``STOMP_PASSCODE_FILE`` names a file that holds
the passcode. The variables of a connection ``billing`` are ``STOMP_URL_BILLING`` and so on.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

DEFAULT = "default"
"""The connection whose variables have no suffix."""


class PasscodeError(ValueError):
    """The file of a passcode cannot be read."""


def variable(what: str, connection: str = DEFAULT) -> str:
    """Return the name of a variable, such as ``variable("URL", "billing")``."""
    return f"STOMP_{what}" if connection == DEFAULT else f"STOMP_{what}_{connection.upper().replace('-', '_')}"


def tell_of_old_name(text: str) -> None:
    """Warn operators: Python hides DeprecationWarning from them."""
    warnings.warn(text, FutureWarning, stacklevel=2)


def url(connection: str = DEFAULT, *, tell: Callable[[str], object] = tell_of_old_name) -> str | None:
    """Return the broker URI of a connection; if only the old name is set, also call ``tell`` with a warning."""
    name, old = variable("URL", connection), variable("URI", connection)
    found = os.environ.get(name)
    if not found and (found := os.environ.get(old)):
        tell(f"{old} is called {name} now; the old name will be removed")
    return found or None


def credentials(connection: str = DEFAULT) -> dict[str, str]:
    """Return ``login`` and ``passcode``, if the environment has them.

    Raises:
        PasscodeError: the file of the passcode cannot be read.
    """
    login, passcode = (os.environ.get(variable(what, connection)) for what in ("LOGIN", "PASSCODE"))
    if not passcode and (file := os.environ.get(variable("PASSCODE_FILE", connection))):
        passcode = passcode_of(file)
    return {name: value for name, value in (("login", login), ("passcode", passcode)) if value}


def passcode_of(file: str | Path) -> str:
    """Return the first line of a file; ``~`` is the user's home directory.

    Raises:
        PasscodeError: the file cannot be read.
    """
    path = Path(file).expanduser()
    try:
        return path.read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise PasscodeError(f"the passcode file {path} cannot be read: {error}") from None
