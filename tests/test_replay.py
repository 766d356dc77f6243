"""A recorded stream through the engine, and what became of each of its events."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.core.policy import Mode, Policy
from sidecar.core.stats import Verdict
from sidecar.core.stream import StreamFilter
from sidecar.replay import Explained, replay
from sidecar.rules.catalogue import Catalogue
from sidecar.rules.config import RuleSpec, built_in_config
from sidecar.rules.match import Match
from sidecar.rules.ruleset import Rule, RuleSet
from sidecar.wire.formats import WIRE_FORMATS, WireFormat
from tests.promises import CATALOGUE, LIMIT
from tests.wire.adapters import ADAPTERS, compact
from tests.wire.conformance import Kind, Piece
from tests.wire.recordings import Recording, recordings

ALL = [r for r in recordings() if not r.declares]
RULES = RuleSet(built_in_config("http://127.0.0.1/v1").rules, CATALOGUE)

FINISH = Piece(Kind.FINISH, "stop")

per_recording = pytest.mark.parametrize("recording", ALL, ids=lambda r: r.name)


def rule(policy: Policy | None = None) -> Rule:
    """The built-in rule for people, or one with this policy."""
    if policy is None:
        found = RULES.named("default")
        assert found is not None
        return found
    return RuleSet([RuleSpec("mine", Match(), ("all",), policy)], CATALOGUE).rules[0]


def explained(recording: Recording, cut: int | None = None) -> list[Explained]:
    lines: list[Explained] = []
    b"".join(replay(recording.sent, rule(), limit=LIMIT, cut=cut, explain=lines.append))
    return lines


@per_recording
def test_it_gives_the_golden_bytes_whatever_the_cut(recording: Recording) -> None:
    for cut in (None, 1, 7, 1000, 10**9):
        out = b"".join(replay(recording.sent, rule(), limit=LIMIT, cut=cut))
        assert out == recording.golden


@per_recording
def test_it_explains_every_event_and_no_cut_changes_a_line(recording: Recording) -> None:
    lines = explained(recording)
    sent = recording.sent.replace(b"\r\n", b"\n")
    events = [block for block in sent.split(b"\n\n") if block.strip()]
    if recording.ends == "done":
        assert len(lines) == len(events)
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    assert explained(recording, cut=11) == lines


@per_recording
def test_the_sizes_of_the_events_are_those_of_the_recording(recording: Recording) -> None:
    assert sum(line.size for line in explained(recording)) <= len(recording.sent)
    if recording.ends == "done":
        assert sum(line.size for line in explained(recording)) == len(recording.sent)


@per_recording
def test_an_explanation_quotes_nothing_that_is_hidden(recording: Recording) -> None:
    said = "\n".join(map(str, explained(recording)))
    assert "zq" not in said
    assert len(said.splitlines()) == len(explained(recording))


def test_an_explanation_names_the_verdict_the_lane_and_what_was_hidden() -> None:
    sent = b"".join(
        b'data: {"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n' % text
        for text in (b"Hi", b"<think>be", b"cause</th", b"ink> you <thi")
    )
    lines: list[Explained] = []
    list(replay(b": ping\n\n" + sent, rule(), limit=LIMIT, explain=lines.append))
    assert [line.verdict for line in lines[:2]] == [Verdict.DROP, Verdict.PASS]
    assert lines[0].lanes == ""
    assert lines[1].lanes == "0: content"
    assert lines[2].lanes.startswith("0: think.")
    assert lines[2].hidden == "7 of markup (think), 2 of reasoning (think)"
    assert lines[3].hidden == "5 of reasoning (think)"
    assert lines[3].lanes.endswith(", holds 4")
    assert lines[4].lanes == "0: content, holds 4"
    assert lines[4].verdict is Verdict.REWRITE
    assert str(lines[1]) == f"    2  {lines[1].size:>6} B  pass    0: content"


def test_a_recording_of_a_legacy_completion_is_told_by_its_first_event() -> None:
    sent = b": ping\n\n" + b"".join(
        b'data: {"object":"text_completion","choices":'
        b'[{"text":"%s","index":0,"logprobs":null,"finish_reason":%s}]}\n\n' % said
        for said in ((b"Hi<think>", b"null"), (b"because</think>", b"null"), (b" you", b'"stop"'))
    )
    lines: list[Explained] = []
    out = b"".join(replay(sent, rule(), limit=LIMIT, explain=lines.append))
    assert [line.verdict for line in lines] == [
        Verdict.DROP, Verdict.REWRITE, Verdict.DROP, Verdict.PASS
    ]  # fmt: skip
    assert lines[2].hidden == "8 of markup (think), 7 of reasoning (think)"
    assert b'"text":"Hi"' in out
    assert b"because" not in out


def test_a_recording_begins_where_the_answers_of_its_model_do() -> None:
    thinks = replace(CATALOGUE.formats["think"], opened_by_prompt=("thinker*",))
    spec = RuleSpec("mine", Match(), ("think",), Policy())
    knows = RuleSet([spec], Catalogue({"think": thinks})).rules[0]
    for model, left in (("Thinker", b"Hi"), ("m", b"hmHi")):
        sent = b"".join(
            b'data: {"model":"%s","choices":[{"index":0,"delta":%s,"finish_reason":%s}]}\n\n' % said
            for said in (
                (model.encode(), b'{"content":"hm</think>Hi"}', b"null"),
                (model.encode(), b"{}", b'"stop"'),
            )
        )
        out = b"".join(replay(sent, knows, limit=LIMIT, cut=20))
        assert b'"content":"%s"' % left in out


@per_recording
def test_a_rule_that_only_observes_changes_no_byte_and_explains_the_same(
    recording: Recording,
) -> None:
    observes = rule(Policy(mode=Mode.OBSERVE))
    lines: list[Explained] = []
    out = replay(recording.sent, observes, limit=LIMIT, cut=100, explain=lines.append)
    assert b"".join(out) == recording.sent
    assert lines == explained(recording)


def test_an_event_over_the_limit_is_a_clear_error() -> None:
    out = b"".join(replay(ALL[0].sent, rule(), limit=64))
    assert b"upstream_event_too_large" in out
    assert out.endswith(b"data: [DONE]\n\n")


def test_an_empty_recording_is_an_answer_that_never_came() -> None:
    out = b"".join(replay(b"", rule(), limit=LIMIT))
    assert b"upstream_incomplete" in out


@pytest.mark.parametrize("wire_format", WIRE_FORMATS, ids=lambda each: each.name)
def test_a_recording_tells_its_wire_format(wire_format: WireFormat) -> None:
    answer = wire_format.answer(rule().ruling({}, model="m"))
    adapter = ADAPTERS[wire_format.name]
    pieces = [Piece(Kind.TEXT, "<think>hm</think>"), Piece(Kind.TEXT, "Hello."), FINISH]
    events = [(name.encode(), compact(said).encode()) for name, said in adapter.events(pieces)]
    sent = b"".join(answer.framing.write(data, name) for name, data in events)
    stream = StreamFilter(answer, limit=LIMIT)
    judged = stream.feed(sent + answer.framing.mark) + stream.finish()
    assert b"Hello." in judged
    assert b"hm" not in judged
    assert b"".join(replay(sent + answer.framing.mark, rule(), limit=LIMIT)) == judged
