"""The promises, over every in-band family, through the stream filter and the chat wire format.

Sampled to keep the suite quick; ``SIDECAR_EXHAUSTIVE=1`` takes every cut of every case.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.channel import Channel
from sidecar.core.document import filter_document
from sidecar.core.lane import Lane
from sidecar.core.policy import Policy, ToolCalls
from sidecar.core.vocabulary import Vocabulary
from sidecar.wire.chat import Chat
from sidecar.wire.ruling import Ruling
from tests.cuts import EXHAUSTIVE, at_random, every_way, two_way, units
from tests.promises import (
    CATALOGUE,
    HIDDEN,
    Case,
    answers,
    cases_in_company,
    chunk,
    document,
    literals,
    logprobs,
    name,
    payloads,
    places_to_cut,
    run,
    segments,
    spelled,
    stream,
    written,
)

CASES = list(cases_in_company())
SECRET = "Zq7Xk9Wv3J"
PIECES = [SECRET[i : i + 3].encode() for i in range(len(SECRET) - 2)]
EMOJI = "\ud83e", "\udd14"

per_case = pytest.mark.parametrize("case", CASES, ids=name)


def with_secrets(case: Case) -> Iterator[str]:
    """The example's text with the secret in each of its hidden stretches, one at a time."""
    text, position = case.example.text, 0
    for segment in segments(case.lane(), [text]):
        if segment.channel in HIDDEN:
            letters = [i for i, c in enumerate(segment.text) if c.isascii() and c.isalpha()]
            if letters:
                at = position + letters[0] + 1
                yield text[:at] + SECRET + text[at:]
        position += len(segment.text)


def must_not_leave(case: Case) -> list[bytes]:
    """The markers that the visible text does not itself mention."""
    found = literals(case.formats)
    return [
        way.encode()
        for marker in found
        if len(marker.strip()) > 2 and marker not in case.example.visible
        for way in {marker, json.dumps(marker)[1:-1]}
    ]


# 1. Chunk invariance.


@per_case
def test_1_the_bytes_do_not_depend_on_where_the_input_was_cut(case: Case) -> None:
    text = case.example.text
    for pieces in [units(text)] if EXHAUSTIVE else list(at_random(text, 1)):
        for end in ("\n", "\r\n"):
            sent = stream(pieces, end=end)
            whole = run(case.chat(), [sent])
            if EXHAUSTIVE or len(sent) < 2000:
                assert run(case.chat(), units(sent)) == whole
            for chunks in at_random(sent, 4):
                assert run(case.chat(), chunks) == whole


SHORT = "<think>plan</think>`<think>` Hi"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_1_a_short_stream_may_be_cut_anywhere(end: str) -> None:
    vocabulary = Vocabulary(CATALOGUE.resolve(["all"]), Policy())
    sent = stream([SHORT[:9], SHORT[9:]], end=end)
    whole = run(Chat(Ruling(Policy(), vocabulary)), [sent])
    for chunks in every_way(sent):
        assert run(Chat(Ruling(Policy(), vocabulary)), chunks) == whole


@per_case
def test_1_every_stream_may_be_cut_anywhere(case: Case) -> None:
    sent = stream(next(at_random(case.example.text, 1)))
    whole = run(case.chat(), [sent])
    step = 1 if EXHAUSTIVE else 997
    for chunks in islice(two_way(sent), 1, None, step):
        assert run(case.chat(), chunks) == whole


# 2. Do no harm.

PROSE = st.text(
    alphabet=st.sampled_from([*"abc XYZ.,:;!?()=+-*/0123456789'&\n\téß漢🤔"]), max_size=200
)


@given(PROSE, st.sampled_from(["\n", "\r\n"]))
@settings(max_examples=400 if EXHAUSTIVE else 80)
def test_2_prose_leaves_as_its_original_bytes(text: str, end: str) -> None:
    chat = Chat(Ruling(Policy(), Vocabulary(CATALOGUE.resolve(["all"]), Policy())))
    sent = stream([f"It: {text}", text + "."], end=end, repeat=True)
    assert run(chat, [sent]) == sent


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["compact", "spaced"])
@pytest.mark.parametrize("text", ["Hello", "ß", "\U0001f914"])
def test_2_log_probabilities_of_visible_text_leave_however_the_json_is_written(
    text: str, separators: tuple[str, str]
) -> None:
    chunks = [
        chunk({0: {"role": "assistant", "content": text}}, logprobs=logprobs(text)),
        chunk({0: {}}, finish="stop"),
    ]
    sent = written(chunks, separators)
    assert (
        run(Chat(Ruling(Policy(), Vocabulary(CATALOGUE.resolve(["all"]), Policy()))), [sent])
        == sent
    )


# 3 is in test_lane: it speaks of what a lane holds.

# 4. No leak.


@per_case
def test_4_no_hidden_character_and_no_marker_leaves_in_any_byte(case: Case) -> None:
    ban = must_not_leave(case)
    for text in with_secrets(case):
        ways = [[text], units(text), *at_random(text, 2)]
        for pieces in ways + (list(two_way(text)) if EXHAUSTIVE else []):
            for escape in (False, True):
                out = run(case.chat(), [stream(pieces, escape=escape, repeat=True)])
                assert answers(out)[0].text == case.example.visible
                for banned in PIECES + ban:
                    assert banned not in out, (banned, pieces)


@per_case
def test_4_a_marker_cut_over_two_deltas_leaves_nothing_of_itself(case: Case) -> None:
    ban = must_not_leave(case)
    text = next(with_secrets(case), case.example.text)
    ways = [[text[:at], text[at:]] for at in places_to_cut(case, text)]
    # Two choices take turns, and each cut is tried in one of them.
    for pieces, others in zip(ways[: len(ways) // 2 + 1], reversed(ways), strict=False):
        out = run(case.chat(), [stream(pieces, others, repeat=True)])
        found = answers(out)
        assert found[0].text == found[1].text == case.example.visible, (pieces, others)
        for banned in PIECES + ban:
            assert banned not in out, (banned, pieces)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["compact", "spaced"])
@pytest.mark.parametrize("hidden", [0, 1])
def test_4_the_arguments_of_a_hidden_call_stay_hidden_however_the_json_is_written(
    hidden: int, separators: tuple[str, str]
) -> None:
    def delta(index: int, **function: str) -> Any:
        return chunk({0: {"tool_calls": [{"index": index, "function": function}]}})

    shown = 1 - hidden
    names = {hidden: "undeclared", shown: "declared"}
    chunks = [delta(index, name=names[index], arguments="") for index in (0, 1)]
    chunks += [delta(hidden, arguments=SECRET), delta(shown, arguments="visible")]
    sent = written([*chunks, chunk({0: {}}, finish="tool_calls")], separators)
    policy = Policy(tool_calls=ToolCalls.DECLARED)
    ruling = Ruling(policy, Vocabulary([], policy), frozenset({"declared"}))
    out = run(Chat(ruling), [sent])
    assert SECRET.encode() not in out
    assert b"visible" in out
    assert b"undeclared" not in out


# 5. Order.


@per_case
def test_5_choices_do_not_affect_each_other(case: Case) -> None:
    text = case.example.text
    other = CASES[(CASES.index(case) * 7 + 3) % len(CASES)].example.text
    alone = answers(run(case.chat(), [stream(units(other))]))[0]
    for mine in [units(text), *at_random(text, 1)]:
        out = run(case.chat(), [stream(mine, units(other), [text])])
        found = answers(out)
        assert found[0].text == found[2].text == case.example.visible
        assert found[1] == alone


@per_case
def test_5_what_leaves_is_a_subsequence_of_what_came(case: Case) -> None:
    came = iter(case.example.text)
    assert all(character in came for character in case.example.visible)


# 6. Conservation.


@per_case
def test_6_every_character_is_shown_or_counted_as_hidden(case: Case) -> None:
    for pieces in [[case.example.text], units(case.example.text)]:
        chat = case.chat()
        out = run(chat, [stream(pieces)])
        hidden = sum(chat.stats.hidden_characters.values())
        assert len(answers(out)[0].text) + hidden == len(case.example.text)


# 7. Termination.


@per_case
def test_7_each_choice_finishes_once_after_its_text_and_the_stream_ends_once(case: Case) -> None:
    text = case.example.text
    out = run(case.chat(), [stream(units(text), [text])])
    assert [answer.finishes for answer in answers(out).values()] == [["stop"], ["stop"]]
    assert payloads(out).count("[DONE]") == 1


@per_case
def test_7_an_answer_that_breaks_off_ends_with_its_held_text_and_an_error(case: Case) -> None:
    sent = stream(units(case.example.text)).partition(b'"finish_reason":"stop"')[0]
    *deltas, error, done = payloads(run(case.chat(), [sent]))
    assert done == "[DONE]"
    assert json.loads(error)["error"]["code"] == "upstream_incomplete"
    said = [json.loads(delta)["choices"][0]["delta"].get("content") or "" for delta in deltas]
    assert "".join(said) == case.example.visible


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_7_the_last_event_is_not_lost_where_the_stream_ends_with_its_blank_line(end: str) -> None:
    sent = stream(["Hello"], end=end).partition(b"data: [DONE]")[0]
    chat = Chat(Ruling(Policy(), Vocabulary(CATALOGUE.resolve(["all"]), Policy())))
    (answer,) = answers(run(chat, [sent]).replace(b"\r\r", b"\n\n")).values()
    assert answer == ("Hello", ["stop"])


# 8. Stream equals document.


@per_case
def test_8_the_document_says_what_the_stream_says(case: Case) -> None:
    body = json.loads(filter_document(document(case.example.text), case.chat()))
    assert (body["choices"][0]["message"]["content"] or "") == case.example.visible


@per_case
def test_8_no_hidden_character_and_no_marker_leaves_in_a_document(case: Case) -> None:
    for text in with_secrets(case):
        out = filter_document(document(text, case.example.text), case.chat())
        for banned in PIECES + must_not_leave(case):
            assert banned not in out


# Characters that are not whole.

WRAPPED = [
    (format_, region)
    for format_ in CATALOGUE.formats.values()
    for region in format_.regions
    if region.open and region.close and region.channel in HIDDEN and region.at == "anywhere"
    if not (region.then or region.inside or region.proof)
]


@pytest.mark.parametrize("index", range(len(WRAPPED)), ids=[f"{f.id}-{r.name}" for f, r in WRAPPED])
def test_a_surrogate_pair_cut_over_two_deltas_is_one_character_to_the_reader(index: int) -> None:
    format_, region = WRAPPED[index]
    chat = Chat(Ruling(Policy(), Vocabulary([format_], Policy())))
    opener, closer = spelled(region.open[0]), spelled(region.close[0])
    pieces = ["A", *EMOJI, opener, "x", *EMOJI, *units(closer), *EMOJI, "B"]
    out = run(chat, [stream(pieces, repeat=True)])
    assert answers(out)[0].text == "A\U0001f914\U0001f914B"
    # Twice in the text, and twice in its log-probabilities.
    assert out.count(b"\\ud83e") == out.count(b"\\udd14") == 4


# 9. Linear time, bounded memory: test_lane and test_sse count the work.


@given(st.data())
@settings(max_examples=1500 if EXHAUSTIVE else 150)
def test_the_promises_hold_for_any_nesting_of_the_markers(data: st.DataObject) -> None:
    together = data.draw(st.sampled_from([["all"], ["all", "react"], ["all", "generic_tool_xml"]]))
    formats = CATALOGUE.resolve(together)
    markers = st.sampled_from(sorted(literals(formats)))
    filler = st.sampled_from(
        [*'`~\n ,;{}[]"\\<|x', "```", "\n\n", "\r\n", '{"name": "f"}', "word", " " * 300]
    )
    text = "".join(data.draw(st.lists(markers | filler, max_size=14)))
    vocabulary = Vocabulary(formats, Policy())
    whole = segments(Lane(vocabulary), [text])
    assert "".join(segment.text for segment in whole) == text
    for pieces in [units(text), *at_random(text, 3)]:
        assert segments(Lane(vocabulary), pieces) == whole, pieces
    visible = "".join(s.text for s in whole if s.channel is Channel.CONTENT)
    sent = stream(units(text))
    assert answers(run(Chat(Ruling(Policy(), vocabulary)), [sent]))[0].text == visible
