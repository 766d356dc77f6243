"""The anthropic package on /v1/messages: iterating, accumulating, and without a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
import pytest_asyncio
from anthropic.types import Message

from .rig import Rule, each_rule, secrets_in
from .shapes import INPUT, PARAMETERS, THOUGHT, TOOL

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASKED: dict[str, Any] = {
    "max_tokens": 1000,
    "messages": [{"role": "user", "content": "?"}],
    "tools": [{"name": TOOL, "input_schema": PARAMETERS}],
}


@pytest_asyncio.fixture(loop_scope="session")
async def client(origin: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    http = anthropic.DefaultAsyncHttpxClient(trust_env=False)
    async with anthropic.AsyncAnthropic(
        base_url=origin, api_key="k", max_retries=0, timeout=15.0, http_client=http
    ) as made:
        yield made


@each_rule
async def test_iterating(client: anthropic.AsyncAnthropic, rule: Rule) -> None:
    """Indexes have no gaps, whatever was taken out; each block is opened and closed."""
    stream = await client.messages.create(model=rule.name, stream=True, **ASKED)
    events: list[Any] = [event async for event in stream]
    assert secrets_in(events) == rule.secrets
    opened = [event for event in events if event.type == "content_block_start"]
    closed = [event for event in events if event.type == "content_block_stop"]
    assert [event.content_block.type for event in opened] == _types(rule)
    for bounds in (opened, closed):
        assert [event.index for event in bounds] == list(range(len(opened)))

    deltas = [event.delta for event in events if event.type == "content_block_delta"]
    assert "".join(delta.text for delta in deltas if delta.type == "text_delta") == rule.text
    (end,) = [event for event in events if event.type == "message_delta"]
    assert end.delta.stop_reason == _stop_reason(rule)
    assert events[-1].type == "message_stop"


@each_rule
async def test_accumulating(client: anthropic.AsyncAnthropic, rule: Rule) -> None:
    """The package's accumulator, which looks blocks up by their index, finishes."""
    async with client.messages.stream(model=rule.name, **ASKED) as stream:
        events: list[Any] = [event async for event in stream]
        message = await stream.get_final_message()
    assert secrets_in([events, message]) == rule.secrets
    assert "".join(event.text for event in events if event.type == "text") == rule.text
    check(message, rule)


@each_rule
async def test_without_a_stream(client: anthropic.AsyncAnthropic, rule: Rule) -> None:
    message = await client.messages.create(model=rule.name, **ASKED)
    assert secrets_in(message) == rule.secrets
    check(message, rule)


def check(message: Message, rule: Rule) -> None:
    """The finished message is what the rule leaves of it."""
    assert [block.type for block in message.content] == _types(rule)
    assert message.stop_reason == _stop_reason(rule)
    for block in message.content:
        match block.type:
            case "thinking":
                assert block.thinking == THOUGHT
                assert block.signature
            case "text":
                assert block.text == rule.text
            case "tool_use":
                assert (block.name, block.input) == (TOOL, INPUT)


def _types(rule: Rule) -> list[str]:
    reasoning = ["thinking", "redacted_thinking"] if rule.reasoning else []
    return [*reasoning, "text", *(["tool_use"] if rule.calls else [])]


def _stop_reason(rule: Rule) -> str:
    return "tool_use" if rule.calls else "end_turn"
