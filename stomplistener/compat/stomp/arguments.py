"""Arguments of connections that stomp.py 9 does not have: new arguments, and those of stomp.py before 6.

These arguments are given by keyword, and do not appear in the signature, which is that of stomp.py 9.
"""

from __future__ import annotations

import functools
import os
import ssl
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

_OURS = ("restore", "proxy", "ssl_context")
_OLD_SSL = {
    "ssl_key_file": "key_file",
    "ssl_cert_file": "cert_file",
    "ssl_ca_certs": "ca_certs",
    "ssl_cert_validator": "cert_validator",
    "ssl_version": "ssl_version",
    "ssl_password": "password",
}
_OLD = {"use_ssl", "ssl_for_hosts", "wait_on_receipt", *_OLD_SSL}


def restore_by_default() -> bool:
    """Whether the environment allows restoring lost connections, which is the default."""
    return os.environ.get("STOMPLISTENER_COMPAT_RESTORE", "1").strip().lower() not in ("0", "no", "false", "off")


def with_more_arguments(init: Function) -> Function:
    """Let the constructor of a connection accept these arguments."""

    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        ours = {name: kwargs.pop(name) for name in _OURS if name in kwargs}
        old = {name: kwargs.pop(name) for name in _OLD if name in kwargs}
        init(self, *args, **kwargs)
        transport = self.transport
        if "restore" in ours:
            transport.restore = bool(ours["restore"])
        if "proxy" in ours:
            transport.proxy = ours["proxy"]
        if ours.get("ssl_context") is not None:
            transport.set_ssl(transport.host_and_ports, ssl_version=ours["ssl_context"])
        if old:
            warn_of("the arguments use_ssl and ssl_… of a connection", "call set_ssl()")
            if old.get("use_ssl", True):
                transport.set_ssl(old.get("ssl_for_hosts") or transport.host_and_ports, **_new_names(old))

    return wrapped  # type: ignore[return-value]


def with_old_ssl_arguments(set_ssl: Function) -> Function:
    """Let ``set_ssl`` accept the names from before stomp.py 6. Without ``for_hosts`` they apply to all hosts."""

    @functools.wraps(set_ssl)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        old = {name: kwargs.pop(name) for name in _OLD - {"ssl_version"} if name in kwargs}
        if old:
            warn_of("the arguments use_ssl and ssl_… of set_ssl()", "leave out ssl_")
            if not old.get("use_ssl", True):
                return
            kwargs.update(_new_names(old))
            if not args:
                kwargs.setdefault("for_hosts", old.get("ssl_for_hosts") or self.host_and_ports)
        set_ssl(self, *args, **kwargs)

    return wrapped  # type: ignore[return-value]


def warn_of(what: str, instead: str) -> None:
    """Warn the caller's caller about a feature of an old version that still works."""
    warnings.warn(f"{what}: from an old version of stomp.py; {instead}", DeprecationWarning, stacklevel=3)


def _new_names(old: dict[str, Any]) -> dict[str, Any]:
    named = {new: old[name] for name, new in _OLD_SSL.items() if old.get(name) is not None}
    version = named.get("ssl_version")
    # Old programs name the protocol of a single TLS version. Such protocols are removed from Python, or refused by
    # brokers.
    if version is not None and not isinstance(version, ssl.SSLContext):
        del named["ssl_version"]
    # Without certificate authorities, these versions of stomp.py checked no certificate.
    return named if "ca_certs" in named else {**named, "verify": False}
