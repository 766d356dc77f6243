"""The items of a Responses answer: reasoning, calls and results, hidden, kept or emptied."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.core.channel import Channel
from sidecar.core.policy import (
    EncryptedReasoning,
    Policy,
    Reasoning,
    ToolCalls,
    ToolResults,
    UnknownFields,
)
from sidecar.core.stream import MalformedChunk
from sidecar.wire.items import MAX_HIDDEN_CALLS
from sidecar.wire.responses_fields import HOSTED_TOOLS, ITEM_CHANNELS, RESULT_KEYS

from .responses import (
    CALLS,
    DROP,
    KEEP,
    SECRET,
    TOOLS,
    Json,
    added,
    answer,
    done,
    filtered,
    judged,
    left,
    of_item,
    of_part,
    output,
    records,
    said,
    types,
    wire,
    written,
)

SEALED = "gAAAAABopaque"
NO_SEALED = Policy(encrypted_reasoning=EncryptedReasoning.DROP)
DECLARED = Policy(tool_calls=ToolCalls.DECLARED, tool_results=ToolResults.KEEP)
KEEP_REASONING = Policy(reasoning=Reasoning.KEEP)

HI = said("Hi.", item_id="msg_9")


def then_hi(*events: Json, items: tuple[Json, ...] = ()) -> bytes:
    """An answer of these events, and the message that follows them."""
    return answer(*events, *written(HI, "Hi.", index=len(items)), output=[*items, HI])


# --- reasoning ----------------------------------------------------------------------------------


def reasoning(**more: Any) -> Json:
    """A whole item."""
    item = {"id": "rs_0", "type": "reasoning", "status": "completed"}
    summary = [{"type": "summary_text", "text": f"{SECRET} in short"}]
    content = [{"type": "reasoning_text", "text": SECRET}]
    return item | {"summary": summary, "content": content} | more


def thought(item: Json) -> list[Json]:
    """All events of a reasoning item."""
    (short,), (raw,) = item["summary"], item["content"]
    summary = {"summary_index": 0}
    return [
        added(0, item | {"summary": [], "content": [], "status": "in_progress"}),
        of_item("reasoning_summary_part.added", 0, item, part=short | {"text": ""}, **summary),
        of_item("reasoning_summary_text.delta", 0, item, delta=short["text"], **summary),
        of_item("reasoning_summary_text.done", 0, item, text=short["text"], **summary),
        of_item("reasoning_summary_part.done", 0, item, part=short, **summary),
        of_part("reasoning_text.delta", 0, item, delta=raw["text"]),
        of_part("reasoning_text.done", 0, item, text=raw["text"]),
        done(0, item),
    ]


def test_reasoning_goes_and_the_message_moves_up() -> None:
    raw = then_hi(*thought(reasoning()), items=(reasoning(),))
    events = left(raw)
    assert SECRET not in json.dumps(events)
    assert output(events) == judged([reasoning(), HI]) == [HI]


def test_reasoning_that_is_kept_stays_to_the_byte() -> None:
    raw = then_hi(*thought(reasoning()), items=(reasoning(),))
    for policy in (KEEP, KEEP_REASONING, Policy(reasoning=Reasoning.MOVE)):
        assert filtered(raw, wire(policy)) == raw


def test_reasoning_is_counted_once() -> None:
    """In a stream, in one that says it at its end only, and in a document."""
    size = len(SECRET) * 2 + len(" in short")
    item = reasoning()
    for raw in (thought(item), thought(item)[-1:], []):
        answering = wire()
        filtered(then_hi(*raw, items=(item,)), answering)
        assert answering.stats.hidden_characters[Channel.REASONING, "field"] == size
    answering = wire()
    answering.read_items([item])
    assert answering.stats.hidden_characters[Channel.REASONING, "field"] == size


def test_what_a_call_says_is_counted_and_its_name_is_not() -> None:
    """However it comes."""
    call = {"id": "fc_0", "type": "function_call", "call_id": "c", "name": "find"}
    whole = call | {"arguments": SECRET}
    opening = added(0, call | {"arguments": ""})
    delta = of_item("function_call_arguments.delta", 0, whole, delta=SECRET)
    for events in ((opening, delta, done(0, whole)), (opening, done(0, whole)), ()):
        answering = wire()
        filtered(then_hi(*events, items=(whole,)), answering)
        assert answering.stats.hidden_characters[Channel.TOOL_CALL, "field"] == len(SECRET)
    answering = wire()
    answering.read_items([whole])
    assert answering.stats.hidden_characters[Channel.TOOL_CALL, "field"] == len(SECRET)


@pytest.mark.parametrize("early", [SEALED, None])
def test_what_only_its_provider_can_read_stays_in_an_emptied_item(early: str | None) -> None:
    """A client without a store sends it back. It may come at the end, or be announced."""
    item = reasoning(encrypted_content=SEALED)
    events = thought(item)
    events[0]["item"] = events[0]["item"] | {"encrypted_content": early}
    out = left(then_hi(*events, items=(item,)))
    assert SECRET not in json.dumps(out)
    assert types(out) == ["reasoning", "message"]
    emptied = {"id": "rs_0", "type": "reasoning", "status": "completed", "summary": []}
    emptied["encrypted_content"] = SEALED
    assert output(out) == judged([item, HI]) == [emptied, HI]


def test_what_only_its_provider_can_read_goes_if_the_rule_says_so() -> None:
    item = reasoning(encrypted_content=SEALED)
    out = left(then_hi(*thought(item), items=(item,)), NO_SEALED)
    assert SEALED not in json.dumps(out)
    assert output(out) == judged([item, HI], NO_SEALED) == [HI]


@pytest.mark.parametrize("sealed", [f"vllm:{SECRET}", "", [SECRET], {"a": SECRET}])
def test_what_is_not_encrypted_is_not_taken_for_it(sealed: Any) -> None:
    """vLLM's is readable to anyone."""
    item = reasoning(encrypted_content=sealed)
    assert SECRET not in filtered(then_hi(*thought(item), items=(item,)), wire()).decode()
    assert judged([item, HI]) == [HI]


# --- calls and results --------------------------------------------------------------------------

_EVENTS: dict[str, list[tuple[str, Json]]] = {
    "function_call": [
        ("function_call_arguments.delta", {"delta": SECRET}),
        ("function_call_arguments.done", {"arguments": SECRET}),
    ],
    "custom_tool_call": [
        ("custom_tool_call_input.delta", {"delta": SECRET}),
        ("custom_tool_call_input.done", {"input": SECRET}),
    ],
    "mcp_call": [
        ("mcp_call.in_progress", {}),
        ("mcp_call_arguments.delta", {"delta": SECRET}),
        ("mcp_call_arguments.done", {"arguments": SECRET}),
        ("mcp_call.completed", {}),
    ],
    "mcp_list_tools": [("mcp_list_tools.in_progress", {}), ("mcp_list_tools.completed", {})],
    "web_search_call": [("web_search_call.searching", {}), ("web_search_call.completed", {})],
    "file_search_call": [("file_search_call.searching", {}), ("file_search_call.completed", {})],
    "code_interpreter_call": [
        ("code_interpreter_call.interpreting", {}),
        ("code_interpreter_call_code.delta", {"delta": SECRET}),
        ("code_interpreter_call_code.done", {"code": SECRET}),
        ("code_interpreter_call.completed", {}),
    ],
    "image_generation_call": [
        ("image_generation_call.generating", {}),
        ("image_generation_call.partial_image", {"partial_image_b64": SECRET}),
        ("image_generation_call.completed", {}),
    ],
    "shell_call": [
        ("shell_call_command.added", {"command_index": 0, "command": ""}),
        ("shell_call_command.delta", {"command_index": 0, "delta": SECRET}),
        ("shell_call_command.done", {"command_index": 0, "command": SECRET}),
    ],
    "apply_patch_call": [("apply_patch_call_operation_diff.delta", {"delta": SECRET})],
    "shell_call_output": [
        ("shell_call_output_content.delta", {"command_index": 0, "delta": {"stdout": SECRET}}),
    ],
}
"""By the type of an item, what is said of it between its announcement and its end."""

_HELD: dict[str, Json] = {
    "function_call": {"name": "find", "arguments": SECRET},
    "custom_tool_call": {"name": "find", "input": SECRET},
    "mcp_call": {"name": "find", "server_label": "docs", "arguments": SECRET},
    "mcp_list_tools": {"server_label": "docs", "tools": [{"name": SECRET}]},
    "mcp_approval_request": {"name": "find", "server_label": "docs", "arguments": SECRET},
    "web_search_call": {"action": {"type": "search", "query": SECRET}},
    "file_search_call": {"queries": [SECRET]},
    "code_interpreter_call": {"code": SECRET, "container_id": "c"},
    "image_generation_call": {"result": SECRET},
    "local_shell_call": {"call_id": "c", "action": {"command": [SECRET]}},
    "shell_call": {"call_id": "c", "action": {"commands": [SECRET]}},
    "computer_call": {"call_id": "c", "action": {"type": "type", "text": SECRET}},
    "apply_patch_call": {"call_id": "c", "operation": {"diff": SECRET}},
}

CALL_TYPES = sorted(kind for kind, channel in ITEM_CHANNELS.items() if channel is Channel.TOOL_CALL)
RESULT_TYPES = sorted(
    kind for kind, channel in ITEM_CHANNELS.items() if channel is Channel.TOOL_RESULT
)


def tool_item(kind: str, **more: Any) -> Json:
    """A whole call or result."""
    held = _HELD.get(kind, dict.fromkeys(("output", "content", "result", "reason"), SECRET))
    return {"id": "it_0", "type": kind, "status": "completed", "call_id": "call_0"} | held | more


def known(item: Json) -> Json:
    """The item without the keys that items of its type do not have."""
    whole = judged([item], KEEP)
    return whole[0]


def used(item: Json, index: int = 0) -> list[Json]:
    """All events of a call or a result."""
    said_of_it = _EVENTS.get(item["type"], [])
    begun = {k: v for k, v in item.items() if SECRET not in json.dumps(v)}
    middle = [of_item(kind, index, item, **more) for kind, more in said_of_it]
    return [added(index, begun | {"status": "in_progress"}), *middle, done(index, item)]


@pytest.mark.parametrize("kind", CALL_TYPES)
def test_a_call_goes_or_stays_as_a_whole(kind: str) -> None:
    item = known(tool_item(kind))
    raw = then_hi(*used(item), items=(item,))
    out = left(raw)
    assert SECRET not in json.dumps(out)
    assert output(out) == judged([item, HI]) == [HI]
    for policy in (KEEP, TOOLS, CALLS):
        assert filtered(raw, wire(policy)) == raw
        assert judged([item, HI], policy) == [item, HI]


@pytest.mark.parametrize("kind", RESULT_TYPES)
def test_a_result_stays_if_results_do_and_its_call_did(kind: str) -> None:
    call = tool_item("function_call", id="fc_0", arguments="{}")
    result = known(tool_item(kind))
    calling = [added(0, call), done(0, call)]
    raw = then_hi(*calling, *used(result, 1), items=(call, result))
    assert filtered(raw, wire(TOOLS)) == raw
    assert judged([call, result], TOOLS) == [call, result]
    assert SECRET not in json.dumps(left(raw, CALLS))
    assert judged([call, result], CALLS) == [call]
    hides_calls = Policy(tool_results=ToolResults.KEEP)
    assert judged([result], hides_calls) == [result]
    if "call_id" in result:
        assert SECRET not in json.dumps(left(raw, hides_calls))
        assert judged([call, result], hides_calls) == []


@pytest.mark.parametrize("kind", sorted(HOSTED_TOOLS))
def test_a_hosted_tool_that_is_declared_keeps_its_calls(kind: str) -> None:
    item = known(tool_item(kind))
    raw = then_hi(*used(item), items=(item,))
    names = [f"hosted:{tool}" for tool in HOSTED_TOOLS[kind]]
    if "server_label" in item:
        names = ["hosted:mcp:docs"]
    for name in names:
        assert filtered(raw, wire(DECLARED, [name])) == raw
    others = ["hosted:other", "hosted:mcp:other", "find", kind]
    assert SECRET not in json.dumps(left(raw, DECLARED, others))


@pytest.mark.parametrize("kind", ["function_call", "custom_tool_call"])
def test_a_declared_function_keeps_its_calls(kind: str) -> None:
    item = tool_item(kind)
    raw = then_hi(*used(item), items=(item,))
    assert filtered(raw, wire(DECLARED, ["find"])) == raw
    assert SECRET not in json.dumps(left(raw, DECLARED, ["hosted:find", "other"]))


@pytest.mark.parametrize("kind", sorted(RESULT_KEYS))
def test_what_a_tool_returned_goes_out_of_a_call_that_stays(kind: str) -> None:
    for path in RESULT_KEYS[kind]:
        returned: Any = [{"text": SECRET}]
        for key in reversed(path[1:]):
            returned = {"type": "search", key: returned}
        held = {k: v for k, v in _HELD[kind].items() if SECRET not in json.dumps(v)}
        item = {"id": "it_0", "type": kind, "status": "completed"} | held | {path[0]: returned}
        raw = then_hi(added(0, item), done(0, item), items=(item,))
        out = left(raw, CALLS)
        assert SECRET not in json.dumps(out)
        assert output(out)[0]["type"] == kind
        assert output(out) == judged([item, HI], CALLS)
        assert filtered(raw, wire(TOOLS)) == raw
        streamed, whole = wire(CALLS), wire(CALLS)
        filtered(raw, streamed)
        whole.read_items([item])
        for answering in (streamed, whole):
            counted = answering.stats.hidden_characters[Channel.TOOL_RESULT, "field"]
            assert counted == len(SECRET)


@pytest.mark.parametrize("kind", sorted(_EVENTS))
def test_what_was_never_announced_is_hidden_by_what_is_said_of_it(kind: str) -> None:
    item = tool_item(kind)
    events = used(item)[1:]
    assert SECRET not in filtered(then_hi(*events, items=(item,)), wire()).decode()
    for event in events:
        assert SECRET not in json.dumps(left(then_hi(event)))


# --- items that are not what they were announced as ----------------------------------------------

_SECRETS: dict[str, tuple[Json, Policy]] = {
    "reasoning": (reasoning(id="it_0"), TOOLS),
    "function_call": (tool_item("function_call"), KEEP_REASONING),
    "function_call_output": (tool_item("function_call_output"), KEEP_REASONING),
    "message": (said(f"<think>{SECRET}</think>", item_id="it_0"), TOOLS),
    "critic": (said(SECRET, item_id="it_0") | {"role": "critic"}, TOOLS),
    "unknown": ({"id": "it_0", "type": "zz_new", "text": SECRET}, KEEP_REASONING),
    "other function": (tool_item("function_call", name="other"), DECLARED),
}


@pytest.mark.parametrize("hidden", sorted(_SECRETS))
@pytest.mark.parametrize("announced", ["reasoning", "function_call", "mcp_call", "message"])
def test_what_turns_out_to_be_something_else_is_judged_anew(announced: str, hidden: str) -> None:
    item, policy = _SECRETS[hidden]
    first: Json = {"id": "it_0", "type": announced, "name": "find", "role": "assistant"}
    first = known(first)
    for events in (
        [added(0, first), done(0, item)],
        [added(0, first), done(0, first)],
        [of_item("function_call_arguments.delta", 0, first, delta="{}"), done(0, item)],
        [of_part("reasoning_text.delta", 0, first, delta="Hm."), done(0, item)],
    ):
        raw = answer(*events, *written(HI, "Hi.", index=1), output=[item, HI])
        assert SECRET not in filtered(raw, wire(policy, ["find"])).decode(), events


@pytest.mark.parametrize("kind", sorted({"message", "reasoning", *_EVENTS}))
def test_an_event_of_another_channel_is_hidden_in_an_item_that_stays(kind: str) -> None:
    item = known({"id": "it_0", "type": kind, "role": "assistant"})
    at = (0, item)
    hidden = [
        (TOOLS, of_part("reasoning_text.delta", *at, delta=SECRET)),
        (TOOLS, of_item("reasoning_summary_text.done", *at, summary_index=0, text=SECRET)),
        (KEEP_REASONING, of_item("function_call_arguments.delta", *at, delta=SECRET)),
        (KEEP_REASONING, of_item("shell_call_command.done", *at, command=SECRET)),
        (CALLS, of_item("shell_call_output_content.delta", *at, delta={"stdout": SECRET})),
    ]
    for policy, event in hidden:
        out = filtered(then_hi(added(0, item), event), wire(policy))
        assert SECRET not in out.decode(), event["type"]


def test_a_call_that_shares_the_index_of_hidden_reasoning_stays_whole() -> None:
    call, thinking = tool_item("function_call"), reasoning()
    opening, delta, *rest = used(call)
    out = left(then_hi(opening, added(0, thinking), delta, *rest, items=(call, thinking)), TOOLS)
    assert [e["delta"] for e in out if e["type"].endswith("arguments.delta")] == [SECRET]
    assert output(out) == [call, HI]


def test_a_call_without_a_name_is_no_declared_one() -> None:
    for name in (None, "", ["find"], {"find": 1}):
        item = tool_item("function_call", name=name)
        raw = then_hi(*used(item), items=(item,))
        assert SECRET not in filtered(raw, wire(DECLARED, ["find"])).decode()


# --- what is unknown ----------------------------------------------------------------------------


def test_items_of_an_unknown_type_are_dropped_and_counted_or_pass() -> None:
    item: Json = {"id": "it_0", "type": "zz_new", "text": SECRET}
    event: Json = of_item("zz_new.delta", 0, item, delta=SECRET)
    raw = then_hi(added(0, item), event, done(0, item), items=(item,))
    answering = wire()
    assert SECRET not in filtered(raw, answering).decode()
    assert answering.stats.unknown_fields == 2
    assert filtered(raw, wire(Policy(unknown_fields=UnknownFields.PASS))) == raw
    answering = wire()
    assert answering.read_items([item]) == ([], True)
    assert answering.stats.unknown_fields == 1


def test_unknown_keys_of_a_kept_item_are_dropped_or_pass() -> None:
    item = tool_item("function_call") | {"zz_new": SECRET, "arguments": "{}"}
    raw = then_hi(added(0, item), done(0, item), items=(item,))
    assert SECRET not in json.dumps(left(raw, CALLS))
    passing = Policy(tool_calls=ToolCalls.KEEP, unknown_fields=UnknownFields.PASS)
    assert filtered(raw, wire(passing)) == raw


# --- stored lists -------------------------------------------------------------------------------


def stored(*items: Json, policy: Policy = DROP) -> list[Any]:
    return wire(policy).read_items(list(items))[0]


def test_the_requests_own_words_stay_in_a_stored_list() -> None:
    words = [
        {"type": "message", "role": role, "content": [{"type": "input_text", "text": "<think> a"}]}
        for role in ("user", "system", "developer")
    ]
    items, changed = wire().read_items(words)
    assert (items, changed) == (words, False)
    assert judged(words) == []


@pytest.mark.parametrize("role", ["critic", "tool", "discriminator", "unknown", 1, ["user"]])
def test_messages_of_other_roles_are_nobodys_answer(role: Any) -> None:
    item = said(SECRET) | {"role": role}
    assert stored(item) == judged([item]) == []
    assert SECRET not in filtered(answer(*written(item, SECRET)), wire()).decode()


def test_a_stored_list_is_judged_as_an_answer_is() -> None:
    call, result = tool_item("function_call"), tool_item("function_call_output", id="it_1")
    items = [reasoning(encrypted_content=SEALED), call, result, said(f"<think>{SECRET}</think>Hi.")]
    out = stored(*items)
    assert SECRET not in json.dumps(out)
    assert [item["type"] for item in out] == ["reasoning", "message"]
    assert stored(*items, policy=KEEP) == items


@pytest.mark.parametrize("items", [1, "a", {}, [1], [None], [[]]])
def test_what_is_no_list_of_items_is_not_taken_for_one(items: Any) -> None:
    with pytest.raises(MalformedChunk):
        wire().read_items(items)


def test_the_calls_that_are_remembered_are_bounded() -> None:
    item = {"type": "function_call", "name": "f", "arguments": ""}
    calls = [item | {"call_id": str(number)} for number in range(MAX_HIDDEN_CALLS)]
    assert stored(*calls) == []
    with pytest.raises(MalformedChunk):
        stored(*calls, item | {"call_id": "more"})


def test_an_answer_has_so_many_items_and_no_more() -> None:
    events = [added(number % 1024, {"type": "compaction"}) for number in range(1025)]
    out = records(filtered(answer(*events), wire()))
    assert out[-1]["type"] == "response.failed"
    assert len(out) == 1 + 1024 + 1
