"""One choice: its role, its text, its end, and what repeats them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.core.channel import Channel
from sidecar.core.policy import (
    FinishReason,
    OnEmpty,
    Policy,
    Reasoning,
    StartsIn,
    ToolCalls,
    ToolResults,
    Unclosed,
)
from sidecar.core.stream import StreamFilter
from tests.cuts import every_way
from tests.promises import LIMIT
from tests.wire.streams import (
    AGENT,
    DIED,
    DONE,
    ENVELOPE,
    ROLE,
    STOP,
    Json,
    call,
    calls,
    chat,
    choices,
    chunk,
    compact,
    document,
    payloads,
    plain,
    send,
    spaced,
    sse,
    whole,
)

SECRET = "zqSecret"
USAGE: Json = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
MOVE = Policy(reasoning=Reasoning.MOVE)


def usage_chunk(**more: Any) -> Json:
    return ENVELOPE | {"choices": [], "usage": USAGE} | more


def probabilities(*tokens: str, spelled: bool = True) -> Json:
    content = [
        {"token": token, "logprob": -0.5, "bytes": list(token.encode()) if spelled else None}
        | {"top_logprobs": []}
        for token in tokens
    ]
    return {"content": content, "refusal": None}


# Roles.


def test_a_role_chunk_leaves_as_its_original_bytes() -> None:
    assert send(ROLE, chunk({"content": "Hi"}), STOP).events[0] == sse(compact(ROLE))


def test_the_role_stays_where_the_reasoning_beside_it_goes() -> None:
    left = send(
        chunk({"role": "assistant", "reasoning_content": SECRET}), chunk({"content": "Hi"}), STOP
    )
    assert left.payloads[0] == chunk({"role": "assistant"})


def test_a_role_on_every_delta_stays_on_what_is_left() -> None:
    one, two = (
        chunk({"role": "assistant", "content": "Hi"}),
        chunk({"role": "assistant", "content": " you"}),
    )
    left = send(one, chunk({"role": "assistant", "content": "", "reasoning": SECRET}), two, STOP)
    assert left.choice().roles == ["assistant"] * 2
    assert left.choice().text == "Hi you"


def test_no_role_is_made_up_where_upstream_sent_none() -> None:
    sent = chunk({"content": "Hi"})
    left = send(sent, STOP)
    assert left.raw.startswith(sse(compact(sent)))
    assert left.choice().roles == []


@pytest.mark.parametrize("wish", [ToolCalls.DROP, ToolCalls.MOVE])
def test_a_declared_call_in_the_text_is_no_text_where_unclosed_regions_are_shown(
    wish: ToolCalls,
) -> None:
    called = '<tool_call>{"name": "find", "arguments": {"q": "x"}}</tool_call>'
    policy = Policy(tool_calls=wish, unclosed=Unclosed.SHOW)
    sent = chunk({"content": called + "Hi"})
    left = send(ROLE, sent, STOP, policy=policy, declared=["find"])
    assert left.choice().text == "Hi"


@pytest.mark.parametrize("wish", list(ToolResults))
@pytest.mark.parametrize("end", [STOP, chunk({"role": "assistant", "content": "!"}, "stop")])
def test_held_text_is_out_before_a_tools_result(wish: ToolResults, end: Json) -> None:
    """Also where no further message of the assistant's follows."""
    result = chunk({"role": "tool", "content": "42"})
    left = send(ROLE, chunk({"content": "a <thi"}), result, end, policy=Policy(tool_results=wish))
    shown = [delta.get("content") or "" for delta in left.choice().deltas]
    kept = ["42"] if wish is ToolResults.KEEP else []
    last = [] if end is STOP else ["!"]
    assert list(filter(None, shown)) == ["a ", "<thi", *kept, *last]


@pytest.mark.parametrize(
    "role", ["tool", "function", "user", "system", "ipython", 1, True, [], {"a": 1}]
)
def test_a_message_of_another_role_is_a_tool_result(role: Any) -> None:
    left = send(
        chunk({"role": role, "content": SECRET}),
        chunk({"content": SECRET}),
        chunk({"role": "assistant", "content": "Hi"}),
        STOP,
    )
    assert SECRET.encode() not in left.raw
    assert left.choice().text == "Hi"
    assert left.stats.hidden_characters[Channel.TOOL_RESULT, "field"] == 2 * len(SECRET)


@pytest.mark.parametrize("said", [{"role": "assistant"}, {"role": ""}])
def test_the_first_delta_has_the_role_if_the_only_one_before_it_was_hidden(said: Json) -> None:
    left = send(chunk({"role": "tool", "content": SECRET}), chunk(said | {"content": "Hi"}), STOP)
    assert left.choice().deltas[0].get("role") == "assistant"


def test_text_that_was_held_has_the_role_if_it_comes_first() -> None:
    left = send(
        chunk({"role": "tool", "content": SECRET}),
        chunk({"role": "", "content": "<thi"}),
        STOP,
    )
    assert left.choice().deltas[0].get("role") == "assistant"
    assert left.choice().text == "<thi"


def test_tool_results_may_be_kept() -> None:
    sent = chunk({"role": "tool", "content": "42", "tool_call_id": "a"})
    left = send(
        sent, ROLE, chunk({"content": "Hi"}), STOP, policy=Policy(tool_results=ToolResults.KEEP)
    )
    assert left.events[0] == sse(compact(sent))


@pytest.mark.parametrize("key", ["reasoning", "reasoning_content", "thinking_blocks"])
def test_a_tool_result_that_is_kept_does_not_bring_reasoning_along(key: str) -> None:
    value: Any = [{"thinking": SECRET}] if key == "thinking_blocks" else SECRET
    keep = Policy(tool_results=ToolResults.KEEP)
    left = send(chunk({"role": "tool", "content": "42", key: value}), ROLE, STOP, policy=keep)
    assert SECRET.encode() not in left.raw


# Finish reasons.


def finish_with(key: str, value: str) -> Json:
    """A finish chunk whose choice has this key."""
    more: dict[str, Any] = {key: value}
    return chunk({}, "stop", **more)


A_CALL = calls(call("look", f'{{"q":"{SECRET}"}}', id="a", type="function"))


def test_tool_calls_becomes_stop_once_every_call_is_stripped() -> None:
    left = send(ROLE, A_CALL, chunk({}, "tool_calls"))
    assert left.choice().finishes == ["stop"]


def test_function_call_becomes_stop_once_the_call_is_stripped() -> None:
    said = chunk({"function_call": {"name": "look", "arguments": SECRET}})
    assert send(ROLE, said, chunk({}, "function_call")).choice().finishes == ["stop"]


def test_tool_calls_stays_if_the_rule_says_so() -> None:
    keep = Policy(finish_reason=FinishReason.KEEP)
    assert send(ROLE, A_CALL, chunk({}, "tool_calls"), policy=keep).choice().finishes == [
        "tool_calls"
    ]


def test_tool_calls_stays_while_some_call_stays() -> None:
    both = calls(call("look", id="a"), call("book", index=1, id="b"))
    left = send(ROLE, both, chunk({}, "tool_calls"), policy=AGENT, declared=["book"])
    assert left.choice().finishes == ["tool_calls"]


def test_tool_calls_stays_where_there_was_no_call_to_strip() -> None:
    sent = chunk({}, "tool_calls")
    left = send(ROLE, chunk({"content": "Hi"}), sent)
    assert left.events[2] == sse(compact(sent))


@pytest.mark.parametrize("spaces", [False, True])
def test_a_call_whose_name_never_came_was_stripped_too(spaces: bool) -> None:
    nameless = calls(call(None, SECRET, id="a"))
    for policy in (Policy(), AGENT):
        left = send(
            ROLE, nameless, chunk({}, "tool_calls"), policy=policy, declared=["f"], spaces=spaces
        )
        assert SECRET.encode() not in left.raw
        assert left.choice().finishes == ["stop"]


@pytest.mark.parametrize("reason", ["length", "content_filter", "insufficient_system_resource"])
def test_every_other_reason_stays_though_a_call_was_stripped(reason: str) -> None:
    assert send(ROLE, A_CALL, chunk({}, reason)).choice().finishes == [reason]


@pytest.mark.parametrize("reason", ["eos_token", SECRET, "</think>"])
def test_an_unknown_reason_becomes_stop_and_is_counted(reason: str) -> None:
    left = send(ROLE, chunk({"content": "Hi"}), chunk({}, reason))
    assert left.choice().finishes == ["stop"]
    assert left.stats.unknown_fields == 1
    assert reason.encode() not in left.raw


@pytest.mark.parametrize("key", ["native_finish_reason", "stop_reason", "matched_stop"])
def test_what_names_the_marker_at_which_the_model_stopped_goes_with_what_was_hidden(
    key: str,
) -> None:
    said = chunk({"content": f"<think>{SECRET}</think>Hi"})
    left = send(ROLE, said, finish_with(key, "</tool_call>"))
    assert left.payloads[-1]["choices"][0][key] is None
    sent = finish_with(key, "END")
    assert send(ROLE, chunk({"content": "Hi"}), sent).events[2] == sse(compact(sent))


# One finish, and last.


def test_an_agents_rounds_have_one_finish_and_it_is_the_last() -> None:
    left = send(
        ROLE,
        chunk({"content": "Wait. "}),
        A_CALL,
        chunk({}, "tool_calls"),
        chunk({"role": "tool", "content": SECRET}, "stop"),
        chunk({"role": "assistant", "content": "Done."}),
        chunk({}, "length"),
    )
    assert left.choice().finishes == ["length"]
    assert left.choice().text == "Wait. Done."
    assert SECRET.encode() not in left.raw


def test_a_finish_that_was_held_back_comes_before_the_usage() -> None:
    """Some clients keep the usage of the last chunk only, and its finish would have none."""
    left = send(ROLE, A_CALL, chunk({}, "tool_calls"), usage_chunk())
    assert [bool(value["choices"]) for value in left.payloads] == [True, True, False]
    assert left.payloads[1] == chunk({}, "stop")
    assert left.payloads[2]["usage"] == USAGE


def test_a_usage_that_waits_for_a_finish_leaves_if_the_answer_goes_on_or_breaks_off() -> None:
    on = send(ROLE, A_CALL, chunk({}, "tool_calls"), usage_chunk(), chunk({"content": "a"}), STOP)
    assert [value.get("usage") for value in on.payloads] == [None, USAGE, None, None]
    assert on.choice().text == "a"
    assert on.choice().finishes == ["stop"]
    broken = send(ROLE, A_CALL, chunk({}, "tool_calls"), usage_chunk(), {"error": {"message": "x"}})
    assert [value.get("usage") for value in broken.payloads] == [None, USAGE, None]


def test_an_agent_that_dies_after_a_round_of_calls_ends_in_an_error() -> None:
    half = chunk({"role": "assistant", "content": "Half an ans"})
    left = send(ROLE, A_CALL, chunk({}, "tool_calls"), half, fault=DIED, done=False)
    assert left.error is not None
    assert left.error["code"] == DIED.code
    assert left.choice().finishes == []


def test_an_agent_that_dies_before_the_next_round_ends_in_an_error() -> None:
    left = send(ROLE, A_CALL, chunk({}, "tool_calls"), fault=DIED, done=False)
    assert left.error is not None
    assert left.choice().finishes == []


@pytest.mark.parametrize("done", [False, True])
def test_an_agents_answer_that_has_no_finish_of_its_own_is_not_complete(done: bool) -> None:
    half = chunk({"role": "assistant", "content": "Half an ans"})
    left = send(ROLE, A_CALL, chunk({}, "tool_calls"), half, done=done)
    assert left.error is not None
    assert left.choice().finishes == []


def test_text_on_the_chunk_whose_finish_is_held_back_stays_in_order() -> None:
    last = calls(call("look", SECRET, id="a"), finish="tool_calls")
    last["choices"][0]["delta"]["content"] = "Is 1 <thi"
    left = send(ROLE, last)
    assert left.choice().text == "Is 1 <thi"
    assert left.choice().finishes == ["stop"]


def test_what_follows_a_finish_is_dropped() -> None:
    left = send(ROLE, chunk({"content": "Hi"}), STOP, chunk({"content": "more"}), STOP)
    assert left.choice().text == "Hi"
    assert left.choice().finishes == ["stop"]


def test_an_annotation_without_a_delta_leaves_as_its_original_bytes() -> None:
    annotation = ENVELOPE | {
        "choices": [
            {
                "index": 0,
                "finish_reason": None,
                "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}},
            }
        ]
    }
    left = send(ROLE, chunk({"content": "Hi"}), annotation, STOP)
    assert left.payloads[2] == annotation


def test_usage_beside_a_choice_that_has_finished_stays() -> None:
    late = chunk({"role": "assistant", "content": "late"}, "stop") | {"usage": USAGE}
    left = send(ROLE, chunk({"content": "Hi"}), STOP, late)
    assert left.payloads[-1] == chunk({}) | {"usage": USAGE}


def test_held_text_leaves_before_the_finish_in_a_chunk_of_its_own() -> None:
    left = send(ROLE, chunk({"content": "a <th"}), STOP)
    assert [value["choices"][0] for value in left.payloads[1:]] == [
        {"index": 0, "delta": {"content": "a "}, "finish_reason": None},
        {"index": 0, "delta": {"content": "<th"}, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]


def test_held_text_and_the_text_of_the_finish_chunk_are_one_text() -> None:
    left = send(ROLE, chunk({"content": "a <"}), chunk({"content": "th"}, "stop"))
    assert left.choice().text == "a <th"
    assert left.choice().finishes == ["stop"]


def test_the_end_of_an_answer_without_a_finish_is_an_error() -> None:
    for done in (False, True):
        left = send(ROLE, chunk({"content": "a <th"}), done=done)
        assert left.choice().text == "a <th"
        assert left.error is not None
        assert left.error["code"] == "upstream_incomplete"


def test_an_answer_with_no_choice_at_all_is_not_complete() -> None:
    assert send(usage_chunk()).error is not None
    assert send().error is not None


def test_every_choice_must_finish() -> None:
    left = send(ROLE, chunk({"content": "Hi"}, index=1), STOP)
    assert left.error is not None


# Usage.


def test_a_usage_chunk_leaves_as_its_original_bytes() -> None:
    left = send(ROLE, chunk({"content": "Hi"}), STOP, usage_chunk())
    assert left.events[3] == sse(compact(usage_chunk()))


@pytest.mark.parametrize(
    "delta", [{"reasoning_content": SECRET}, {"content": SECRET}, {"tool_calls": [call("f")]}]
)
def test_usage_on_a_delta_that_is_hidden_leaves_on_an_empty_one(delta: Json) -> None:
    left = send(ROLE, chunk({"content": "<think>"}), chunk(delta) | {"usage": USAGE}, STOP)
    kept = next(value for value in left.payloads if value.get("usage"))
    assert kept["usage"] == USAGE
    assert not any(kept["choices"][0]["delta"].values())
    assert SECRET.encode() not in left.raw


def test_azures_first_chunk_leaves_as_its_original_bytes() -> None:
    first = {
        "choices": [],
        "created": 0,
        "id": "",
        "model": "",
        "object": "",
        "prompt_filter_results": [
            {
                "prompt_index": 0,
                "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}},
            }
        ],
    }
    left = send(first, ROLE, chunk({"content": "Hi"}), STOP)
    assert left.events[0] == sse(compact(first))


# Text and reasoning.


def test_content_beside_reasoning_in_one_delta_stays() -> None:
    left = send(ROLE, chunk({"reasoning_content": SECRET, "content": "Hi"}), STOP)
    assert left.payloads[1] == chunk({"content": "Hi"})


def test_a_list_of_parts_may_be_followed_by_plain_strings() -> None:
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": SECRET}]}]
    text = [{"type": "text", "text": "Hi <th"}]
    left = send(
        ROLE,
        chunk({"content": thinking}),
        chunk({"content": text}),
        chunk({"content": "ere"}),
        STOP,
    )
    assert left.choice().text == "Hi <there"
    assert SECRET.encode() not in left.raw


def test_a_part_of_which_nothing_is_hidden_leaves_as_its_original_bytes() -> None:
    sent = chunk({"content": [{"type": "text", "text": "Hi"}]})
    assert send(ROLE, sent, STOP).events[1] == sse(compact(sent))


UNCLOSED = chunk({"content": "Hi <think>because"})


def test_a_region_that_is_never_closed_stays_hidden() -> None:
    assert send(ROLE, UNCLOSED, STOP).choice().text == "Hi "


def test_a_region_that_is_never_closed_may_be_shown() -> None:
    show = Policy(unclosed=Unclosed.SHOW)
    assert "because" in send(ROLE, UNCLOSED, STOP, policy=show).choice().text
    closed = chunk({"content": "Hi <think>because</think> you"})
    assert "because" not in send(ROLE, closed, STOP, policy=show).choice().text


def test_an_answer_may_start_in_reasoning() -> None:
    starts = Policy(starts_in=StartsIn.REASONING)
    sent = chunk({"content": f"{SECRET}</think>Hi"})
    left = send(ROLE, sent, STOP, policy=starts)
    assert left.choice().text == "Hi"
    assert SECRET.encode() not in left.raw


def test_upstreams_error_is_readable_though_answers_start_in_reasoning() -> None:
    starts = Policy(starts_in=StartsIn.REASONING)
    left = send(ROLE, {"error": {"message": "context length exceeded"}}, policy=starts)
    assert left.error is not None
    assert left.error["message"] == "context length exceeded"


def test_upstreams_error_does_not_quote_what_is_hidden() -> None:
    message = f"cannot parse <think>{SECRET}</think> this"
    left = send(ROLE, {"error": {"message": message}})
    assert SECRET.encode() not in left.raw
    assert left.error is not None
    assert left.error["message"].startswith("cannot parse")


def test_text_held_when_upstream_reports_an_error_leaves_before_it() -> None:
    left = send(ROLE, chunk({"content": "a <th"}), {"error": {"message": "overloaded"}})
    assert left.choice().text == "a <th"
    assert left.error is not None


# Move.


def test_reasoning_is_moved_into_its_field_with_every_character() -> None:
    left = send(
        ROLE,
        chunk({"content": "<think>be"}),
        chunk({"content": "cause</think>Hi"}),
        STOP,
        policy=MOVE,
    )
    assert left.choice().reasoning == "because"
    assert left.choice().text == "Hi"


@pytest.mark.parametrize("tail", ["", "<", "</thi", "\n"])
def test_reasoning_that_is_never_closed_is_moved_whole(tail: str) -> None:
    text = f"<think>because{tail}"
    left = send(ROLE, chunk({"content": text}), STOP, policy=MOVE)
    body, _ = document(whole({"role": "assistant", "content": text}), policy=MOVE)
    message = body["choices"][0]["message"]
    assert message["reasoning_content"] == f"because{tail}"
    assert left.choice().reasoning == f"because{tail}"


def test_reasoning_is_not_moved_where_a_field_of_its_own_says_it() -> None:
    left = send(
        ROLE,
        chunk({"reasoning_content": "because", "content": "<think>because"}),
        chunk({"content": "</think>Hi"}),
        STOP,
        policy=MOVE,
    )
    assert left.choice().reasoning == "because"
    message = {"role": "assistant", "reasoning": "because", "content": "<think>because</think>Hi"}
    body, _ = document(whole(message), policy=MOVE)
    assert body["choices"][0]["message"] == {
        "role": "assistant",
        "reasoning": "because",
        "content": "Hi",
    }


def test_reasoning_is_moved_into_a_field_that_is_null() -> None:
    sent = chunk({"reasoning_content": None, "content": "<think>because</think>Hi"})
    left = send(ROLE, sent, STOP, policy=MOVE)
    assert left.choice().reasoning == "because"


FIELDS = [("reasoning",), ("reasoning_content",), ("reasoning", "reasoning_content")]


@pytest.mark.parametrize("fields", FIELDS, ids="+".join)
def test_reasoning_is_moved_to_the_fields_that_the_rule_names(fields: tuple[str, ...]) -> None:
    policy = Policy(reasoning=Reasoning.MOVE, reasoning_fields=fields)
    for pieces in every_way("<think>be <b</think>Hi"):
        left = send(ROLE, *(chunk({"content": p}) for p in pieces), STOP, policy=policy)
        assert left.choice().text == "Hi"
        for key in ("reasoning", "reasoning_content"):
            said = "".join(delta.get(key) or "" for delta in left.choice().deltas)
            assert said == ("be <b" if key in fields else "")
    message: Json = {"role": "assistant", "content": "<think>be"} | dict.fromkeys(fields)
    body, _ = document(whole(message), policy=policy)
    left_message = {"role": "assistant", "content": ""} | dict.fromkeys(fields, "be")
    assert body["choices"][0]["message"] == left_message


def test_calls_in_fields_of_their_own_stay_where_calls_are_moved() -> None:
    move = Policy(tool_calls=ToolCalls.MOVE)
    sent = [A_CALL, chunk({"function_call": {"name": "f", "arguments": ""}})]
    left = send(ROLE, *sent, chunk({}, "tool_calls"), policy=move)
    assert left.events[1:3] == [sse(compact(value)) for value in sent]
    assert left.choice().finishes == ["tool_calls"]


# on_empty

ALL_HIDDEN: list[list[Json]] = [
    [chunk({"content": "<think>because</think>"})],
    [chunk({"content": "<think>because"})],
    [chunk({"reasoning_content": "because"})],
    [chunk({"reasoning": "be"}), chunk({"reasoning": "cause"})],
    [chunk({"reasoning_content": "because"}), chunk({"content": "\n\n"})],
    [chunk({"reasoning_content": "because"}), chunk({"content": "<think>because</think>"})],
    [chunk({"content": [{"type": "thinking", "thinking": [{"text": "because"}]}]})],
]
per_hidden = pytest.mark.parametrize(
    "sent", ALL_HIDDEN, ids=["closed", "unclosed", "field", "two", "space", "twice", "part"]
)


def as_message(sent: list[Json]) -> Json:
    """The deltas as one message."""
    message: Json = {"role": "assistant", "content": ""}
    for value in sent:
        for key, more in value["choices"][0]["delta"].items():
            message[key] = more if isinstance(more, list) else (message.get(key) or "") + more
    return message


@per_hidden
def test_an_answer_of_which_nothing_is_left_may_be_empty(sent: list[Json]) -> None:
    left = send(ROLE, *sent, STOP)
    assert left.choice().text.strip() == ""
    assert left.choice().finishes == ["stop"]
    body, _ = document(whole(as_message(sent)))
    assert plain(body["choices"][0]["message"]["content"]).strip() == ""


@per_hidden
def test_an_answer_of_which_nothing_is_left_may_become_its_reasoning(sent: list[Json]) -> None:
    promote = Policy(on_empty=OnEmpty.PROMOTE)
    left = send(ROLE, *sent, STOP, policy=promote)
    assert left.choice().text.strip() == "because"
    assert left.choice().finishes == ["stop"]
    body, _ = document(whole(as_message(sent)), policy=promote)
    assert plain(body["choices"][0]["message"]["content"]).strip() == "because"


@per_hidden
def test_an_answer_of_which_nothing_is_left_may_be_an_error(sent: list[Json]) -> None:
    refuse = Policy(on_empty=OnEmpty.ERROR)
    left = send(ROLE, *sent, STOP, policy=refuse)
    assert left.error is not None
    assert left.error["code"] == "empty_answer"
    assert left.choice().finishes == []
    body, stats = document(whole(as_message(sent)), policy=refuse)
    assert body["error"]["code"] == stats.error == "empty_answer"


SORRY = Policy(on_empty=OnEmpty.TEXT, empty_text='Sorry: no "answer".')


@per_hidden
def test_an_answer_of_which_nothing_is_left_may_be_a_text_of_the_operators(
    sent: list[Json],
) -> None:
    left = send(ROLE, *sent, STOP, policy=SORRY)
    assert left.choice().text.strip() == SORRY.empty_text
    assert left.choice().finishes == ["stop"]
    body, _ = document(whole(as_message(sent)), policy=SORRY)
    assert plain(body["choices"][0]["message"]["content"]).strip() == SORRY.empty_text


def test_the_text_comes_once_and_before_the_finish_whatever_the_cut() -> None:
    sent = b"".join(sse(compact(c)) for c in (ROLE, chunk({"content": "<think>hm"}), STOP)) + DONE
    for cut in every_way(sent, random_cuts=2):
        stream = StreamFilter(chat(SORRY), limit=LIMIT)
        out = b"".join(map(stream.feed, cut)) + stream.finish()
        *_, said, finish = choices(payloads(out))[0].deltas
        assert (said, finish) == ({"content": SORRY.empty_text}, {})


def test_a_round_of_hidden_calls_that_nothing_follows_is_an_empty_answer() -> None:
    left = send(ROLE, A_CALL, chunk({}, "tool_calls"), policy=SORRY)
    assert left.choice().text == SORRY.empty_text
    assert left.choice().finishes == ["stop"]
    assert left.stats.empty_answers == {OnEmpty.TEXT: 1}


@pytest.mark.parametrize("policy", [SORRY, Policy(on_empty=OnEmpty.PROMOTE)])
def test_an_answer_that_breaks_off_is_an_error_and_not_an_empty_one(policy: Policy) -> None:
    begun = [ROLE, chunk({"content": "<think>hm"})]
    for left in (
        send(*begun, policy=policy, done=False),
        send(*begun, policy=policy, done=False, fault=DIED),
        send(*begun, {"error": {"message": "no"}}, policy=policy),
        send(ROLE, A_CALL, chunk({}, "tool_calls"), policy=policy, done=False, fault=DIED),
    ):
        assert left.error is not None
        assert left.choice().text == ""
        assert not left.stats.empty_answers


@pytest.mark.parametrize("wish", OnEmpty)
def test_every_empty_answer_is_counted_by_what_was_done_about_it(wish: OnEmpty) -> None:
    policy = Policy(on_empty=wish, empty_text="Sorry")
    left = send(ROLE, chunk({"reasoning": "because"}), STOP, policy=policy)
    assert left.stats.empty_answers == {wish: 1}
    _, stats = document(whole({"role": "assistant", "reasoning": "because"}), policy=policy)
    assert stats.empty_answers == {wish: 1}
    assert not send(ROLE, chunk({"content": "Hi"}), STOP, policy=policy).stats.empty_answers


PROMOTE = Policy(on_empty=OnEmpty.PROMOTE)


@pytest.mark.parametrize(
    ("size", "promoted"), [(1, "a"), (2, "a"), (3, "aé"), (6, "aé"), (7, "aé🤔"), (99, "aé🤔b")]
)
def test_what_is_promoted_has_a_size_in_bytes_and_whole_characters(
    size: int, promoted: str
) -> None:
    for pieces in every_way("aé🤔b"):
        said = [chunk({"reasoning": piece}) for piece in pieces]
        assert send(ROLE, *said, STOP, policy=PROMOTE, promoted=size).choice().text == promoted


def test_half_a_surrogate_pair_is_promoted_too() -> None:
    halves = [
        sse(compact(chunk({"reasoning": "K"})).replace("K", h)) for h in ("\\ud83e", "\\udd14")
    ]
    assert send(ROLE, *halves, STOP, policy=PROMOTE).choice().text == "🤔"


def test_the_choices_of_a_stream_share_the_room_for_what_is_promoted() -> None:
    left = send(
        chunk({"role": "assistant", "reasoning": "aaaa"}),
        chunk({"role": "assistant", "reasoning": "bbbb"}, index=1),
        chunk({"reasoning": "cccc"}),
        STOP,
        chunk({}, "stop", index=1),
        policy=PROMOTE,
        promoted=6,
    )
    assert (left.choice(0).text, left.choice(1).text) == ("aaaa", "bb")


@pytest.mark.parametrize("wish", [OnEmpty.PROMOTE, OnEmpty.TEXT, OnEmpty.ERROR])
@pytest.mark.parametrize(
    "said", [{"content": "Hi"}, {"refusal": "No."}, {"images": [{"url": "x"}]}]
)
def test_an_answer_of_which_something_is_left_is_what_it_is(wish: OnEmpty, said: Json) -> None:
    policy = Policy(on_empty=wish, empty_text="because")
    left = send(ROLE, chunk({"reasoning": "because"}), chunk(said), STOP, policy=policy)
    assert left.error is None
    assert "because" not in left.raw.decode()
    message: Json = {"role": "assistant", "content": None, "reasoning": "because"} | said
    body, _ = document(whole(message), policy=policy)
    assert "because" not in json.dumps(body)
    assert "error" not in body


def test_a_kept_call_is_an_answer() -> None:
    policy = Policy(tool_calls=ToolCalls.DECLARED, on_empty=OnEmpty.ERROR)
    left = send(ROLE, A_CALL, chunk({}, "tool_calls"), policy=policy, declared=["look"])
    assert left.error is None


def test_a_document_with_a_kept_call_is_not_given_its_reasoning_too() -> None:
    policy = Policy(tool_calls=ToolCalls.DECLARED, on_empty=OnEmpty.PROMOTE)
    message = {
        "role": "assistant",
        "content": None,
        "reasoning": SECRET,
        "tool_calls": [call("look", "{}", id="a", index=None)],
    }
    body, _ = document(whole(message, "tool_calls"), policy=policy, declared=["look"])
    assert SECRET not in json.dumps(body)


def test_stripped_calls_are_no_answer() -> None:
    policy = Policy(on_empty=OnEmpty.ERROR)
    assert send(ROLE, A_CALL, chunk({}, "tool_calls"), policy=policy).error is not None


def test_an_answer_that_begins_with_much_white_space_is_not_empty() -> None:
    policy = Policy(on_empty=OnEmpty.ERROR)
    left = send(ROLE, chunk({"content": " " * 300}), chunk({"content": "Hi"}), STOP, policy=policy)
    assert left.error is None


def test_the_other_choices_lose_nothing_where_one_is_promoted() -> None:
    policy = Policy(on_empty=OnEmpty.PROMOTE)
    left = send(
        chunk({"role": "assistant", "reasoning": "because"}),
        chunk({"role": "assistant", "content": "Hi"}, index=1),
        STOP,
        chunk({}, "stop", index=1),
        policy=policy,
    )
    assert left.choice(0).text == "because"
    assert left.choice(1).text == "Hi"


# Other visible things.


@pytest.mark.parametrize(
    "delta",
    [
        {"refusal": "I cannot."},
        {"content": "Hi", "annotations": [{"type": "url_citation", "url_citation": {"url": "x"}}]},
        {"content": "Hi", "refusal": None, "tool_calls": None},
        {"content": None},
        {},
    ],
)
def test_what_is_no_secret_leaves_as_its_original_bytes(delta: Json) -> None:
    sent = chunk(delta)
    assert send(ROLE, sent, STOP).events[1] == sse(compact(sent))


# What repeats the text.


@pytest.mark.parametrize("write", [compact, spaced], ids=["compact", "spaced"])
@pytest.mark.parametrize("text", ["Hi", "Zoë 🤔", " <b>"])
def test_log_probabilities_of_visible_text_stay(text: str, write: Any) -> None:
    sent = sse(write(chunk({"content": text}, logprobs=probabilities(text))))
    left = send(ROLE, chunk({"content": "A"}), sent, STOP)
    assert left.events[2] == sent


@pytest.mark.parametrize("logprob", ["-1e-07", "-0.0", "-1.1920928955078125e-07", "1E-5"])
def test_log_probabilities_stay_however_their_numbers_are_written(logprob: str) -> None:
    # llama.cpp and Python write exponents with two digits.
    sent = sse(
        compact(chunk({"content": "Hi"}, logprobs=probabilities("Hi"))).replace("-0.5", logprob)
    )
    assert send(ROLE, sent, STOP).events[1] == sent


def test_log_probabilities_that_hold_no_token_stay() -> None:
    sent = chunk({"content": "Hi"}, logprobs={"content": [], "refusal": None})
    assert send(ROLE, sent, STOP).events[1] == sse(compact(sent))


def test_log_probabilities_without_bytes_stay() -> None:
    sent = chunk({"content": "Hi"}, logprobs=probabilities("H", "i", spelled=False))
    assert send(ROLE, sent, STOP).events[1] == sse(compact(sent))


def test_log_probabilities_of_a_refusal_stay() -> None:
    tokens = probabilities("No", ".")["content"]
    sent = chunk({"refusal": "No."}, logprobs={"content": None, "refusal": tokens})
    assert send(ROLE, sent, STOP).events[1] == sse(compact(sent))


@pytest.mark.parametrize(
    "delta",
    [
        {"content": f"<think>{SECRET}</think>Hi"},
        {"reasoning_content": SECRET},
        {"reasoning_content": SECRET, "content": "Hi"},
        {},
    ],
)
def test_log_probabilities_of_hidden_text_go(delta: Json) -> None:
    left = send(ROLE, chunk(delta, logprobs=probabilities(SECRET)), STOP)
    assert SECRET.encode() not in left.raw
    whole_message = whole({"role": "assistant"} | delta, logprobs=probabilities(SECRET))
    body, _ = document(whole_message)
    assert SECRET not in json.dumps(body)
    assert body["choices"][0]["logprobs"] is None


def test_a_list_of_log_probabilities_is_not_more_than_the_filter_can_bear() -> None:
    left = send(ROLE, chunk({"content": "Hi"}, logprobs=[{"token": SECRET}]), STOP)
    assert SECRET.encode() not in left.raw
    assert left.choice().text == "Hi"


def test_token_ids_stay_with_text_that_stays() -> None:
    sent = chunk({"content": "Hi"}, token_ids=[1, 2])
    assert send(ROLE, sent, STOP).events[1] == sse(compact(sent))


@pytest.mark.parametrize(
    "delta", [{"content": f"<think>{SECRET}</think>Hi"}, {"reasoning": SECRET}, {}]
)
def test_token_ids_of_hidden_text_go(delta: Json) -> None:
    left = send(ROLE, chunk(delta, token_ids=[990001]), STOP)
    assert b"990001" not in left.raw


def test_padding_goes_where_the_text_it_pads_was_changed() -> None:
    said = chunk({"content": f"<think>{SECRET}</think>Hi"}) | {"obfuscation": "aaaa"}
    left = send(ROLE, said, STOP)
    assert "obfuscation" not in left.payloads[1]
    sent = chunk({"content": "Hi"}) | {"obfuscation": "aaaa"}
    assert send(ROLE, sent, STOP).events[1] == sse(compact(sent))


# Numbers and characters.


@pytest.mark.parametrize(
    "number",
    ["123456789012345678901234567890", "1.0", "1e-7", "1E+2", "-0.0", "0.1000", "1700000000.0"],
)
def test_a_number_keeps_its_digits_when_another_key_is_edited(number: str) -> None:
    value = chunk({"content": f"<think>{SECRET}</think>Hi"}) | {"created": 4711}
    text = compact(value).replace("4711", number)
    left = send(ROLE, sse(text), STOP)
    assert f'"created":{number},'.encode() in left.raw
    assert left.choice().text == "Hi"


def test_a_lone_surrogate_is_no_reason_to_stop() -> None:
    sent = sse('{"choices":[{"index":0,"delta":{"content":"a\\ud83e"},"finish_reason":null}]}')
    rest = sse('{"choices":[{"index":0,"delta":{"content":"\\udd14"},"finish_reason":null}]}')
    left = send(ROLE, sent, rest, STOP)
    assert left.events[1:3] == [sent, rest]
    assert left.choice().text == "a🤔"


def test_a_surrogate_pair_cut_by_a_hidden_region_stays_whole() -> None:
    pieces = ["Hi \\ud83e", "\\udd14<think>zq\\ud83e", "\\udd14</think>", "\\ud83c", "\\udf70"]
    sent = [sse(compact(chunk({"content": "KEY"})).replace("KEY", piece)) for piece in pieces]
    left = send(ROLE, *sent, STOP)
    assert left.choice().text == "Hi 🤔🍰"
    assert b"zq" not in left.raw


# Indexes.


@pytest.mark.parametrize("index", [-1, 128, 10**30, 1.5, "0", True, [], {}, "zq"])
def test_an_index_that_no_choice_has_ends_the_stream(index: Any) -> None:
    left = send(ROLE, chunk({"content": SECRET}, index=index))
    assert left.error is not None
    assert left.error["code"] == "upstream_malformed"
    assert SECRET.encode() not in left.raw


@pytest.mark.parametrize("spaces", [False, True])
def test_a_choice_without_an_index_is_the_first(spaces: bool) -> None:
    value = chunk({"content": "Hi"})
    del value["choices"][0]["index"]
    left = send(ROLE, value, STOP, spaces=spaces)
    assert left.payloads[1] == value


def test_the_choices_of_a_document_without_indexes_are_each_their_own() -> None:
    one = {
        "message": {"role": "assistant", "content": "<think>never closed"},
        "finish_reason": "stop",
    }
    two = {"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    body, _ = document(one, two)
    assert [choice["message"]["content"] for choice in body["choices"]] == ["", "Hi"]


def test_twenty_thousand_choices_are_refused_and_not_remembered() -> None:
    many = ENVELOPE | {"choices": [{"index": i, "delta": {"content": "x"}} for i in range(20_000)]}
    left = send(many)
    assert left.error is not None
    assert len(left.raw) < 1000


def test_interleaved_choices_do_not_mix() -> None:
    left = send(
        chunk({"role": "assistant", "content": "A <thi"}),
        chunk({"role": "assistant", "content": "nk>B"}, index=1),
        chunk({"content": f"nk>{SECRET}"}),
        chunk({"content": " b <"}, index=1),
        chunk({}, "length"),
        chunk({}, "stop", index=1),
    )
    assert left.choice(0).text == "A "
    assert left.choice(1).text == "nk>B b <"
    assert (left.choice(0).finishes, left.choice(1).finishes) == (["length"], ["stop"])


def test_two_choices_in_one_chunk_are_judged_each_by_itself() -> None:
    both = ENVELOPE | {
        "choices": [
            {"index": 0, "delta": {"content": f"<think>{SECRET}"}, "finish_reason": None},
            {"index": 1, "delta": {"content": "Hi"}, "finish_reason": None},
        ]
    }
    left = send(both, STOP, chunk({}, "stop", index=1))
    assert left.choice(0).text == ""
    assert left.choice(1).text == "Hi"
    assert SECRET.encode() not in left.raw


def test_nothing_unknown_passes_beside_a_choice_that_has_finished() -> None:
    late = chunk({}, reasoning_text="zqSecret", message={"content": "zqSecret"})
    left = send(ROLE, chunk({"content": "Hi"}), STOP, late)
    assert b"zqSecret" not in left.raw
    late = chunk({}, reasoning_text="zqSecret") | {"usage": USAGE}
    left = send(ROLE, chunk({"content": "Hi"}), STOP, late)
    assert left.payloads[-1] == chunk({}) | {"usage": USAGE}


def test_an_agent_that_dies_in_text_like_the_text_before_its_round_is_not_complete() -> None:
    one = [ROLE, chunk({"content": "Let me "}), chunk({"content": "see."})]
    calling = [calls(call("zqlook")), chunk({}, "tool_calls")]
    left = send(*one, *calling, ROLE, chunk({"content": "The ans"}), done=False)
    assert left.error
    assert not left.choice().finishes


def test_a_finish_for_calls_that_stood_in_the_text_becomes_stop() -> None:
    said = chunk({"content": 'ok <tool_call>{"name":"zqx"}</tool_call>'})
    assert send(ROLE, said, chunk({}, "tool_calls")).choice().finishes == ["stop"]


def test_each_call_in_one_block_of_the_text_must_be_declared() -> None:
    block = '<tool_call>{"name":"f","arguments":{}}%s</tool_call>'
    two = chunk({"content": "ok " + block % '\n{"name":"zqx","arguments":{}}'})
    assert "zq" not in send(ROLE, two, STOP, policy=AGENT, declared=["f"]).choice().text
    one = chunk({"content": "ok " + block % ""})
    assert send(ROLE, one, STOP, policy=AGENT, declared=["f"]).choice().text == "ok " + block % ""


def test_no_text_of_an_error_quotes_what_is_hidden() -> None:
    error = {"message": "no", "code": "<think>zqa</think>x", "param": "<think>zqb</think>y"}
    left = send(ROLE, ROLE | {"error": error})
    assert b"zq" not in left.raw
