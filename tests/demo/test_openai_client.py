"""The real OpenAI client, through the sidecar, to the embedded upstream: every transcript."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from sidecar.demo.run import CONFIG_FILE
from sidecar.demo.transcripts import QUESTION, TRANSCRIPTS, Transcript
from sidecar.demo.upstream import upstream
from sidecar.resources import config_dir
from sidecar.rules.catalogue import load_catalogue
from sidecar.rules.config import load_config
from sidecar.rules.configvalues import Address
from sidecar.server.app import serving

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": QUESTION}]
per_transcript = pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda one: one.name)


@pytest.fixture
async def base_url() -> AsyncIterator[str]:
    names = load_catalogue(config_dir() / "formats").names()
    async with upstream(pace=0) as raw:
        config = load_config(CONFIG_FILE, {"UPSTREAM_BASE_URL": raw}, names)
        config = replace(config, admin=Address("127.0.0.1", 0))
        async with asyncio.timeout(30), serving(config) as running:
            yield f"http://{running.data}/v1"


@per_transcript
async def test_the_async_client_streams_the_answer_and_nothing_else(
    base_url: str, transcript: Transcript
) -> None:
    async with AsyncOpenAI(base_url=base_url, api_key="demo") as client:
        stream = await client.chat.completions.create(
            model=transcript.model,
            messages=MESSAGES,
            stream=True,
        )
        choices = [choice async for chunk in stream for choice in chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == transcript.visible
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
    assert not any(choice.delta.tool_calls for choice in choices)


@per_transcript
async def test_the_async_client_gets_the_answer_at_once_and_nothing_else(
    base_url: str, transcript: Transcript
) -> None:
    async with AsyncOpenAI(base_url=base_url, api_key="demo") as client:
        answer = await client.chat.completions.create(
            model=transcript.model,
            messages=MESSAGES,
        )
    assert answer.choices[0].message.content == transcript.visible
    assert answer.choices[0].finish_reason == "stop"
    assert not answer.choices[0].message.tool_calls


@per_transcript
async def test_the_sync_client_gets_it_either_way(base_url: str, transcript: Transcript) -> None:
    def ask() -> tuple[str, str | None]:
        with OpenAI(base_url=base_url, api_key="demo") as client:
            create = client.chat.completions.create
            stream = create(
                model=transcript.model,
                messages=MESSAGES,
                stream=True,
            )
            pieces = [choice.delta.content or "" for chunk in stream for choice in chunk.choices]
            answer = create(
                model=transcript.model,
                messages=MESSAGES,
            )
            return "".join(pieces), answer.choices[0].message.content

    assert await asyncio.to_thread(ask) == (transcript.visible, transcript.visible)
