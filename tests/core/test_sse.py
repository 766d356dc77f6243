"""The decoder, clause by clause of the HTML Standard, 9.2.6 "Interpreting an event stream"."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.sse import Decoder, EventTooLarge, Frame, event, frame
from tests.cuts import at_random, every_way, two_way, units

LIMIT = 1 << 16


def decode(pieces: Iterable[bytes], limit: int = LIMIT) -> list[Frame]:
    """The frames that blank lines ended."""
    decoder = Decoder(limit)
    return [found for piece in pieces for found in decoder.feed(piece)]


def data(stream: bytes) -> list[bytes | None]:
    """The data of the frames, which is the same in every cut."""
    frames = decode([stream])
    for pieces in every_way(stream):
        assert decode(pieces) == frames, pieces
    return [found.data for found in frames]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_a_line_ends_with_lf_or_crlf(end: bytes) -> None:
    assert data(end.join([b"data: a", b"", b"data: b", b"", b""])) == [b"a", b"b"]


def test_a_line_ends_with_cr() -> None:
    # The last CR may be half a CRLF, so its event waits for what follows.
    assert data(b"data: a\r\rdata: b\r\r:") == [b"a", b"b"]


def test_an_event_that_ends_with_cr_is_not_lost_where_the_stream_ends() -> None:
    decoder = Decoder(LIMIT)
    assert list(decoder.feed(b"data: a\r\r")) == []
    assert decoder.finish() == ([Frame(b"data: a\r\r", b"a", True)], None)


@pytest.mark.parametrize(
    "blank", [b"\n\n", b"\r\n\r\n", b"\n\r\n", b"\r\n\n", b"\r\r\n", b"\n\r", b"\r\n\r"]
)
def test_line_ends_may_be_mixed(blank: bytes) -> None:
    assert data(b"data: a" + blank + b"data: b\n\n") == [b"a", b"b"]


def test_a_crlf_is_one_line_end_and_no_blank_line() -> None:
    assert data(b"data: a\r\ndata: b\r\n\r\n") == [b"a\nb"]


def test_further_blank_lines_are_no_events() -> None:
    assert data(b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n") == [b"a", b"b"]


def test_one_byte_order_mark_at_the_start_is_dropped() -> None:
    assert data(b"\xef\xbb\xbfdata: a\n\n") == [b"a"]


def test_a_later_byte_order_mark_is_part_of_a_field_that_nobody_knows() -> None:
    assert data(b"data: a\n\n\xef\xbb\xbfdata: b\n\n") == [b"a", None]
    assert data(b"\xef\xbb\xbf\xef\xbb\xbfdata: b\n\n") == [None]


def test_a_stream_shorter_than_a_byte_order_mark_is_read_to_its_end() -> None:
    decoder = Decoder(LIMIT)
    assert list(decoder.feed(b"\xef\xbb")) == []
    assert decoder.finish() == ([], Frame(b"\xef\xbb\n\n", None, False))


def test_a_comment_has_no_data_and_says_more_than_data() -> None:
    assert decode([b": keep-alive\n\n"]) == [Frame(b": keep-alive\n\n", None, False)]
    assert decode([b": x\ndata: a\n\n"]) == [Frame(b": x\ndata: a\n\n", b"a", False)]


@pytest.mark.parametrize(
    ("line", "value"),
    [(b"data:a", b"a"), (b"data: a", b"a"), (b"data:  a", b" a"), (b"data:\ta", b"\ta")],
)
def test_one_space_after_the_colon_is_not_data(line: bytes, value: bytes) -> None:
    assert data(line + b"\n\n") == [value]


def test_several_data_lines_are_joined_with_line_feeds() -> None:
    assert data(b"data: a\ndata:\ndata: b\n\n") == [b"a\n\nb"]


def test_a_field_without_a_colon_has_an_empty_value() -> None:
    assert data(b"data\n\n") == [b""]
    assert data(b"data\ndata\n\n") == [b"\n"]


@pytest.mark.parametrize("line", [b"id: 1", b"retry: 10", b": status", b"datax: 1", b"Data: 1"])
def test_other_fields_are_no_data_and_make_the_frame_impure(line: bytes) -> None:
    assert decode([line + b"\ndata: a\n\n"]) == [Frame(line + b"\ndata: a\n\n", b"a", False)]
    assert data(line + b"\n\n") == [None]


@pytest.mark.parametrize("line", [b"event: status", b"event:status"])
def test_a_name_is_all_that_a_pure_frame_has_besides_its_data(line: bytes) -> None:
    block = line + b"\ndata: a\n\n"
    assert decode([block]) == [Frame(block, b"a", True, b"status")]
    assert decode([line + b"\n" + block]) == [Frame(line + b"\n" + block, b"a", False, b"status")]
    assert data(line + b"\n\n") == [None]


def test_an_event_with_a_name_is_read_as_it_was_written() -> None:
    assert decode([event(b"{}", b"ping")]) == [Frame(event(b"{}", b"ping"), b"{}", True, b"ping")]


def test_a_space_before_the_colon_or_the_field_makes_another_field() -> None:
    assert data(b" data: a\n\ndata : a\n\n") == [None, None]


def test_an_event_without_its_blank_line_is_not_among_the_frames() -> None:
    decoder = Decoder(LIMIT)
    assert list(decoder.feed(b"data: a\n\ndata: b\n")) == [Frame(b"data: a\n\n", b"a", True)]
    assert decoder.finish() == ([], Frame(b"data: b\n\n", b"b", True))
    assert decoder.finish() == ([], None)


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\u0085", "\v", "\f", "\x1c"])
def test_no_other_character_ends_a_line(mark: str) -> None:
    value = f"a{mark}{mark}b".encode()
    assert data(b"data: " + value + b"\n\n") == [value]


def test_a_frame_keeps_its_raw_bytes_and_a_pure_one_is_data_alone() -> None:
    raw = b"data: a\r\ndata:b\r\n\r\n"
    assert decode([raw]) == [Frame(raw, b"a\nb", True)]


def test_an_event_is_written_on_one_line() -> None:
    assert event(b'{"a":\n1}') == b'data: {"a": 1}\n\n'


# The limit.


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r:"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("size", range(6, 16))
def test_whether_an_event_is_too_large_does_not_depend_on_the_cut(end: bytes, size: int) -> None:
    stream = b"data: ".ljust(size, b"x") + end

    def outcome(pieces: Iterable[bytes]) -> str:
        try:
            decode(pieces, limit=12)
        except EventTooLarge:
            return "too large"
        return "read"

    whole = outcome([stream])
    assert {outcome(pieces) for pieces in every_way(stream)} == {whole}


def test_a_long_line_is_refused_as_soon_as_it_passes_the_limit() -> None:
    decoder = Decoder(100)
    for _ in range(10):
        assert list(decoder.feed(b"x" * 10)) == []
    with pytest.raises(EventTooLarge):
        list(decoder.feed(b"x"))


def test_frames_before_one_that_is_too_large_are_read() -> None:
    frames = Decoder(20).feed(b"data: a\n\n" + b"x" * 50 + b"\n\n")
    assert next(frames).data == b"a"
    with pytest.raises(EventTooLarge):
        next(frames)


def test_a_decoder_reads_much_more_than_its_limit_in_all() -> None:
    assert len(decode([b"data: 0123456789\n\n" * 1000], limit=20)) == 1000


def test_a_line_in_many_pieces_is_searched_once() -> None:
    decoder = Decoder(1 << 20)
    for _ in range(10_000):
        assert list(decoder.feed(b"data: yyyy")) == []
        # What was searched is not searched again, less what may begin a blank line.
        assert decoder._searched >= len(decoder._buffer) - 3
    assert [found.data for found in decoder.feed(b"\n\n")] == [(b"data: yyyy" * 10_000)[6:]]


# Any stream.

LINES = st.sampled_from(
    [b"data: a", b"data:b", b"data", b"", b"", b": c", b"id: 1", b"\xef\xbb\xbf", b"event: x", b"y"]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STREAMS = st.lists(st.tuples(LINES, ENDS), max_size=14).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


@given(STREAMS)
@settings(max_examples=150)
def test_the_frames_of_any_stream_are_the_same_in_every_cut(stream: bytes) -> None:
    def everything(pieces: Iterable[bytes]) -> list[Frame | None]:
        decoder = Decoder(LIMIT)
        frames: list[Frame | None] = [one for piece in pieces for one in decoder.feed(piece)]
        completed, rest = decoder.finish()
        return [*frames, *completed, rest]

    whole = everything([stream])
    for pieces in [units(stream), *two_way(stream), *at_random(stream, 5)]:
        assert everything(pieces) == whole


@given(STREAMS)
@settings(max_examples=150)
def test_the_raw_bytes_of_the_frames_and_blank_lines_are_the_stream(stream: bytes) -> None:
    rest = stream.removeprefix(b"\xef\xbb\xbf")
    for found in decode([stream]):
        before, _, rest = rest.partition(found.raw)
        assert not before.strip(b"\r\n")


@given(st.lists(st.sampled_from([b"data: a", b"data:b", b": c", b"x", b""]), max_size=12))
@settings(max_examples=150)
def test_the_fast_path_for_lf_agrees_with_the_path_for_any_line_end(lines: list[bytes]) -> None:
    stream = b"".join(line + b"\n" for line in lines) + b"\n"
    # A comment with a CR sends the chunk down the other path.
    mixed = b": \r" + b"\n\n" + stream
    assert decode([mixed])[1:] == decode([stream])


def test_the_fast_frame_agrees_with_the_plain_one() -> None:
    fast, plain = frame(b"data: a b\n\n"), frame(b"data: a b\r\n\n")
    assert fast._replace(raw=b"") == plain._replace(raw=b"")
