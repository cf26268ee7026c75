"""Make TLS contexts from the settings of ``set_ssl``."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, cast

Validator = Callable[[Any, str], tuple[bool, str]]


def context_of(settings: dict[str, Any]) -> ssl.SSLContext:
    """Return a new context for one attempt, so that a renewed file takes effect.

    Args:
        settings: the result of ``get_ssl()``, which a program may change. A context in ``ssl_context`` or
            ``ssl_version`` is used unchanged. Of the other settings, only ``cert_validator`` then has an effect.
    """
    validator = settings.get("cert_validator")
    own = next((each for each in map(settings.get, ("ssl_context", "ssl_version")) if _is_context(each)), None)
    context = own if own is not None else _made(settings)
    if validator is not None:
        context.sslobject_class = _ValidatedObject
        cast(Any, context).stomp_validator = validator
    return context


def _is_context(value: object) -> bool:
    return isinstance(value, ssl.SSLContext)


def _made(settings: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.SSLContext(settings.get("ssl_version") or ssl.PROTOCOL_TLS_CLIENT)
    if settings.get("ca_certs"):
        context.load_verify_locations(settings["ca_certs"])
    else:
        context.load_default_certs()
    verify = settings.get("verify", True)
    if not verify:
        context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    certificate = settings.get("cert_file")
    if certificate:
        password = settings.get("password") or ""
        # Pass a function, since without a password OpenSSL would prompt for one on the terminal.
        asked = password if callable(password) else lambda: password
        context.load_cert_chain(certificate, settings.get("key_file") or certificate, asked)
    return context


class _ValidatedObject(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        valid, why = cast(Any, self.context).stomp_validator(self.getpeercert(), self.server_hostname or "")
        if not valid:
            raise OSError(f"cert_validator refused the certificate of {self.server_hostname}: {why}")
