"""The shortcut gives the very bytes of the long way, or nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stomplistener import InvalidHeader
from stomplistener.protocol import VERSIONS, Decoder, Frame, commands, encode
from stomplistener.protocol.templates import Templates

DESTINATIONS = ["/queue/a", "/queue/a:b", "/queue/ä\\n", "/topic/x"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("body", [b"", b"x\0y", "", "grün"])
def test_a_send_is_the_same(version: str, destination: str, body: bytes | str) -> None:
    templates = Templates(version)
    for _ in range(2):
        assert templates.send(destination, body) == encode(commands.send(destination, body), version)


@pytest.mark.parametrize("body", [bytearray(b"x"), memoryview(b"x"), 5, None])
def test_a_body_of_another_kind_is_left_to_the_long_way(body: object) -> None:
    assert Templates("1.2").send("/queue/a", body) is None


def test_a_length_is_made_anew_and_the_head_is_not() -> None:
    templates = Templates("1.2")
    templates.send("/queue/a", b"")
    head = templates._heads_of_bytes["/queue/a"]
    for size in range(3000):
        body = b"x" * size
        assert templates.send("/queue/a", body) == encode(commands.send("/queue/a", body), "1.2")
    assert len(templates._lengths) <= 1000
    assert templates._heads_of_bytes["/queue/a"] is head


def test_a_destination_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(InvalidHeader):
        Templates("1.0").send("/queue/a\ntransaction:t", b"")
    with pytest.raises(ValueError, match="destination"):
        Templates("1.2").send("", b"")


def test_destinations_without_end_do_not_fill_the_memory() -> None:
    templates = Templates("1.2")
    for number in range(5000):
        templates.send(f"/queue/{number}", b"")
    assert len(templates._heads_of_bytes) <= 1000


ids = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1).filter(lambda s: "\n" not in s)


@given(version=st.sampled_from(list(VERSIONS)), id=ids, ack=ids, subscription=ids)
def test_an_ack_is_the_same_or_left_to_the_long_way(version: str, id: str, ack: str, subscription: str) -> None:
    message = Frame("MESSAGE", {"message-id": id, "ack": ack, "subscription": subscription})
    decoder = Decoder(version)
    (frame,) = decoder.feed(encode(message, version))
    short = Templates(version).ack(frame)
    if short is not None:
        assert short == encode(commands.ack(message, version=version), version)


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_a_bare_colon_of_the_broker_is_escaped_when_it_is_sent(version: str) -> None:
    head = b"MESSAGE\nmessage-id:ID:1\nack:ID:1\nsubscription:1\n\n\0"
    (frame,) = Decoder(version).feed(head)
    assert Templates(version).ack(frame) is None
