"""A whole answer and the same answer as a stream come to the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from sidecar.core.document import filter_document
from sidecar.core.jsontext import MalformedJSON
from sidecar.core.policy import OnEmpty, Policy, StartsIn, Unclosed
from sidecar.core.stream import MalformedChunk
from tests.promises import run
from tests.wire.recordings import DEFAULT, TOOLS_DECLARED, Recording, recordings
from tests.wire.streams import (
    AGENT,
    ENVELOPE,
    ROLE,
    STOP,
    Json,
    Read,
    chat,
    choices,
    chunk,
    compact,
    document,
    join_call,
    payloads,
    plain,
    reasoning_of,
    send,
    whole,
)

SECRET = "zqSecret"
ALL = [r for r in recordings() if r.ends == "done" and not r.name.startswith("agent-")]
"""A back end's rounds are several messages, which one document cannot be."""

REASONING = ("reasoning_content", "reasoning")

per_recording = pytest.mark.parametrize("recording", ALL, ids=lambda r: r.name)
per_policy = pytest.mark.parametrize(
    "policy", [DEFAULT, TOOLS_DECLARED], ids=["default", "tools-declared"]
)


def as_document(recording: Recording) -> Json:
    """The recording's chunks as one ``chat.completion``, joined as a client would."""
    lines = [line for line in recording.sent.splitlines() if line.startswith(b"data:")]
    texts = [line.removeprefix(b"data:").strip() for line in lines]
    chunks = [json.loads(text) for text in texts if text != b"[DONE]"]
    messages: dict[int, Json] = {}
    reasons: dict[int, str] = {}
    calls: dict[int, dict[int, Json]] = {}
    for item in (item for value in chunks for item in value.get("choices") or ()):
        index = item["index"]
        _join(messages.setdefault(index, {"role": "assistant", "content": ""}), item["delta"])
        for part in item["delta"].get("tool_calls") or ():
            join_call(calls.setdefault(index, {}), part)
        reasons[index] = item.get("finish_reason") or reasons.get(index, "")
    for index, found in calls.items():
        messages[index]["tool_calls"] = [
            {"id": str(i), "type": "function", "function": function}
            for i, function in sorted(found.items())
        ]
    joined = [
        {"index": i, "message": messages[i], "finish_reason": reasons[i]} for i in sorted(messages)
    ]
    return ENVELOPE | {"object": "chat.completion", "choices": joined}


def _join(message: Json, delta: Json) -> None:
    content = delta.get("content")
    if isinstance(content, list):
        thinking = reasoning_of({"content": content})
        if thinking:
            message["reasoning"] = message.get("reasoning", "") + thinking
    message["content"] += plain(content)
    for key in REASONING:
        if delta.get(key):
            message[key] = message.get(key, "") + delta[key]
    if delta.get("refusal"):
        message["refusal"] = message.get("refusal", "") + delta["refusal"]
    function = delta.get("function_call")
    if function:
        whole_call = message.setdefault("function_call", {"name": "", "arguments": ""})
        for key, value in function.items():
            whole_call[key] += value


def read_of(choice: Json) -> Read:
    message = choice["message"]
    read = Read(text=plain(message.get("content")), reasoning=reasoning_of(message))
    for i, call in enumerate(message.get("tool_calls") or ()):
        join_call(read.calls, call | {"index": i})
    read.finishes = [choice["finish_reason"]]
    return read


@per_policy
@per_recording
def test_a_document_and_a_stream_of_one_answer_say_the_same(
    recording: Recording, policy: Policy
) -> None:
    streamed = choices(payloads(run(recording.chat(policy), [recording.sent])))
    body = json.dumps(as_document(recording)).encode()
    left = json.loads(filter_document(body, recording.chat(policy)))
    for choice in left["choices"]:
        one, other = read_of(choice), streamed[choice["index"]]
        assert _text(one.text) == _text(other.text)
        assert _text(one.reasoning) == _text(other.reasoning)
        assert one.calls == other.calls
        assert one.finishes == other.finishes


def _text(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@per_recording
def test_no_hidden_word_is_in_any_byte_of_the_document(recording: Recording) -> None:
    body = json.dumps(as_document(recording)).encode()
    assert b"zq" not in filter_document(body, recording.chat(DEFAULT))


TEXTS = ["a", "Hi", " ", "\n", "`", "```\n", "<", "<th", "</thi", "[TOOL"]
MARKERS = ["<think>", "</think>", "<|channel|>analysis<|message|>", "<|end|>"]
CALLS = ["<tool_call>", '{"name":"f"}', "</tool_call>"]
WORDS = st.sampled_from([*TEXTS, *MARKERS, *CALLS])
POLICIES = [
    Policy(),
    AGENT,
    Policy(unclosed=Unclosed.SHOW),
    Policy(starts_in=StartsIn.REASONING),
    Policy(on_empty=OnEmpty.PROMOTE),
    Policy(reasoning=AGENT.reasoning, unclosed=Unclosed.SHOW),
]


@pytest.mark.parametrize("policy", POLICIES, ids=range(len(POLICIES)))
@example(pieces=["<think>", "<th"])
@example(pieces=["<think>a</think>", "\n", "<"])
@given(pieces=st.lists(WORDS, max_size=12))
@settings(max_examples=120)
def test_any_text_comes_to_the_same_whole_and_in_pieces(policy: Policy, pieces: list[str]) -> None:
    streamed = send(ROLE, *(chunk({"content": p}) for p in pieces), STOP, policy=policy).choice()
    body, _ = document(whole({"role": "assistant", "content": "".join(pieces)}), policy=policy)
    message = body["choices"][0]["message"]
    assert message["content"] == streamed.text
    assert reasoning_of(message) == streamed.reasoning


# What is only a document's.


def test_an_answer_in_which_nothing_is_hidden_leaves_as_its_original_bytes() -> None:
    message: Json = {"role": "assistant", "content": "Hi <b>", "refusal": None, "annotations": []}
    body = ENVELOPE | {"object": "chat.completion", "choices": [whole(message, logprobs=None)]}
    for text in (compact(body), json.dumps(body), json.dumps(body, indent=2)):
        assert filter_document(text.encode(), chat()) == text.encode()


def test_what_is_left_is_one_that_the_openai_package_knows() -> None:
    message = {"role": "assistant", "content": f"<think>{SECRET}</think>Hi", "reasoning": SECRET}
    body, stats = document(whole(message), usage={"prompt_tokens": 1, "later": SECRET}, later=[1])
    assert SECRET not in json.dumps(body)
    assert stats.unknown_fields == 2
    body["usage"] |= {"completion_tokens": 1, "total_tokens": 2}
    assert ChatCompletion.model_validate(body).choices[0].message.content == "Hi"


def test_held_text_at_the_end_of_a_document_is_not_lost() -> None:
    body, _ = document(whole({"role": "assistant", "content": "a <th"}))
    assert body["choices"][0]["message"]["content"] == "a <th"


def test_an_error_document_says_only_what_every_error_says() -> None:
    error = {"message": "overloaded", "code": 529, "stack": SECRET}
    left = filter_document(compact({"error": error}).encode(), chat())
    assert json.loads(left) == {
        "error": {"message": "overloaded", "type": "upstream_error", "code": 529, "param": None}
    }


@pytest.mark.parametrize(
    "body", ["[]", "1", "null", '{"choices":[]}', "{}", '{"choices":[1]}', '{"choices":"x"}']
)
def test_what_is_no_answer_is_refused(body: str) -> None:
    with pytest.raises(MalformedChunk):
        filter_document(body.encode(), chat())


@pytest.mark.parametrize(
    "body", ["", "<html>", '{"a":1,"a":2}', '{"a":NaN}', "[" * 5000, '{"a":"\x00"}', "{'a':1}"]
)
def test_what_is_no_json_is_refused(body: str) -> None:
    with pytest.raises(MalformedJSON):
        filter_document(body.encode(), chat())


def test_a_message_of_role_tool_is_hidden_in_a_document_too() -> None:
    choice: dict[str, Any] = whole({"role": "tool", "content": SECRET, "name": SECRET})
    body, _ = document(choice)
    assert SECRET not in json.dumps(body)
