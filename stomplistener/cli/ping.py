"""``stomplistener ping``: show the broker that answers, or the reason if none does."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import textwrap

import click

from stomplistener.cli.diagnosis import diagnose
from stomplistener.cli.probe import Findings, Probe
from stomplistener.cli.target import Target, with_target
from stomplistener.failover import Broker
from stomplistener.transport import MissingExtra
from stomplistener.worker.exits import Exit, exit_of


@click.command()
@click.argument("uri", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each broker.")
@with_target
def ping(target: Target, as_json: bool) -> None:
    """Test whether a broker answers. If a broker does not answer, show the cause and a remedy.

    Run this command first when nothing works. The command connects to the broker, or to each broker of a failover URI,
    logs in and measures round trips, but sends no message.

    \b
    Examples:
      stomplistener ping tcp://localhost:61613
      stomplistener ping ssl://mq1:61614?caFile=ca.pem --login shop --ask-passcode
      stomplistener ping tcp://localhost:61613/%2F    RabbitMQ's virtual host /
      stomplistener ping "failover:(tcp://mq1:61613,tcp://mq2:61613)"

    Exit codes: 0 every broker answers; 1 a broker refused, or another kind of server answered; 2 the URI is wrong, or a
    package is missing; 3 a broker cannot be reached; 4 a broker does not answer in time.
    """
    worst = 0
    for broker in target.uri.brokers:
        findings = Probe(broker, target).run()
        click.echo(_line(broker, findings) if as_json else _text(broker, findings))
        worst = max(worst, _exit(findings))
    click.get_current_context().exit(worst)


def _exit(findings: Findings) -> int:
    error = findings.failure
    if error is None:
        return Exit.DONE
    if isinstance(error, MissingExtra):
        return Exit.USAGE
    if findings.heard:
        return Exit.FAILED
    code = exit_of(error)
    return Exit.NO_CONNECTION if code is Exit.FAILED else code


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def _facts(findings: Findings) -> dict[str, str]:
    headers = findings.connected.headers if findings.connected else {}
    facts = {
        "broker": headers.get("server", "") or "a broker without a name",
        "STOMP": findings.version,
        "session": headers.get("session", ""),
    }
    send, receive = findings.heartbeat
    facts["heart-beat"] = f"we send every {send:g} s, it every {receive:g} s (0: never)"
    facts |= {f"TLS {name}": value for name, value in findings.tls.items()}
    facts |= {f"to {step}": _milliseconds(seconds) for step, seconds in findings.times.items()}
    if trips := findings.round_trips:
        facts["round trip"] = f"{_milliseconds(statistics.median(trips))} (best {_milliseconds(min(trips))})"
    return {name: value for name, value in facts.items() if value}


def _text(broker: Broker, findings: Findings) -> str:
    if findings.failure is None:
        lines = [click.style(f"✓ {broker} answers", fg="green", bold=True)]
        lines += [f"    {name:16} {value}" for name, value in _facts(findings).items()]
        return "\n".join(lines)
    cause, cure = diagnose(findings, broker)
    lines = [click.style(f"✗ {broker}", fg="red", bold=True), _wrapped("cause", cause)]
    lines += [_wrapped("cure", cure)] if cure else []
    lines += [f"    {name:16} {value}" for name, value in (_facts(findings) if findings.connected else {}).items()]
    return "\n".join(lines)


def _wrapped(name: str, text: str) -> str:
    """Return a line, wrapped for a terminal. A pipe gets it whole, for grep."""
    line = f"    {name:5}  {text}"
    if not sys.stdout.isatty():
        return line
    columns = shutil.get_terminal_size().columns
    return textwrap.fill(
        line, max(columns, 30), subsequent_indent=" " * 11, break_long_words=False, break_on_hyphens=False
    )


def _line(broker: Broker, findings: Findings) -> str:
    line: dict[str, object] = {"broker": str(broker), "ok": findings.failure is None}
    if findings.failure is not None:
        cause, cure = diagnose(findings, broker)
        line |= {"cause": cause, "cure": cure}
    if findings.version:
        line |= {
            "server": findings.connected.headers.get("server", "") if findings.connected else "",
            "version": findings.version,
            "heartbeat": findings.heartbeat,
            "tls": findings.tls,
            "seconds": findings.times,
            "round_trips": findings.round_trips,
        }
    return json.dumps(line, ensure_ascii=False)
