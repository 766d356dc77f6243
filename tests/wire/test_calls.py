"""Tool calls in fields of their own: all of a call or nothing, and indexes without gaps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.core.channel import Channel
from sidecar.core.policy import Policy, ToolCalls
from sidecar.core.progress import Progress
from sidecar.core.stats import Stats
from sidecar.core.stream import StreamFilter
from sidecar.wire.calls import MAX_UNNAMED, CallFilter
from tests.promises import LIMIT
from tests.wire.streams import (
    AGENT,
    ROLE,
    Json,
    call,
    calls,
    chat,
    chunk,
    compact,
    document,
    send,
    spaced,
    sse,
    whole,
)

SECRET = "zqSecret"
FINISH = chunk({}, "tool_calls")
DECLARED = ["book"]

per_spacing = pytest.mark.parametrize("spaces", [False, True], ids=["compact", "spaced"])


def kept(*sent: Json, spaces: bool = False) -> dict[int, Json]:
    """The calls that a client joins from the chunks, if it declared ``book``."""
    left = send(ROLE, *sent, FINISH, policy=AGENT, declared=DECLARED, spaces=spaces)
    assert SECRET.encode() not in left.raw
    return left.choice().calls


BOOK = {"name": "book", "arguments": '{"n":1}'}


def test_without_a_wish_every_call_is_hidden_and_counted() -> None:
    left = send(ROLE, calls(call("book", SECRET, id="a")), calls(call(None, SECRET)), FINISH)
    assert SECRET.encode() not in left.raw
    assert b"book" not in left.raw
    hidden = left.stats.hidden_characters[Channel.TOOL_CALL, "field"]
    assert hidden == len("book") + 2 * len(SECRET)


def test_calls_that_are_kept_are_not_looked_at() -> None:
    keep = Policy(tool_calls=ToolCalls.KEEP)
    odd = calls(call("f", id="a", index=7), call(None, "{}", index=3))
    left = send(ROLE, odd, FINISH, policy=keep)
    assert left.events[1] == sse(compact(odd))
    assert left.choice().finishes == ["tool_calls"]


@per_spacing
def test_only_the_calls_that_the_request_declares_stay(spaces: bool) -> None:
    both = [
        calls(call("zqlook", id="a")),
        calls(call(None, SECRET)),
        calls(call("book", id="b", index=1)),
        calls(call(None, '{"n":1}', index=1)),
    ]
    assert kept(*both, spaces=spaces) == {0: BOOK}


@per_spacing
def test_the_pieces_of_two_calls_may_take_turns(spaces: bool) -> None:
    turns = [
        calls(call("zqlook", id="a")),
        calls(call("book", id="b", index=1)),
        calls(call(None, SECRET)),
        calls(call(None, '{"n"', index=1)),
        calls(call(None, SECRET)),
        calls(call(None, ":1}", index=1)),
    ]
    assert kept(*turns, spaces=spaces) == {0: BOOK}


@per_spacing
def test_a_call_that_names_itself_on_every_delta_is_one_call(spaces: bool) -> None:
    # TGI repeats the whole opener.
    pieces = [calls(call("book", piece, id="0", type="function")) for piece in ('{"n"', ":1}")]
    left = send(ROLE, *pieces, FINISH, policy=AGENT, declared=DECLARED, spaces=spaces)
    indexes = [part["index"] for d in left.choice().deltas for part in d.get("tool_calls", ())]
    assert indexes == [0, 0]


@per_spacing
def test_a_call_keeps_its_original_bytes_where_its_index_stays(spaces: bool) -> None:
    sent = calls(call("book", "{}", id="a", type="function", extra_content={"s": "é"}))
    write = json.dumps if spaces else compact
    left = send(ROLE, sse(write(sent)), FINISH, policy=AGENT, declared=DECLARED)
    assert left.events[1] == sse(write(sent))


def test_a_call_that_is_renumbered_keeps_every_other_key_byte_for_byte() -> None:
    extra = {"google": {"thought_signature": "CiQB/+==", "n": 7}}
    sent = calls(call("book", "{}", index=1, id="b", type="function", extra_content=extra))
    left = send(ROLE, calls(call("zqlook", id="a")), sent, FINISH, policy=AGENT, declared=DECLARED)
    assert left.events[1] == sse(compact(sent).replace('{"index":1,', '{"index":0,'))


@per_spacing
def test_the_calls_that_stay_are_numbered_without_a_gap(spaces: bool) -> None:
    names = ["zqa", "book", "zqb", "book", "zqc", "book"]
    sent = [calls(call(name, "{}", index=i, id=str(i))) for i, name in enumerate(names)]
    assert sorted(kept(*sent, spaces=spaces)) == [0, 1, 2]


@per_spacing
def test_several_calls_in_one_delta_are_judged_each_by_itself(spaces: bool) -> None:
    sent = calls(call("zqlook", SECRET, id="a"), call("book", '{"n":1}', id="b", index=1))
    assert kept(sent, spaces=spaces) == {0: BOOK}


def test_a_call_may_say_its_name_after_its_id() -> None:
    sent = [calls(call(None, id="a")), calls(call("book")), calls(call(None, '{"n":1}'))]
    assert kept(*sent) == {0: BOOK}
    sent = [calls(call(None, SECRET, id="a")), calls(call("zqlook")), calls(call(None, SECRET))]
    assert kept(*sent) == {}


def test_a_call_that_never_says_its_name_stays_hidden() -> None:
    assert kept(calls(call(None, SECRET, id="a")), calls(call("", SECRET))) == {}


def test_a_call_that_says_its_name_too_late_stays_hidden_and_is_counted() -> None:
    long = SECRET * (MAX_UNNAMED // len(SECRET) + 1)
    sent = [calls(call(None, long, id="a")), calls(call(None, "x")), calls(call("book", "{}"))]
    left = send(ROLE, *sent, FINISH, policy=AGENT, declared=DECLARED)
    assert left.choice().calls == {}
    assert left.choice().finishes == ["stop"]
    assert left.stats.hidden_characters[Channel.TOOL_CALL, "field"] >= len(long)


@pytest.mark.parametrize("name", [None, "", "Book", "book ", " book", "books", 7, ["book"], {}])
def test_only_the_very_name_is_declared(name: Any) -> None:
    assert kept(calls(call(name, SECRET, id="a"))) == {}


@per_spacing
def test_calls_without_an_index_are_told_apart_by_their_names(spaces: bool) -> None:
    # Mistral.
    one = call("zqlook", SECRET, index=None, id="a")
    two = call("book", '{"n":1}', index=None, id="b")
    for sent in ([calls(one, two)], [calls(one), calls(two)]):
        assert kept(*sent, spaces=spaces) == {0: BOOK}
    for sent in ([calls(two, one)], [calls(two), calls(one)]):
        assert kept(*sent, spaces=spaces) == {0: BOOK}


def test_a_later_delta_with_an_empty_name_belongs_to_the_call_before_it() -> None:
    # Mistral, incremental.
    sent = [
        calls(call("zqlook", index=None, id="a")),
        calls(call("", SECRET, index=None, id="null")),
        calls(call("book", "", index=None, id="b")),
        calls(call("", '{"n":1}', index=None, id="null")),
    ]
    assert kept(*sent) == {0: BOOK}


@per_spacing
def test_two_calls_may_have_the_same_index(spaces: bool) -> None:
    sent = [
        calls(call("book", '{"n":1}', id="a")),
        calls(call("zqlook", SECRET, id="b")),
        calls(call(None, SECRET)),
    ]
    assert kept(*sent, spaces=spaces) == {0: BOOK}


@per_spacing
def test_null_names_and_ids_say_nothing(spaces: bool) -> None:
    # SGLang.
    later: Json = {"index": 0, "id": None, "function": {"name": None, "arguments": '{"n":1}'}}
    assert kept(calls(call("book", id="a")), calls(later), spaces=spaces) == {0: BOOK}


@per_spacing
def test_custom_tools_are_calls_too(spaces: bool) -> None:
    def custom(name: str, text: str, index: int) -> Json:
        return {
            "index": index,
            "id": name,
            "type": "custom",
            "custom": {"name": name, "input": text},
        }

    sent = [calls(custom("zqlook", SECRET, 0)), calls(custom("book", '{"n":1}', 1))]
    assert kept(*sent, spaces=spaces) == {0: BOOK}


def test_the_input_of_a_hidden_custom_tool_is_counted() -> None:
    hidden: Json = {"index": 0, "id": "a", "custom": {"name": "f", "input": SECRET}}
    left = send(ROLE, calls(hidden), FINISH)
    assert left.stats.hidden_characters[Channel.TOOL_CALL, "field"] == len("f" + SECRET)


def test_a_call_that_is_neither_a_function_nor_custom_is_hidden() -> None:
    assert kept(calls({"index": 0, "id": "a", "mcp": {"name": "book", "input": SECRET}})) == {}


@pytest.mark.parametrize("value", [[SECRET], [[SECRET]], [None, 5], [{"function": SECRET}]])
def test_what_is_no_call_is_hidden(value: list[Any]) -> None:
    assert kept(chunk({"tool_calls": value})) == {}


@pytest.mark.parametrize(("name", "stays"), [("book", True), ("zqlook", False)])
def test_a_legacy_function_call_is_kept_or_hidden_whole(name: str, stays: bool) -> None:
    text = '{"n":1}' if stays else SECRET
    sent = [
        chunk({"function_call": {"name": name, "arguments": ""}}),
        chunk({"function_call": {"arguments": text}}),
    ]
    left = send(ROLE, *sent, chunk({}, "function_call"), policy=AGENT, declared=DECLARED)
    assert (sse(compact(sent[1])) in left.raw) is stays
    assert SECRET.encode() not in left.raw
    assert left.choice().finishes == ["function_call" if stays else "stop"]


@pytest.mark.parametrize("name", [["book"], {"a": 1}, 7, True])
def test_a_legacy_function_call_may_have_any_name(name: Any) -> None:
    sent = chunk({"function_call": {"name": name, "arguments": SECRET}})
    left = send(ROLE, sent, chunk({}, "function_call"), policy=AGENT, declared=DECLARED)
    assert SECRET.encode() not in left.raw


def test_the_calls_of_two_choices_are_numbered_apart() -> None:
    left = send(
        calls(call("book", "{}", id="a")),
        calls(call("zqlook", id="b"), index=1),
        calls(call("book", "{}", id="c", index=1), index=1),
        FINISH,
        chunk({}, "tool_calls", index=1),
        policy=AGENT,
        declared=DECLARED,
    )
    assert sorted(left.choice(0).calls) == sorted(left.choice(1).calls) == [0]


# Documents.


def calls_of(message: Json, finish: str = "tool_calls") -> tuple[Json, str]:
    body, _ = document(
        whole({"role": "assistant", "content": None} | message, finish),
        policy=AGENT,
        declared=DECLARED,
    )
    assert SECRET not in json.dumps(body)
    choice = body["choices"][0]
    return choice["message"], choice["finish_reason"]


def test_a_document_keeps_its_declared_calls_with_every_key() -> None:
    book = call("book", "{}", index=None, id="b", type="function", extra_content={"s": 1})
    look = call("zqlook", SECRET, index=None, id="a", type="function")
    for each in ([look, book], [book, look]):
        assert calls_of({"tool_calls": each}) == (
            {"role": "assistant", "content": None, "tool_calls": [book]},
            "tool_calls",
        )


def test_a_document_whose_calls_are_all_hidden_stops() -> None:
    look = call("zqlook", SECRET, index=None, id="a")
    assert calls_of({"tool_calls": [look]}) == ({"role": "assistant", "content": None}, "stop")
    function = {"name": "zqlook", "arguments": SECRET}
    assert calls_of({"function_call": function}, "function_call") == (
        {"role": "assistant", "content": None},
        "stop",
    )


def test_the_indexes_in_a_document_are_renumbered_where_it_has_them() -> None:
    message, _ = calls_of(
        {"tool_calls": [call("zqlook", SECRET, id="a"), call("book", "{}", id="b", index=1)]}
    )
    assert message["tool_calls"] == [call("book", "{}", id="b", index=0)]


def test_nameless_calls_of_a_document_are_hidden() -> None:
    message, finish = calls_of({"tool_calls": [call(None, SECRET, index=None, id="a")]})
    assert "tool_calls" not in message
    assert finish == "stop"


# The filter by itself.


def test_the_same_list_comes_back_where_every_delta_stays() -> None:
    calls_ = CallFilter(ToolCalls.DECLARED, {"book"}, Stats(), Progress(Stats()))
    deltas = [call("book", id="a")]
    assert calls_.filter(deltas) is deltas
    later = [call(None, "{}")]
    assert calls_.filter(later) is later
    assert (calls_.kept, calls_.hidden) == (1, 0)


def test_what_waits_for_a_name_comes_back_in_order_once_it_is_there() -> None:
    calls_ = CallFilter(ToolCalls.DECLARED, {"book"}, Stats(), Progress(Stats()))
    assert calls_.filter([call(None, "1", id="a")]) == []
    assert calls_.filter([call(None, "2")]) == []
    last = call("book", "3")
    assert calls_.filter([last]) == [call(None, "1", id="a"), call(None, "2"), last]


def test_each_name_is_judged_by_itself_whatever_index_it_comes_under() -> None:
    """A call that is not declared cannot ride on one that is."""
    again = call("zqlook", SECRET, index=0)
    assert kept(calls(call("book", '{"n":1}', index=0)), calls(again)) == {0: BOOK}
    tail = call("_zqlook", SECRET, index=0)
    assert kept(calls(call("book", '{"n":1}', index=0)), calls(tail)) == {0: BOOK}


def test_another_message_has_other_calls() -> None:
    """An agent's rounds number their calls anew."""
    rounds = [
        calls(call("zqlook", SECRET, index=0)),
        chunk({}, "tool_calls"),
        chunk({"role": "tool", "content": SECRET}),
        chunk({"role": "assistant", "content": ""}),
        calls(call("book", '{"n":1}', index=0)),
    ]
    assert kept(*rounds) == {0: BOOK}
    assert kept(*reversed(rounds)) == {0: BOOK}


def test_a_call_that_waits_for_its_name_keeps_its_numbers() -> None:
    """An event that is read the exact way may be written in one that is not."""
    waiting = sse(spaced(calls({"index": 0, "id": "a", "function": {"arguments": ""}})))
    named = sse(compact(calls(call("book", "", index=0))))
    out = StreamFilter(chat(AGENT, DECLARED), limit=LIMIT).feed(
        sse(compact(ROLE)) + waiting + named
    )
    assert b'"index":"0"' not in out
    assert out.count(b'"index":0') == 4
