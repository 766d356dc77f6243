"""The texts of Responses messages: what is visible of them, wherever they are repeated."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.core.channel import Channel
from sidecar.core.policy import Policy, Reasoning, StartsIn, ToolCalls
from sidecar.wire.responsestate import MAX_HELD
from sidecar.wire.responsetexts import MAX_TEXTS

from .responses import (
    CALLED,
    CALLS,
    DROP,
    KEEP,
    MOVE,
    SECRET,
    THINK,
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
    message,
    of_item,
    of_part,
    output,
    part,
    records,
    refused,
    response,
    said,
    spoken,
    stream,
    text,
    types,
    wire,
    written,
)

REASONING = {"id": "rs_0", "type": "reasoning", "summary": []}


@pytest.mark.parametrize("policy", [DROP, KEEP, MOVE, CALLS], ids=["drop", "keep", "move", "calls"])
def test_visible_text_stays_to_the_byte(policy: Policy) -> None:
    raw = spoken("", "Hi ", "", "<b>there</b>", ".", obfuscation="x7Y")
    assert filtered(raw, wire(policy)) == raw


@pytest.mark.parametrize(
    "pieces",
    [
        (THINK, "Hi."),
        ("<thi", f"nk>{SECRET[:4]}", f"{SECRET[4:]}</th", "ink>Hi", "."),
        ("Hi", f".{CALLED}"),
        ("H", f"i{THINK}.{CALLED}"),
    ],
)
def test_hidden_text_is_in_no_repetition(pieces: tuple[str, ...]) -> None:
    raw = spoken(*pieces)
    out = filtered(raw, wire())
    assert SECRET[:4] not in out.decode()
    events = records(out)
    check(events)
    assert text(events) == "Hi."
    assert [p["text"] for p in output(events)[0]["content"]] == ["Hi."]


def test_text_that_is_cut_loses_its_padding_and_other_text_keeps_it() -> None:
    events = left(spoken("Hi ", f"{THINK}you", obfuscation="x7Y"))
    deltas = [e for e in events if e["type"].endswith(".delta")]
    assert [("obfuscation" in e, e["delta"]) for e in deltas] == [(True, "Hi "), (False, "you")]


def test_log_probabilities_stay_with_text_that_stays() -> None:
    token = {"token": "Hi.", "logprob": -0.5, "bytes": list(b"Hi."), "top_logprobs": []}
    hidden = {"token": THINK, "logprob": -0.5, "bytes": list(THINK.encode()), "top_logprobs": []}
    raw = spoken("Hi.", logprobs=[token])
    assert filtered(raw, wire()) == raw
    says_nothing = spoken("", "Hi.", logprobs=[hidden])
    assert str(list(SECRET.encode()))[1:-1] not in json.dumps(left(says_nothing))
    item = message(part(THINK + "Hi.", logprobs=[hidden, token]))
    events = [*written(item, THINK + "Hi.", logprobs=[hidden, token])]
    # Whoever announces a part with what it will say, says it all the same.
    events[1] = events[1] | {"part": item["content"][0]}
    out = left(answer(*events, output=[item]))
    assert SECRET not in json.dumps(out)
    assert str(list(SECRET.encode()))[1:-1] not in json.dumps(out)
    assert text(out) == "Hi."


def test_a_refusal_is_a_text_like_any_other() -> None:
    item = message(refused(f"No.{THINK}"))
    events = left(answer(*written(item, "No", f".{THINK}"), output=[item]))
    assert text(events) == "No."
    assert output(events) == judged([item]) == [message(refused("No."))]


def test_a_region_goes_on_in_the_next_part_and_no_further() -> None:
    """The parts of a message are one text; the next message is another."""
    split = message(part(f"Hi.<think>{SECRET}"), part(f"{SECRET}</think>You"), item_id="msg_0")
    open_ = message(part(f"<think>{SECRET}"), refused("No."), part(SECRET), item_id="msg_1")
    last = message(part("Bye."), item_id="msg_2")
    items = [split, open_, last]
    texts = [item["content"][0]["text"] for item in items]
    events = [e for i in range(3) for e in written(items[i], texts[i], index=i)]
    shown = [["Hi.", "You"], ["No."], ["Bye."]]
    for left_items in (output(left(answer(*events, output=items))), judged(items)):
        contents = [[p.get("text") or p["refusal"] for p in i["content"]] for i in left_items]
        assert contents == shown
    assert text(left(answer(*events, output=items))) == "Hi.YouNo.Bye."


def test_parts_and_messages_that_are_all_hidden_are_not_announced() -> None:
    """Those that follow move up."""
    gone = message(part(THINK), item_id="msg_0")
    half = message(part(CALLED), part("Hi."), item_id="msg_1")
    events = left(
        answer(*written(gone, THINK), *written(half, CALLED, index=1), output=[gone, half])
    )
    assert output(events) == judged([gone, half]) == [message(part("Hi."), item_id="msg_1")]
    assert {e["content_index"] for e in events if "content_index" in e} == {0}


def test_a_message_that_turns_out_empty_is_not_announced() -> None:
    """Some servers leave reasoning out of what repeats the text."""
    opening, part_added, delta, *_ = written(said(THINK), THINK)
    events = left(answer(opening, part_added, delta, done(0, message()), output=[message()]))
    assert output(events) == []
    assert types(events) == []


def test_a_message_that_was_always_empty_stays() -> None:
    for item in (message(), message(part(""))):
        raw = answer(*written(item, ""), output=[item])
        assert filtered(raw, wire()) == raw
        assert judged([item]) == [item]


def test_annotations_of_visible_text_stay_and_others_do_not() -> None:
    cited = {"type": "url_citation", "url": "https://x", "title": "X"}
    for pieces, stays in ((("Hi.",), True), ((THINK,), False)):
        item = message(part("".join(pieces), annotations=[cited]))
        events = written(item, *pieces)
        annotation: Json = {"annotation": cited | {"title": SECRET}, "annotation_index": 0}
        events.insert(3, of_part("output_text.annotation.added", 0, item, **annotation))
        out = left(answer(*events, output=[item]))
        assert (SECRET in json.dumps(out)) is stays
        assert (output(out) != []) is stays


def test_reasoning_is_moved_into_items_of_its_own() -> None:
    events = left(spoken("A", f"<think>{SECRET}", f" {SECRET}</think>b"), MOVE)
    assert text(events) == "Ab"
    assert types(events) == ["message", "reasoning"]
    thought = "".join(e["delta"] for e in events if e["type"] == "response.reasoning_text.delta")
    assert thought == f"{SECRET} {SECRET}"
    assert output(events)[1]["content"] == [{"type": "reasoning_text", "text": thought}]
    whole = judged([said(f"A<think>{thought}</think>b")], MOVE)
    assert [item["content"][0]["text"] for item in whole] == [thought, "Ab"]


def test_calls_are_moved_into_items_of_their_own() -> None:
    events = left(spoken("A", CALLED, "b", CALLED), MOVE)
    assert text(events) == "Ab"
    assert types(events) == ["message", "function_call", "function_call"]
    calls = [item for item in output(events) if item["type"] == "function_call"]
    assert len({call["call_id"] for call in calls}) == len({call["id"] for call in calls}) == 2
    for call in calls:
        assert (call["name"], json.loads(call["arguments"])) == ("find", {"q": SECRET})
    whole = judged([said("A", CALLED, "b", CALLED)], MOVE)
    kept = ("type", "name", "arguments", "status")
    assert [{k: c[k] for k in kept} for c in whole[1:]] == [{k: c[k] for k in kept} for c in calls]


def test_a_call_that_cannot_be_read_ends_the_answer() -> None:
    broken = CALLED.replace('"arguments"', "arguments")
    events = records(filtered(spoken("Hi.", broken), wire(MOVE)))
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["code"] == "malformed_tool_call"
    assert text(events) == "Hi."
    body = judged([said("Hi.", broken)], MOVE)
    assert body == []


# --- what servers leave out ---------------------------------------------------------------------

_NUMBERS = ("sequence_number", "output_index", "content_index")


def bare(*events: Json) -> bytes:
    """Without numbers and positions, as from llama.cpp."""
    kept = ({k: v for k, v in event.items() if k not in _NUMBERS} for event in events)
    raw = b""
    for event in kept:
        raw += f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
    return raw


def test_events_without_numbers_stay_without_them() -> None:
    thought = REASONING | {"content": [{"type": "reasoning_text", "text": SECRET}]}
    item = said(THINK, "Hi.")
    delta = of_part("reasoning_text.delta", 0, thought, delta=SECRET)
    events = written(item, THINK, "Hi.")
    end = response("completed", thought, item)
    raw = bare(created(), added(0, begun(thought)), delta, *events, done(0, thought), end)
    out = records(filtered(raw, wire()))
    assert SECRET not in json.dumps(out)
    assert text(out) == "Hi."
    assert not any(key in event for event in out for key in _NUMBERS)
    assert output(out) == [said("Hi.")]
    plain = written(said("Hi."), "Hi.")
    raw = bare(created(), *plain, response("completed", said("Hi.")))
    assert filtered(raw, wire()) == raw


@pytest.mark.parametrize("lacking", range(1, 4))
def test_what_was_never_announced_is_read_and_announced(lacking: int) -> None:
    """An item, a part, or both: the text is visible, and what is hidden in it is not."""
    item = said(THINK, "Hi.")
    events = written(item, THINK, "Hi.")
    unannounced = [e for n, e in enumerate(events[:2], 1) if not n & lacking] + events[2:]
    out = left(answer(*unannounced, output=[item]))
    assert SECRET not in json.dumps(out)
    assert text(out) == "Hi."
    assert types(out) == ["message"]
    assert "response.content_part.added" in {event["type"] for event in out}


def test_an_announcement_that_comes_too_late_is_not_sent_again() -> None:
    item = said("Hi.")
    opening, part_added, delta, *rest = written(item, "Hi.")
    out = left(answer(delta, opening, part_added, *rest, output=[item]))
    assert text(out) == "Hi."
    assert types(out) == ["message"]


def test_text_at_the_index_of_a_hidden_item_is_of_another_item() -> None:
    """Some servers number nothing rightly."""
    item = said("Hi.")
    events = [added(0, REASONING), *written(item, "Hi.")[2:]]
    assert text(left(answer(*events, output=[item]))) == "Hi."


@pytest.mark.parametrize("same", ["id", "index"])
def test_items_are_told_apart_by_what_they_do_not_share(same: str) -> None:
    first = said("Hi ", item_id="msg_0")
    second = said(f"{THINK}you", item_id="msg_0" if same == "id" else "msg_1")
    index = 0 if same == "index" else 1
    events = [*written(first, "Hi "), *written(second, f"{THINK}you", index=index)]
    out = records(filtered(answer(*events, output=[first, second]), wire()))
    assert SECRET not in json.dumps(out)
    assert text(out) == "Hi you"
    assert [item["content"][0]["text"] for item in output(out)] == ["Hi ", "you"]


def test_items_may_have_another_id_in_every_event() -> None:
    """Some servers encrypt them anew; then the index counts."""
    item = said(f"{THINK}Hi.")
    thought = REASONING | {"summary": [{"type": "summary_text", "text": SECRET}]}
    delta = of_item("reasoning_summary_text.delta", 0, thought, summary_index=0, delta=SECRET)
    events = [added(0, REASONING), delta, done(0, thought)]
    events += written(item, THINK, "Hi.", index=1)
    for number, event in enumerate(events):
        if "item" in event:
            event["item"] = event["item"] | {"id": f"x{number}"}
        else:
            event["item_id"] = f"x{number}"
    out = records(filtered(answer(*events, output=[thought, item]), wire()))
    assert SECRET not in json.dumps(out)
    assert text(out) == "Hi."
    assert types(out) == ["message"]
    assert [i["type"] for i in output(out)] == ["message"]


def test_text_that_comes_in_a_repetition_only_is_judged_there() -> None:
    """Whichever it is, it is counted once."""
    item = said(f"{THINK}Hi.")
    events = written(item)
    for number in range(2, len(events)):
        answering = wire()
        out = filtered(answer(*events[number:], output=[item]), answering)
        assert SECRET not in out.decode()
        assert output(records(out))[-1]["content"][0]["text"] == "Hi."
        reasoning = {
            k[1]: n
            for k, n in answering.stats.hidden_characters.items()
            if k[0] is Channel.REASONING
        }
        assert reasoning == {"think": len(SECRET)}


def test_what_only_the_finished_response_says_is_moved_too() -> None:
    item = said(f"{THINK}Hi.")
    out = records(filtered(answer(output=[item]), wire(MOVE)))
    assert types(out) == ["reasoning"]
    assert [left["type"] for left in output(out)] == ["reasoning", "message"]


def test_text_that_follows_its_end_does_not_leave() -> None:
    item = said(f"{THINK}Hi.")
    events = written(item, f"{THINK}Hi.")
    late = of_part("output_text.delta", 0, item, delta=SECRET, logprobs=[])
    out = left(answer(*events[:-1], late, events[-1], output=[item]))
    assert SECRET not in json.dumps(out)


@pytest.mark.parametrize("kind", ["function_call", "mcp_call", "computer_call", "message"])
def test_text_in_an_item_of_another_type_does_not_leave_unread(kind: str) -> None:
    item: Json = {"id": "it_0", "type": kind}
    if kind == "message":
        item |= {"role": "critic", "content": []}
    inner = part(f"{THINK}{CALLED}")
    hidden: dict[str, Any] = {
        "output_text.delta": {"delta": inner["text"]},
        "output_text.done": {"text": inner["text"]},
        "content_part.added": {"part": inner},
        "content_part.done": {"part": inner},
    }
    events = [of_part(name, 0, item, **more) for name, more in hidden.items()]
    for policy in (DROP, CALLS, Policy(reasoning=Reasoning.KEEP)):
        out = filtered(answer(added(0, item), *events), wire(policy))
        assert SECRET not in out.decode()


def test_reasoning_parts_are_reasoning_wherever_they_stand() -> None:
    """vLLM announces reasoning as parts."""
    inner = {"type": "reasoning_text", "text": SECRET}
    thought = REASONING | {"content": [inner]}
    events = [
        added(0, REASONING),
        of_part("content_part.added", 0, thought, part=inner | {"text": ""}),
        of_part("reasoning_part.added", 0, thought, part=inner | {"text": ""}),
        of_part("reasoning_text.delta", 0, thought, delta=SECRET),
        of_part("reasoning_text.done", 0, thought, text=SECRET),
        of_part("reasoning_part.done", 0, thought, part=inner),
        of_part("content_part.done", 0, thought, part=inner),
        done(0, thought),
    ]
    raw = answer(*events, output=[thought])
    assert filtered(raw, wire(KEEP)) == raw
    for skipped in range(len(events)):
        assert SECRET not in json.dumps(left(answer(*events[skipped:])))
        kept = records(filtered(answer(*events[skipped:]), wire(KEEP)))
        assert "message" not in types(kept)
    mixed = message(inner, part("Hi."))
    assert judged([mixed]) == [message(part("Hi."))]


def test_where_the_prompt_began_to_reason_so_does_the_text() -> None:
    """Wherever it is repeated; unless upstream gives the reasoning a place of its own."""
    policy = Policy(starts_in=StartsIn.REASONING)
    events = left(spoken(f"{SECRET}</think>", "Hi."), policy)
    assert SECRET not in json.dumps(events)
    assert text(events) == "Hi."
    assert judged([said(f"{SECRET}</think>Hi.")], policy) == [said("Hi.")]


def test_held_text_leaves_when_its_message_is_complete() -> None:
    item = said("a <")
    events = [created(), *written(item, "a <"), response("completed", item)]
    out = records(filtered(stream(*events[:4]), wire()))
    assert text(out) == "a <"
    deltas = [e for e in left(stream(*events)) if e["type"] == "response.output_text.delta"]
    assert [e["delta"] for e in deltas] == ["a ", "<"]
    assert all(e["item_id"] == "msg_0" for e in deltas)


def test_announcements_and_texts_that_wait_are_bounded() -> None:
    """The answer ends before they fill the memory."""
    item, padding = said(""), {"type": "url_citation", "title": "x" * (MAX_HELD // 8)}
    waiting = [
        of_part("content_part.added", 0, item, number, part=part("", annotations=[padding]))
        for number in range(8)
    ]
    open_texts = [
        of_part("output_text.delta", number // 2, {"id": f"i{number // 2}"}, number % 2, delta="<")
        for number in range(MAX_TEXTS + 1)
    ]
    for events in (waiting, open_texts):
        enough = records(filtered(stream(created(), *events[:-1]), wire()))
        assert enough[-1]["response"]["error"]["code"] == "upstream_incomplete"
        too_much = records(filtered(stream(created(), *events), wire()))
        assert too_much[-1]["response"]["error"]["code"] == "upstream_malformed"


@pytest.mark.parametrize(
    "pieces",
    [
        ("Look. " + CALLED[:40], CALLED[40:]),
        ("Look. ", CALLED[:40], CALLED[40:] + THINK),
        (f"Look. {CALLED} {CALLED[:40]}", CALLED[40:]),
        tuple(f"Look. {CALLED} {THINK}{CALLED} Bye."),
    ],
    ids=["after text", "before reasoning", "after another", "by the character"],
)
def test_what_is_moved_is_whole_wherever_deltas_are_cut(pieces: tuple[str, ...]) -> None:
    """Text, reasoning and calls that come in one delta leave in their order."""
    policy = Policy(Reasoning.MOVE, ToolCalls.MOVE)
    whole = "".join(pieces)
    items = output(left(spoken(*pieces), policy))
    calls = [item for item in items if item["type"] == "function_call"]
    assert [json.loads(call["arguments"]) for call in calls] == [
        json.loads(CALLED[CALLED.index("{") : CALLED.rindex("}") + 1])["arguments"]
    ] * whole.count(CALLED)
    thoughts = [item["content"][0]["text"] for item in items if item["type"] == "reasoning"]
    assert len(thoughts) == whole.count(THINK)
    assert all(item["status"] == "completed" for item in items)
    document = judged([message(part(whole))], policy)
    assert [i.get("arguments") for i in document if i["type"] == "function_call"] == [
        call["arguments"] for call in calls
    ]


@pytest.mark.parametrize("repeated", [True, False], ids=["with done events", "without"])
def test_a_moved_call_that_was_cut_off_stays_as_far_as_it_came(repeated: bool) -> None:
    """It is not complete, and says so; in an answer that is complete it is none."""
    policy = Policy(tool_calls=ToolCalls.MOVE)
    pieces = ("Look. ", CALLED[:50])
    item = message(part("".join(pieces)))
    events = written(item, *pieces)
    if not repeated:
        events = [e for e in events if not e["type"].endswith(("_text.done", "_part.done"))]
    items = output(left(answer(*events, output=[item], status="incomplete"), policy))
    (call,) = (each for each in items if each["type"] == "function_call")
    assert call["status"] == "incomplete"
    assert call["arguments"]
    failed = left(answer(*events, output=[item]), policy)[-1]
    assert failed["type"] == "response.failed"
    assert failed["response"]["error"]["code"] == "malformed_tool_call"
