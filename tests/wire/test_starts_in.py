"""``starts_in: auto``: what an answer itself says about where it begins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.core.policy import Policy, Reasoning, StartsIn
from sidecar.core.stream import StreamFilter
from tests.cuts import every_way, two_way, units
from tests.promises import LIMIT
from tests.wire.streams import (
    DONE,
    ROLE,
    STOP,
    Json,
    Left,
    chat,
    chunk,
    compact,
    document,
    plain,
    send,
    sse,
    whole,
)

SECRET = "zqSecret"
THINKER = "thinker-1"
"""A model whose prompt opens the reasoning."""
REASONING_KEYS: dict[str, Any] = {
    "reasoning_content": SECRET,
    "reasoning": SECRET,
    "reasoning_details": [{"type": "reasoning.text", "text": SECRET}],
    "thinking_blocks": [{"type": "thinking", "thinking": SECRET}],
    "content": [{"type": "thinking", "thinking": [{"type": "text", "text": SECRET}]}],
}


def every_answer(content: str, model: str) -> Iterator[Left]:
    """The stream of the content in every cut of its text, and of its bytes."""
    for pieces in every_way(content):
        deltas = [chunk({"content": piece}) for piece in pieces]
        yield send(ROLE, *deltas, STOP, model=model)
    sent = b"".join([sse(compact(c)) for c in (ROLE, chunk({"content": content}), STOP)] + [DONE])
    for cut in (units(sent), *two_way(sent)):
        wire = chat(model=model)
        stream = StreamFilter(wire, limit=LIMIT)
        out = b"".join(map(stream.feed, cut))
        yield Left(out + stream.finish(), wire.stats)


@pytest.mark.parametrize("model", [THINKER, "Thinker-1"])
@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (f"{SECRET}\n</think>\n\nHi", "Hi"),
        (f"<think>{SECRET}</think>Hi", "Hi"),
        (f"{SECRET}</think>Hi<think>{SECRET}</think> you", "Hi you"),
        (SECRET, ""),
        ("</think>Hi", "Hi"),
    ],
)
def test_the_answer_of_a_known_model_begins_in_reasoning(
    model: str, content: str, shown: str
) -> None:
    for left in every_answer(content, model):
        assert left.choice().text == shown
        assert SECRET.encode() not in left.raw
        assert not left.stats.orphan_closers
    body, stats = document(whole({"role": "assistant", "content": content}), model=model)
    assert body["choices"][0]["message"]["content"] == shown
    assert not stats.orphan_closers


@pytest.mark.parametrize("key", REASONING_KEYS)
def test_where_upstream_parses_reasoning_nothing_is_assumed(key: str) -> None:
    said = chunk({key: REASONING_KEYS[key]})
    left = send(ROLE, said, chunk({"content": "Hi"}), chunk({"content": " you"}), STOP,
                model=THINKER)  # fmt: skip
    assert left.choice().text == "Hi you"
    assert SECRET.encode() not in left.raw
    message: Json = {"role": "assistant", "content": "Hi"} | {key: REASONING_KEYS[key]}
    if key == "content":
        message["content"] = [*REASONING_KEYS[key], {"type": "text", "text": "Hi"}]
    body, _ = document(whole(message), model=THINKER)
    assert plain(body["choices"][0]["message"]["content"]) == "Hi"


def test_reasoning_and_text_in_one_delta_are_told_apart_by_their_fields() -> None:
    left = send(ROLE, chunk({"reasoning": SECRET, "content": "Hi"}), STOP, model=THINKER)
    assert left.choice().text == "Hi"


def test_a_refusal_that_has_begun_loses_nothing_to_reasoning_in_a_field() -> None:
    sent = [chunk({"refusal": "No <th"}), chunk({"reasoning": SECRET}), chunk({"refusal": "at"})]
    left = send(ROLE, *sent, STOP, model=THINKER)
    assert "".join(delta.get("refusal") or "" for delta in left.choice().deltas) == "No <that"


@pytest.mark.parametrize("nothing", [None, ""])
@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_a_field_that_says_nothing_decides_nothing(key: str, nothing: str | None) -> None:
    sent = chunk({key: nothing, "content": f"{SECRET}</think>Hi"})
    left = send(ROLE, chunk({key: nothing}), sent, STOP, model=THINKER)
    assert left.choice().text == "Hi"
    assert SECRET.encode() not in left.raw


@pytest.mark.parametrize("begun", [SECRET, "</thi", " "])
def test_what_has_begun_as_reasoning_goes_on_until_it_is_closed(begun: str) -> None:
    left = send(
        ROLE,
        chunk({"content": begun}),
        chunk({"reasoning": SECRET}),
        chunk({"content": f"{SECRET}</think>Hi"}),
        STOP,
        model=THINKER,
    )
    assert left.choice().text == "Hi"
    assert SECRET.encode() not in left.raw


def test_each_choice_says_it_for_itself() -> None:
    left = send(
        chunk({"role": "assistant", "reasoning": SECRET}),
        chunk({"role": "assistant", "content": f"{SECRET}</think>B"}, index=1),
        chunk({"content": "A"}),
        STOP,
        chunk({}, "stop", index=1),
        model=THINKER,
    )
    assert (left.choice(0).text, left.choice(1).text) == ("A", "B")


@pytest.mark.parametrize(("said", "shown"), [({}, "B"), ({"reasoning": SECRET}, f"{SECRET}B")])
def test_a_later_message_begins_as_the_first_one_did(said: Json, shown: str) -> None:
    first = said | {"content": "A" if said else f"{SECRET}</think>A"}
    left = send(
        ROLE,
        chunk(first),
        chunk({"role": "tool", "content": SECRET}),
        chunk({"role": "assistant", "content": f"{SECRET}</think>B"}),
        STOP,
        model=THINKER,
    )
    assert left.choice().text == f"A{shown}"


def test_the_operators_word_counts_more_than_a_field() -> None:
    starts = Policy(starts_in=StartsIn.REASONING)
    sent = [chunk({"reasoning": SECRET}), chunk({"content": f"{SECRET}</think>Hi"})]
    assert send(ROLE, *sent, STOP, policy=starts).choice().text == "Hi"
    starts = Policy(starts_in=StartsIn.CONTENT)
    left = send(ROLE, chunk({"content": "a</think>Hi"}), STOP, policy=starts, model=THINKER)
    assert left.choice().text == "aHi"
    assert not left.stats.orphan_closers


def test_reasoning_that_a_prompt_opened_is_moved_like_any_other() -> None:
    move = Policy(reasoning=Reasoning.MOVE)
    left = send(ROLE, chunk({"content": "hm</think>Hi"}), STOP, policy=move, model=THINKER)
    assert (left.choice().reasoning, left.choice().text) == ("hm", "Hi")


@pytest.mark.parametrize("starts_in", [StartsIn.AUTO, StartsIn.REASONING])
def test_reasoning_that_is_kept_is_kept_wherever_it_begins(starts_in: StartsIn) -> None:
    keep = Policy(reasoning=Reasoning.KEEP, starts_in=starts_in)
    sent = chunk({"content": "hm</think>Hi"})
    left = send(ROLE, sent, STOP, policy=keep, model=THINKER)
    assert left.events[1] == sse(compact(sent))
    assert not left.stats.orphan_closers


@pytest.mark.parametrize(
    ("content", "shown"),
    [("hm\n</think>\n\nHi", "hm\n\nHi"), ("hm</think>", "hm"), ("\n</think>Hi", "Hi")],
)
def test_a_close_marker_that_nothing_opened_is_counted_and_delays_nothing(
    content: str, shown: str
) -> None:
    for left in every_answer(content, "m"):
        assert left.choice().text == shown
        assert left.stats.orphan_closers == {"think": 1}
    body, stats = document(whole({"role": "assistant", "content": content}))
    assert body["choices"][0]["message"]["content"] == shown
    assert stats.orphan_closers == {"think": 1}
    assert send(ROLE, chunk({"content": "hm"})).choice().deltas[1] == {"content": "hm"}


@pytest.mark.parametrize("closer", ["</ think\n>", "&lt;/think&gt;", "</THINK>"])
def test_so_is_one_that_is_written_in_another_way(closer: str) -> None:
    wishes = Policy(case_insensitive=True, spaced_tags=True, html_escaped=True)
    left = send(ROLE, chunk({"content": f"hm{closer}Hi"}), STOP, policy=wishes)
    assert left.choice().text == "hmHi"
    assert left.stats.orphan_closers == {"think": 1}


@pytest.mark.parametrize(
    "content",
    [
        "Hi",
        "<think></think>Hi",
        "<think>hm</think>Hi</think>",
        "`</think>` Hi",
        "Hi<|end|>",
        "<|channel|>final<|message|>Hi<|end|>",
        "<|channel|>analysis<|message|>hm<|end|>Hi",
    ],
)
def test_no_other_close_marker_is_counted(content: str) -> None:
    for left in every_answer(content, "m"):
        assert not left.stats.orphan_closers


def test_a_close_marker_beside_reasoning_in_a_field_is_not_counted() -> None:
    left = send(ROLE, chunk({"reasoning": SECRET}), chunk({"content": "</think>Hi"}), STOP)
    assert left.choice().text == "Hi"
    assert not left.stats.orphan_closers
