"""The examples of every format file hold with their markers spaced, escaped and in another case,
where the rule takes them so."""

from __future__ import annotations

from itertools import groupby

import pytest

from sidecar.core.channel import Channel
from sidecar.core.lane import Lane
from tests.cuts import EXHAUSTIVE, at_random, units
from tests.promises import HIDDEN, Case, cases, cases_in_company, channel_text, compiled, segments
from tests.spellings import WAYS, Way

SAID = (Channel.CONTENT, *HIDDEN)

FAMILIES = {
    id_: list(found)
    for id_, found in groupby(
        sorted(cases() if EXHAUSTIVE else cases_in_company(), key=lambda case: case.format.id),
        lambda case: case.format.id,
    )
}
ABOUT_SPELLING = {"the other spelling is text", "escaped markup in the thought"}
"""Examples that say that a way of writing is none of the family's."""


def ways(case: Case, number: int) -> tuple[Way, ...]:
    """The ways in which the example is written: one of them in turn, or all."""
    known: tuple[Way, ...] = WAYS
    if any(region.escaped for region in case.format.regions):
        # What is escaped in them is theirs.
        known = tuple(way for way in WAYS if not way.policy.html_escaped)
    return known if EXHAUSTIVE else (known[number % len(known)],)


def check(case: Case, way: Way) -> bool:
    """Whether a marker of the example is now written in another way. Fails unless each channel says
    what it said, in every cut."""
    example = case.example
    text = way.rewrite(case)
    if text == example.text:
        # It may say that other ways of writing are text.
        return False
    vocabulary = compiled(case.formats, way.policy)
    start = vocabulary.start_in_reasoning if example.starts_in_reasoning else None
    whole = segments(Lane(vocabulary, start=start), [text])
    said = {channel: channel_text(whole, channel) for channel in SAID}
    expected = (example.visible, example.reasoning, example.tool_call, example.tool_result)
    assert said == dict(zip(SAID, expected, strict=True)), (way.name, text)
    cuts = at_random(text, 4 if EXHAUSTIVE else 1)
    for pieces in (units(text), *cuts) if EXHAUSTIVE or len(text) < 200 else cuts:
        assert segments(Lane(vocabulary, start=start), pieces) == whole, (way.name, pieces)
    return True


@pytest.mark.parametrize("family", FAMILIES)
def test_each_channel_is_as_the_example_says_however_its_markers_are_written(family: str) -> None:
    written = [
        check(case, way)
        for number, case in enumerate(FAMILIES[family])
        for way in ways(case, number)
        if case.example.name not in ABOUT_SPELLING
    ]
    assert any(written)
