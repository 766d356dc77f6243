"""The short way of a repeated event: it gives what the long way gives, in every case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.channel import Segment
from sidecar.core.jsontext import Parsed, parse
from sidecar.core.policy import OnEmpty, Policy, Reasoning, ToolCalls, Unclosed
from sidecar.core.progress import Phase
from sidecar.core.sse import Decoder
from sidecar.core.status import NO_STATUSES, Statuses, StatusPolicy
from sidecar.core.statustext import StatusText, StatusTexts
from sidecar.core.stream import Reading, StreamFilter
from sidecar.core.vocabulary import Vocabulary
from sidecar.wire.calls import MAX_CALLS
from sidecar.wire.chat import Chat
from sidecar.wire.ruling import Ruling
from sidecar.wire.template import Template
from tests.cuts import at_random
from tests.promises import CATALOGUE, LIMIT, Case, cases_in_company, in_turn, stream
from tests.statuses import Collected
from tests.wire.streams import ROLE, STOP, Json, call, calls, chunk, compact, sse

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


def left(chat: Chat, sent: bytes, statuses: Statuses | None = None) -> list[list[object]]:
    """What leaves, event by event, so that nothing leaves sooner or later either. A text that was
    written again may have other escapes."""
    stream_filter = StreamFilter(chat, limit=LIMIT, statuses=statuses)
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


def more(text: str, **also: Any) -> Json:
    """A chunk with more arguments of a call."""
    return calls(call(None, text, **also))


ARGUMENTS = ['{"ci', 'ty": "Ber', 'lin", "n', 'ote": "\\"quoted\\" ü"', "}"]
BOOK, LOOK = call("zq_book", id="a"), call("zq_lookup", id="b")
CALL_STREAMS: dict[str, list[Json]] = {
    "one": [calls(BOOK), *map(more, ARGUMENTS)],
    "declared": [calls(LOOK), *map(more, ARGUMENTS)],
    "with its name": [calls(call("zq_book", "{", id="a")), *map(more, ARGUMENTS)],
    "named again": [calls(call("zq_book", part, id="a")) for part in ARGUMENTS],
    "named late": [*map(more, ARGUMENTS[:2]), calls(LOOK), *map(more, ARGUMENTS[2:])],
    "never named": [*map(more, ARGUMENTS)],
    "one after another": [
        *(calls(BOOK), *map(more, ARGUMENTS)),
        *(calls(LOOK | {"index": 1}), *(more(part, index=1) for part in ARGUMENTS)),
    ],
    "one after another, under one index": [
        *(calls(BOOK), *map(more, ARGUMENTS), calls(LOOK), *map(more, ARGUMENTS)),
        *(calls(BOOK), *map(more, ARGUMENTS)),
    ],
    "by turns": [
        calls(BOOK, LOOK | {"index": 1}),
        *(more(part, index=index) for part in ARGUMENTS for index in (0, 0, 1, 1)),
    ],
    "not numbered": [
        calls(call("zq_lookup", index=None)),
        *(more(part, index=None) for part in ARGUMENTS),
        calls(call("zq_book", index=None)),
        *(more(part, index=None) for part in ARGUMENTS),
    ],
    "with nulls": [
        calls(LOOK),
        *(calls({"index": 0, "id": None, "type": "function"} | call(None, p)) for p in ARGUMENTS),
    ],
    "with another id each": [calls(LOOK), *(more(p, id=p) for p in ARGUMENTS)],
    "with a role": [
        calls(BOOK),
        *(chunk({"role": "assistant", "tool_calls": [call(None, part)]}) for part in ARGUMENTS),
    ],
    "with unknown fields": [calls(BOOK), *(more(part, zq_odd=1) for part in ARGUMENTS)],
    "beside unknown fields": [calls(BOOK), *(calls(call(None, p), odd=1) for p in ARGUMENTS)],
    "of two choices": [
        *(calls(BOOK), calls(LOOK, index=1)),
        *(calls(call(None, part), index=index) for part in ARGUMENTS for index in (0, 0, 1, 1)),
    ],
    "and text": [
        *(calls(BOOK), *map(more, ARGUMENTS[:3]), chunk({"content": "Well, <"})),
        *(*map(more, ARGUMENTS[3:]), chunk({"content": "b> it is."})),
    ],
    "of two messages": [
        *(calls(LOOK), *map(more, ARGUMENTS)),
        *(chunk({"role": "tool", "content": "zqResult"}), chunk({"role": "assistant"})),
        *(*map(more, ARGUMENTS), calls(BOOK), *map(more, ARGUMENTS)),
    ],
    "whose arguments are no text": [
        calls(BOOK),
        *(calls({"index": 0, "function": {"arguments": {"n": n}}}) for n in range(3)),
    ],
    "more than are told apart": [
        *(calls(call("zq_lookup", id=f"c{n}", index=n)) for n in range(MAX_CALLS + 1)),
        *(more(part, index=MAX_CALLS) for part in ARGUMENTS),
        *(more(part, index=0) for part in ARGUMENTS),
    ],
}
WISHES = {"drop": ToolCalls.DROP, "keep": ToolCalls.KEEP, "move": ToolCalls.MOVE}
CALL_POLICIES = POLICIES | {wish: Policy(tool_calls=value) for wish, value in WISHES.items()}
CITY = StatusTexts({Phase.CALLING_TOOL: StatusText("In {args.city}")})


@pytest.mark.parametrize("reads", [False, True], ids=["", "arguments-are-told"])
@pytest.mark.parametrize("which", CALL_POLICIES)
@pytest.mark.parametrize("name", CALL_STREAMS)
def test_calls_leave_as_if_every_event_were_read_in_full(
    name: str, which: str, reads: bool
) -> None:
    policy = CALL_POLICIES[which]
    ruling = Ruling(
        policy,
        Vocabulary(CATALOGUE.resolve(["think"]), policy),
        frozenset({"zq_lookup"}),
        status=StatusPolicy(texts=CITY) if reads else NO_STATUSES,
    )
    events = [ROLE, *CALL_STREAMS[name], chunk({}, "tool_calls")]
    sent = b"".join(sse(compact(value)) for value in events)
    short, long = Chat(ruling), LongWay(ruling)
    told, told_too = Collected(), Collected()
    assert left(short, sent, told) == left(long, sent, told_too)
    assert short.stats == long.stats
    assert told.steps == told_too.steps


@pytest.mark.parametrize("which", CALL_POLICIES)
def test_who_is_told_of_calls_is_told_of_all(which: str) -> None:
    policy, said = CALL_POLICIES[which], list[Segment]()
    ruling = Ruling(policy, Vocabulary((), policy), tell=said.append)
    events = [ROLE, *CALL_STREAMS["one"]]
    left(Chat(ruling), b"".join(sse(compact(value)) for value in events))
    assert "".join(segment.text for segment in said) == "zq_book" + "".join(ARGUMENTS)


@pytest.mark.parametrize("which", ["drop", "keep"])
def test_more_of_a_call_is_not_read_in_full(which: str) -> None:
    """The test that the tests above are of something."""
    policy, read = CALL_POLICIES[which], list[object]()

    class Watched(Chat):
        def read(self, event: Parsed) -> Reading:
            read.append(event.value)
            return super().read(event)

    ruling = Ruling(policy, Vocabulary((), policy))
    events = [ROLE, *CALL_STREAMS["one"]]
    left(Watched(ruling), b"".join(sse(compact(value)) for value in events))
    assert len(read) == 3


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
