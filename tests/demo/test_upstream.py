"""The demo's upstream speaks as an OpenAI-compatible server does."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from itertools import accumulate
from typing import Any, TypeAlias

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from sidecar.core.channel import Channel
from sidecar.demo.reading import Reading
from sidecar.demo.transcripts import QUESTION, TRANSCRIPTS, Transcript
from sidecar.demo.upstream import make_app, upstream

Client: TypeAlias = TestClient[web.Request, web.Application]
Record: TypeAlias = dict[str, Any]

each_transcript = pytest.mark.parametrize(
    "transcript", TRANSCRIPTS, ids=[transcript.name for transcript in TRANSCRIPTS]
)


@pytest.fixture
async def client(aiohttp_client: Callable[[web.Application], Awaitable[Client]]) -> Client:
    return await aiohttp_client(make_app(pace=0))


async def _stream(client: Client, **body: Any) -> list[str]:
    body = {"stream": True, "messages": [{"role": "user", "content": QUESTION}]} | body
    async with client.post("/v1/chat/completions", json=body) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        text = await response.text()
    assert text.endswith("\n\n")
    return text.removesuffix("\n\n").split("\n\n")


def _chunks(events: list[str]) -> list[Record]:
    return [json.loads(event.removeprefix("data: ")) for event in events[:-1]]


@each_transcript
async def test_a_stream_has_the_shape_of_a_chat_stream(
    client: Client, transcript: Transcript
) -> None:
    events = await _stream(client, model=transcript.model)
    assert events[-1] == "data: [DONE]"
    chunks = _chunks(events)
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
        assert "usage" not in chunk
    assert {chunk["id"] for chunk in chunks} == {f"chatcmpl-{transcript.model}"}
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert tuple(choice["delta"] for choice in choices[1:-1]) == transcript.deltas
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]


@each_transcript
async def test_a_stream_contains_what_is_hidden_and_what_is_visible(
    client: Client, transcript: Transcript
) -> None:
    reading = Reading()
    for event in await _stream(client, model=transcript.model):
        reading.take(event, 0.0)
    assert reading.done
    assert transcript.visible in reading.content
    assert reading.content == transcript.content
    for text in (*(text for _, text in transcript.hidden), *transcript.phrases):
        assert text in reading.everything


async def test_usage_comes_last_if_it_is_asked_for(client: Client) -> None:
    options = {"include_usage": True}
    events = await _stream(client, model="demo-think", stream_options=options)
    *chunks, last = _chunks(events)
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    usage = last["usage"]
    assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"]
    ChatCompletionChunk.model_validate(last)


@each_transcript
async def test_a_document_says_what_the_stream_says(client: Client, transcript: Transcript) -> None:
    body = {"model": transcript.model, "messages": []}
    async with client.post("/v1/chat/completions", json=body) as response:
        assert response.status == 200
        document = await response.json()
    ChatCompletion.model_validate(document)
    choice = document["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == transcript.content


async def test_a_document_has_the_reasoning_and_the_call_of_an_agent(client: Client) -> None:
    body = {"model": "demo-tools", "messages": []}
    async with client.post("/v1/chat/completions", json=body) as response:
        message = (await response.json())["choices"][0]["message"]
    (tools,) = [transcript for transcript in TRANSCRIPTS if transcript.name == "tools"]
    hidden = [text for channel, text in tools.hidden if channel is Channel.REASONING]
    assert message["reasoning_content"] == "".join(hidden)
    (call,) = message["tool_calls"]
    assert call["function"]["name"] == "ferry_timetable"
    assert json.loads(call["function"]["arguments"])["to"] == "Marisca"


async def test_the_models_are_listed(client: Client) -> None:
    async with client.get("/v1/models") as response:
        models = (await response.json())["data"]
    assert [model["id"] for model in models] == [
        "demo-think",
        "demo-reasoning",
        "demo-tools",
        "demo-react",
        "demo-harmony",
    ]


async def test_an_unknown_model_is_an_error_object(client: Client) -> None:
    async with client.post("/v1/chat/completions", json={"model": "gpt-0"}) as response:
        assert response.status == 404
        error = (await response.json())["error"]
    assert error["code"] == "model_not_found"
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
async def test_a_body_that_is_no_object_is_an_error_object(client: Client, body: bytes) -> None:
    async with client.post("/v1/chat/completions", data=body) as response:
        assert response.status == 400
        assert (await response.json())["error"]["type"] == "invalid_request_error"


async def test_it_listens_on_the_loopback_interface() -> None:
    async with upstream(pace=0) as base_url:
        assert base_url.startswith("http://127.0.0.1:")
        assert base_url.endswith("/v1")


@each_transcript
def test_nothing_hidden_is_a_part_of_the_visible_text(transcript: Transcript) -> None:
    assert not [phrase for phrase in transcript.phrases if phrase in transcript.visible]


@each_transcript
def test_every_hidden_text_has_a_phrase(transcript: Transcript) -> None:
    for _, text in transcript.hidden:
        assert any(phrase in text for phrase in transcript.phrases), text


@each_transcript
def test_the_hidden_part_takes_a_second_and_the_whole_a_few(transcript: Transcript) -> None:
    lengths = accumulate(
        0 if delta.get("role") == "tool" else len(delta.get("content", ""))
        for delta in transcript.deltas
    )
    start = transcript.content.index(transcript.visible)
    before = sum(length <= start for length in lengths)
    assert before * transcript.delay >= 1
    assert 2 <= len(transcript.deltas) * transcript.delay <= 4
