"""Every example of every format file holds, alone and beside all of the group ``all``, in every
cut."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.core.channel import Channel
from sidecar.core.lane import Lane
from sidecar.core.policy import ToolCalls
from sidecar.core.vocabulary import Vocabulary
from tests.cuts import every_way
from tests.promises import CATALOGUE, Case, cases, channel_text, name, segments

CASES = list(cases())
SAID = (Channel.CONTENT, Channel.REASONING, Channel.TOOL_CALL, Channel.TOOL_RESULT)


def test_there_are_formats_in_every_group_and_each_has_examples() -> None:
    assert {group for f in CATALOGUE.formats.values() for group in f.groups} == {
        "all",
        "reasoning",
        "tools",
    }
    assert all(len(format_.examples) > 5 for format_ in CATALOGUE.formats.values())


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
    vocabulary = Vocabulary(case.formats, policy)
    text, tools = case.example.text, frozenset(case.example.tools)

    def calls(declared: frozenset[str]) -> str:
        found = segments(Lane(vocabulary, declared), [text])
        return channel_text(found, Channel.TOOL_CALL)

    assert calls(frozenset()) == case.example.tool_call
    if case.example.name.startswith("cut off"):
        return
    for tool in tools:
        assert len(calls(tools - {tool})) > len(calls(tools))
