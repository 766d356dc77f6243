"""Stored answers are judged like the answers that they were, however they are packed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.core.jsontext import parse
from sidecar.core.policy import Mode, Policy, Reasoning, ToolCalls, ToolResults, UnknownFields
from sidecar.core.stream import MalformedChunk
from sidecar.wire.fields import Record
from sidecar.wire.ruling import Ruling
from sidecar.wire.stored import STORED, HiddenItem, StoredAnswer, StoredDocument

from .streams import ruling

SECRET = "s3cr3t"
CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
CONVERSATION = "/v1/conversations/c/items"

COMPLETION: Record = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "request_id": "r",
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "metadata": {"k": "v"},
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": f"<think>{SECRET}</think>Hello",
                "reasoning_content": SECRET,
            },
            "finish_reason": "stop",
        }
    ],
}
PLAIN: Record = COMPLETION | {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}}]
}
REASONING = {"id": "rs", "type": "reasoning", "summary": [{"type": "summary_text", "text": SECRET}]}
CALL = {"id": "fc", "type": "function_call", "call_id": "k", "name": "f", "arguments": SECRET}
RESULT = {"id": "fo", "type": "function_call_output", "call_id": "k", "output": SECRET}
QUESTION = {
    "id": "q",
    "type": "message",
    "role": "user",
    "content": [{"type": "input_text", "text": "<think> is a tag"}],
}
MESSAGE = {
    "id": "a",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [
        {"type": "output_text", "annotations": [], "text": f"<think>{SECRET}</think>Hello"}
    ],
}
ITEMS = [QUESTION, REASONING, CALL, RESULT, MESSAGE]
RESPONSE = {
    "id": "r",
    "object": "response",
    "model": "m",
    "status": "completed",
    "output": ITEMS[1:],
}


def listed(data: list[Any]) -> Record:
    """A list object."""
    return {
        "object": "list",
        "data": data,
        "first_id": "a",
        "last_id": "b",
        "has_more": False,
    }


def kind_of(path: str, method: str = "GET") -> StoredAnswer:
    """What is fetched there."""
    (kind,) = (k for k in STORED if k.path.fullmatch(path) and method in k.methods)
    return kind


def judged(path: str, record: Record, method: str = "GET", **wishes: Any) -> Any:
    """What is left of a document; None if it stays as it is."""
    chosen = ruling(Policy(**wishes))
    document = StoredDocument(kind_of(path, method), lambda _: chosen)
    left = document.read_document(parse(json.dumps(record).encode()))
    assert all(name == "only" for name, _ in document.judged)
    return None if left is None else json.loads(left)


CASES = [
    ("GET", f"{CHAT}/c1", COMPLETION),
    ("POST", f"{CHAT}/c1", COMPLETION),
    ("GET", CHAT, listed([COMPLETION, PLAIN])),
    ("GET", f"{CHAT}/c1/messages", listed([
        {"id": "m0", "role": "user", "content": "<think> is a tag"},
        {"id": "m1", **COMPLETION["choices"][0]["message"]},
        {"id": "m2", "role": "tool", "tool_call_id": "k", "content": SECRET},
    ])),
    ("GET", f"{RESPONSES}/r", RESPONSE),
    ("POST", f"{RESPONSES}/r/cancel", RESPONSE),
    ("GET", f"{RESPONSES}/r/input_items", listed(ITEMS)),
    ("GET", CONVERSATION, listed(ITEMS)),
    ("POST", CONVERSATION, listed(ITEMS)),
    ("GET", f"{CONVERSATION}/a", MESSAGE),
    ("POST", f"{RESPONSES}/compact", {"id": "x", "object": "response.compaction", "output": ITEMS}),
]  # fmt: skip
IDS = [f"{method} {path}" for method, path, _ in CASES]


@pytest.mark.parametrize(("method", "path", "record"), CASES, ids=IDS)
def test_what_is_hidden_in_an_answer_is_hidden_in_a_stored_one(
    method: str, path: str, record: Record
) -> None:
    """And what is visible stays, what the user said too."""
    left = json.dumps(judged(path, record, method))
    assert SECRET not in left
    assert "Hello" in left
    assert ("<think> is a tag" in left) is ("<think> is a tag" in json.dumps(record))


@pytest.mark.parametrize(("method", "path", "record"), CASES, ids=IDS)
def test_what_is_kept_stays_to_the_byte(method: str, path: str, record: Record) -> None:
    """Under a rule that keeps all of it, and under one that only looks."""
    assert judged(path, record, method, mode=Mode.OBSERVE) is None
    keep = {"reasoning": Reasoning.KEEP, "tool_calls": ToolCalls.KEEP}
    assert judged(path, record, method, **keep, tool_results=ToolResults.KEEP) is None


@pytest.mark.parametrize(("method", "path", "record"), CASES, ids=IDS)
def test_unknown_keys_are_dropped(method: str, path: str, record: Record) -> None:
    """In the packing too, unless the rule lets them pass."""
    odd = record | {"odd": SECRET}
    assert SECRET not in json.dumps(judged(path, odd, method))
    assert "odd" in judged(path, odd, method, unknown_fields=UnknownFields.PASS)


def test_each_answer_of_a_list_has_a_rule_of_its_own() -> None:
    """By the model that it names; one that no rule is about stays."""
    asked: list[Any] = []

    def choose(record: Record) -> Ruling | None:
        asked.append(record.get("model"))
        return ruling(Policy()) if record.get("model") == "m" else None

    other = COMPLETION | {"model": "other"}
    document = StoredDocument(kind_of(CHAT), choose)
    left = document.read_document(parse(json.dumps(listed([COMPLETION, other])).encode()))
    assert left is not None
    first, second = json.loads(left)["data"]
    assert first["choices"][0]["message"] == {"role": "assistant", "content": "Hello"}
    assert first["tools"] == COMPLETION["tools"]
    assert second == other
    assert {"m", "other"} <= set(asked)


@pytest.mark.parametrize("item", [REASONING, CALL, RESULT], ids=lambda item: item["type"])
def test_a_hidden_item_is_not_there(item: Record) -> None:
    """It cannot be fetched by its id."""
    with pytest.raises(HiddenItem):
        judged(f"{CONVERSATION}/x", item)


@pytest.mark.parametrize("role", [None, "", "x", "assistant", "tool", 1, [], {}, ["user"]])
def test_only_the_requests_own_messages_are_not_read(role: Any) -> None:
    """Whatever role another one has, and if it has none."""
    hides = {"content": f"<think>{SECRET}</think>", "reasoning_content": SECRET}
    for extra in ({"role": role}, {}):
        left = judged(f"{CHAT}/c/messages", listed([{"id": "m"} | extra | hides]))
        assert SECRET not in json.dumps(left)


def test_an_errors_words_are_put_through_the_rule() -> None:
    """Whatever was asked for."""
    error = {"error": {"message": f"failed: <think>{SECRET}</think>", "odd": SECRET}}
    for method, path, _ in CASES:
        left = judged(path, error, method)
        assert SECRET not in json.dumps(left)
        assert left["error"]["message"].startswith("failed:")


@pytest.mark.parametrize("bad", [[], 1, {}, {"data": {}}, {"data": [1]}, {"choices": 1}])
def test_what_is_none_is_not_taken_for_one(bad: Any) -> None:
    """Whoever relays it decides what becomes of it."""
    for method, path, _ in CASES:
        if not path.endswith("/items/a"):
            with pytest.raises(MalformedChunk):
                judged(path, bad, method)
