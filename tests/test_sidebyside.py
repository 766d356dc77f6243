"""What a stream says, side by side: what is hidden is marked, and nothing else."""

from __future__ import annotations

import re

import pytest

from sidecar.replay import replay
from sidecar.sidebyside import side_by_side
from sidecar.spoken import ANSWER, spoken
from sidecar.wire.formats import WIRE_FORMATS, WireFormat
from tests.promises import LIMIT
from tests.test_replay import rule
from tests.wire.adapters import ADAPTERS, compact
from tests.wire.conformance import Kind, Piece
from tests.wire.recordings import Recording, recordings

ALL = [recording for recording in recordings() if not recording.declares]
per_recording = pytest.mark.parametrize("recording", ALL, ids=lambda r: r.name)
RED = re.compile(r"\x1b\[31m(.*?)\x1b\[0m", re.DOTALL)


def rows(raw: bytes, clean: bytes, *, styled: bool = False) -> list[str]:
    return side_by_side(raw, clean, LIMIT, 2003, styled=styled)


@per_recording
def test_the_answer_of_a_clean_stream_is_what_is_visible(recording: Recording) -> None:
    said = spoken(recording.golden, LIMIT)
    if len(recording.visible) == 1 and recording.ends == "done":
        text = "".join(text for field, text in said if field == ANSWER)
        # A pair of surrogates may be cut.
        assert text.encode("utf-16", "surrogatepass").decode("utf-16") == recording.visible[0]


@per_recording
def test_all_that_is_hidden_is_red_on_the_left_and_nothing_is_on_the_right(
    recording: Recording,
) -> None:
    """Hidden texts of the recordings have words that begin so."""
    for row in rows(recording.sent, recording.golden, styled=True):
        left, _, right = row.partition(" | ")
        assert "zq" not in RED.sub("", left)
        assert "zq" not in right


@pytest.mark.parametrize("wire_format", WIRE_FORMATS, ids=lambda wire_format: wire_format.name)
def test_every_wire_format_is_read(wire_format: WireFormat) -> None:
    pieces = [Piece(Kind.TEXT, "Hel"), Piece(Kind.TEXT, "lo"), Piece(Kind.FINISH, "stop")]
    write = wire_format.answer(rule().ruling({})).framing.write
    events = ADAPTERS[wire_format.name].events(pieces)
    recording = b"".join(write(compact(said).encode(), name.encode()) for name, said in events)
    said = spoken(recording, LIMIT)
    assert "".join(text for field, text in said if field == ANSWER) == "Hello"


def test_what_a_model_wrote_cannot_steer_the_terminal() -> None:
    evil = "\\u001b]0;x\\u0007\u009b31m"
    sent = f'data: {{"choices":[{{"index":0,"delta":{{"content":"{evil}"}}}}]}}\n\n'.encode()
    clean = b"".join(replay(sent, rule(), limit=LIMIT))
    said = "\n".join(rows(sent, clean))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", said)
