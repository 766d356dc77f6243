"""What a person is told an answer is doing: of every recording, of every family, in every cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import pytest

from sidecar.core.channel import Channel
from sidecar.core.policy import Policy
from sidecar.core.progress import Phase, Step
from sidecar.core.sse import event
from sidecar.core.status import StatusPolicy
from sidecar.core.statustext import StatusText, StatusTexts
from sidecar.core.stream import StreamFilter
from sidecar.wire.answer import Answer
from sidecar.wire.calls import CallFilter
from sidecar.wire.messages import Messages
from sidecar.wire.responses import Responses
from sidecar.wire.ruling import Ruling, Shared
from sidecar.wire.texts import Texts
from tests.cuts import at_random, of_recording, two_way, units
from tests.promises import LIMIT, Case, cases_in_company, name, segments, stream
from tests.statuses import Collected, phases_of
from tests.wire.adapters import compact
from tests.wire.recordings import Recording, recordings
from tests.wire.streams import ruling

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
    for pieces in (units(sent), *of_recording(sent)):
        assert phases_of(steps_of(recording.chat(), pieces)) == list(recording.phases)


def without_repeats(items: Iterable[object]) -> list[object]:
    """``items`` without those that are the same as the one before."""
    return [item for item, _ in groupby(items)]


def phases_in(case: Case) -> list[object]:
    """The phases of an example, by the channels of its text."""
    found = segments(case.lane(), [case.example.text])
    says = [segment for segment in found if segment.channel in OF_CHANNEL]
    shown = (OF_CHANNEL[segment.channel] for segment in says if segment.text.strip())
    return [*without_repeats(shown), Phase.DONE]


def steps_of_text(case: Case, pieces: Iterable[str]) -> list[Step]:
    """Those of the text alone, which is quicker than a chat's stream."""
    ruled = Ruling(case.policy, case.vocabulary, start=case.start)
    shared = Shared(ruled)
    calls = CallFilter(case.policy.tool_calls, (), shared.stats, shared.progress)
    texts = Texts(ruled, shared, calls, shared.progress)
    for piece in pieces:
        texts.feed(piece)
    texts.finish(cut_off=False)
    shared.progress.finish()
    return shared.progress.take()


def check_steps(case: Case, steps: Sequence[Step], expected: Sequence[object]) -> None:
    """They are those of the example, whose phases are the ``expected`` ones."""
    example = case.example
    phases = [step.phase for step in steps]
    if not example.tool_call.strip():
        # A call without arguments is told if its markers say its name.
        phases = [phase for phase in phases if phase is not Phase.CALLING_TOOL]
    assert without_repeats(phases) == expected
    tools = [step.tool for step in steps if step.phase is Phase.CALLING_TOOL]
    if example.tools:
        assert without_repeats(tools) == without_repeats(example.tools)
    else:
        # A rule could not tell which tools these are; a person is told what can be made out.
        assert all(tool is None or tool in example.text for tool in tools)


@pytest.mark.parametrize("case", FAMILIES, ids=name)
def test_a_family_has_its_phases_and_its_tools_in_every_cut(case: Case) -> None:
    text, expected = case.example.text, phases_in(case)
    for pieces in ([text], units(text), *at_random(text, 2)):
        check_steps(case, steps_of(case.chat(), [stream(pieces)]), expected)
    for pieces in two_way(text):
        check_steps(case, steps_of_text(case, pieces), expected)


# --- sources ------------------------------------------------------------------------------------

SEARCHED = "https://tides.example/1"
CITED = "https://tides.example/2"
RESPONSE_EVENTS = (
    {
        "type": "response.output_item.done",
        "output_index": 0,
        "item": {
            "type": "web_search_call",
            "id": "ws_1",
            "status": "completed",
            "action": {
                "type": "search",
                "query": "tides",
                "sources": [{"type": "url", "url": SEARCHED}],
            },
        },
    },
    {
        "type": "response.output_text.delta",
        "item_id": "msg_1",
        "output_index": 1,
        "content_index": 0,
        "delta": "At noon.",
    },
    {
        "type": "response.output_text.annotation.added",
        "item_id": "msg_1",
        "output_index": 1,
        "content_index": 0,
        "annotation_index": 0,
        "annotation": {"type": "url_citation", "url": CITED, "title": "T"},
    },
)
CITATION = {"type": "web_search_result_location", "url": CITED, "title": "T", "cited_text": "x"}
MESSAGE_EVENTS = (
    {
        "type": "content_block_start",
        "index": 0,
        "content_block": {
            "type": "server_tool_use",
            "id": "st_1",
            "name": "web_search",
            "input": {"query": "tides"},
        },
    },
    {"type": "content_block_stop", "index": 0},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {
            "type": "web_search_tool_result",
            "tool_use_id": "st_1",
            "content": [{"type": "web_search_result", "url": SEARCHED, "title": ""}],
        },
    },
    {"type": "content_block_stop", "index": 1},
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "text_delta", "text": "At noon."},
    },
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "citations_delta", "citation": CITATION},
    },
)


@pytest.mark.parametrize(
    ("answer", "events"),
    [(Responses, RESPONSE_EVENTS), (Messages, MESSAGE_EVENTS)],
    ids=["responses", "messages"],
)
def test_the_sources_of_a_hosted_search_and_of_a_citation_are_told(
    answer: type[Responses | Messages], events: Sequence[dict[str, object]]
) -> None:
    """The arguments of the search may be named too."""
    texts = StatusTexts(tools=(("web_search", StatusText("{args.query}")),))
    ruled = ruling(Policy())._replace(status=StatusPolicy(sources=True, texts=texts))
    sent = [event(compact(each).encode(), str(each["type"]).encode()) for each in events]
    steps = steps_of(answer(ruled), sent)
    assert [step.source.url for step in steps if step.source is not None] == [SEARCHED, CITED]
    [call] = [step for step in steps if step.phase is Phase.CALLING_TOOL]
    assert (call.tool, dict(call.arguments)) == ("web_search", {"query": "tides"})
    told = [step.phase for step in steps if step.source is None]
    assert told == [Phase.CALLING_TOOL, Phase.READING_RESULT, Phase.ANSWERING]
