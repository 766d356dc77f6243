"""What a program gets from the packages that are built upon the SDKs, for each question.

Usage: ``python ask.py '{"origin", "tool": {"name", "parameters"}, "questions": [{"client", "model",
"headers"}]}'``. Prints for each ``{"form", "text", "reasoning", "calls", "finish", "usage"}``, or
``{"error"}``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import litellm  # type: ignore[import-not-found]
import openai
from langchain_openai import ChatOpenAI  # type: ignore[import-not-found]
from pydantic_ai.direct import model_request_stream  # type: ignore[import-not-found]
from pydantic_ai.messages import (  # type: ignore[import-not-found]
    ModelRequest,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from pydantic_ai.models import ModelRequestParameters  # type: ignore[import-not-found]
from pydantic_ai.models.openai import OpenAIChatModel  # type: ignore[import-not-found]
from pydantic_ai.providers.openai import OpenAIProvider  # type: ignore[import-not-found]
from pydantic_ai.tools import ToolDefinition  # type: ignore[import-not-found]

FORM = "x-sidecar-status"
ASKED = json.loads(sys.argv[1])
BASE_URL = f"{ASKED['origin']}/v1"
TOOL = {"type": "function", "function": ASKED["tool"]}

litellm.suppress_debug_info = True  # it is printed

Record = dict[str, Any]


async def langchain(model: str, headers: dict[str, str]) -> Record:
    """ChatOpenAI, whose chunks are added up."""
    chat = ChatOpenAI(
        model=model,
        base_url=BASE_URL,
        api_key="k",
        max_retries=0,
        default_headers=headers,
        stream_usage=True,
        include_response_headers=True,
    )
    chunks = [chunk async for chunk in chat.bind_tools([TOOL]).astream("?")]
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    usage = whole.usage_metadata
    return {
        "form": whole.response_metadata["headers"].get(FORM),
        "text": whole.content,
        "reasoning": whole.additional_kwargs.get("reasoning_content", ""),
        "calls": [{"name": call["name"], "input": call["args"]} for call in whole.tool_calls],
        "finish": whole.response_metadata["finish_reason"],
        "usage": [usage["input_tokens"], usage["output_tokens"]],
    }


async def lite(model: str, headers: dict[str, str]) -> Record:
    """LiteLLM's provider for OpenAI, whose chunks are put together by its own builder."""
    stream = await litellm.acompletion(
        model=f"openai/{model}",
        messages=[{"role": "user", "content": "?"}],
        api_base=BASE_URL,
        api_key="k",
        max_retries=0,
        extra_headers=headers,
        tools=[TOOL],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    whole = litellm.stream_chunk_builder(chunks)
    choice = whole.choices[0]
    message = choice.message
    functions = [call.function for call in message.tool_calls or ()]
    return {
        "form": stream._response_headers.get(FORM),
        "text": message.content,
        "reasoning": getattr(message, "reasoning_content", None) or "",
        "calls": [{"name": one.name, "input": json.loads(one.arguments)} for one in functions],
        "finish": choice.finish_reason,
        "usage": [whole.usage.prompt_tokens, whole.usage.completion_tokens],
    }


async def pydantic_ai(model: str, headers: dict[str, str]) -> Record:
    """One request of Pydantic AI's model."""
    forms: list[str | None] = []

    async def hear(response: Any) -> None:
        forms.append(response.headers.get(FORM))

    http = openai.DefaultAsyncHttpxClient(event_hooks={"response": [hear]})
    async with openai.AsyncOpenAI(
        base_url=BASE_URL, api_key="k", max_retries=0, default_headers=headers, http_client=http
    ) as client:
        name, parameters = ASKED["tool"]["name"], ASKED["tool"]["parameters"]
        tool = ToolDefinition(name=name, parameters_json_schema=parameters)
        async with model_request_stream(
            OpenAIChatModel(model, provider=OpenAIProvider(openai_client=client)),
            [ModelRequest.user_text_prompt("?")],
            model_request_parameters=ModelRequestParameters(function_tools=[tool]),
        ) as stream:
            async for _ in stream:
                pass
            whole = stream.get()
    (form,) = forms
    calls = [part for part in whole.parts if isinstance(part, ToolCallPart)]
    return {
        "form": form,
        "text": "".join(part.content for part in whole.parts if isinstance(part, TextPart)),
        "reasoning": "".join(
            part.content for part in whole.parts if isinstance(part, ThinkingPart)
        ),
        "calls": [{"name": call.tool_name, "input": call.args_as_dict()} for call in calls],
        "finish": whole.finish_reason,
        "usage": [whole.usage.input_tokens, whole.usage.output_tokens],
    }


CLIENTS: dict[str, Callable[[str, dict[str, str]], Awaitable[Record]]] = {
    "langchain-openai": langchain,
    "litellm": lite,
    "pydantic-ai": pydantic_ai,
}


async def answer(question: Record) -> Record:
    """What came of one question."""
    try:
        return await CLIENTS[question["client"]](question["model"], question["headers"])
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


async def main() -> None:
    """All questions at once."""
    print(json.dumps(await asyncio.gather(*map(answer, ASKED["questions"]))))


asyncio.run(main())
