"""Every Python block of README and of the manual runs; what cannot run here is compiled."""

from __future__ import annotations

import ssl
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme
from docs_support import BROKER_ADDRESS, BROKER_URI, DOCS, ROOT, TLS_URI, Block, blocks, files, pages, run_pytest

from stomplistener import Connection
from stomplistener.testing import Broker

KINDS = {"", "program", "test-module", "not-run", "client"}
REAL = {"activemq", "artemis", "rabbitmq"}
"""Blocks for real brokers, run by ``tests/integration/test_broker_features.py``."""
PAGES = [page for page in pages() if blocks(page)]
MANUAL = [page for page in PAGES if page.is_relative_to(DOCS)]
RUNNABLE = [page for page in MANUAL if any(block.kind in ("", "client") for block in blocks(page))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def compiled(block: Block, text: str | None = None) -> Any:
    # Lines of the page, so that a traceback leads to it.
    padding = "\n" * block.line
    return compile(padding + (block.text if text is None else text), str(block.page), "exec", dont_inherit=True)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_compiles_and_has_a_known_class(page: Path) -> None:
    for block in blocks(page):
        assert block.kind in KINDS or set(block.kind.split()) <= REAL, f"{page}:{block.line}"
        compiled(block)


def test_few_blocks_are_not_run() -> None:
    not_run = [block for page in PAGES for block in blocks(page) if block.kind == "not-run"]
    # Code for other libraries, which are not here.
    assert {block.page.name for block in not_run} == {"from-stomp-py.md", "from-stompest.md"}


def tls_broker(directory: Path) -> Broker:
    """A broker that speaks TLS, and the files that the blocks name."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(directory / "client.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = ssl.CERT_OPTIONAL
    authority.configure_trust(context)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return Broker(ssl_context=context)


@pytest.mark.parametrize("page", RUNNABLE, ids=name)
def test_the_blocks_of_a_page_run_one_after_the_other(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runnable = [block for block in blocks(page) if block.kind in ("", "client")]
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:
        broker = stack.enter_context(Broker())
        substitutes = {BROKER_URI: broker.uri, BROKER_ADDRESS: f'("127.0.0.1", {broker.port})'}
        if any(TLS_URI in block.text for block in runnable):
            secure = stack.enter_context(tls_broker(tmp_path))
            substitutes[TLS_URI] = f"ssl://localhost:{secure.port}"
        namespace: dict[str, Any] = {"__name__": "manual", "broker": broker}
        namespace["connection"] = stack.enter_context(Connection(broker.uri))
        try:
            for block in runnable:
                text = block.text
                for written, meant in substitutes.items():
                    text = text.replace(written, meant)
                exec(compiled(block, text), namespace)
        finally:
            for value in namespace.values():
                if isinstance(value, Connection):
                    value.close()
        broker.wait_for(lambda: not broker.connections, what="the end of every connection")
    capsys.readouterr()


@pytest.mark.parametrize("page", [p for p in MANUAL if any(b.kind == "test-module" for b in blocks(p))], ids=name)
def test_the_tests_of_a_page_pass(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if block.kind == "test-module":
            (tmp_path / block.caption).parent.mkdir(exist_ok=True)
            (tmp_path / block.caption).write_text(block.text)
    for caption, text in files(page).items():
        (tmp_path / caption).write_text(text)
    result = run_pytest(tmp_path, "--stomp-brokers", "embedded")
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_clients_own_reconnect_restores_its_subscription() -> None:
    """The page on rolling one's own client says so in a docstring."""
    page = DOCS / "howto" / "own-client.md"
    block = next(block for block in blocks(page) if block.kind == "client")
    namespace: dict[str, Any] = {"__name__": "client"}
    exec(compiled(block), namespace)
    from stomplistener import ConnectionLost

    with Broker() as broker:
        client = namespace["BlockingClient"](broker.uri)
        client.subscribe("/queue/a")
        broker.publish("/queue/a", "one")
        message, epoch = client.receive()
        assert message.body == b"one"
        broker.drop_connections()
        with pytest.raises((ConnectionLost, OSError)):
            client.receive()
        client.connect()
        client.ack(message, epoch)
        again, epoch = client.receive()
        assert again.body == b"one"
        client.ack(again, epoch)
        client.send("/queue/b", "sent")
        client.close()
        broker.wait_for(lambda: not broker.unacknowledged("/queue/a"), what="the acknowledgement")
        assert broker.depth("/queue/a") == 0
        assert [stored.body for stored in broker.messages("/queue/b")] == [b"sent"]


def test_the_client_is_about_sixty_lines() -> None:
    block = next(block for block in blocks(DOCS / "howto" / "own-client.md") if block.kind == "client")
    assert len([line for line in block.text.splitlines() if line.strip()]) <= 75
