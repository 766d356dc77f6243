"""Lines of JSON: the same frames however the bytes are cut."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from sidecar.core.ndjson import LineDecoder, line
from sidecar.core.sse import EventTooLarge
from tests.cuts import every_way

CASES: dict[str, tuple[bytes, list[bytes]]] = {
    "nothing": (b"", []),
    "one": (b'{"a":1}\n', [b'{"a":1}']),
    "two": (b'{"a":1}\n{"b":2}\n', [b'{"a":1}', b'{"b":2}']),
    "CRLF": (b'{"a":1}\r\n{"b":2}\r\n', [b'{"a":1}', b'{"b":2}']),
    "blank lines": (b'\n\r\n{"a":1}\n \n\n{"b":2}\n\n', [b'{"a":1}', b'{"b":2}']),
    "white space": (b' \t{"a":1} \n', [b'{"a":1}']),
    "no line end": (b'{"a":1}\n{"b":2}', [b'{"a":1}', b'{"b":2}']),
    "only a CR": (b'{"a":1}\r{"b":2}\n', [b'{"a":1}\r{"b":2}']),
    "separators of lines elsewhere": (
        '{"a":"\u2028\u0085"}\n'.encode(), ['{"a":"\u2028\u0085"}'.encode()]
    ),
}  # fmt: skip


def decoded(pieces: Iterable[bytes], limit: int = 1000) -> list[tuple[bytes, bytes | None, bool]]:
    """The frames of a stream: their bytes, their data, and whether they are nothing else."""
    decoder = LineDecoder(limit)
    frames = [frame for piece in pieces for frame in decoder.feed(piece)]
    rest, unfinished = decoder.finish()
    assert unfinished is None
    return [(frame.raw, frame.data, frame.pure) for frame in (*frames, *rest)]


@pytest.mark.parametrize(("stream", "lines"), CASES.values(), ids=CASES)
def test_each_line_is_a_frame(stream: bytes, lines: list[bytes]) -> None:
    """Whole, byte by byte and at every cut."""
    frames = decoded([stream])
    assert [data for _, data, _ in frames] == lines
    for raw, data, pure in frames:
        assert data is not None
        assert pure is (raw in (data + b"\n", data + b"\r\n"))
    for pieces in every_way(stream):
        assert decoded(pieces) == frames


@pytest.mark.parametrize("tail", [b'{"b":', b'{"b":"\xc3', b"{", b"nul"])
def test_a_last_line_that_broke_off_is_no_frame(tail: bytes) -> None:
    """Upstream died, and did not send an event that cannot be read."""
    for pieces in every_way(b'{"a":1}\n' + tail):
        decoder = LineDecoder(1000)
        frames = [frame.data for piece in pieces for frame in decoder.feed(piece)]
        assert frames == [b'{"a":1}']
        rest, unfinished = decoder.finish()
        assert rest == []
        assert unfinished is not None
        assert unfinished.data == tail
        assert decoder.finish() == ([], None)


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_line_has_a_bound(end: bytes) -> None:
    """With its end; one byte more is too much, before it has come to its end."""
    stream = b"1" * (10 - len(end)) + end
    for pieces in every_way(b"1\n" + stream):
        assert len(decoded(pieces, limit=10)) == 2
    for pieces in every_way(b"1\n" + b"1" + stream):
        with pytest.raises(EventTooLarge):
            decoded(pieces, limit=10)


def test_what_is_written_is_one_line() -> None:
    """Whatever the JSON text looks like."""
    for data in (b'{"a":1}', b'{\n "a": 1\n}', b'{"a":"\\n"}'):
        written = line(data)
        assert written.count(b"\n") == 1
        assert len(decoded([written])) == 1
