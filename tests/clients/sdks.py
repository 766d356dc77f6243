"""What a program gets from the openai and anthropic packages, by iterating and by their helpers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import anthropic
import openai
from anthropic.types import Message
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from sidecar.server.statusform import HEADER

from .shapes import PARAMETERS, TOOL, Record


class Got(NamedTuple):
    """What came of an answer. ``usage``: the tokens of the question, and those of the answer."""

    form: str | None
    text: str
    reasoning: str
    calls: list[Record]
    finish: str | None
    usage: list[int]


class Failed(Exception):
    """An answer says that it has failed, which the package itself does not raise."""


class Question(NamedTuple):
    """What is asked, and where."""

    origin: str
    model: str
    headers: dict[str, str]


_NESTED: Final[Any] = {
    "type": "function",
    "function": {"name": TOOL, "parameters": PARAMETERS, "strict": True},
}
_FLAT: Final[Any] = {"type": "function", "name": TOOL, "parameters": PARAMETERS, "strict": True}
_USER: Final[Any] = [{"role": "user", "content": "?"}]
_USAGE: Final[Any] = {"include_usage": True}

BODIES: Final[dict[str, Record]] = {
    "/v1/chat/completions": {"messages": _USER, "tools": [_NESTED], "stream_options": _USAGE},
    "/v1/completions": {"prompt": "?"},
    "/v1/responses": {"input": "?", "tools": [_FLAT], "store": False},
    "/v1/messages": {
        "messages": _USER,
        "max_tokens": 1000,
        "tools": [{"name": TOOL, "input_schema": PARAMETERS}],
    },
}
"""What is asked on each path, but for the model and the stream."""


class _Ear:
    """Hears which form an answer has."""

    def __init__(self) -> None:
        self.forms: list[str | None] = []

    async def __call__(self, response: Any) -> None:
        self.forms.append(response.headers.get(HEADER))

    @property
    def form(self) -> str | None:
        (form,) = self.forms
        return form

    @property
    def options(self) -> Record:
        return {"trust_env": False, "event_hooks": {"response": [self]}}


@asynccontextmanager
async def _openai(question: Question) -> AsyncIterator[tuple[openai.AsyncOpenAI, _Ear]]:
    ear = _Ear()
    async with openai.AsyncOpenAI(
        base_url=f"{question.origin}/v1",
        api_key="k",
        max_retries=0,
        timeout=15.0,
        default_headers=question.headers,
        http_client=openai.DefaultAsyncHttpxClient(**ear.options),
    ) as client:
        yield client, ear


@asynccontextmanager
async def _anthropic(question: Question) -> AsyncIterator[tuple[anthropic.AsyncAnthropic, _Ear]]:
    ear = _Ear()
    async with anthropic.AsyncAnthropic(
        base_url=question.origin,
        api_key="k",
        max_retries=0,
        timeout=15.0,
        default_headers=question.headers,
        http_client=anthropic.DefaultAsyncHttpxClient(**ear.options),
    ) as client:
        yield client, ear


def _call(name: str | None, arguments: str) -> Record:
    return {"name": name, "input": json.loads(arguments)}


# --- /v1/chat/completions and /v1/completions ---------------------------------------------------

_CHAT: Final[dict[str, Any]] = BODIES["/v1/chat/completions"]


async def chat(question: Question) -> Got:
    """A loop that looks at the first choice of each chunk that has one."""
    texts, thoughts, finish, usage = [], [], None, [0, 0]
    calls: dict[int, list[str]] = {}
    async with _openai(question) as (client, ear):
        stream = await client.chat.completions.create(model=question.model, stream=True, **_CHAT)
        async for chunk in stream:
            if chunk.usage is not None:
                usage = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens]
                continue
            choice = chunk.choices[0]
            texts.append(choice.delta.content or "")
            thoughts.append((choice.delta.model_extra or {}).get("reasoning_content", ""))
            for call in choice.delta.tool_calls or ():
                assert call.function is not None
                said = calls.setdefault(call.index, [call.function.name or ""])
                said.append(call.function.arguments or "")
            finish = choice.finish_reason or finish
    called = [_call(name, "".join(said)) for name, *said in calls.values()]
    return Got(ear.form, "".join(texts), "".join(thoughts), called, finish, usage)


async def chat_helper(question: Question) -> Got:
    """The package's accumulator, which parses the arguments of a strict tool."""
    async with (
        _openai(question) as (client, ear),
        client.chat.completions.stream(model=question.model, **_CHAT) as stream,
    ):
        events: list[Any] = [event async for event in stream]
        whole: ChatCompletion = await stream.get_final_completion()
    choice = whole.choices[0]
    assert "".join(event.delta for event in events if event.type == "content.delta") == (
        choice.message.content
    )
    functions = [
        call.function for call in choice.message.tool_calls or () if call.type == "function"
    ]
    assert whole.usage is not None
    return Got(
        ear.form,
        choice.message.content or "",
        (choice.message.model_extra or {}).get("reasoning_content", ""),
        [_call(one.name, one.arguments) for one in functions],
        choice.finish_reason,
        [whole.usage.prompt_tokens, whole.usage.completion_tokens],
    )


async def completion(question: Question) -> Got:
    """A loop over legacy completions."""
    texts, finish, usage = [], None, [0, 0]
    async with _openai(question) as (client, ear):
        stream = await client.completions.create(model=question.model, prompt="?", stream=True)
        async for chunk in stream:
            if chunk.usage is not None:
                usage = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens]
                continue
            texts.append(chunk.choices[0].text)
            finish = chunk.choices[0].finish_reason or finish
    return Got(ear.form, "".join(texts), "", [], finish, usage)


# --- /v1/responses ------------------------------------------------------------------------------

_RESPONSES: Final[dict[str, Any]] = BODIES["/v1/responses"]


async def responses(question: Question) -> Got:
    """A loop over the events, of which the last one has it all. Raises Failed."""
    async with _openai(question) as (client, ear):
        stream = await client.responses.create(model=question.model, stream=True, **_RESPONSES)
        events: list[Any] = [event async for event in stream]
    response: Response = events[-1].response
    if response.error is not None:
        raise Failed(response.error.message)
    texts = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert response.output_text == "".join(texts)
    return _of_response(ear, response)


async def responses_helper(question: Question) -> Got:
    """The package's accumulator."""
    async with (
        _openai(question) as (client, ear),
        client.responses.stream(model=question.model, **_RESPONSES) as stream,
    ):
        async for _ in stream:
            pass
        return _of_response(ear, await stream.get_final_response())


def _of_response(ear: _Ear, response: Response) -> Got:
    assert response.usage is not None
    thoughts = [item for item in response.output if item.type == "reasoning"]
    calls = [item for item in response.output if item.type == "function_call"]
    return Got(
        ear.form,
        response.output_text,
        "".join(part.text for thought in thoughts for part in thought.summary),
        [_call(call.name, call.arguments) for call in calls],
        response.status,
        [response.usage.input_tokens, response.usage.output_tokens],
    )


# --- /v1/messages -------------------------------------------------------------------------------

_MESSAGES: Final[dict[str, Any]] = BODIES["/v1/messages"]


async def messages(question: Question) -> Got:
    """A loop over the events, which looks blocks up by their index."""
    blocks: list[Any] = []
    said: list[str] = []
    finish, usage = None, [0, 0]
    async with _anthropic(question) as (client, ear):
        stream = await client.messages.create(model=question.model, stream=True, **_MESSAGES)
        async for event in stream:
            match event.type:
                case "message_start":
                    usage[0] = event.message.usage.input_tokens
                case "content_block_start":
                    blocks.append(event.content_block)
                    said.append("")
                case "content_block_delta":
                    delta: Any = event.delta
                    piece = {"text_delta": "text", "thinking_delta": "thinking"}.get(delta.type)
                    if delta.type == "input_json_delta":
                        piece = "partial_json"
                    said[event.index] += getattr(delta, piece) if piece else ""
                case "message_delta":
                    finish, usage[1] = event.delta.stop_reason, event.usage.output_tokens
    of: dict[str, list[str]] = {"text": [], "thinking": []}
    for block, text in zip(blocks, said, strict=True):
        of.setdefault(block.type, []).append(text)
    calls = [_call(TOOL, text) for text in of.get("tool_use", ())]
    return Got(ear.form, "".join(of["text"]), "".join(of["thinking"]), calls, finish, usage)


async def messages_helper(question: Question) -> Got:
    """The package's accumulator."""
    async with (
        _anthropic(question) as (client, ear),
        client.messages.stream(model=question.model, **_MESSAGES) as stream,
    ):
        async for _ in stream:
            pass
        message: Message = await stream.get_final_message()
    of: dict[str, list[Any]] = {}
    for block in message.content:
        of.setdefault(block.type, []).append(block)
    return Got(
        ear.form,
        "".join(block.text for block in of["text"]),
        "".join(block.thinking for block in of.get("thinking", ())),
        [{"name": block.name, "input": block.input} for block in of.get("tool_use", ())],
        message.stop_reason,
        [message.usage.input_tokens, message.usage.output_tokens],
    )


ASK: Final[dict[str, Callable[[Question], Awaitable[Got]]]] = {
    "openai": chat,
    "openai.stream": chat_helper,
    "openai.completions": completion,
    "openai.responses": responses,
    "openai.responses.stream": responses_helper,
    "anthropic": messages,
    "anthropic.stream": messages_helper,
}
"""By the names that the tests have for them."""
