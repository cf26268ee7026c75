"""TLS over another transport.

``ssl.SSLSocket`` does not work here. OpenSSL allows one thread at a time to use a connection, so its socket would have
to be locked while a receive blocks. In this module OpenSSL uses memory only. So a lock is held for computations, and
never for I/O.
"""

from __future__ import annotations

import ssl
from contextlib import suppress

from stomplistener._util.text import shorten
from stomplistener.errors import ConnectFailed
from stomplistener.transport.base import EndpointOptions, Transport
from stomplistener.transport.foreign import foreign_protocol
from stomplistener.transport.layer import Layer
from stomplistener.transport.socket_errors import what
from stomplistener.transport.tls_errors import advice

# The largest content of one record (RFC 8446, section 5.1): a larger read or write would bring no more.
_RECORD = 16384

# How much one send encrypts. A larger size needs fewer system calls; with this size, the lock is free again within 0.1
# ms.
_SEND_SIZE = 4 * _RECORD

# The types of the records that a server may answer with (RFC 8446, section 5.1: alert, handshake).
_ANSWERS = (b"\x15", b"\x16")


def default_context(options: EndpointOptions) -> ssl.SSLContext:
    """Make the context for an endpoint's options: verified, at least TLS 1.2, without ALPN.

    The context is made for each attempt, so that a renewed file takes effect.

    Args:
        options: ``ca_file`` replaces the system's authorities; ``cert_file`` with ``key_file`` and ``key_password`` is
            the client's certificate; ``verify_hostname`` controls only the check of the name.

    Raises:
        ConnectFailed: a file cannot be used; the text names the option, never the password.
    """
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
    except OSError as error:
        raise ConnectFailed(f"caFile {options.ca_file!r} cannot be used: {error.strerror or error}") from error
    # An administrator may have configured a higher minimum for OpenSSL.
    if context.minimum_version < ssl.TLSVersion.TLSv1_2:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = options.verify_hostname
    if options.cert_file is not None:
        _load_certificate(context, options.cert_file, options)
    return context


def _load_certificate(context: ssl.SSLContext, cert_file: str, options: EndpointOptions) -> None:
    # Without this function, OpenSSL asks on the terminal for the password of an encrypted key.
    try:
        context.load_cert_chain(cert_file, options.key_file, lambda: options.key_password or "")
    except (OSError, ValueError) as error:
        files = repr(cert_file) if options.key_file is None else f"{cert_file!r} with keyFile {options.key_file!r}"
        hint = "" if options.key_password else " (if the key is encrypted, keyPassword is needed)"
        why = "not found" if isinstance(error, FileNotFoundError) else getattr(error, "reason", None) or error
        raise ConnectFailed(f"certFile {files} cannot be used: {why}{hint}") from error


class TLSTransport(Layer):
    """A TLS client over a connected transport, which it owns from now on."""

    def __init__(self, inner: Transport, context: ssl.SSLContext, host: str) -> None:
        super().__init__(inner)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._host = host
        self._heard = False  # whether the peer has sent data
        self._is_tls13 = False
        try:
            # The final dot of an absolute name is not part of the name in SNI (RFC 6066, 3), nor in certificates.
            self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host.rstrip("."))
        except ValueError as error:
            raise ConnectFailed(f"TLS cannot be used with host {host!r}: {error}") from error

    def handshake(self, deadline: float) -> None:
        """Negotiate keys with the peer, and check its certificate.

        Args:
            deadline: a time of ``time.monotonic()``.

        Raises:
            OSError: one side rejected the other, or the peer does not speak TLS.
            TimeoutError: the peer has not answered in time.
        """
        try:
            while not self._advance():
                self._send_by(deadline)
                self._feed(self._answer(deadline))
            self._send_by(deadline)
        except TimeoutError as error:
            raise TimeoutError(f"no answer in time to the TLS handshake; {PLAIN}") from error
        except ssl.SSLError as error:
            # Send the alert that tells the peer the reason, for the peer's log.
            with suppress(OSError):
                self._send_by(deadline)
            raise ConnectionAbortedError(f"TLS handshake: {advice(error, self._ssl, self._host)}") from error
        except ConnectionError as error:
            raise ConnectionAbortedError(f"broken off in the TLS handshake ({what(error)}); {PLAIN}") from error
        self._is_tls13 = self._ssl.version() == "TLSv1.3"
        self._take_early(deadline)

    def _advance(self) -> bool:
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def _answer(self, deadline: float) -> bytes:
        raw = self._receive_by(deadline)
        if not raw:
            raise ConnectionAbortedError("closed by the peer")
        if self._fed == 0 and raw[:1] not in _ANSWERS:
            raise OSError(f"the peer does not speak TLS, it sent {shorten(raw)}; {foreign_protocol(raw) or PLAIN}")
        self._fed += 1
        return raw

    def _encode(self, data: memoryview) -> int:
        count = 0
        try:
            while count < min(len(data), _SEND_SIZE):
                count += self._ssl.write(data[count : count + _RECORD])
        except ssl.SSLWantReadError:
            pass  # the peer renegotiates (TLS 1.2), and its part has not arrived yet
        return count

    def _feed(self, raw: bytes) -> None:
        self._incoming.write(raw)

    def _read(self) -> bytes:
        # Read everything: a record left inside would wait for bytes that may never arrive.
        chunks = []
        try:
            while self._incoming.pending or self._ssl.pending():
                chunk = self._ssl.read(_RECORD)
                if not chunk:
                    self._ended = True  # close_notify
                    break
                chunks.append(chunk)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._ended = True
        except ssl.SSLError as error:
            # In TLS 1.3, a client finishes its handshake before the server checks the client's certificate.
            self._failure = ConnectionAbortedError(f"TLS: {advice(error, self._ssl, self._host)}")
            self._ended = True
        # An end of the stream without close_notify counts as an end, too (see Layer.receive). A killed broker sends
        # none. close_notify would guard against a truncated stream, but a truncated frame is never taken for a complete
        # one.
        self._heard = self._heard or bool(chunks)
        return b"".join(chunks)

    def _meaning(self, error: OSError) -> str | None:
        # In TLS 1.3, a server rejects a client's certificate, or the lack of one, after the client's handshake. The
        # server's alert is lost if the server resets the connection because of the bytes that we have sent since.
        if self._heard or not self._is_tls13:
            return None
        return (
            f"broken off by the broker right after the TLS handshake ({what(error)}): it may want a client "
            "certificate, or another one (certFile)"
        )

    def _drain(self) -> bytes:
        return self._outgoing.read() if self._outgoing.pending else b""

    def _farewell(self) -> None:
        # unwrap() raises SSLWantReadError after writing our close_notify: we do not wait for the peer's close_notify.
        with suppress(ssl.SSLError):
            self._ssl.unwrap()


PLAIN = "if this port does not speak TLS, use tcp:// or ws://"
