"""When the events of a recording came: it changes nothing else about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.sse import Decoder
from sidecar.replay import replay
from sidecar.timing import Part, mark, timed, untimed
from tests.promises import LIMIT
from tests.test_replay import rule
from tests.wire.recordings import Recording, recordings

ALL = [recording for recording in recordings() if not recording.declares]

PARTS = st.lists(
    st.tuples(
        st.integers(0, 10**6).map(lambda n: n / 1000),
        st.lists(
            st.sampled_from(
                [b"data: a\n\n", b": t=1\n\n", b"data: b\r\n\r\n", b": t=2.000\ndata: c\n\n"]
            ),
            min_size=1,
        ).map(b"".join),
    )
)


def marked(recording: bytes) -> bytes:
    """The recording as `capture` would have written it, an event each 10 ms."""
    decoder = Decoder(LIMIT)
    frames = list(decoder.feed(recording))
    rest = decoder.finish()
    tail = b"".join(frame.raw for frame in rest[0])
    tail += rest[1].raw.removesuffix(b"\n\n") if rest[1] else b""
    return b"".join(mark(n / 100) + f.raw for n, f in enumerate(frames)) + tail


@given(PARTS)
def test_what_was_marked_is_found_again(parts: list[tuple[float, bytes]]) -> None:
    recording = b"".join(mark(at) + raw for at, raw in parts)
    assert [*timed(recording)] == [Part(*part) for part in parts]
    assert untimed(recording) == b"".join(raw for _, raw in parts)


@given(st.binary())
def test_what_has_no_marks_came_at_once(recording: bytes) -> None:
    found = list(timed(recording))
    assert b"".join(part.raw for part in found) == untimed(recording)


@pytest.mark.parametrize(
    "raw",
    [b": t=1.000\ndata: a\n\n", b"data: a\n: t=1.000\n\n", b": t=1.000 \n\n", b": t=soon\n\n"],
)
def test_a_comment_of_somebody_else_is_no_mark(raw: bytes) -> None:
    assert untimed(raw) == raw


@pytest.mark.parametrize("recording", ALL, ids=lambda r: r.name)
def test_a_marked_recording_is_a_golden_transcript(recording: Recording) -> None:
    """The engine makes of it what it makes of the stream itself, and so does a replay."""
    sent = marked(recording.sent)
    assert recording.filtered([sent]) == recording.golden
    assert recording.filtered([sent[i : i + 7] for i in range(0, len(sent), 7)]) == recording.golden
    assert b"".join(replay(sent, rule(), limit=LIMIT)) == recording.golden


def test_a_replay_in_time_waits_for_each_part() -> None:
    recording = next(recording for recording in ALL if recording.name == "vllm-inband-think")
    waited: list[float] = []
    out = b"".join(replay(marked(recording.sent), rule(), limit=LIMIT, wait=waited.append))
    assert out == recording.golden
    assert waited == [n / 100 for n in range(len(waited))]
    assert len(waited) > 10
