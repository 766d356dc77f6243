"""The short way of a repeated event: it gives what the long way gives, in every case."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sidecar.core.jsontext import parse
from sidecar.core.policy import OnEmpty, Policy, Reasoning, ToolCalls, Unclosed
from sidecar.core.sse import Decoder
from sidecar.core.stream import StreamFilter
from sidecar.core.vocabulary import Vocabulary
from sidecar.wire.chat import Chat
from sidecar.wire.ruling import Ruling
from sidecar.wire.template import Template
from tests.cuts import at_random
from tests.promises import CATALOGUE, LIMIT, Case, cases_in_company, in_turn, stream
from tests.wire.streams import ROLE, STOP, chunk, compact, sse

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"
RECORDINGS = sorted(path for path in TRANSCRIPTS.glob("*.sse") if ".golden" not in path.name)
POLICIES = {
    "default": Policy(),
    "declared": Policy(reasoning=Reasoning.MOVE, tool_calls=ToolCalls.DECLARED),
    "odd": Policy(unclosed=Unclosed.SHOW, on_empty=OnEmpty.PROMOTE),
}
VOCABULARIES = {
    which: Vocabulary(CATALOGUE.resolve(["all"]), policy) for which, policy in POLICIES.items()
}


class LongWay(Chat):
    """Reads every event in full."""

    settled = None


def left(chat: Chat, sent: bytes) -> list[list[object]]:
    """What leaves, event by event, so that nothing leaves sooner or later either. A text that was
    written again may have other escapes."""
    stream_filter = StreamFilter(chat, limit=LIMIT)
    events = [event + b"\n\n" for event in sent.split(b"\n\n") if event]
    return [
        *(_said(stream_filter.feed(event), event) for event in events),
        _said(stream_filter.finish()),
    ]


def _said(out: bytes, event: bytes = b"") -> list[object]:
    """The values of the events in ``out``, or its bytes where it is the ``event`` that came."""
    if out == event:
        return [out]
    datas = [frame.data or b"" for frame in Decoder(LIMIT).feed(out)]
    return [json.loads(data) if data.startswith(b"{") else data for data in datas]


@pytest.mark.parametrize("which", POLICIES)
@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_leaves_as_if_every_event_were_read_in_full(
    recording: Path, which: str
) -> None:
    ruling = Ruling(POLICIES[which], VOCABULARIES[which], frozenset({"zq_lookup"}))
    sent = recording.read_bytes()
    short, long = Chat(ruling), LongWay(ruling)
    assert left(short, sent) == left(long, sent)
    assert short.stats == long.stats


@pytest.mark.parametrize(("case", "which"), in_turn(cases_in_company(), list(POLICIES)))
def test_an_example_leaves_as_if_every_event_were_read_in_full(case: Case, which: str) -> None:
    ruling = Ruling(POLICIES[which], VOCABULARIES[which])
    text = case.example.text
    for pieces in [["Well, ", *text], *at_random("Well, " + text, 2)]:
        short, long, sent = Chat(ruling), LongWay(ruling), stream(pieces)
        assert left(short, sent) == left(long, sent)
        assert short.stats == long.stats


def test_what_a_tool_returned_does_not_pass_for_more_of_the_answer() -> None:
    answer = [chunk({"content": "Let me "}), chunk({"content": "look."})]
    result = [chunk({"role": "tool", "content": "SECRET"}), chunk({"content": " SECRET"})]
    ruling = Ruling(POLICIES["default"], VOCABULARIES["default"])
    sent = b"".join(sse(compact(value)) for value in [ROLE, *answer, *result, STOP])
    out = str(left(Chat(ruling), sent))
    assert "look." in out
    assert "SECRET" not in out


def template(text: str) -> Template:
    made = Template.of(parse(b'{"a":1,"content":"%s","b":2}' % text.encode()).text, text)
    assert made is not None
    return made


def test_a_template_writes_an_event_with_another_text() -> None:
    assert template("Hi").with_text('"\n') == b'{"a":1,"content":"\\"\\n","b":2}'


@pytest.mark.parametrize("data", [b'{"a":1,"content":"x","b":2}', b'{"a":1,"content":"\\n","b":2}'])
def test_an_event_with_another_text_fits(data: bytes) -> None:
    assert template("Hi").fits(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":2,"content":"x","b":2}',
        b'{"a":1,"content":"x","b":3}',
        b'{"a":1,"content":null,"b":2}',
        b'{"a":1, "content":"x","b":2}',
    ],
)
def test_an_event_with_another_value_does_not(data: bytes) -> None:
    assert not template("Hi").fits(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{ "content" : "Hi", "b": [1, 2.50] }',
        b'{"b":"content","content":"Hi"}',
        b'{"content":"\\u0048i"}',
        b'{"b":"\xc3\xa4","content":"Hi"}',
    ],
)
def test_a_template_is_found_however_the_event_is_written(data: bytes) -> None:
    made = Template.of(data, "Hi")
    assert made is not None
    assert made.fits(data)
    assert parse(made.with_text("there")).value == parse(data).value | {"content": "there"}


@pytest.mark.parametrize(
    "data",
    [
        b'{"content":"Ho"}',
        b'{"content":["Hi"]}',
        b'{"b":"\\"content\\":\\"Hi\\"","content":"Hi"}',
        b'{"x\\"content":"Hi"}',
        b'{"c\\u006fntent":"Hi","b":{"content":"Hi"}}',
        b'{"content":"\\ud83e"}',
    ],
)
def test_where_it_is_not_certain_which_string_is_the_text_there_is_none(data: bytes) -> None:
    assert Template.of(data, "Hi") is None


def test_an_event_in_which_the_text_stands_twice_makes_no_template() -> None:
    data = b'{"content":"Hi","x":{"content":"Hi"}}'
    assert Template.of(data, "Hi") is None
