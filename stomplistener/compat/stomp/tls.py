"""What ``set_ssl`` is told, and the contexts that it asks for."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, cast

Validator = Callable[[Any, str], tuple[bool, str]]


@dataclass(frozen=True, kw_only=True)
class TLSSettings:
    """The arguments of ``set_ssl`` for one broker."""

    key_file: str | None
    cert_file: str | None
    ca_certs: str | None
    cert_validator: Validator | None
    verify: bool
    ssl_version: int
    password: Any

    def context(self) -> ssl.SSLContext:
        """Made anew for each attempt, so that a renewed file counts."""
        context = _Context(self.ssl_version)
        context.validator = self.cert_validator
        if self.ca_certs:
            context.load_verify_locations(self.ca_certs)
        else:
            context.load_default_certs()
        if not self.verify:
            context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED if self.verify else ssl.CERT_NONE
        if self.cert_file:
            # A function, since without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self.cert_file, self.key_file or self.cert_file, lambda: self.password or "")
        return context

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class _ValidatedObject(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        validator = cast("_Context", self.context).validator
        if validator is not None:
            valid, why = validator(self.getpeercert(), self.server_hostname or "")
            if not valid:
                raise OSError(f"cert_validator refused the certificate of {self.server_hostname}: {why}")


class _Context(ssl.SSLContext):
    sslobject_class = _ValidatedObject
    validator: Validator | None = None
