"""Markers that come escaped, or in pieces over different places, in every wire format.

What belongs together is read together: the deltas of one text whatever comes between them, the
parts of a chat message's content and of a Responses message, the text blocks of Messages that
follow one another. Choices, fields, items, and blocks with another one between them are texts of
their own: half a marker in each is text, and none of it is lost.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sidecar.core.document import filter_document
from sidecar.core.policy import Policy
from sidecar.wire.chat import Chat
from sidecar.wire.formats import WIRE_FORMATS, WireFormat
from sidecar.wire.ruling import Ruling
from tests.cuts import at_random, units
from tests.promises import CATALOGUE, answers, compiled, payloads, run, stream
from tests.wire import test_messages as blocks
from tests.wire.adapters import ADAPTERS
from tests.wire.conformance import (
    DROP,
    IN_BAND,
    KEEP_REASONING,
    MOVE,
    PLAN,
    SECRETS,
    Kind,
    Made,
    Suite,
    call,
    text,
    thought,
)
from tests.wire.responses import SECRET, answer, judged, left, message, output, part, records
from tests.wire.responses import filtered as responses
from tests.wire.responses import text as spoken
from tests.wire.responses import wire as responses_wire
from tests.wire.responses import written as written_item
from tests.wire.streams import ROLE, STOP, Json, chunk, document, send, whole

MOVE_SLOPPY = replace(MOVE, spaced_tags=True, html_escaped=True)

per_format = pytest.mark.parametrize("wire_format", WIRE_FORMATS, ids=lambda each: each.name)
per_format_with_choices = pytest.mark.parametrize(
    "wire_format",
    [each for each in WIRE_FORMATS if ADAPTERS[each.name].lanes > 1],
    ids=lambda each: each.name,
)
TRIPLES = [said[i : i + 3].encode() for said in SECRETS.values() for i in range(len(said) - 2)]


def suite_of(wire_format: WireFormat) -> Suite:
    return Suite(wire_format, ADAPTERS[wire_format.name])


# JSON escapes.


def escaped(raw: bytes) -> bytes:
    """The same JSON, with escapes in its markers (RFC 8259, 7)."""
    for said, meant in ((b"<", rb"\u003c"), (b">", rb"\u003E"), (b"/", rb"\/")):
        raw = raw.replace(said, meant)
    return raw.replace(b"think", rb"th\u0069nk").replace(b"tool_call", rb"tool\u005fcall")


@per_format
def test_json_escapes_hide_no_marker(wire_format: WireFormat) -> None:
    suite = suite_of(wire_format)
    for policy in (DROP, MOVE):
        for made in suite.made(IN_BAND):
            sent = suite.sent(made.finished)
            assert escaped(sent) != sent or "<" not in str(made.pieces)
            out = suite.run(policy, escaped(sent))
            plain = suite.read(suite.run(policy, sent))
            assert suite.read(out) == plain, (made.name, policy)
            body = filter_document(escaped(suite.body(made.finished)), suite.answer(policy))
            assert suite.read_document(body).visible == plain.visible, (made.name, policy)
            if policy is DROP:
                assert not [said for said in TRIPLES if said in out + body], made.name


# Deltas.


DELTAS = [each for each in WIRE_FORMATS if each.name not in ("responses", "messages")]
"""The formats in which the text of a choice is one, whatever comes between its deltas."""


@pytest.mark.parametrize("wire_format", DELTAS, ids=lambda each: each.name)
def test_a_marker_is_found_whatever_comes_between_its_deltas(wire_format: WireFormat) -> None:
    suite = suite_of(wire_format)
    between = {Kind.REASONING: thought(PLAN), Kind.CALL: [call()]}
    for kind in between.keys() & suite.adapter.structured:
        said = [*text("A <thi"), *between[kind], *text(f"nk>{PLAN}</th"), *between[kind]]
        out = suite.run(DROP, suite.sent(Made("", [*said, *text("ink>B")]).finished))
        assert suite.read(out).visible == {0: "A B"}, kind
        assert not [secret for secret in TRIPLES if secret in out], kind


CUT_SHORT = {
    "calls": [*text("A <thi"), call(), *text("s> B")],
    "thinks": [*text("A <"), *thought(PLAN), *text("b>")],
}


@per_format
def test_a_text_that_something_else_cuts_short_loses_nothing(wire_format: WireFormat) -> None:
    suite = suite_of(wire_format)
    for made in suite.made(CUT_SHORT):
        read = suite.read(suite.run(DROP, suite.sent(made.finished)))
        came = "".join(piece.text for piece in made.pieces if piece.kind is Kind.TEXT)
        assert "".join(read.visible.values()) == came, made.name


@per_format
def test_half_a_marker_in_each_of_two_fields_is_text(wire_format: WireFormat) -> None:
    suite = suite_of(wire_format)
    assert Kind.REASONING in suite.adapter.structured
    for first, second in (("plan <thi", "nk>B"), ("plan </thi", "nk>B"), ("<", "think>B")):
        sent = suite.sent(Made("", [*thought(first), *text(second)]).finished)
        assert suite.read(suite.run(DROP, sent)).visible == {0: second}
        kept = suite.read(suite.run(KEEP_REASONING, sent))
        assert (kept.reasoning, kept.visible) == (first, {0: second})


@per_format_with_choices
def test_half_a_marker_in_each_of_two_choices_is_text(wire_format: WireFormat) -> None:
    suite = suite_of(wire_format)
    pieces = [*text("A <thi"), *text("nk>B", lane=1), *text("s>"), *text("</thi", lane=1)]
    read = suite.read(suite.run(DROP, suite.sent(Made("", pieces).finished)))
    assert read.visible == {0: "A <this>", 1: "nk>B</thi"}


# Parts of one message.


@pytest.mark.parametrize("at", range(1, len("<think>")))
def test_a_marker_is_found_over_the_parts_of_a_chat_message(at: int) -> None:
    opener = "<think>"
    said = (f"A {opener[:at]}", f"{opener[at:]}{SECRET}</th", "ink>B", "<")
    parts: list[Json] = [{"type": "text", "text": each} for each in said]
    for sent in (
        [chunk({"content": parts}), STOP],
        [*(chunk({"content": [each]}) for each in parts), STOP],
        [chunk({"content": [parts[0]]}), chunk({"content": said[1]}), chunk({"content": parts[2:]}),
         STOP],
    ):  # fmt: skip
        found = send(ROLE, *sent)
        assert found.choice().text == "A B<"
        assert SECRET.encode() not in found.raw
    body, _ = document(whole({"role": "assistant", "content": parts}))
    assert "".join(each["text"] for each in body["choices"][0]["message"]["content"]) == "A B<"


def test_a_choice_that_comes_twice_in_a_chunk_is_one_text() -> None:
    twice = chunk({"content": "A <thi"})
    twice["choices"] += chunk({"content": f"nk>{SECRET}</th"})["choices"]
    twice["choices"] += chunk({"content": "ink>B <"})["choices"]
    found = send(ROLE, twice, STOP)
    assert found.choice().text == "A B <"
    assert SECRET.encode() not in found.raw


def test_a_choice_that_comes_twice_in_a_document_is_two_texts() -> None:
    """Each is complete."""
    said = ["A <", f"B <think>{SECRET}", "C <"]
    body, _ = document(*(whole({"role": "assistant", "content": each}) for each in said))
    shown = [choice["message"]["content"] for choice in body["choices"]]
    assert shown == ["A <", "B ", "C <"]


@pytest.mark.parametrize(
    ("texts", "shown"),
    [
        (("A <thi", f"nk>{SECRET}</think>B"), ("A <thi", "B")),
        (("A <", "t", f"hink>{SECRET}</th", "ink>B"), ("A <", "t", "B")),
        ((f"A <think>{SECRET}</thi", "nk>B <"), ("A ", "B <")),
        (("A <thi", "s> B"), ("A <thi", "s> B")),
        (("A <think", "", ">B"), ("A <think", "")),
        ((f"A <think>{SECRET}", f"{SECRET}</think>B"), ("A ", "B")),
    ],
)
def test_a_marker_is_found_over_the_parts_of_a_responses_message(
    texts: tuple[str, ...], shown: tuple[str, ...]
) -> None:
    """The first part was complete before the second began, so what it says of the marker stays."""
    item = message(*map(part, texts))
    sent = answer(*written_item(item, *texts[:1]), output=[item])
    events = left(sent)
    assert spoken(events) == "".join(shown)
    (streamed,), (at_once,) = output(events), judged([item])
    assert [each["text"] for each in streamed["content"]] == list(shown)
    assert streamed["content"] == at_once["content"]
    assert SECRET not in json.dumps(events)
    pieces = [sent[i : i + 7] for i in range(0, len(sent), 7)]
    assert records(responses(pieces, responses_wire())) == events


@pytest.mark.parametrize("opener", ["<tool_call>", "&lt;tool_call&gt;", "< tool_call >"])
@pytest.mark.parametrize("call", ["find", '{"name": "find", "arguments": {}}'])
def test_a_call_is_read_though_its_marker_is_cut_by_two_parts(opener: str, call: str) -> None:
    for at in range(1, len(opener)):
        texts = (f"A {opener[:at]}", f"{opener[at:]}{call}</tool_call>B")
        item = message(*map(part, texts))
        events = left(answer(*written_item(item, *texts[:1]), output=[item]), MOVE_SLOPPY)
        calls = [each for each in output(events) if each["type"] == "function_call"]
        assert [(each["name"], each["arguments"]) for each in calls] == [("find", "{}")], at
        assert spoken(events) == f"A {opener[:at]}B"


@pytest.mark.parametrize("at", range(1, len("<think>")))
def test_a_marker_is_found_over_blocks_that_follow_one_another(at: int) -> None:
    opener = "<think>"
    texts = (f"A {opener[:at]}", f"{opener[at:]}{SECRET}</th", "ink>B <")
    events: list[Json] = [blocks.START]
    for index, said in enumerate(texts):
        events += blocks.block(index, {"type": "text", "text": said}, *said)
    ended: Json = {"type": "message_delta", "delta": blocks.ENDED, "usage": blocks.USAGE}
    out = run(blocks.wire(), [blocks.sse(*events, ended, blocks.STOP)])  # type: ignore[arg-type]
    assert SECRET.encode() not in out
    deltas = [json.loads(line[6:]) for line in out.splitlines() if b"text_delta" in line]
    assert "".join(each["delta"]["text"] for each in deltas) == "A B <"


# Log-probabilities.


@pytest.mark.parametrize("escape", [False, True])
@pytest.mark.parametrize(
    "opener", ["< think >", "&lt;think&gt;", "&#x3C; THINK\n&gt;", "<think lang='en'>"]
)
def test_log_probabilities_go_with_a_marker_in_any_way_of_writing(
    opener: str, escape: bool
) -> None:
    policy = Policy(case_insensitive=True, attributes=True, spaced_tags=True, html_escaped=True)
    ruling = Ruling(policy, compiled(tuple(CATALOGUE.resolve(["all"])), policy))
    said = f"1 &lt; 2 {opener}{SECRET}</ think&gt;B &l"
    for pieces in ([said], units(said), *at_random(said, 4)):
        out = run(Chat(ruling), [stream(pieces, escape=escape, repeat=True)])
        assert answers(out)[0].text == "1 &lt; 2 B &l"
        assert not [SECRET[i : i + 3] for i in range(8) if SECRET[i : i + 3].encode() in out]
        for data in payloads(out)[:-1]:
            (choice,) = json.loads(data)["choices"]
            tokens = (choice.get("logprobs") or {}).get("content")
            if tokens:
                assert "".join(token["token"] for token in tokens) == choice["delta"]["content"]
