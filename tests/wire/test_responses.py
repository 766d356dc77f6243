"""A Responses answer as a whole: its envelope, its end, its errors, and as one document."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from openai import omit
from openai._models import construct_type
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent

from sidecar.core.document import filter_document
from sidecar.core.policy import (
    Errors,
    OnEmpty,
    Policy,
    Reasoning,
    ToolCalls,
    ToolResults,
    UnknownFields,
)
from sidecar.core.stream import StreamFilter
from tests.clients import shapes
from tests.cuts import at_random, every_way, units
from tests.promises import LIMIT

from .responses import (
    CALLED,
    DIED,
    DROP,
    KEEP,
    MOVE,
    RESPONSE,
    SECRET,
    THINK,
    TOOLS,
    Json,
    added,
    answer,
    begun,
    check,
    created,
    done,
    filtered,
    judged,
    left,
    of_part,
    output,
    records,
    response,
    said,
    spoken,
    sse,
    stream,
    text,
    types,
    wire,
    written,
)

RECORDED = shapes.responses({"model": "m", "tools": []})
STREAM = b"".join(RECORDED.events)
KEEP_REASONING = Policy(reasoning=Reasoning.KEEP)
DECLARED = Policy(Reasoning.MOVE, ToolCalls.DECLARED)
POLICIES = {
    "drop": DROP,
    "keep": KEEP,
    "move": MOVE,
    "keep tools": TOOLS,
    "keep reasoning": KEEP_REASONING,
    "move and declared": DECLARED,
}
per_policy = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
THOUGHT: Json = {
    "id": "rs_0",
    "type": "reasoning",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": f"{SECRET} it"}],
}
THINKING = [
    added(0, begun(THOUGHT)),
    of_part("reasoning_text.delta", 0, THOUGHT, delta=f"{SECRET} it"),
    done(0, THOUGHT),
]


# --- the recorded answer ------------------------------------------------------------------------


@per_policy
def test_the_same_leaves_in_every_cut(policy: Policy) -> None:
    whole = filtered(STREAM, wire(policy))
    check(records(whole))
    for pieces in (units(STREAM), *at_random(STREAM, 12)):
        assert filtered(pieces, wire(policy)) == whole


@per_policy
def test_a_document_says_what_the_stream_says(policy: Policy) -> None:
    (*_, last) = left(STREAM, policy)
    body = json.dumps(RECORDED.document, separators=(",", ":")).encode()
    assert json.loads(filter_document(body, wire(policy))) == last["response"]
    if policy is KEEP:
        assert filter_document(body, wire(policy)) == body


def test_the_openai_package_accumulates_what_leaves() -> None:
    """Its state looks items and parts up by their positions, and ends with the visible text."""
    pieces = ("A", THINK, "b", CALLED)
    item = said(*pieces)
    mixed = answer(*THINKING, *written(item, *pieces, index=1), output=[THOUGHT, item])
    for raw in (STREAM, mixed, spoken(THINK), spoken(CALLED)):
        for policy in POLICIES.values():
            state: Any = ResponseStreamState(input_tools=[], text_format=omit)
            events = left(raw, policy)
            seen: list[Any] = []
            for record in events:
                event = construct_type(value=record, type_=cast(Any, ResponseStreamEvent))
                seen += state.handle_event(event)
            assert seen[-1].response.output_text == text(events)
            assert [item.type for item in seen[-1].response.output] == types(events)


# --- the envelope -------------------------------------------------------------------------------


def test_what_a_response_repeats_of_its_request_stays() -> None:
    """Markers in the instructions are the operator's own words."""
    item = said("Hi.")
    words = {"instructions": "Use <think>.", "prompt_cache_key": "k", "previous_response_id": "r"}
    raw = stream(
        response("queued", **words),
        created(),
        {"type": "keepalive"},
        *written(item, "Hi."),
        response("completed", item, **words, metadata={"a": "<think>"}),
    )
    assert filtered(raw, wire()) == raw


@pytest.mark.parametrize("status", ["queued", "created", "in_progress"])
def test_items_of_a_response_that_has_begun_are_judged(status: str) -> None:
    items = [THOUGHT, said(f"{THINK}Hi.", item_id="msg_1")]
    begins = response("in_progress", *items) | {"type": f"response.{status}"}
    out = filtered(stream(begins, *written(said("Hi."), "Hi.")), wire())
    assert SECRET not in out.decode()
    assert [item["type"] for item in output(records(out)[:1])] == ["message"]


def test_output_is_a_list_where_a_server_gives_none() -> None:
    raw = stream(created(), response("completed") | {"response": RESPONSE | {"output": None}})
    assert output(left(raw)) == []
    assert (
        json.loads(filter_document(json.dumps(RESPONSE | {"output": None}).encode(), wire()))[
            "output"
        ]
        == []
    )


def test_numbers_keep_every_digit() -> None:
    raw = spoken(f"{THINK}Hi.").replace(b"1700000000", b"170000000000000000000000000001.50")
    assert filtered(raw, wire()).count(b"170000000000000000000000000001.50") == 2


def test_numbers_begin_where_upstreams_do() -> None:
    """A stream that is fetched from its middle on."""
    raw = stream(created(), *THINKING, *written(said("Hi."), "Hi.", index=1))
    blocks = raw.split(b"\n\n")[3:-1]
    out = filtered(b"".join(block + b"\n\n" for block in blocks), wire())
    assert [e["sequence_number"] for e in records(out)][:3] == [3, 4, 5]


def test_events_of_an_unknown_type_are_dropped_and_counted_or_pass() -> None:
    events = written(said("Hi."), "Hi.")
    events.insert(3, {"type": "response.zz_new", "text": SECRET})
    raw = answer(*events, output=[said("Hi.")])
    answering = wire()
    out = records(filtered(raw, answering))
    check(out)
    assert SECRET not in json.dumps(out)
    assert answering.stats.unknown_fields == 1
    assert filtered(raw, wire(Policy(unknown_fields=UnknownFields.PASS))) == raw


# --- the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["completed", "incomplete"])
def test_how_an_answer_ended_stays(status: str) -> None:
    item = said(THINK, "Hi.")
    why = {"incomplete_details": {"reason": "max_output_tokens"}}
    end = response(status, item, **why)
    out = left(stream(created(), *written(item, THINK, "Hi."), end))
    assert out[-1]["type"] == f"response.{status}"
    assert out[-1]["response"] == end["response"] | {"output": [said("Hi.")]}


def test_nothing_follows_the_end() -> None:
    raw = spoken("Hi.")
    assert filtered(raw + raw + b"data: [DONE]\n\n", wire()) == raw


def test_a_stream_that_breaks_off_says_so_in_its_own_words() -> None:
    """After each of its events; what was certainly visible goes out first."""
    item = said("Hi <", THINK, "you.")
    events = [created(), *THINKING, *written(item, "Hi <", THINK, "you.", index=1)]
    for number in range(len(events) + 1):
        raw = stream(*events[:number])
        for fault in (None, DIED):
            out = records(filtered(raw, wire(), fault))
            assert SECRET not in json.dumps(out)
            *before, failed = out
            check(before)
            assert failed.get("sequence_number", 0) == len(before)
            if not before:
                # What was not announced cannot fail: two SDK helpers would not take that.
                assert failed["type"] == "error"
                assert failed["error"]["message"] == failed["message"]
                continue
            assert failed["type"] == "response.failed"
            assert failed["response"]["status"] == "failed"
            code = DIED.code if fault else "upstream_incomplete"
            assert failed["response"]["error"]["code"] == code
            if number:
                kept = ("id", "model", "instructions")
                assert {k: failed["response"][k] for k in kept} == {k: RESPONSE[k] for k in kept}
            upstream = "".join(e["delta"] for e in events[4:number] if "delta" in e)
            assert text(before) == upstream.replace(THINK, "")
        broken = records(filtered(raw + b'data: {"type":\n\n', wire()))
        assert broken[:-1] == out[:-1]
        told = broken[-1].get("response", broken[-1])["error"]
        assert told["code"] == "upstream_malformed"


def test_what_was_to_be_sent_before_an_event_that_cannot_be_read_is_sent() -> None:
    """Held text and its numbers are not lost with the event that ends the answer."""
    events = [created(), *written(said("Hi <"), "Hi <")[:3]]
    out = records(filtered(stream(*events, response("completed", 1)), wire()))  # type: ignore[arg-type]
    check(out[:-1])
    assert text(out) == "Hi <"
    assert out[-1]["type"] == "response.failed"
    assert out[-1]["sequence_number"] == len(out) - 1


@pytest.mark.parametrize("flat", [True, False])
def test_an_upstream_error_stays(flat: bool) -> None:
    """Without what it quotes of hidden text; and the response that failed of it follows."""
    told = {"code": "server_error", "message": f"Bad: {THINK}!", "param": None}
    error: Json = {"type": "error"} | (told if flat else {"error": told | {"zz": SECRET}})
    failed = response("failed", error=told)
    item = said("Hi <")
    begins = [created(), *written(item, "Hi <")[:3]]
    for ending in ([error], [failed], [error, failed]):
        out = records(filtered(stream(*begins, *ending), wire()))
        check(out)
        assert SECRET not in json.dumps(out)
        assert [e["type"] for e in out[-len(ending) :]] == [e["type"] for e in ending]
        assert text(out) == "Hi <"
        for event in out[-len(ending) :]:
            holder = event.get("error", event) if event["type"] == "error" else None
            holder = holder or event["response"]["error"]
            assert (holder["code"], holder["message"]) == ("server_error", "Bad: !")
    own = records(filtered(stream(error, failed), wire(Policy(errors=Errors.OWN))))
    assert "Bad" not in json.dumps(own)
    for both in (told | error | {"error": None}, told | error, told | error | {"error": told}):
        assert SECRET not in filtered(stream(created(), both), wire()).decode()


def test_an_error_in_place_of_a_document_is_told() -> None:
    body = json.dumps({"error": {"message": f"Bad: {THINK}", "code": "c", "zz": SECRET}}).encode()
    told = json.loads(filter_document(body, wire()))
    assert SECRET not in json.dumps(told)
    assert told["error"]["code"] == "c"


# --- when nothing is left -----------------------------------------------------------------------

_EMPTY: list[tuple[list[Json], list[Json]]] = [
    (THINKING, [THOUGHT]),
    (written(said(f"<think>{SECRET} it</think>"), f"<think>{SECRET} it</think>"),
     [said(f"<think>{SECRET} it</think>")]),
    ([], [THOUGHT]),
    ([], [said(f"<think>{SECRET} it</think>")]),
]  # fmt: skip


@pytest.mark.parametrize(("events", "items"), _EMPTY)
def test_an_answer_of_which_nothing_is_left_is_what_the_rule_says(
    events: list[Json], items: list[Json]
) -> None:
    """In a stream, and in a document."""
    raw = answer(*events, output=items)
    assert output(left(raw)) == judged(items) == []
    for policy, expected in (
        (Policy(on_empty=OnEmpty.PROMOTE), f"{SECRET} it"),
        (Policy(on_empty=OnEmpty.TEXT, empty_text="Nothing."), "Nothing."),
    ):
        out = left(raw, policy)
        assert text(out) == expected
        (made,) = output(out)
        assert [p["text"] for p in made["content"]] == [expected]
        assert judged(items, policy) == [made]
        seeing = wire(policy)
        filtered(raw, seeing)
        assert seeing.stats.visible_seen
    failing = Policy(on_empty=OnEmpty.ERROR)
    last = records(filtered(raw, wire(failing)))[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["error"]["code"] == "empty_answer"
    whole = RESPONSE | {"status": "completed", "output": items}
    body = json.loads(filter_document(json.dumps(whole).encode(), wire(failing)))
    assert (body["status"], body["error"]["code"]) == ("failed", "empty_answer")
    assert body["output"] == []


@pytest.mark.parametrize("on_empty", [OnEmpty.PROMOTE, OnEmpty.TEXT, OnEmpty.ERROR])
def test_an_answer_of_which_something_is_left_is_only_that(on_empty: OnEmpty) -> None:
    """Whether it is text or a call, and wherever it is said."""
    call = {"id": "fc", "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    wishes = {"on_empty": on_empty, "empty_text": "Nothing."}
    kept = Policy(tool_calls=ToolCalls.KEEP, **wishes)  # type: ignore[arg-type]
    moved = Policy(tool_calls=ToolCalls.MOVE, **wishes)  # type: ignore[arg-type]
    item = said(f"{THINK}Hi.")
    for policy, events, items, left_over in (
        (kept, written(item, THINK, "Hi."), [item], ["message"]),
        (kept, [], [item], ["message"]),
        (kept, [added(0, call), done(0, call)], [call], ["function_call"]),
        (kept, [], [call], ["function_call"]),
        (moved, written(said(CALLED), CALLED), [said(CALLED)], ["function_call"]),
        (moved, [], [said(CALLED)], ["function_call"]),
    ):
        out = records(filtered(answer(*events, output=items), wire(policy)))
        assert [i["type"] for i in output(out)] == left_over
        assert [i["type"] for i in judged(items, policy)] == left_over
        assert out[-1]["type"] == "response.completed"


def test_an_answer_that_failed_or_is_under_way_gets_nothing_instead() -> None:
    policy = Policy(on_empty=OnEmpty.TEXT, empty_text="Nothing.")
    for status in ("failed", "queued", "in_progress"):
        whole = RESPONSE | {"status": status, "output": [THOUGHT]}
        assert json.loads(filter_document(json.dumps(whole).encode(), wire(policy)))["output"] == []
    assert "Nothing." not in filtered(stream(created(), response("failed")), wire(policy)).decode()


# --- what is left as it is ------------------------------------------------------------------------


def test_long_ids_tell_items_apart_by_their_index() -> None:
    item = said("Hi.", item_id="x" * 5000)
    raw = answer(*written(item, "Hi."), output=[item])
    assert filtered(raw, wire()) == raw


def test_text_leaves_with_the_delta_that_makes_it_certain() -> None:
    transducer = StreamFilter(wire(), limit=LIMIT)
    item = said("Hi ", THINK, "you")
    sent = [created(), *written(item, "Hi ", THINK, "you")]
    seen = [text(records(transducer.feed(sse(event)))) for event in sent]
    assert [piece for piece in seen if piece] == ["Hi ", "you"]


def test_short_streams_in_every_cut() -> None:
    call = {"id": "c", "type": "function_call", "name": "f"}
    item = said(f"{THINK}Hi.")
    delta = of_part("output_text.delta", 1, item, delta=f"{THINK}Hi")
    raw = stream(added(0, call), delta, done(1, item))
    for policy in (DROP, MOVE):
        whole = filtered(raw, wire(policy))
        assert text(records(whole)) == "Hi"
        for pieces in every_way(raw):
            assert filtered(pieces, wire(policy)) == whole


def test_results_stay_hidden_where_calls_are_kept() -> None:
    out = left(STREAM, Policy(tool_calls=ToolCalls.KEEP, tool_results=ToolResults.DROP))
    assert types(out) == ["reasoning", "function_call", "message"]
