"""Anthropic's Messages: what leaves of a stream and of a document, at every cut.

The streams are made of blocks, as servers send them, and read as the anthropic package does.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from functools import cache
from typing import Any, cast

import pytest
from anthropic.lib.streaming._beta_messages import accumulate_event

from sidecar.core.channel import Channel
from sidecar.core.document import filter_document
from sidecar.core.policy import (
    Errors,
    FinishReason,
    OnEmpty,
    Policy,
    Reasoning,
    StartsIn,
    ToolCalls,
    ToolResults,
    UnknownFields,
)
from sidecar.core.sse import event as written
from sidecar.core.stream import Fault, StreamFilter
from sidecar.rules.config import RuleSpec
from sidecar.rules.match import Match
from sidecar.rules.ruleset import Rule, RuleSet
from sidecar.wire.messageblocks import MAX_BLOCKS
from sidecar.wire.messages import Messages
from tests.clients.shapes import messages as recorded
from tests.cuts import at_random, every_way, units
from tests.promises import CATALOGUE, LIMIT

Json = dict[str, Any]

SECRET = "Qz7Xk9Wv3J"
"""Stands in hidden text."""
DIED = Fault("upstream_died", "The upstream server died.")
CALL = f'<tool_call>\n{{"name": "find", "arguments": {{"q": "{SECRET}"}}}}\n</tool_call>'
ENDED = {"stop_reason": "end_turn", "stop_sequence": None}
USAGE = {"input_tokens": 9, "output_tokens": 30}
MESSAGE: Json = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": USAGE,
}

DROP = Policy()
KEEP = Policy(Reasoning.KEEP, ToolCalls.KEEP, ToolResults.KEEP)
DECLARED = Policy(tool_calls=ToolCalls.DECLARED, tool_results=ToolResults.KEEP)
MOVE = Policy(Reasoning.MOVE, ToolCalls.MOVE)
POLICIES = (DROP, KEEP, DECLARED, MOVE, Policy(reasoning=Reasoning.KEEP))

START: Json = {"type": "message_start", "message": MESSAGE}
STOP: Json = {"type": "message_stop"}
PING: Json = {"type": "ping"}


@cache
def _rule(policy: Policy) -> Rule:
    return RuleSet([RuleSpec("only", Match(), ("all",), policy)], CATALOGUE).rules[0]


def wire(policy: Policy = DROP, declared: Iterable[str] = ()) -> Messages:
    return Messages(_rule(policy).ruling(dict.fromkeys(declared), seed="s"))


def sse(*events: Json | bytes) -> bytes:
    """Events as servers write them."""
    return b"".join(
        each
        if isinstance(each, bytes)
        else written(json.dumps(each, separators=(",", ":")).encode(), each["type"].encode())
        for each in events
    )


def opened(index: int, block: Json) -> Json:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, key: str, said: Any) -> Json:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, key: said}}


def closed(index: int) -> Json:
    return {"type": "content_block_stop", "index": index}


def said(index: int, *pieces: str) -> list[Json]:
    """Deltas of a text."""
    return [delta(index, "text_delta", "text", piece) for piece in pieces]


def block(index: int, whole: Json, *pieces: str) -> list[Json]:
    """The events of one block, whose text comes in these pieces."""
    kind = whole["type"]
    deltas: list[Json] = []
    if kind == "text":
        deltas = said(index, *pieces)
        whole = whole | {"text": ""}
    elif kind == "thinking":
        deltas = [delta(index, "thinking_delta", "thinking", piece) for piece in pieces]
        deltas.append(delta(index, "signature_delta", "signature", whole["signature"]))
        whole = whole | {"thinking": "", "signature": ""}
    elif kind.endswith("tool_use"):
        deltas = [delta(index, "input_json_delta", "partial_json", piece) for piece in pieces]
        whole = whole | {"input": {}}
    return [opened(index, whole), *deltas, closed(index)]


def text(*pieces: str) -> tuple[Json, tuple[str, ...]]:
    """A text block, and the pieces in which it comes; likewise what follows."""
    return {"type": "text", "text": "".join(pieces)}, pieces


def thinking(*pieces: str) -> tuple[Json, tuple[str, ...]]:
    whole = {"type": "thinking", "thinking": "".join(pieces), "signature": f"sig{SECRET}"}
    return whole, pieces


def call(name: str = "find", kind: str = "tool_use", **more: Any) -> tuple[Json, tuple[str, ...]]:
    made = {"q": SECRET, "n": 2}
    whole = {"type": kind, "id": f"{kind}_{name}", "name": name, "input": made} | more
    arguments = json.dumps(made)
    return whole, ("", arguments[:5], arguments[5:])


def result(of: str, kind: str = "web_search_tool_result") -> tuple[Json, tuple[str, ...]]:
    found: Json = {"type": "text", "text": f"found {SECRET}", "citations": None}
    if kind == "web_search_tool_result":
        found = {"type": "web_search_result", "title": SECRET, "url": "u", "page_age": None}
        found |= {"encrypted_content": SECRET}
    content = [found]
    return {"type": kind, "tool_use_id": of, "content": content}, ()


REDACTED: tuple[Json, tuple[str, ...]] = ({"type": "redacted_thinking", "data": SECRET}, ())


def ending(reason: str = "end_turn", **more: Any) -> Json:
    return {"type": "message_delta", "delta": ENDED | {"stop_reason": reason} | more} | {
        "usage": {"output_tokens": 30}
    }


def answer(*blocks: tuple[Json, tuple[str, ...]], reason: str = "end_turn") -> list[Json]:
    """The events of a complete answer."""
    inner = [
        event
        for index, (whole, pieces) in enumerate(blocks)
        for event in block(index, whole, *pieces)
    ]
    return [START, PING, *inner, ending(reason), STOP]


def document(*blocks: tuple[Json, tuple[str, ...]], reason: str = "end_turn") -> Json:
    """The same as a document."""
    return MESSAGE | {"content": [whole for whole, _ in blocks]} | ENDED | {"stop_reason": reason}


def run(filtered: Messages, *chunks: bytes, fault: Fault | None = None) -> bytes:
    stream = StreamFilter(filtered, limit=LIMIT)
    return b"".join(map(stream.feed, chunks)) + stream.finish(fault)


def events(raw: bytes) -> list[Json]:
    """What a strict client reads: each event has its name, indexes have no gaps, each block is
    opened once and closed once, and nothing follows the end."""
    found: list[Json] = []
    is_open: dict[int, bool] = {}
    for part in raw.split(b"\n\n")[:-1]:
        name, data = part.split(b"\n")
        record = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + record["type"].encode()
        assert not found or found[-1]["type"] not in ("message_stop", "error")
        match record["type"]:
            case "message_start":
                assert all(each == PING for each in found)
            case "content_block_start":
                assert record["index"] == len(is_open)
                is_open[record["index"]] = True
            case "content_block_delta":
                assert is_open[record["index"]]
            case "content_block_stop":
                assert is_open[record["index"]]
                is_open[record["index"]] = False
            case "message_delta":
                assert not any(is_open.values())
        found.append(record)
    assert found[-1]["type"] in ("message_stop", "error")
    assert not any(is_open.values())
    return found


def accumulated(raw: bytes) -> Json:
    """The message that the anthropic package makes of the stream."""
    message: Any = None
    buffers: dict[int, bytes] = {}
    for record in events(raw):
        if record["type"] not in ("ping", "error"):
            message = accumulate_event(
                event=cast(Any, record),
                current_snapshot=message,
                json_bufs=buffers,
                request_headers=cast(Any, {}),
            )
    found: Json = json.loads(message.to_json(warnings=False))
    return found


def content(of: Json) -> list[Json]:
    """The blocks of a message, without keys of which nothing is said."""
    return [{key: value for key, value in each.items() if value} for each in of["content"]]


def left(body: Json, policy: Policy = DROP, declared: Iterable[str] = ()) -> Json:
    """A document through the filter."""
    found: Json = json.loads(filter_document(json.dumps(body).encode(), wire(policy, declared)))
    return found


PLAIN = {
    "text": [text("", "Hel", "lo ", "a < b\n", "\ud83e", "end")],
    "no text": [text()],
    "two texts": [text("Hel", "lo"), text("you")],
    "quoted": [text("say `<think>` ", "and `</think>`.")],
}
HIDING = {
    "thinking": [thinking("I ", SECRET), REDACTED, text("Hel", "lo")],
    "calls": [text("Look."), call(), call("other")],
    "in band": [text("<th", f"ink>{SECRET}", "</think>\n\nHel", "lo")],
    "in the middle": [text("A ", f"<think>{SECRET}</think>", "B")],
    "over two blocks": [text("A <thi"), text(f"nk>{SECRET}</think>B")],
    "unclosed over two blocks": [text(f"A <think>{SECRET}"), text(SECRET, "</think>", "B")],
    "unclosed, then a call": [text(f"A <think>{SECRET}"), call(), text("B <b")],
    "a call in band": [text("Look. ", CALL[:9], CALL[9:40], CALL[40:])],
    "everything": [thinking(SECRET), text("A", f"<think>{SECRET}</think>", CALL, "B"), call()],
    "a server's tools": [
        text("A"),
        call("web_search", "server_tool_use"),
        result("server_tool_use_web_search"),
        call("ask", "mcp_tool_use", server_name="wiki"),
        result("mcp_tool_use_ask", "mcp_tool_result"),
        text("B"),
    ],
}
CASES = PLAIN | HIDING


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("policy", POLICIES)
def test_stream_equals_document_at_every_cut(name: str, policy: Policy) -> None:
    """A client makes the same message of the stream, wherever that is cut, as of the document."""
    blocks = CASES[name]
    reason = "tool_use" if any("input" in whole for whole, _ in blocks) else "end_turn"
    raw = sse(*answer(*blocks, reason=reason))
    out = run(wire(policy, ["find"]), raw)
    if "\ud83e" not in json.dumps(document(*blocks), ensure_ascii=False):
        streamed = accumulated(out)
        whole = left(document(*blocks, reason=reason), policy, ["find"])
        assert content(streamed) == content(whole)
        assert streamed["stop_reason"] == whole["stop_reason"]
    if policy == DROP:
        assert SECRET.encode() not in out
    for chunks in (units(raw), *at_random(raw, 6)):
        assert run(wire(policy, ["find"]), *chunks) == out
    crlf = raw.replace(b"\n", b"\r\n")
    for chunks in at_random(crlf, 2):
        assert events(run(wire(policy, ["find"]), *chunks).replace(b"\r\n", b"\n")) == events(out)


def test_every_two_way_cut() -> None:
    raw = sse(*answer(*HIDING["in band"]))
    out = run(wire(), raw)
    for chunks in every_way(raw):
        assert run(wire(), *chunks) == out


@pytest.mark.parametrize("policy", POLICIES)
def test_what_hides_nothing_leaves_as_it_came(policy: Policy) -> None:
    for name, blocks in PLAIN.items():
        raw = sse(*answer(*blocks))
        assert run(wire(policy), raw) == raw, name
        body = json.dumps(document(*blocks)).encode()
        assert filter_document(body, wire(policy)) == body, name


def test_a_sign_of_life_keeps_its_place() -> None:
    """Anthropic sends one after the first block is announced; while text is hidden, it is all that
    there is to send."""
    begun = [START, opened(0, {"type": "text", "text": ""}), PING]
    plain = sse(*begun, *said(0, "Hel", "lo"), closed(0), ending("end_turn"), STOP)
    hidden = [*begun, *said(0, f"<think>{SECRET}"), PING]
    for chunks in every_way(plain):
        assert run(wire(), *chunks) == plain
    stream = StreamFilter(wire(), limit=LIMIT)
    assert stream.feed(sse(*hidden)) == sse(START, PING, PING)
    rest = stream.feed(sse(*said(0, "</think>Hi"), closed(0), ending("end_turn"), STOP))
    assert [each["type"] for each in events(sse(START) + rest)][1:] == [
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


@pytest.mark.parametrize(
    ("policy", "kinds"),
    [
        (DROP, ["text"]),
        (Policy(reasoning=Reasoning.KEEP), ["thinking", "redacted_thinking", "text"]),
        (Policy(tool_calls=ToolCalls.KEEP), ["text", "tool_use"]),
        (MOVE, ["thinking", "redacted_thinking", "text", "tool_use"]),
    ],
)
def test_recorded_shape(policy: Policy, kinds: list[str]) -> None:
    """The recording has each kind of block; its text begins with reasoning between markers."""
    came = recorded({"model": "m"})
    out = run(wire(policy), b"".join(came.events))
    message = accumulated(out)
    assert [each["type"] for each in message["content"]] == kinds
    assert content(message) == content(left(came.document, policy))
    calls = "tool_use" in kinds
    assert message["stop_reason"] == ("tool_use" if calls else "end_turn")
    assert (b"SECRET-REASONING" in out) == ("thinking" in kinds)
    assert (b"SECRET-CALL" in out) == calls
    assert out.count(b"event: ping") == len(came.document["content"])


def test_signature_goes_with_its_block() -> None:
    blocks = HIDING["thinking"]
    kept = accumulated(run(wire(MOVE), sse(*answer(*blocks))))
    assert kept["content"][0]["signature"] == f"sig{SECRET}"
    dropped = run(wire(), sse(*answer(*blocks)))
    assert b"signature" not in dropped
    assert b"redacted" not in dropped


@pytest.mark.parametrize(
    ("declared", "kept"),
    [
        ((), []),
        (("web_search",), ["server_tool_use", "web_search_tool_result"]),
        (("hosted:mcp",), []),
        (("hosted:mcp:wiki",), ["mcp_tool_use", "mcp_tool_result"]),
        (("hosted:mcp:other", "ask"), []),
    ],
)
def test_declared_tools_of_servers_and_their_results(declared: Any, kept: list[str]) -> None:
    """The result of a hidden call is hidden, even where results are kept."""
    raw = sse(*answer(*HIDING["a server's tools"]))
    kinds = [each["type"] for each in accumulated(run(wire(DECLARED, declared), raw))["content"]]
    assert kinds == ["text", *kept, "text"]
    whole = left(document(*HIDING["a server's tools"]), DECLARED, declared)
    assert [each["type"] for each in whole["content"]] == kinds


def test_moved_out_of_the_text_in_order() -> None:
    pieces = ("A", f"<think>{SECRET}</think>", CALL, "B")
    for cut in (pieces, ("".join(pieces),)):
        out = run(wire(MOVE), sse(*answer(text(*cut))))
        message = accumulated(out)
        found = [(each["type"], each.get("text")) for each in message["content"]]
        kinds = [("text", "A"), ("thinking", None), ("tool_use", None), ("text", "B")]
        assert [(kind, said and said.strip()) for kind, said in found] == kinds
        assert message["content"][1]["thinking"] == SECRET
        made = message["content"][2]
        assert (made["id"], made["name"], made["input"]) == ("toolu_s0001", "find", {"q": SECRET})
        assert message["stop_reason"] == "tool_use"


def test_unreadable_call_that_was_to_be_moved_is_an_error() -> None:
    blocks = [text(f"A<tool_call>no {SECRET}</tool_call>B")]
    out = run(wire(MOVE), sse(*answer(*blocks)))
    assert events(out)[-1]["error"]["type"] == "api_error"
    assert left(document(*blocks), MOVE)["type"] == "error"
    assert SECRET.encode() not in out


@pytest.mark.parametrize(
    ("reason", "policy", "told"),
    [
        ("tool_use", DROP, "end_turn"),
        ("tool_use", Policy(finish_reason=FinishReason.KEEP), "tool_use"),
        ("tool_use", KEEP, "tool_use"),
        ("max_tokens", DROP, "max_tokens"),
        ("pause_turn", DROP, "pause_turn"),
        (f"because {SECRET}", DROP, "end_turn"),
    ],
)
def test_why_it_stopped(reason: str, policy: Policy, told: str) -> None:
    blocks = [text("A"), call()]
    out = events(run(wire(policy), sse(*answer(*blocks, reason=reason))))
    assert out[-2]["delta"]["stop_reason"] == told
    assert left(document(*blocks, reason=reason), policy)["stop_reason"] == told


def test_stop_sequence_that_may_be_of_hidden_text() -> None:
    for blocks, shown in ((PLAIN["text"], "END"), (HIDING["in band"], None)):
        stopped = [*answer(*blocks)[:-2], ending("stop_sequence", stop_sequence="END"), STOP]
        out = events(run(wire(), sse(*stopped)))
        assert out[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": shown}
    marker = [*answer(text("A"))[:-2], ending("stop_sequence", stop_sequence="</think>"), STOP]
    assert events(run(wire(), sse(*marker)))[-2]["delta"]["stop_sequence"] is None


def test_envelope_that_is_missing_is_made() -> None:
    """A delta that no event announced is read; the message, its blocks and its end are made."""
    bare = said(3, "<think>", SECRET, "</think>Hel", "lo")
    for parts in (bare, [START, *bare], [*bare, ending()], [*bare, STOP], [*bare, ending(), STOP]):
        out = run(wire(), sse(*parts))
        read = events(out)
        assert SECRET.encode() not in out
        assert read[-1]["type"] == ("message_stop" if parts[-1] in (STOP, ending()) else "error")
        assert content(accumulated(out)) == [{"type": "text", "text": "Hello"}]
    late = [START, *block(0, {"type": "text"}, "A"), *said(0, "<think>", SECRET), ending(), STOP]
    assert content(accumulated(run(wire(), sse(*late)))) == [{"type": "text", "text": "A"}]
    named = [START, delta(0, "thinking_delta", "thinking", SECRET), ending(), STOP]
    assert SECRET.encode() not in run(wire(), sse(*named))
    (made,) = accumulated(run(wire(KEEP), sse(*named)))["content"]
    assert made["thinking"] == SECRET
    nameless = [START, delta(0, "input_json_delta", "partial_json", SECRET), ending(), STOP]
    assert SECRET.encode() not in run(wire(DECLARED, ["find"]), sse(*nameless))


def test_blocks_that_overlap() -> None:
    """llama.cpp closes all blocks at the end."""
    blocks = [thinking(SECRET), text("A <b", "> B <thi"), call()]
    parts = [block(index, whole, *pieces) for index, (whole, pieces) in enumerate(blocks)]
    inner = [event for part in parts for event in part[:-1]]
    ends = [part[-1] for part in parts]
    raw = sse(START, *inner, *ends, ending("tool_use"), STOP)
    message = accumulated(run(wire(), raw))
    assert content(message) == [{"type": "text", "text": "A <b> B <thi"}]
    message = accumulated(run(wire(KEEP), raw))
    assert [each["type"] for each in message["content"]] == ["thinking", "text", "tool_use"]
    assert message["content"][1]["text"] == "A <b> B <thi"
    assert message["content"][2]["input"] == {"q": SECRET, "n": 2}
    inner[-6:-4] = said(1, "A ", "B")
    raw = sse(START, *inner, *ends, ending("tool_use"), STOP)
    assert run(wire(KEEP), raw) == raw


def test_text_in_places_of_its_own() -> None:
    """Text is read in the event that announces its block, in the message that announces all, and
    in a block of another kind."""
    hidden = f"<think>{SECRET}</think>Hello"
    start = opened(0, {"type": "text", "text": hidden})
    early = START | {"message": MESSAGE | {"content": [{"type": "text", "text": hidden}]}}
    stray = [opened(0, {"type": "thinking", "thinking": "x"}), *said(0, hidden), closed(0)]
    tails: tuple[list[Json], ...] = ([START, start, closed(0)], [early], [START, *stray])
    for policy in (DROP, MOVE):
        for parts in tails:
            out = run(wire(policy), sse(*parts, ending(), STOP))
            hides = policy == DROP
            assert hides is (SECRET.encode() not in out) or parts[1:] == stray
            visible = [each.get("text") for each in content(accumulated(out))]
            assert "Hello" in visible or (hides and parts[1:] == stray)
    kept = sse(START, opened(0, {"type": "text", "text": "Hello"}), closed(0), ending(), STOP)
    assert run(wire(), kept) == kept


def test_citations_belong_to_their_text() -> None:
    cited = {"type": "char_location", "cited_text": "C", "document_index": 0, "extra": SECRET}
    cites = delta(0, "citations_delta", "citation", cited)
    parts = [START, opened(0, text()[0]), *said(0, "A"), cites, closed(0), ending(), STOP]
    (block_left,) = accumulated(run(wire(), sse(*parts)))["content"]
    assert [each["cited_text"] for each in block_left["citations"]] == ["C"]
    assert "extra" not in block_left["citations"][0]
    parts[2:3] = said(0, f"<think>{SECRET}</think>")
    assert accumulated(run(wire(), sse(*parts)))["content"] == []


ERROR: Json = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def test_errors_end_the_answer_in_their_own_words() -> None:
    held = [START, opened(0, text()[0]), *said(0, "A <thi")]
    out = events(run(wire(), sse(*held, ERROR, *said(0, "more"))))
    assert [each["type"] for each in out[-4:]] == [
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "error",
    ]
    assert out[-1] == ERROR
    assert run(wire(), sse(START, ERROR)) == sse(START, ERROR)
    quoting = {"type": "error", "error": {"type": "x", "message": f"<think>{SECRET}</think>no"}}
    assert SECRET.encode() not in run(wire(), sse(START, quoting))
    assert events(run(wire(), b'data: {"error":"broken"}\n\n'))[-1]["error"]["message"] == "broken"
    own = events(run(wire(Policy(errors=Errors.OWN)), sse(START, ERROR)))[-1]["error"]
    assert own["message"] != "Overloaded"
    assert left(ERROR) == ERROR


@pytest.mark.parametrize("name", CASES)
def test_death_after_every_event(name: str) -> None:
    """What is certainly visible goes out, blocks are closed, and then an error; but a message that
    has said why it ended is complete."""
    parts = answer(*CASES[name])
    for count in range(len(parts)):
        out = events(run(wire(), sse(*parts[:count]), fault=DIED))
        complete = count == len(parts) - 1
        assert out[-1]["type"] == ("message_stop" if complete else "error")
        if not complete:
            assert out[-1]["error"] == {"type": "api_error", "message": DIED.message}
            assert SECRET not in json.dumps(out)


def test_nothing_follows_the_end() -> None:
    raw = sse(*answer(text("A")))
    for more in (raw, b"data: [DONE]\n\n", sse(PING), sse(ERROR), b"junk\n\n"):
        assert run(wire(), raw + more) == raw
    after = [*answer(text("A"))[:-1], *block(1, text("B")[0], "B"), STOP]
    assert run(wire(), sse(*after)) == raw
    assert run(wire(), sse(START, *answer(text("A")))) == raw


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(), []),
        (Policy(on_empty=OnEmpty.PROMOTE), [SECRET]),
        (Policy(on_empty=OnEmpty.TEXT, empty_text="Nothing."), ["Nothing."]),
        (Policy(on_empty=OnEmpty.ERROR), None),
    ],
)
@pytest.mark.parametrize("blocks", [[thinking(SECRET), call()], [text(f"<think>{SECRET}</think>")]])
def test_nothing_left(policy: Policy, expected: list[str] | None, blocks: list[Any]) -> None:
    out = run(wire(policy), sse(*answer(*blocks)))
    whole = left(document(*blocks), policy)
    if expected is None:
        assert events(out)[-1] == whole
        assert whole["type"] == "error"
    else:
        assert [each["text"] for each in accumulated(out)["content"]] == expected
        assert content(whole) == content(accumulated(out))


def test_what_no_table_knows() -> None:
    strange: list[Json] = [
        {"type": "status", "note": SECRET},
        opened(0, {"type": "musing", "text": SECRET}),
        *said(0, SECRET),
        closed(0),
        opened(1, {"type": "text", "text": "", "note": SECRET}),
        *said(1, "A"),
        delta(1, "hint_delta", "hint", SECRET),
        closed(1),
        PING | {"note": SECRET},
        {"type": f"two\nlines{SECRET}"},
    ]
    stream = StreamFilter(filtered := wire(), limit=LIMIT)
    sent = sse(START, *strange[:-1])
    sent += b"data: " + json.dumps(strange[-1]).encode() + b"\n\n" + sse(ending(), STOP)
    out = stream.feed(sent) + stream.finish()
    assert SECRET.encode() not in out
    assert content(accumulated(out)) == [{"type": "text", "text": "A"}]
    assert filtered.stats.unknown_fields == 6
    passing = wire(Policy(unknown_fields=UnknownFields.PASS))
    known = sse(START, strange[0], strange[1], closed(0), *strange[4:-1], ending(), STOP)
    assert run(passing, known) == known


def test_an_unknown_type_writes_no_line_of_its_own() -> None:
    """It is also the event's name."""
    odd = {"type": f"x\ndata: {SECRET}\n\nevent: y"}
    raw = sse(START) + b"data: " + json.dumps(odd).encode() + b"\n\n" + sse(ending(), STOP)
    out = run(wire(Policy(unknown_fields=UnknownFields.PASS)), raw)
    assert SECRET.encode() not in out


def test_answer_that_begins_in_reasoning() -> None:
    """Only the first text begins there, and none once reasoning came in blocks."""
    policy = Policy(starts_in=StartsIn.REASONING)
    blocks = [text(SECRET), text(SECRET, "</think>A"), text("B")]
    assert [each["text"] for each in content(left(document(*blocks), policy))] == ["A", "B"]
    out = run(wire(policy), sse(*answer(*blocks)))
    assert [each["text"] for each in accumulated(out)["content"]] == ["A", "B"]


def test_too_many_blocks() -> None:
    one = block(0, text()[0])
    out = run(wire(), sse(START, *one * (MAX_BLOCKS + 1), ending(), STOP))
    assert events(out)[-1]["type"] == "error"
    out = run(wire(), sse(START, *block(MAX_BLOCKS, text()[0]), ending(), STOP))
    assert events(out)[-1]["type"] == "error"


@pytest.mark.parametrize("before", [[], [thinking(SECRET)]])
@pytest.mark.parametrize("named", [True, False])
def test_repeated_deltas_take_the_short_way(before: list[Any], named: bool) -> None:
    """A delta like the one before is judged by nothing but its text, whether it keeps its index or
    gets another; if it came without a name, it gets its own."""
    raw = sse(*answer(*before, text(*(f"word {number} " for number in range(9)))))
    out = run(wire(), raw)
    chunks = [each + b"\n\n" for each in raw.split(b"\n\n")[:-1]]
    if not named:
        chunks = [each.partition(b"\n")[2] for each in chunks]
    filtered = wire()
    assert run(filtered, *chunks) == out
    stream = StreamFilter(filtered := wire(), limit=LIMIT)
    for each in chunks[:-4]:
        stream.feed(each)
    settled = filtered.settled
    assert settled is not None
    data = chunks[-4].rpartition(b"data: ")[2].strip()
    assert data == settled.around.before + b"word 8 " + settled.around.after
    stream.feed(chunks[-3])
    assert filtered.settled is None, "its block is closed"


def test_hidden_text_is_counted() -> None:
    blocks = [thinking("ab"), text("<think>cd</think>e"), call()]
    streamed, whole = wire(), wire()
    run(streamed, sse(*answer(*blocks)))
    filter_document(json.dumps(document(*blocks)).encode(), whole)
    for stats in (streamed.stats, whole.stats):
        assert stats.hidden_characters[Channel.REASONING, "field"] == 2
        assert stats.hidden_characters[Channel.REASONING, "think"] == 2
        assert stats.hidden_characters[Channel.TOOL_CALL, "field"]


@pytest.mark.parametrize(
    ("envelope", "stays"),
    [
        ({"timings": {"predicted_n": 3, "predicted_per_second": 1.5e3}}, True),  # llama.cpp
        ({"provider": "p", "usage": USAGE | {"cost": 0.1, "is_byok": False}}, True),  # OpenRouter
        ({"usage": USAGE | {"total_tokens": 39}}, True),  # LiteLLM
        ({"provider_specific_fields": {"thinking": SECRET}}, False),
        ({"thinking_blocks": [SECRET], "reasoning_content": SECRET}, False),
    ],
)
def test_what_servers_add_to_the_message(envelope: Json, stays: bool) -> None:
    """Figures stay, and what repeats the hidden text does not, even if unknown keys pass."""
    raw = sse(START | {"message": MESSAGE | envelope}, *answer(text("A"))[1:])
    body = json.dumps(document(text("A")) | envelope).encode()
    for policy in (DROP, Policy(unknown_fields=UnknownFields.PASS)):
        for came, out in (
            (raw, run(wire(policy), raw)),
            (body, filter_document(body, wire(policy))),
        ):
            assert (out == came) is stays
            assert SECRET.encode() not in out


def _at_random(chance: random.Random) -> Json:
    """An event of some block, whether or not that fits what came before."""
    index = chance.choice([0, 0, 1, 1, 2])
    kind = chance.choice(["tool_use", "server_tool_use", "thinking", "text"])
    parts: list[Json] = [
        opened(index, {"type": kind, "id": SECRET, "name": SECRET, "thinking": SECRET}),
        opened(index, {"type": "text", "text": chance.choice(["", "A ", f"<think>{SECRET}"])}),
        delta(index, "thinking_delta", "thinking", SECRET),
        delta(index, "signature_delta", "signature", SECRET),
        delta(index, "input_json_delta", "partial_json", SECRET),
        delta(index, "citations_delta", "citation", {"type": "char_location"}),
        closed(index),
        PING,
        *said(index, "B ", "", "x\n", "z<"),
    ]
    event = chance.choice(parts)
    return event if chance.random() < 0.9 else {k: v for k, v in event.items() if k != "index"}


@pytest.mark.parametrize("seed", range(40))
def test_events_in_any_order(seed: int) -> None:
    """Whatever upstream sends, a client reads a stream in order, and nothing hidden in it."""
    chance = random.Random(seed)
    parts = [_at_random(chance) for _ in range(chance.randrange(1, 25))]
    parts = [*[START][: chance.randrange(2)], *parts, *[ending(), STOP][: chance.randrange(3)]]
    raw = sse(*parts)
    for policy in POLICIES:
        out = run(wire(policy, ["find"]), raw)
        events(out)
        assert run(wire(policy, ["find"]), *units(raw)) == out
        if policy in (DROP, DECLARED):
            assert SECRET.encode() not in out
