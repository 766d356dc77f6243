"""What the demo says of what its two clients saw."""

from __future__ import annotations

import json

import pytest

from sidecar.demo.reading import TOOL_MESSAGE, Reading
from sidecar.demo.report import Round, conclusion, faults, sides, summary
from sidecar.demo.transcripts import THINK, TOOLS, TRANSCRIPTS, Delta, Transcript


def _reading(*deltas: Delta, end: str = "data: [DONE]") -> Reading:
    reading = Reading()
    for at, delta in enumerate(deltas):
        event = {"choices": [{"index": 0, "delta": delta}]}
        reading.take(f"data: {json.dumps(event)}", at / 10)
    reading.take(end, len(deltas) / 10)
    return reading


def _round(transcript: Transcript, clean: Reading) -> Round:
    return Round(transcript, _reading(*transcript.deltas), clean)


def _clean(transcript: Transcript) -> Reading:
    return _reading({"role": "assistant", "content": ""}, {"content": transcript.visible})


def test_a_reading_tells_an_answer_from_what_a_tool_said() -> None:
    reading = _reading(
        {"role": "assistant"},
        {"reasoning_content": "plan"},
        {"role": "tool", "content": "3A"},
        {"content": ", 3B"},
        {"role": "assistant", "content": "3A is "},
        {"content": "free."},
    )
    assert reading.pieces[1:3] == [(TOOL_MESSAGE, "3A"), (TOOL_MESSAGE, ", 3B")]
    assert reading.content == "3A is free."
    assert (reading.first_byte, reading.first_text) == (0.0, 0.4)


def test_a_reading_joins_what_was_cut_over_events() -> None:
    reading = _reading({"content": "<thi"}, {"content": "nk>"}, end=": a comment")
    assert "<think>" in reading.everything
    assert "a comment" in reading.everything
    assert not reading.done


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript.name)
def test_the_visible_text_alone_is_no_fault(transcript: Transcript) -> None:
    round_ = _round(transcript, _clean(transcript))
    assert faults(round_) == []
    assert conclusion([round_]) == ["nothing leaked"]


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript.name)
def test_the_raw_stream_to_the_client_leaks_every_phrase(transcript: Transcript) -> None:
    found = faults(_round(transcript, _reading(*transcript.deltas)))
    for phrase in transcript.phrases:
        assert f"{transcript.name}: leaked {phrase!r}" in found


@pytest.mark.parametrize(
    ("clean", "fault"),
    [
        (_reading({"content": THINK.visible[:-1]}), "differs from character"),
        (_reading({"content": "\n" + THINK.visible}), "differs from character 0 on"),
        (_reading({"content": THINK.visible + "<"}), "differs from character"),
        (
            _reading({"reasoning_content": "x"}, {"content": THINK.visible}),
            "leaked the field 'reasoning_content'",
        ),
        (_reading({"content": THINK.visible}, end=": no more"), "no end mark"),
        (Reading(failure="HTTP status 502"), "the sidecar failed: HTTP status 502"),
        (_reading(end='data: {"error": {"message": "gone"}}'), "the sidecar failed: gone"),
    ],
)
def test_whatever_else_the_client_sees_is_a_fault(clean: Reading, fault: str) -> None:
    assert any(fault in found for found in faults(_round(THINK, clean)))


def test_an_upstream_that_fails_is_a_fault() -> None:
    round_ = Round(THINK, Reading(failure="refused"), _clean(THINK))
    assert faults(round_) == ["think: the upstream failed: refused"]


def test_a_summary_counts_what_was_hidden_and_quotes_what_was_shown() -> None:
    text = "\n".join(summary(_round(TOOLS, _clean(TOOLS)), shown=True))
    for channel in ("reasoning", "tool call", "tool result"):
        assert f"characters of {channel}: " in text
    assert "The last boat back is at 18:15." in text
    assert "first byte of the raw stream after 0 ms" in text
    assert "first visible text of the clean stream after 100 ms" in text


def test_a_summary_does_not_call_hidden_what_the_client_saw() -> None:
    round_ = _round(THINK, _reading(*THINK.deltas))
    assert "  hidden  nothing" in summary(round_, shown=False)


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript.name)
def test_all_of_the_raw_stream_but_the_visible_text_is_dimmed(transcript: Transcript) -> None:
    left, right = sides(_round(transcript, _clean(transcript)))
    assert "".join(span.text for span in left.spans if not span.dim) == transcript.visible
    assert "".join(span.text for span in right.spans) == transcript.visible
