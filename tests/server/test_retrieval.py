"""Answers that are fetched later go through the same rules, over real sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.rules.match import Match, Tools
from tests.clients.shapes import REASONING, responses

from .scripted import (
    LAST,
    Rig,
    document,
    event,
    framed,
    proxied,
    request,
    response,
    rule,
    stream_head,
)

BODY: dict[str, Any] = {"model": "m", "tools": []}
SHAPE = responses(BODY)
STREAM = b"".join(SHAPE.events)
RESPONSE = json.dumps(SHAPE.document).encode()
COMPLETION = document({"content": "<think>SECRET-REASONING</think>Hello"})
KEEP: dict[str, Any] = {"reasoning": "keep", "tool_calls": "keep", "tool_results": "keep"}


def as_json(body: bytes) -> bytes:
    """An upstream's answer."""
    return response("200 OK", "Content-Type: application/json", body=body)


async def fetched(rig: Rig, target: str, method: str = "GET") -> bytes:
    """The body of a successful answer."""
    answer = await rig.ask(request(method, target))
    assert answer.status == 200
    return answer.body


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", "/v1/responses/resp_1", RESPONSE),
        ("POST", "/v1/responses/resp_1/cancel", RESPONSE),
        ("GET", "/v1/chat/completions/c1", COMPLETION),
        ("GET", "/v1/chat/completions?limit=2", b'{"object":"list","data":[' + COMPLETION + b"]}"),
    ],
)
async def test_a_stored_answer_is_filtered(method: str, target: str, body: bytes) -> None:
    """At the same URL, by the rule for its model."""
    async with proxied() as rig:
        rig.upstream.reply(as_json(body))
        left = await fetched(rig, target, method)
        assert [call.request.target for call in rig.upstream.calls] == [target]
        samples = await rig.scrape()
    assert b"SECRET" not in left
    assert b"answer, in" in left or b"Hello" in left
    assert 'outcome="completed",route="stored",rule="default"} 1.0' in samples
    assert 'sidecar_hidden_characters_total{channel="reasoning",format="think"' in samples


async def test_its_own_model_and_tools_choose_the_rule() -> None:
    """As they did when it was made."""
    rules = [
        rule("tools", match=Match(tools=Tools.DECLARED), **KEEP),
        rule("qwen", match=Match(model=("qwen*",)), **KEEP),
        rule("rest"),
    ]
    qwen = SHAPE.document | {"model": "qwen3"}
    tools = SHAPE.document | {"tools": [{"type": "function", "name": "f"}]}
    async with proxied(rules=rules) as rig:
        for record, kept in ((qwen, True), (tools, True), (SHAPE.document, False)):
            body = json.dumps(record).encode()
            rig.upstream.reply(as_json(body))
            left = await fetched(rig, "/v1/responses/resp_1")
            assert (left == body) is kept
            assert (REASONING.encode() in left) is kept


async def test_a_stored_stream_is_filtered_by_its_own_rule() -> None:
    """Its first event says of which model it is."""
    rules = [rule("keep", match=Match(model=("m",)), **KEEP), rule("rest")]
    other = b"".join(responses(BODY | {"model": "other"}).events)
    async with proxied(rules=rules) as rig:
        rig.upstream.reply(stream_head() + framed(STREAM) + LAST)
        assert await fetched(rig, "/v1/responses/r?stream=true") == STREAM
        rig.upstream.reply(stream_head() + framed(other) + LAST)
        left = await fetched(rig, "/v1/responses/r?stream=true")
    assert REASONING.encode() not in left
    assert b"response.completed" in left


async def test_a_stored_stream_that_a_rule_only_observes_is_as_it_came() -> None:
    """Another rule hides something, so it was looked at."""
    rules = [rule("look", match=Match(model=("m",)), mode="observe"), rule("rest")]
    async with proxied(rules=rules) as rig:
        rig.upstream.reply(stream_head() + framed(STREAM) + LAST)
        assert await fetched(rig, "/v1/responses/r?stream=true") == STREAM


async def test_what_names_no_model_is_read_by_the_first_rule_that_hides() -> None:
    """A list of items may be of any model."""
    rules = [rule("some", match=Match(model=("qwen*",))), rule("rest", **KEEP)]
    items = json.dumps({"object": "list", "data": SHAPE.document["output"]}).encode()
    async with proxied(rules=rules) as rig:
        rig.upstream.reply(as_json(items))
        assert REASONING.encode() not in await fetched(rig, "/v1/responses/r/input_items")


async def test_a_stored_stream_goes_on_where_the_client_is() -> None:
    """The numbers are the client's; upstream is asked for all of it."""
    async with proxied() as rig:
        rig.upstream.reply(stream_head() + framed(STREAM) + LAST)
        whole = await fetched(rig, "/v1/responses/r?stream=true")
        events = whole.split(b"\n\n")
        rest = await fetched(rig, "/v1/responses/r?starting_after=3&stream=true&include=x")
        asked = [call.request.target for call in rig.upstream.calls]
    assert rest.split(b"\n\n") == events[4:]
    assert asked == ["/v1/responses/r?stream=true", "/v1/responses/r?stream=true&include=x"]


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("starting_after=3", ""),
        ("stream=true&starting%5Fafter=3", "?stream=true"),
        ("a=1&%73tarting_after=%33&b=%20", "?a=1&b=%20"),
        ("starting_after=", None),
        ("starting_after=+3", None),
        ("starting_after=3.0", None),
        ("starting_after=3&starting_after=4", None),
        ("Starting_after=3", "?Starting_after=3"),
    ],
)
async def test_no_spelling_asks_upstream_for_the_middle(query: str, asked: str | None) -> None:
    """What is hidden there would be taken for text that follows nothing."""
    async with proxied() as rig:
        rig.upstream.reply(stream_head() + framed(STREAM) + LAST)
        answer = await rig.ask(request("GET", f"/v1/responses/r?{query}"))
        reached = [call.request.target for call in rig.upstream.calls]
    assert answer.status == (400 if asked is None else 200)
    assert reached == ([] if asked is None else [f"/v1/responses/r{asked}"])


async def test_a_stored_stream_passes_as_it_comes() -> None:
    """Its first event leaves before the second has come."""
    begun = event({"type": "response.created", "response": {"model": "m"}, "sequence_number": 0})
    first = b"event: response.created\n" + begun
    async with (
        proxied() as rig,
        rig.call(request("GET", "/v1/responses/r?stream=true")) as (
            client,
            call,
        ),
    ):
        await call.send(stream_head(), framed(first))
        assert (await client.head()).status == 200
        assert await client.chunk() == first


async def test_what_cannot_be_read_is_blocked() -> None:
    """Like any other answer."""
    async with proxied(rules=[rule()]) as rig:
        for raw in (as_json(b"{}"), response("200 OK", "Content-Type: text/plain", body=b"x")):
            rig.upstream.reply(raw)
            assert (await rig.ask(request("GET", "/v1/responses/r"))).status == 502


async def test_a_hidden_item_is_not_found() -> None:
    """It does not exist for the client."""
    item = json.dumps(SHAPE.document["output"][0] | {"type": "function_call"}).encode()
    async with proxied() as rig:
        rig.upstream.reply(as_json(item))
        answer = await rig.ask(request("GET", "/v1/conversations/c/items/i"))
    assert answer.status == 404
    assert answer.error["code"] == "not_found"


async def test_errors_keep_their_status() -> None:
    """And their words are put through the rule."""
    body = b'{"error": {"message": "No <think>SECRET</think>response", "type": "not_found"}}'
    async with proxied() as rig:
        rig.upstream.reply(response("404 Not Found", "Content-Type: application/json", body=body))
        answer = await rig.ask(request("GET", "/v1/responses/r"))
    assert answer.status == 404
    assert answer.error["message"] == "No response"


async def test_what_is_deleted_and_what_no_rule_is_about_is_untouched() -> None:
    """A deletion says nothing of the answer."""
    gone = b'{"id":"r", "object":"response", "deleted":true}'
    async with proxied() as rig:
        rig.upstream.reply(as_json(gone))
        assert await fetched(rig, "/v1/responses/r", "DELETE") == gone
    for rules in ([], [rule(**KEEP)], [rule(mode="observe")]):
        async with proxied(rules=rules) as rig:
            rig.upstream.reply(as_json(RESPONSE))
            assert await fetched(rig, "/v1/responses/r") == RESPONSE
