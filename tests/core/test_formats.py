"""Every example of every format file holds, alone and beside all of the group ``all``, in every
cut."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.core.channel import Channel
from sidecar.core.format import At
from sidecar.core.lane import Lane
from sidecar.core.policy import ToolCalls
from tests.cuts import every_way
from tests.promises import CATALOGUE, Case, cases, channel_text, compiled, name, segments

CASES = list(cases())
SAID = (Channel.CONTENT, Channel.REASONING, Channel.TOOL_CALL, Channel.TOOL_RESULT)


def test_there_are_formats_in_every_group_and_each_has_examples() -> None:
    assert {group for f in CATALOGUE.formats.values() for group in f.groups} == {
        "all",
        "reasoning",
        "tools",
    }
    assert all(len(format_.examples) > 5 for format_ in CATALOGUE.formats.values())


TOGETHER = CATALOGUE.resolve(["all"])


def test_families_that_share_an_open_marker_agree_on_what_it_opens() -> None:
    # Of two equal markers the first counts, so a disagreement would be settled by chance.
    known: dict[tuple[str, At], tuple[object, ...]] = {}
    for format_ in TOGETHER:
        for region in format_.regions:
            if region.inside is None:
                facts = (region.channel, set(region.close), region.body, region.proof)
                for literal in region.open:
                    assert known.setdefault((literal, region.at), facts) == facts, format_.id


def test_no_word_of_a_running_text_is_held_back_for_the_group_all() -> None:
    anywhere = {
        marker.strip("{}")[0]
        for format_ in TOGETHER
        for marker in (
            *format_.discard,
            *format_.tail,
            *(m for r in format_.regions if r.at is At.ANYWHERE for m in r.open),
            *(m for r in format_.regions if not r.stray_close_is_text for m in r.close),
        )
    }
    assert not [sign for sign in anywhere if sign.isalnum() or sign.isspace()]


@pytest.mark.parametrize("case", CASES, ids=name)
def test_each_channel_is_as_the_example_says(case: Case) -> None:
    example = case.example
    found = segments(case.lane(), [example.text])
    assert {channel: channel_text(found, channel) for channel in SAID} == {
        Channel.CONTENT: example.visible,
        Channel.REASONING: example.reasoning,
        Channel.TOOL_CALL: example.tool_call,
        Channel.TOOL_RESULT: example.tool_result,
    }


@pytest.mark.parametrize("case", CASES, ids=name)
def test_the_segments_are_the_same_in_every_cut_and_are_the_text_in_order(case: Case) -> None:
    text = case.example.text
    whole = segments(case.lane(), [text])
    assert "".join(segment.text for segment in whole) == text
    for pieces in every_way(text):
        assert segments(case.lane(), pieces) == whole, pieces


WITH_TOOLS = [case for case in CASES if case.example.tools and len(case.formats) == 1]


@pytest.mark.parametrize("case", WITH_TOOLS, ids=name)
def test_the_names_of_the_tools_are_read_from_the_calls(case: Case) -> None:
    # A call stays in the text if the request declares its tools, and it goes if it lacks one.
    policy = replace(case.policy, tool_calls=ToolCalls.DECLARED)
    vocabulary = compiled(case.formats, policy)
    text, tools = case.example.text, frozenset(case.example.tools)

    def calls(declared: frozenset[str]) -> str:
        in_reasoning = case.example.starts_in_reasoning
        start = vocabulary.start_in_reasoning if in_reasoning else vocabulary.start
        found = segments(Lane(vocabulary, declared, start), [text])
        return channel_text(found, Channel.TOOL_CALL)

    assert calls(frozenset()) == case.example.tool_call
    if case.example.name.startswith("cut off"):
        return
    for tool in tools:
        assert len(calls(tools - {tool})) > len(calls(tools))
