"""The openai package on /v1/responses: iterating, accumulating, and without a stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from openai.types.responses import (
    Response,
    ResponseFunctionToolCall,
    ResponseOutputItem,
    ResponseReasoningItem,
)

from .rig import Rule, each_rule, secrets_in
from .shapes import ENCRYPTED, INPUT, PARAMETERS, SUMMARY, THOUGHT, TOOL

pytestmark = pytest.mark.asyncio(loop_scope="session")

WEATHER: Any = {"type": "function", "name": TOOL, "parameters": PARAMETERS, "strict": True}
ASKED: dict[str, Any] = {"input": "?", "tools": [WEATHER], "store": False}


@pytest_asyncio.fixture(loop_scope="session")
async def client(origin: str) -> AsyncIterator[openai.AsyncOpenAI]:
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(
        base_url=f"{origin}/v1", api_key="k", max_retries=0, timeout=15.0, http_client=http
    ) as made:
        yield made


@each_rule
async def test_iterating(client: openai.AsyncOpenAI, rule: Rule) -> None:
    """Positions have no gaps, whatever was taken out; each repetition of the text says the same."""
    stream = await client.responses.create(model=rule.name, stream=True, **ASKED)
    events: list[Any] = [event async for event in stream]
    assert secrets_in(events) == rule.secrets
    assert [event.sequence_number for event in events] == list(range(len(events)))

    added = [event for event in events if event.type == "response.output_item.added"]
    done = [event for event in events if event.type == "response.output_item.done"]
    for announced in (added, done):
        assert [event.item.type for event in announced] == _types(rule)
        assert [event.output_index for event in announced] == list(range(len(announced)))
    check_items([event.item for event in done], rule)
    ids = [event.item.id for event in added]
    assert [event.item.id for event in done] == ids
    assert all(ids[event.output_index] == event.item_id for event in _all(events, "item_id"))

    texts = [event for event in events if event.type == "response.output_text.delta"]
    assert "".join(event.delta for event in texts) == rule.text
    (whole,) = [event for event in events if event.type == "response.output_text.done"]
    assert whole.text == rule.text
    check(events[-1].response, rule)


@each_rule
async def test_accumulating(client: openai.AsyncOpenAI, rule: Rule) -> None:
    """The package's accumulator, which looks items up by their position, finishes."""
    async with client.responses.stream(model=rule.name, **ASKED) as stream:
        events: list[Any] = [event async for event in stream]
        response = await stream.get_final_response()
    assert secrets_in([events, response]) == rule.secrets
    (snapshot,) = [event for event in events if event.type == "response.output_text.done"]
    assert snapshot.text == rule.text
    check(response, rule)


@each_rule
async def test_without_a_stream(client: openai.AsyncOpenAI, rule: Rule) -> None:
    response = await client.responses.create(model=rule.name, **ASKED)
    assert secrets_in(response) == rule.secrets
    check(response, rule)


def check(response: Response, rule: Rule) -> None:
    """The finished response is what the rule leaves of it."""
    assert response.status == "completed"
    assert response.output_text == rule.text
    assert response.usage is not None
    check_items(response.output, rule)


def check_items(items: list[ResponseOutputItem], rule: Rule) -> None:
    """These are the items that the rule leaves, in their order and whole."""
    assert [item.type for item in items] == _types(rule)
    thoughts = [item for item in items if isinstance(item, ResponseReasoningItem)]
    # A client without a store on the server's side has to send it back.
    assert thoughts[-1].encrypted_content == ENCRYPTED
    for thought in thoughts:
        shown = [part.text for part in (*thought.summary, *(thought.content or ()))]
        assert shown == ([*_summary(thought), THOUGHT] if rule.reasoning else [])
    for call in items:
        if isinstance(call, ResponseFunctionToolCall):
            assert (call.name, json.loads(call.arguments)) == (TOOL, INPUT)


def _types(rule: Rule) -> list[str]:
    # The one reasoning item without encrypted content goes as a whole.
    reasoning = ["reasoning", "reasoning"] if rule.reasoning else ["reasoning"]
    return [*reasoning, *(["function_call"] if rule.calls else []), "message"]


def _summary(thought: ResponseReasoningItem) -> list[str]:
    return [SUMMARY] if thought.encrypted_content else []


def _all(events: list[Any], attribute: str) -> list[Any]:
    return [event for event in events if hasattr(event, attribute)]
