"""Log in: from a broker's address to a connection with CONNECTED. All connections of the library log in this way."""

from __future__ import annotations

import time
from collections.abc import Callable

from stomplistener._engine.frame_pace import FramePace
from stomplistener._engine.log import ConnectionLog
from stomplistener._util.callables import refuse_unawaited
from stomplistener._util.deadline import Deadline
from stomplistener.brokers import host_to_try, refusal_hint
from stomplistener.errors import BrokerError, ConnectFailed, ProtocolError, StompError, TimedOut
from stomplistener.failover import Broker
from stomplistener.options import Config, ConnectOptions
from stomplistener.protocol import HEARTBEAT, Decoder, Frame, Session, SessionState, encode
from stomplistener.protocol.frame import without
from stomplistener.transport import Interrupt, Transport, foreign_protocol

_IS_IT_STOMP = "the port accepts connections, but does it speak STOMP, without TLS?"

_FIRST_BYTES = 64
"""How many bytes of an answer are kept, to recognize a protocol other than STOMP."""


class LoggedIn:
    """A connection on which CONNECTED was received, and nothing was sent afterwards.

    Attributes:
        broker: the address of the broker.
        transport: the transport, without a timeout.
        decoder: the decoder, which has taken all received bytes.
        connect: the CONNECT frame that was sent.
        connected: the broker's CONNECTED frame.
        early: the frames behind CONNECTED.
        secrets: the values that no text may show.
        last_received: ``time.monotonic()`` of the last bytes.
    """

    def __init__(self, broker: Broker, transport: Transport, decoder: Decoder, secrets: tuple[str, ...]) -> None:
        self.broker = broker
        self.transport = transport
        self.decoder = decoder
        self.secrets = secrets
        self.connect: Frame
        self.connected: Frame
        self.early: list[Frame] = []
        self.last_received = time.monotonic()


def log_in(
    config: Config,
    broker: Broker,
    number: int,
    deadline: Deadline,
    interrupt: Interrupt,
    log: ConnectionLog,
    sent: Callable[[Frame], object] = lambda _frame: None,
) -> LoggedIn:
    """Connect a transport, send CONNECT and wait for CONNECTED.

    Args:
        config: the options of the connection.
        broker: the address to connect to.
        number: the number of the attempt, for ``before_connect``.
        deadline: limits the whole log-in.
        interrupt: ends the log-in from another thread.
        log: logs the frames.
        sent: called with the CONNECT frame.

    Raises:
        OSError, StompError, ValueError: the log-in failed.
    """
    options = _options(config, broker, number)
    try:
        return _attempt(config, broker, options, deadline, interrupt, log, sent)
    except BrokerError as error:
        other = host_to_try(str(error)) if options.host == config.guessed_host(broker) else None
        if other is None:
            raise
    guessed, (options.host, whose) = options.host, other
    found = _attempt(config, broker, options, deadline, interrupt, log, sent)
    log.warning(
        "%s at %s has no virtual host %r, which was guessed from the URI; logged in to %r: write host=%r",
        *(whose, broker, guessed, options.host, options.host),
    )
    return found


def _attempt(
    config: Config,
    broker: Broker,
    options: ConnectOptions,
    deadline: Deadline,
    interrupt: Interrupt,
    log: ConnectionLog,
    sent: Callable[[Frame], object],
) -> LoggedIn:
    transport = _dial(config, broker, options, deadline, interrupt)
    try:
        with interrupt.doing(transport.shutdown):
            interrupt.step = f"the answer to CONNECT of {broker}; {_IS_IT_STOMP}"
            return _log_in(config, broker, transport, options, deadline, log, sent)
    except BaseException:
        transport.close()
        raise


def _options(config: Config, broker: Broker, number: int) -> ConnectOptions:
    options = config.connect_options(broker, number)
    if config.before_connect is not None:
        try:
            if (returned := config.before_connect(options)) is not None:
                refuse_unawaited(config.before_connect, returned)
        except (OSError, StompError, ValueError):
            raise
        except BaseException as error:
            # Any exception of the application ends this attempt only.
            raise ConnectFailed(f"before_connect raised {type(error).__name__}: {error}") from error
    options.check()
    return options


def _dial(
    config: Config, broker: Broker, options: ConnectOptions, deadline: Deadline, interrupt: Interrupt
) -> Transport:
    assert deadline.at is not None
    try:
        return config.connect_transport(
            broker,
            deadline=deadline.at,
            interrupt=interrupt,
            ssl_context=config.ssl_context,
            headers=options.http_headers,
        )
    except Exception:
        raise
    except BaseException as error:
        raise ConnectFailed(f"the transport raised {type(error).__name__}: {error}") from error


def _log_in(
    config: Config,
    broker: Broker,
    transport: Transport,
    options: ConnectOptions,
    deadline: Deadline,
    log: ConnectionLog,
    sent: Callable[[Frame], object],
) -> LoggedIn:
    session = Session(config.versions, config.heartbeat, refusal_hint=refusal_hint)
    decoder = Decoder(limits=config.limits, secrets=options.secrets)
    found = LoggedIn(broker, transport, decoder, options.secrets)
    found.connect = session.connect(
        # before_connect may ask for no host: all four brokers accept a CONNECT without a host.
        options.host,
        options.login,
        options.passcode,
        options.headers,
        host_required=False,
    )
    data = memoryview(encode(found.connect))
    log.frame(">", found.connect)
    while len(data):
        _limit(transport, deadline)
        data = data[transport.send(data) :]
    sent(found.connect)
    first = b""
    pace = FramePace(config.limits.frame_timeout)
    while session.state is SessionState.CONNECTING:
        data_in = _receive(transport, deadline, config, broker)
        if not data_in:
            raise _closed(session, found, first, config, log)
        first = (first + data_in)[:_FIRST_BYTES]
        found.last_received = time.monotonic()
        _take(session, found, data_in, first, log)
        pace.note(found.last_received, complete=False, partial=decoder.partial)
    transport.settimeout(None)
    assert session.connected_frame is not None
    found.connected = session.connected_frame
    return found


def _limit(transport: Transport, deadline: Deadline) -> None:
    remaining = deadline.remaining()
    if remaining == 0.0:
        raise _silent(deadline)
    transport.settimeout(remaining)


def _receive(transport: Transport, deadline: Deadline, config: Config, broker: Broker) -> bytes:
    _limit(transport, deadline)
    try:
        return transport.receive()
    except TimeoutError:
        raise _silent(deadline) from None
    except ConnectionError as error:
        why = f"the broker broke the connection off instead of answering CONNECT ({error.strerror or error})"
        raise ConnectFailed(f"{why}; {_what_it_may_want(config, broker)}") from error


def _closed(session: Session, found: LoggedIn, first: bytes, config: Config, log: ConnectionLog) -> ConnectFailed:
    """Return why the broker has closed the connection. Raise BrokerError if it sent an ERROR that has no end."""
    cut = found.decoder.finish()
    if cut is not None:
        _answer(session, without(cut, found.secrets), log)
    why = "the broker closed the connection instead of answering CONNECT"
    return ConnectFailed(_foreign(first) or f"{why}; {_what_it_may_want(config, found.broker)}")


def _take(session: Session, found: LoggedIn, data: bytes, first: bytes, log: ConnectionLog) -> None:
    try:
        frames = found.decoder.feed(data)
    except ProtocolError as error:
        if not error.frames:
            foreign = _foreign(first)
            if foreign is not None:
                raise ConnectFailed(foreign) from None
            raise
        # The frames in front decide: an ERROR is the reason, whatever follows it.
        frames = error.frames
        for frame in frames:
            if session.state is SessionState.CONNECTING:
                _answer(session, without(frame, found.secrets), log)
        raise
    for position, frame in enumerate(frames, 1):
        _answer(session, without(frame, found.secrets), log)
        if session.state is not SessionState.CONNECTING:
            found.early = frames[position:]
            return


def _answer(session: Session, frame: Frame, log: ConnectionLog) -> None:
    if frame is not HEARTBEAT:
        log.frame("<", frame)
    session.receive(frame)


def _foreign(first: bytes) -> str | None:
    """Return the protocol of the server, if it is not STOMP."""
    return None if first.startswith((b"CONNECTED", b"ERROR", b"\n", b"\r")) else foreign_protocol(first)


def _silent(deadline: Deadline) -> TimedOut:
    return TimedOut(f"no answer to CONNECT within {deadline.timeout:g} s (connectionTimeout); {_IS_IT_STOMP}")


def _what_it_may_want(config: Config, broker: Broker) -> str:
    """Guess why a broker closes the connection without an ERROR."""
    if broker.scheme not in ("ssl", "wss"):
        return _IS_IT_STOMP
    if config.ssl_context is None and broker.options.cert_file is None:
        # Apollo 1.7.1 sends no alert.
        return "over TLS it may want a client certificate (certFile)"
    return "is it a STOMP port?"
