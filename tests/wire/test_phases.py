"""What a person is told an answer is doing: of every recording, of every family, in every cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import pytest

from sidecar.core.channel import Channel
from sidecar.core.progress import Phase, Step
from sidecar.core.stream import StreamFilter
from sidecar.wire.answer import Answer
from tests.cuts import at_random, two_way, units
from tests.promises import LIMIT, Case, cases_in_company, name, segments, stream
from tests.statuses import Collected, phases_of
from tests.wire.recordings import Recording, recordings
from tests.wire.test_transcripts import MAX_FOR_EVERY_CUT

OF_CHANNEL = {
    Channel.CONTENT: Phase.ANSWERING,
    Channel.REASONING: Phase.THINKING,
    Channel.TOOL_CALL: Phase.CALLING_TOOL,
    Channel.TOOL_RESULT: Phase.READING_RESULT,
}

ALL = list(recordings())
FAMILIES = list(cases_in_company())


def steps_of(answer: Answer, pieces: Iterable[bytes]) -> list[Step]:
    """The steps of an answer that arrives in these pieces."""
    collected = Collected()
    filtered = StreamFilter(answer, limit=LIMIT, statuses=collected)
    for piece in pieces:
        filtered.feed(piece)
    filtered.finish()
    return collected.steps


@pytest.mark.parametrize("recording", ALL, ids=lambda r: r.name)
def test_a_recording_has_the_phases_that_it_says_however_it_arrives(recording: Recording) -> None:
    sent = recording.sent
    assert phases_of(steps_of(recording.chat(), [sent])) == list(recording.phases)
    ways = two_way(sent) if len(sent) < MAX_FOR_EVERY_CUT else at_random(sent, 12)
    for pieces in (units(sent), *ways):
        assert phases_of(steps_of(recording.chat(), pieces)) == list(recording.phases)


def without_repeats(items: Iterable[object]) -> list[object]:
    """``items`` without those that are the same as the one before."""
    return [item for item, _ in groupby(items)]


def expected(case: Case) -> list[object]:
    """The phases of an example, by the channels of its text."""
    found = segments(case.lane(), [case.example.text])
    says = [segment for segment in found if segment.channel in OF_CHANNEL]
    shown = (OF_CHANNEL[segment.channel] for segment in says if segment.text.strip())
    return [*without_repeats(shown), Phase.DONE]


def check(case: Case, pieces: Sequence[str]) -> None:
    steps = steps_of(case.chat(), [stream(pieces)])
    example = case.example
    phases = [step.phase for step in steps]
    if not example.tool_call.strip():
        # A call without arguments is told if its markers say its name.
        phases = [phase for phase in phases if phase is not Phase.CALLING_TOOL]
    assert without_repeats(phases) == expected(case)
    tools = [step.tool for step in steps if step.phase is Phase.CALLING_TOOL]
    if example.tools:
        assert without_repeats(tools) == without_repeats(example.tools)
    else:
        # A rule could not tell which tools these are; a person is told what can be made out.
        assert all(tool is None or tool in example.text for tool in tools)


@pytest.mark.parametrize("case", FAMILIES, ids=name)
def test_a_family_has_its_phases_and_its_tools_in_every_cut(case: Case) -> None:
    text = case.example.text
    check(case, [text])
    check(case, units(text))
    for pieces in at_random(text, 6):
        check(case, pieces)
    for pieces in two_way(text):
        check(case, pieces)
