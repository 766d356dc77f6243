"""The ways of cutting leave no place out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import accumulate

from tests.cuts import in_each_line, two_way

STREAM = b": x\n\ndata: one\n\nevent: e\r\ndata: two\r\n\r\n\rdata: cut o"


def places(pieces: Iterable[bytes]) -> list[int]:
    """Where the stream is cut, but for its ends."""
    return [at for at in accumulate(map(len, pieces)) if 0 < at < len(STREAM)]


def test_every_place_of_a_stream_is_cut_once_and_each_line_at_most_once_at_a_time() -> None:
    ways = list(in_each_line(STREAM))
    assert all(b"".join(pieces) == STREAM for pieces in ways)
    inside = range(1, len(STREAM))
    assert Counter(at for pieces in ways for at in places(pieces)) == Counter(inside)
    lines = STREAM.splitlines(keepends=True)
    assert len(ways) == max(map(len, lines))
    assert all(len(places(pieces)) <= len(lines) for pieces in ways)


def test_two_pieces_are_cut_at_every_place() -> None:
    assert [at for pieces in two_way(STREAM) for at in places(pieces)] == list(
        range(1, len(STREAM))
    )
