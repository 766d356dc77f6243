"""Fail closed on fields: what the tables do not know leaves in no byte, what they know stays.

The positions are generated from the tables themselves, so a new key is tested the moment it is
written down.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from sidecar.core.jsontext import Number
from sidecar.core.policy import Policy, Reasoning, ToolCalls, UnknownFields
from sidecar.wire.chat_fields import (
    ENVELOPE,
    MESSAGE,
    REASONING_KEYS,
    SHOWN_PARTS,
    STREAMED_CHOICE,
    THINKING_PARTS,
)
from sidecar.wire.errors import ERROR_FIELDS
from sidecar.wire.fields import Holds, Table
from tests.wire.streams import (
    ROLE,
    STOP,
    Json,
    Left,
    call,
    calls,
    chunk,
    compact,
    document,
    payloads,
    send,
    sse,
    whole,
)

SECRET = "zqSecret"
TOKEN: Json = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}


class Level(NamedTuple):
    """One kind of object on the wire: where it stands in a chunk, and the keys it may have."""

    path: tuple[str, ...]
    table: Table
    lists: frozenset[str] = frozenset()
    """The keys of the path that hold a list of such objects."""

    def chunk(self, extra: Json, *, listed: bool = False) -> Json:
        """A chunk whose object at this level has the keys of ``extra`` too."""
        value = _template()
        if not self.path:
            return value | extra
        _plant(value, self.path, extra, self.lists | ({self.path[-1]} if listed else set()))
        return value

    def __str__(self) -> str:
        return ".".join(self.path) or "envelope"


def _template() -> Json:
    return chunk({"content": "Hi"}, logprobs={"content": [dict(TOKEN)], "refusal": None})


def _plant(value: Json, path: tuple[str, ...], extra: Json, lists: frozenset[str]) -> None:
    key, *rest = path
    inner = value.get(key)
    if isinstance(inner, list) and inner:
        inner = inner[0]
    if not isinstance(inner, dict):
        inner = {}
        value[key] = [inner] if key in lists else inner
    if rest:
        _plant(inner, tuple(rest), extra, lists)
    else:
        inner.update(extra)


def _levels(
    table: Table, path: tuple[str, ...] = (), lists: frozenset[str] = frozenset()
) -> Iterator[Level]:
    yield Level(path, table, lists)
    for key, holds in table.items():
        if holds.inner is not None:
            listed = lists if dict in holds.types else lists | {key}
            yield from _levels(holds.inner, (*path, key), listed)


LEVELS = [
    *_levels(ENVELOPE),
    *_levels(STREAMED_CHOICE, ("choices",)),
    Level(("choices", "delta"), MESSAGE),
]
per_level = pytest.mark.parametrize("level", LEVELS, ids=str)

UNKNOWN_VALUES = [SECRET, [SECRET], {"text": SECRET}, {"a": [{"b": SECRET}]}, {SECRET: 1}]


def ids(positions: list[Any]) -> list[str]:
    return [f"{level}.{key}" for level, key, *_ in positions]


def left_clean(left: Left, *, counted: bool = True) -> None:
    assert SECRET.encode() not in left.raw
    assert left.choice().text == "Hi" or left.error
    assert not counted or left.stats.unknown_fields


# What is not in a table.


@pytest.mark.parametrize("value", UNKNOWN_VALUES, ids=repr)
@per_level
def test_a_key_that_no_table_knows_is_dropped_and_counted(level: Level, value: Any) -> None:
    for listed in (False, True):
        left = send(ROLE, level.chunk({"tomorrow": value}, listed=listed), STOP)
        left_clean(left)


@per_level
def test_an_unknown_key_is_dropped_from_every_object_of_a_list(level: Level) -> None:
    value = level.chunk({"tomorrow": SECRET}, listed=True)
    again = level.chunk({"tomorrow": SECRET, "later": [SECRET]}, listed=True)
    for key in value:
        if isinstance(value[key], list) and level.path and key == level.path[0] != "choices":
            value[key] += again[key]
    left_clean(send(ROLE, value, STOP))


def test_an_unknown_key_beside_visible_text_takes_nothing_else_with_it() -> None:
    value = chunk({"content": "Hi", "thoughts": SECRET})
    left = send(ROLE, value, STOP)
    assert left.payloads[1] == chunk({"content": "Hi"})
    assert left.stats.unknown_fields == 1


WRONG = {
    str: SECRET,
    list: [SECRET],
    dict: {"text": SECRET},
}


def _wrongly_typed() -> Iterator[tuple[Level, str, Any]]:
    for level in LEVELS:
        for key, holds in level.table.items():
            for type_, value in WRONG.items():
                if type_ not in holds.types:
                    yield level, key, value


WRONGLY_TYPED = list(_wrongly_typed())


@pytest.mark.parametrize(
    ("level", "key", "value"),
    WRONGLY_TYPED,
    ids=[f"{level}.{key}={value!r}" for level, key, value in WRONGLY_TYPED],
)
def test_a_known_key_that_holds_what_it_never_holds_is_dropped(
    level: Level, key: str, value: Any
) -> None:
    for listed in (False, True):
        left = send(ROLE, level.chunk({key: value}, listed=listed), STOP)
        assert SECRET.encode() not in left.raw
        if left.error is None:
            assert left.stats.unknown_fields


@pytest.mark.parametrize("value", [[SECRET], [[SECRET]], [{"text": SECRET}, SECRET]], ids=repr)
@pytest.mark.parametrize(
    "level",
    # A citation may be just its address.
    [level for level in LEVELS if level.path and level.path[-1] not in ("delta", "citations")],
    ids=str,
)
def test_a_list_where_objects_are_expected_holds_nothing_else(level: Level, value: Any) -> None:
    *path, key = level.path
    if not path and key == "choices":
        sent = ROLE | {"choices": value}
    else:
        sent = Level(tuple(path), {}).chunk({key: value})
    left = send(ROLE, sent, STOP)
    assert SECRET.encode() not in left.raw
    assert left.error or left.stats.unknown_fields


# Parts of a message's content.


@pytest.mark.parametrize("value", UNKNOWN_VALUES, ids=repr)
@pytest.mark.parametrize("text", ["Hi", "<think>x</think>Hi"])
def test_an_unknown_key_of_a_content_part_is_dropped_and_counted(text: str, value: Any) -> None:
    left = send(ROLE, chunk({"content": [{"type": "text", "text": text, "later": value}]}), STOP)
    left_clean(left)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (kind, key, value)
        for kind, table in SHOWN_PARTS.items()
        for key, holds in table.items()
        for value in WRONG.values()
        if key != "type" and type(value) not in holds.types
    ],
)
def test_a_key_of_a_content_part_that_holds_what_it_never_holds_is_dropped(
    kind: str, key: str, value: Any
) -> None:
    parts = [{"type": kind} | {key: value}]
    left = send(ROLE, chunk({"content": parts}), STOP)
    assert SECRET.encode() not in left.raw
    assert left.stats.unknown_fields


def test_a_content_list_of_anything_but_parts_is_dropped_and_counted() -> None:
    left = send(ROLE, chunk({"content": [SECRET, {"type": "text", "text": "Hi"}, [SECRET]]}), STOP)
    left_clean(left)


@pytest.mark.parametrize("kind", ["thought", "reasoning_text", "summary_text", "analysis", None])
def test_the_text_of_a_part_of_an_unknown_type_is_not_shown(kind: str | None) -> None:
    parts = [{"type": kind, "text": SECRET}, {"type": "text", "text": "Hi"}]
    left_clean(send(ROLE, chunk({"content": parts}), STOP), counted=False)


def test_thinking_in_a_part_that_does_not_call_itself_thinking_is_not_shown() -> None:
    parts = [{"type": "text", "text": "Hi", "thinking": SECRET}]
    left_clean(send(ROLE, chunk({"content": parts}), STOP), counted=False)


@pytest.mark.parametrize("kind", sorted(THINKING_PARTS))
def test_a_thinking_part_is_hidden_whatever_key_its_text_has(kind: str) -> None:
    for body in ({"text": SECRET}, {"thinking": SECRET}, {"thinking": [{"text": SECRET}]}):
        parts = [{"type": kind} | body, {"type": "text", "text": "Hi"}]
        left_clean(send(ROLE, chunk({"content": parts}), STOP), counted=False)


# The other half of a choice: a chunk has a delta, a document has a message.

TELLING: Json = {
    "role": "assistant",
    "content": f"<think>{SECRET}</think>Hi",
    "reasoning_content": SECRET,
    "tool_calls": [call("f", SECRET, id="a")],
}


@pytest.mark.parametrize("key", sorted(TELLING))
def test_a_streamed_choice_does_not_say_in_a_message_what_is_hidden_in_the_delta(key: str) -> None:
    # Perplexity sends the whole message so far beside each delta.
    value = chunk({"content": "Hi"}, message={"role": "assistant", key: TELLING[key]})
    left_clean(send(ROLE, value, STOP), counted=False)


@pytest.mark.parametrize("key", sorted(TELLING))
def test_a_document_does_not_say_in_a_delta_what_is_hidden_in_the_message(key: str) -> None:
    choice = whole({"role": "assistant", "content": "Hi"}, delta={key: TELLING[key]})
    body, _ = document(choice)
    assert SECRET not in json.dumps(body)


# Lists and objects whose members no table names.

OPEN_POSITIONS: list[tuple[str, Json]] = [
    ("annotations", chunk({"content": "Hi", "annotations": [{"reasoning": SECRET}]})),
    ("audio", chunk({"content": "Hi", "audio": {"reasoning": SECRET}})),
    ("images", chunk({"content": "Hi", "images": [{"reasoning": SECRET}]})),
    ("citations", chunk({"content": "Hi"}) | {"citations": [{"reasoning": SECRET}]}),
    ("search_results", chunk({"content": "Hi"}) | {"search_results": [{"reasoning": SECRET}]}),
    ("token_ids", chunk({"content": "Hi"}, token_ids=[SECRET])),
    (
        "bytes of an alternative",
        chunk(
            {"content": "Hi"},
            logprobs={"content": [TOKEN | {"top_logprobs": [{"token": "a", "bytes": [SECRET]}]}]},
        ),
    ),
    (
        "reference_ids of a part",
        chunk({"content": [{"type": "text", "text": "Hi", "reference_ids": [SECRET]}]}),
    ),
]


@pytest.mark.parametrize(
    "value", [v for _, v in OPEN_POSITIONS], ids=[n for n, _ in OPEN_POSITIONS]
)
def test_what_a_known_list_or_object_holds_is_known_too(value: Json) -> None:
    left_clean(send(ROLE, value, STOP), counted=False)


# Reasoning and calls in fields of their own.


@pytest.mark.parametrize("value", UNKNOWN_VALUES, ids=repr)
@pytest.mark.parametrize("key", [*REASONING_KEYS, "tool_calls", "function_call"])
def test_a_field_that_is_hidden_is_hidden_whatever_it_holds(key: str, value: Any) -> None:
    left_clean(send(ROLE, chunk({"content": "Hi", key: value}), STOP), counted=False)


@pytest.mark.parametrize("key", sorted(MESSAGE.keys() - {"role", "index"}))
def test_a_message_of_role_tool_says_nothing_in_any_field(key: str) -> None:
    holds = MESSAGE[key]
    value = SECRET if str in holds.types else {"a": SECRET} if dict in holds.types else [SECRET]
    said = chunk({"role": "tool", "content": SECRET, key: value})
    left = send(ROLE, said, chunk({"role": "assistant", "content": "Hi"}), STOP)
    left_clean(left, counted=False)


def test_a_hidden_call_is_hidden_with_every_key_it_has() -> None:
    delta = call("f", SECRET, id=SECRET, type=SECRET, extra_content={"a": SECRET})
    left = send(ROLE, chunk({"content": "Hi"}), calls(delta), STOP)
    left_clean(left, counted=False)


# Errors.


@pytest.mark.parametrize("value", UNKNOWN_VALUES, ids=repr)
def test_an_error_says_only_what_every_error_says(value: Any) -> None:
    error = {"message": "overloaded", "type": "server_error", "code": 500, "stack": value}
    left = send(ROLE, ROLE | {"error": error})
    assert SECRET.encode() not in left.raw
    assert left.error == {
        "message": "overloaded",
        "type": "server_error",
        "code": 500,
        "param": None,
    }


def test_an_unknown_key_of_an_error_is_counted() -> None:
    left = send(ROLE, ROLE | {"error": {"message": "overloaded", "stack": SECRET}})
    assert left.stats.unknown_fields == 1


@pytest.mark.parametrize("key", sorted(ERROR_FIELDS))
@pytest.mark.parametrize("value", [[SECRET], {"a": SECRET}, True], ids=repr)
def test_a_member_of_an_error_that_holds_what_it_never_holds_is_dropped(
    key: str, value: Any
) -> None:
    left = send(ROLE, {"error": {"message": "overloaded", key: value}})
    assert SECRET.encode() not in left.raw
    assert left.error is not None
    assert left.error[key] is None or isinstance(left.error[key], str)


@pytest.mark.parametrize("value", [[SECRET], 7, True], ids=repr)
def test_an_error_that_is_no_object_and_no_text_still_ends_the_stream(value: Any) -> None:
    left = send(ROLE, {"error": value})
    assert SECRET.encode() not in left.raw
    assert left.error is not None


# The same key, written otherwise.


@pytest.mark.parametrize(
    "key", ["reasoning_c\\u006fntent", "\\u0072easoning", "tool\\u005fcalls", "th\\u006fughts"]
)
def test_a_key_with_escapes_is_the_key_it_spells(key: str) -> None:
    text = compact(chunk({"content": "Hi", "KEY": [SECRET]})).replace("KEY", key)
    left_clean(send(ROLE, sse(text), STOP), counted=False)


@pytest.mark.parametrize(
    "twice",
    [
        f'"reasoning_content":"{SECRET}","reasoning_content":null',
        f'"content":"{SECRET}","content":"Hi"',
        f'"content":"Hi","c\\u006fntent":"{SECRET}"',
        f'"content":[{{"type":"text","text":"{SECRET}","text":"Hi"}}]',
    ],
)
def test_a_key_that_is_there_twice_ends_the_stream(twice: str) -> None:
    text = compact(chunk({"KEY": 1})).replace('"KEY":1', twice)
    left = send(ROLE, sse(text), STOP)
    assert SECRET.encode() not in left.raw
    assert left.error is not None
    assert left.error["code"] == "upstream_malformed"


def test_a_key_of_another_case_is_another_key() -> None:
    left_clean(send(ROLE, chunk({"content": "Hi", "Reasoning_Content": SECRET}), STOP))


@pytest.mark.parametrize(
    "line", [f": {SECRET}", f"event: {SECRET}", f"id: {SECRET}", f"retry: {SECRET}", SECRET]
)
def test_a_line_that_is_not_data_is_not_forwarded(line: str) -> None:
    event = f"{line}\ndata: {compact(chunk({'content': 'Hi'}))}\n\n".encode()
    left_clean(send(ROLE, f"{line}\n\n".encode(), event, STOP), counted=False)


# What is in a table stays.

RIGHT: dict[Any, Any] = {
    str: "plain",
    int: 7,
    float: 0.25,
    bool: True,
    list: [],
    dict: {},
    type(None): None,
}
HAS_MEANING = {"choices", "delta", "message", "error", "role", "finish_reason", "content"}
HIDDEN_HERE = {*REASONING_KEYS, "tool_calls", "function_call"}


def _right_values() -> Iterator[tuple[Level, str, Any]]:
    for level in LEVELS:
        for key, holds in level.table.items():
            if key in HAS_MEANING or level.path == ("choices", "logprobs"):
                continue
            if key == "refusal" or "refusal" in level.path:
                continue  # Log-probabilities must agree with it: in test_choice.
            for value in _values(key, holds):
                if not (key in HIDDEN_HERE and value) and not _contradicts(level, key, value):
                    yield level, key, value


def _values(key: str, holds: Holds) -> Iterator[Any]:
    if key == "index":
        yield 0
        return
    for type_ in sorted(holds.types - {Number}, key=str):
        yield RIGHT[type_]


def _contradicts(level: Level, key: str, value: Any) -> bool:
    """Whether a token would say something else than the delta does."""
    return level.path == ("choices", "logprobs", "content") and key in ("token", "bytes")


RIGHT_VALUES = list(_right_values())


@pytest.mark.parametrize(
    ("level", "key", "value"),
    RIGHT_VALUES,
    ids=[f"{level}.{key}={value!r}" for level, key, value in RIGHT_VALUES],
)
def test_a_known_key_with_a_right_value_leaves_as_its_original_bytes(
    level: Level, key: str, value: Any
) -> None:
    sent = level.chunk({key: value})
    left = send(ROLE, sent, STOP)
    assert left.events[1] == sse(compact(sent))
    assert left.stats.unknown_fields == 0


@pytest.mark.parametrize("key", REASONING_KEYS)
def test_reasoning_that_is_kept_leaves_as_its_original_bytes(key: str) -> None:
    holds = MESSAGE[key]
    value: Any = "why" if str in holds.types else [{"text": "why"}]
    if dict in holds.types:
        value = {"thinking_blocks": [{"thinking": "why"}]}
    sent = chunk({"content": "Hi", key: value})
    for policy in (Policy(reasoning=Reasoning.KEEP), Policy(reasoning=Reasoning.MOVE)):
        assert send(ROLE, sent, STOP, policy=policy).events[1] == sse(compact(sent))


def test_calls_that_are_kept_leave_as_their_original_bytes() -> None:
    keep = Policy(tool_calls=ToolCalls.KEEP)
    for sent in (
        calls(call("f", "{}", id="a", extra_content={"x": 1})),
        chunk({"function_call": {"name": "f", "arguments": "{}"}}),
    ):
        assert send(ROLE, sent, STOP, policy=keep).events[1] == sse(compact(sent))


@pytest.mark.parametrize("kind", ["text", "refusal", "image_url"])
def test_a_part_with_known_keys_leaves_as_its_original_bytes(kind: str) -> None:
    sent = chunk({"content": [{"type": "text", "text": "Hi"}, {"type": kind, kind: "x"}]})
    assert send(ROLE, sent, STOP).events[1] == sse(compact(sent))


# unknown_fields: pass


PASS = Policy(unknown_fields=UnknownFields.PASS)


@pytest.mark.parametrize("level", [v for v in LEVELS if "refusal" not in v.path], ids=str)
def test_unknown_keys_may_be_let_through_as_their_original_bytes(level: Level) -> None:
    sent = level.chunk({"tomorrow": {"a": [1, None]}})
    left = send(ROLE, sent, STOP, policy=PASS)
    assert left.events[1] == sse(compact(sent))


def _odd_values() -> Iterator[tuple[Level, str, Any]]:
    for level in LEVELS:
        for key in level.table:
            for value in ("odd", ["odd"], {"odd": "odd"}, 10**13, -1, True, [[["odd"]]], [None]):
                yield level, key, value


ODD_VALUES = list(_odd_values())


@pytest.mark.parametrize("policy", [Policy(), PASS], ids=["drop", "pass"])
@per_level
def test_no_value_of_any_type_at_any_key_is_more_than_the_filter_can_bear(
    level: Level, policy: Policy
) -> None:
    failed = []
    for at, key, value in ODD_VALUES:
        if at is not level:
            continue
        for odd in (value, {"name": value}, {"content": value}):
            try:
                payloads(send(ROLE, level.chunk({key: odd}), STOP, policy=policy).raw)
            except Exception as error:
                failed.append(f"{key}={odd!r}: {error!r}")
    assert not failed
