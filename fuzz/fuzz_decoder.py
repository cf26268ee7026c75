"""The decoder on bytes of any kind. An input is one byte of choices, one for the size of pieces, and the stream.

What must hold: nothing but ``ProtocolError`` comes out; pieces do not matter; no frame is larger than the limits; what
can be written again reads the same.
"""

from __future__ import annotations

from contextlib import suppress

import engine

with engine.instrumented("protocol"):
    from stomplistener.errors import InvalidHeader, ProtocolError
    from stomplistener.protocol import HEARTBEAT, Decoder, Frame, Limits, encode

SMALL = Limits(max_header_line=40, max_headers=6, max_header_bytes=120, max_body=50)
USUAL = Limits()
VERSIONS = (None, "1.0", "1.1", "1.2")


def check(data: bytes) -> None:
    if len(data) < 3:
        return
    choices, step, stream = data[0], data[1] + 1, data[2:]
    version, limits = VERSIONS[choices & 3], SMALL if choices & 4 else USUAL
    frames, failed, decoder = decode(version, limits, [stream])
    pieces = [stream[start : start + step] for start in range(0, len(stream), step)]
    again, failed_again, other = decode(version, limits, pieces)
    # A head that has not ended may be found too long sooner or later; when it ends, at the latest.
    unfinished = (failed or decoder.partial) and (failed_again or other.partial)
    assert failed == failed_again or unfinished, "pieces decide whether it is STOMP"
    assert [f is HEARTBEAT for f in frames] == [f is HEARTBEAT for f in again], "pieces decide about heart-beats"
    assert frames == again, "pieces decide about the frames"
    assert [f.problem for f in frames] == [f.problem for f in again], "pieces decide about what is wrong"
    assert unfinished or decoder.partial == other.partial
    assert decoder.version == other.version
    cut, cut_again = decoder.finish(), other.finish()
    assert failed or failed_again or cut == cut_again, "pieces decide about an ERROR that is cut off"
    for frame in [*frames, *([cut] if cut is not None else [])]:
        if frame is not HEARTBEAT:
            check_frame(frame, limits, VERSIONS[(choices >> 3) % 3 + 1])


def decode(version: str | None, limits: Limits, pieces: list[bytes]) -> tuple[list[Frame], bool, Decoder]:
    decoder = Decoder(version, limits)
    frames: list[Frame] = []
    failure: ProtocolError | None = None
    try:
        for piece in pieces:
            frames += decoder.feed(piece)
    except ProtocolError as error:
        failure = error
    if failure is not None:
        frames += failure.frames
        assert len(str(failure)) < 500, "what was seen is to be shown shortened"
    return frames, failure is not None, decoder


def check_frame(frame: Frame, limits: Limits, version: str | None) -> None:
    sizes = [len(key) + len(value) for key, value in frame.headers.pairs]
    assert len(frame.body) <= limits.max_body
    assert len(sizes) <= limits.max_headers
    assert sum(sizes) <= limits.max_header_bytes
    assert max(sizes, default=0) <= limits.max_header_line
    assert frame.info.isprintable(), "a stranger writes log lines"
    assert len(frame.problem or "") < 1000, "what was seen is to be shown shortened"
    assert frame.header("message-id") == frame.headers.get("message-id")
    # Not every version can write what another one reads.
    with suppress(InvalidHeader):
        data = encode(frame, version)
        assert Decoder(version, USUAL).feed(data) == [frame], "it reads differently from how it was written"


if __name__ == "__main__":
    engine.fuzz(check)
