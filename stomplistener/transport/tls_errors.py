"""The cause of a failed handshake, and the remedy: few people understand OpenSSL's texts."""

from __future__ import annotations

import ssl
from typing import Any

# X509_V_ERR_* of OpenSSL's x509_vfy.h.
_NOT_YET_VALID, _EXPIRED = 9, 10
_SELF_SIGNED = 18
_UNKNOWN_ISSUER = {2, 19, 20, 21}
_WRONG_NAME = {62, 64}

# A part of the reason of an alert (RFC 8446, section 6.2), and its meaning for the client.
_ALERTS = (
    ("CERTIFICATE_REQUIRED", "the broker wants a client certificate: give certFile and keyFile"),
    (
        "ALERT_HANDSHAKE_FAILURE",
        "the broker refused: it wants a client certificate (certFile), or has no common cipher",
    ),
    ("ALERT_BAD_CERTIFICATE", "the broker refused our client certificate, or wants one: check certFile"),
    ("ALERT_UNKNOWN_CA", "the broker does not know the authority that issued our client certificate (certFile)"),
    ("ALERT_CERTIFICATE_EXPIRED", "our client certificate (certFile) has expired"),
    ("ALERT_CERTIFICATE_REVOKED", "our client certificate (certFile) has been revoked"),
    ("ALERT_CERTIFICATE_UNKNOWN", "the broker refused our client certificate (certFile)"),
    ("ALERT_ACCESS_DENIED", "the broker refused our client certificate (certFile)"),
    ("ALERT_PROTOCOL_VERSION", "no TLS version in common: the broker refuses those that we allow"),
    ("UNSUPPORTED_PROTOCOL", "no TLS version in common: at least TLS 1.2 is needed"),
    ("UNRECOGNIZED_NAME", "the broker has no certificate for this host name"),
)


def advice(error: ssl.SSLError, connection: ssl.SSLObject, host: str) -> str:
    """Return the cause of a failed handshake, and advice.

    Args:
        error: the error from OpenSSL.
        connection: the connection that failed.
        host: the name that the certificate of the peer should have.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return _unverified(error, _certificate(connection), host)
    reason = (error.reason or "").upper().replace(" ", "_")
    for part, meaning in _ALERTS:
        if part in reason:
            return f"{meaning} ({error.reason})"
    return error.reason or str(error)


def _unverified(error: ssl.SSLCertVerificationError, certificate: dict[str, Any], host: str) -> str:
    code = error.verify_code
    if code in _WRONG_NAME:
        names = ", ".join(value for _, value in certificate.get("subjectAltName", ())) or "another host"
        return (
            f"the certificate is for {names}, not for {host}: connect by a name that it has, or, if this is the right "
            "broker, verifyHostname=false leaves out the check of the name"
        )
    if code == _EXPIRED:
        since = f" since {certificate['notAfter']}" if "notAfter" in certificate else ""
        return f"a certificate of the broker has expired{since}, by this machine's clock: it must be renewed"
    if code == _NOT_YET_VALID:
        return "a certificate of the broker is not valid yet: is this machine's clock right?"
    if code == _SELF_SIGNED:
        return "the broker's certificate is self-signed: give it as caFile, if you trust it"
    if code in _UNKNOWN_ISSUER:
        return f"the broker's certificate is from {_issuer(certificate)}, not trusted here: give that one's as caFile"
    return f"the broker's certificate was refused: {error.verify_message}"


def _issuer(certificate: dict[str, Any]) -> str:
    names = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    for key in "commonName", "organizationName", "organizationalUnitName":
        if key in names:
            return repr(names[key])
    return "an authority"


def _certificate(connection: ssl.SSLObject) -> dict[str, Any]:
    """Return the certificate that was rejected; empty if Python does not provide it.

    ``getpeercert`` returns accepted certificates only. For rejected certificates, the public function (Python 3.13)
    returns undecoded bytes.
    """
    try:
        chain = connection._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
        return dict(chain[0].get_info())
    except Exception:
        return {}
