"""The real client: what a program gets that uses the openai package against the sidecar."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import openai
import pytest
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessageFunctionToolCall,
)

from .scripted import (
    DONE,
    FINISH,
    ROLE,
    Call,
    Record,
    Rig,
    chunk,
    document,
    event,
    framed,
    proxied,
    response,
    rule,
    stream_head,
    streamed,
    text,
)

T = TypeVar("T")

QUESTION: Any = [{"role": "user", "content": "?"}]
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


def call_delta(name: str, arguments: str, index: int = 0, **more: Any) -> Record:
    """The whole of a tool call in one delta."""
    function = {"name": name, "arguments": arguments}
    call = {"index": index, "id": f"call_{name}", "type": "function", "function": function}
    return {"tool_calls": [call | more]}


USAGE = event(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }
)
REASONED = streamed(
    chunk({"role": "assistant", "reasoning_content": "SECRET"}),
    chunk({"reasoning": "SECRET"}),
    text("The answer"),
    text(" is 4."),
    FINISH,
    USAGE,
    DONE,
)
IN_BAND = streamed(ROLE, text("<thi"), text("nk>SECRET</th"), text("ink>Visible."), FINISH, DONE)
TOOL_ROUND = streamed(
    ROLE,
    text("Let me look. "),
    chunk(call_delta("weather", '{"city":"SECRET"}')),
    chunk({}, "tool_calls"),
    chunk({"role": "tool", "tool_call_id": "call_weather", "content": "SECRET"}),
    chunk({"role": "assistant", "content": "It is sunny."}),
    FINISH,
    DONE,
)
OWN_TOOLS = streamed(
    ROLE,
    text("<think>plan</think>"),
    chunk({"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
                           "function": {"name": "weather", "arguments": ""}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]}),
    chunk({}, "tool_calls"),
    DONE,
)  # fmt: skip


class Client:
    """One way to use the package; each method gives what the program got."""

    def __init__(self, rig: Rig) -> None:
        self._options: dict[str, Any] = {
            "base_url": rig.base_url,
            "api_key": "sk-client",
            "max_retries": 0,
            "timeout": 15.0,
        }

    async def complete(self, **asked: Any) -> ChatCompletion:
        """An answer in one piece."""
        raise NotImplementedError

    async def chunks(self, **asked: Any) -> list[ChatCompletionChunk]:
        """An answer as a stream of chunks."""
        raise NotImplementedError

    async def accumulate(self, **asked: Any) -> ChatCompletion:
        """An answer put together by the package's own accumulator."""
        raise NotImplementedError


class AsyncClient(Client):
    """The asynchronous client."""

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[openai.AsyncOpenAI]:
        http = openai.DefaultAsyncHttpxClient(trust_env=False)
        async with openai.AsyncOpenAI(http_client=http, **self._options) as client:
            yield client

    async def complete(self, **asked: Any) -> ChatCompletion:
        async with self._open() as client:
            answer = await client.chat.completions.create(**_asked(asked))
            assert isinstance(answer, ChatCompletion)
            return answer

    async def chunks(self, **asked: Any) -> list[ChatCompletionChunk]:
        async with self._open() as client:
            stream = await client.chat.completions.create(stream=True, **_asked(asked))
            return [piece async for piece in stream]

    async def accumulate(self, **asked: Any) -> ChatCompletion:
        async with (
            self._open() as client,
            client.chat.completions.stream(**_asked(asked)) as stream,
        ):
            async for _ in stream:
                pass
            return await stream.get_final_completion()


class SyncClient(Client):
    """The synchronous client, in a thread."""

    async def _with(self, use: Callable[[openai.OpenAI], T]) -> T:
        def run() -> T:
            http = openai.DefaultHttpxClient(trust_env=False)
            with openai.OpenAI(http_client=http, **self._options) as client:
                return use(client)

        return await asyncio.to_thread(run)

    async def complete(self, **asked: Any) -> ChatCompletion:
        def use(client: openai.OpenAI) -> ChatCompletion:
            answer = client.chat.completions.create(**_asked(asked))
            assert isinstance(answer, ChatCompletion)
            return answer

        return await self._with(use)

    async def chunks(self, **asked: Any) -> list[ChatCompletionChunk]:
        def use(client: openai.OpenAI) -> list[ChatCompletionChunk]:
            return list(client.chat.completions.create(stream=True, **_asked(asked)))

        return await self._with(use)

    async def accumulate(self, **asked: Any) -> ChatCompletion:
        def use(client: openai.OpenAI) -> ChatCompletion:
            with client.chat.completions.stream(**_asked(asked)) as stream:
                for _ in stream:
                    pass
                return stream.get_final_completion()

        return await self._with(use)


def _asked(more: Record) -> Any:
    return {"model": "m", "messages": QUESTION} | more


Make = Callable[[Rig], Client]


@pytest.fixture(params=[SyncClient, AsyncClient], ids=["sync", "async"])
def make(request: pytest.FixtureRequest) -> Make:
    """Either client."""
    made: Make = request.param
    return made


def shown(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    """The text that a program shows of one choice."""
    return "".join(
        choice.delta.content or ""
        for piece in chunks
        for choice in piece.choices
        if choice.index == index
    )


def finishes(chunks: list[ChatCompletionChunk]) -> list[str]:
    """The finish reasons, in their order."""
    return [c.finish_reason for piece in chunks for c in piece.choices if c.finish_reason]


def dumped(chunks: list[ChatCompletionChunk]) -> str:
    """All that the program got."""
    return "".join(piece.model_dump_json() for piece in chunks)


# --- streaming ----------------------------------------------------------------------------------


async def test_reasoning_is_dropped(make: Make) -> None:
    """Reasoning in fields of its own does not arrive, under any name; the usage does."""
    async with proxied() as rig:
        rig.upstream.reply(REASONED)
        chunks = await make(rig).chunks(stream_options={"include_usage": True})
    assert shown(chunks) == "The answer is 4."
    assert finishes(chunks) == ["stop"]
    assert "SECRET" not in dumped(chunks)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 12
    assert chunks[0].choices[0].delta.role == "assistant"


async def test_in_band_reasoning_is_dropped(make: Make) -> None:
    """Reasoning in the text does not arrive, wherever its markers are cut."""
    async with proxied() as rig:
        rig.upstream.reply(IN_BAND)
        chunks = await make(rig).chunks()
    assert shown(chunks) == "Visible."
    assert "SECRET" not in dumped(chunks)


async def test_a_tool_round_of_the_back_end_is_dropped(make: Make) -> None:
    """Calls and results of an agent's back end do not arrive; the text around them does."""
    async with proxied() as rig:
        rig.upstream.reply(TOOL_ROUND)
        chunks = await make(rig).chunks()
    assert shown(chunks) == "Let me look. It is sunny."
    assert finishes(chunks) == ["stop"]
    assert "SECRET" not in dumped(chunks)


async def test_the_tools_of_the_request_are_kept(make: Make) -> None:
    """A program that declares a tool gets its call, and reasoning in its field."""
    async with proxied() as rig:
        rig.upstream.reply(OWN_TOOLS)
        chunks = await make(rig).chunks(tools=[WEATHER])
    calls = [call for c in chunks for call in (c.choices[0].delta.tool_calls or ())]
    assert calls[0].function is not None
    assert calls[0].function.name == "weather"
    arguments = "".join((c.function.arguments or "") if c.function else "" for c in calls)
    assert json.loads(arguments) == {"city": "Oslo"}
    assert finishes(chunks) == ["tool_calls"]
    assert shown(chunks) == ""
    moved = [getattr(c.choices[0].delta, "reasoning_content", None) or "" for c in chunks]
    assert "".join(moved) == "plan"


CALL_IN_TEXT = (
    "<think>SECRET</think>Let me look.\n"
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "days": 3}}\n</tool_call>'
)


async def test_calls_in_the_text_arrive_as_calls_where_the_rule_moves_them(make: Make) -> None:
    """The package's own accumulator puts the moved call together, token by token."""
    tokens = [CALL_IN_TEXT[at : at + 3] for at in range(0, len(CALL_IN_TEXT), 3)]
    async with proxied(rules=[rule(tool_calls="move")]) as rig:
        rig.upstream.reply(streamed(ROLE, *map(text, tokens), FINISH, DONE))
        answer = await make(rig).accumulate(tools=[WEATHER])
    choice = answer.choices[0]
    assert choice.message.content == "Let me look.\n"
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or []
    assert isinstance(call, ChatCompletionMessageFunctionToolCall)
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments) == {"city": "Oslo", "days": 3}
    assert call.id.startswith("call_")


async def test_a_call_that_cannot_be_read_raises(make: Make) -> None:
    """The program is told, rather than given a clean finish."""
    async with proxied(rules=[rule(tool_calls="move")]) as rig:
        rig.upstream.reply(streamed(ROLE, text("<tool_call>no call</tool_call>"), FINISH, DONE))
        with pytest.raises(openai.APIError) as error:
            await make(rig).chunks(tools=[WEATHER])
    assert error.value.code == "malformed_tool_call"


async def test_undeclared_tools_are_dropped_between_declared_ones(make: Make) -> None:
    """A call to a tool that the program does not have is not its business; indexes close up."""
    async with proxied() as rig:
        rig.upstream.reply(
            streamed(
                ROLE,
                chunk(call_delta("search", '{"q":"SECRET"}', 0)),
                chunk(call_delta("weather", '{"city":"Oslo"}', 1)),
                chunk({}, "tool_calls"),
                DONE,
            )
        )
        answer = await make(rig).accumulate(tools=[WEATHER])
    calls = answer.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls if call.type == "function"] == ["weather"]
    assert "SECRET" not in answer.model_dump_json()
    assert answer.choices[0].finish_reason == "tool_calls"


async def test_two_choices(make: Make) -> None:
    """Interleaved choices are filtered each by itself."""
    async with proxied() as rig:
        rig.upstream.reply(
            streamed(
                chunk({"role": "assistant", "content": ""}),
                chunk({"role": "assistant", "content": ""}, index=1),
                text("<think>SEC", 0),
                text("one <th", 1),
                text("RET</think>zero", 0),
                text("ink>SECRET</think>more", 1),
                chunk({}, "stop", 0),
                chunk({}, "length", 1),
                DONE,
            )
        )
        chunks = await make(rig).chunks(n=2)
    assert shown(chunks, 0) == "zero"
    assert shown(chunks, 1) == "one more"
    assert finishes(chunks) == ["stop", "length"]
    assert "SECRET" not in dumped(chunks)


@pytest.mark.parametrize(
    ("stream", "content"),
    [
        (REASONED, "The answer is 4."),
        (IN_BAND, "Visible."),
        (TOOL_ROUND, "Let me look. It is sunny."),
    ],
    ids=["reasoned", "in-band", "tool-round"],
)
async def test_the_accumulator(make: Make, stream: bytes, content: str) -> None:
    """The package puts the filtered chunks together to a whole message."""
    async with proxied() as rig:
        rig.upstream.reply(stream)
        answer = await make(rig).accumulate()
    assert answer.choices[0].message.content == content
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert not answer.choices[0].message.tool_calls
    assert "SECRET" not in answer.model_dump_json()


async def test_the_accumulator_with_the_tools_of_the_request(make: Make) -> None:
    """The same for a call that is kept."""
    async with proxied() as rig:
        rig.upstream.reply(OWN_TOOLS)
        answer = await make(rig).accumulate(tools=[WEATHER])
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"city": "Oslo"}
    assert call.id == "call_1"


async def test_the_accumulator_with_nothing_but_reasoning(make: Make) -> None:
    """An answer of which nothing is left is an empty message, with a role and a finish."""
    async with proxied() as rig:
        rig.upstream.reply(
            streamed(chunk({"role": "assistant", "reasoning": "SECRET"}), FINISH, DONE)
        )
        answer = await make(rig).accumulate()
    assert not answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"


# --- not streaming ------------------------------------------------------------------------------


async def test_a_document(make: Make) -> None:
    """An answer in one piece is filtered like a stream."""
    message = {
        "content": "<think>SECRET</think>The answer is 4.",
        "reasoning_content": "SECRET",
        "tool_calls": call_delta("weather", "SECRET")["tool_calls"],
    }
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=document(message, "tool_calls")))
        answer = await make(rig).complete()
    assert answer.choices[0].message.content == "The answer is 4."
    assert not answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 3
    assert "SECRET" not in answer.model_dump_json()


async def test_a_document_with_the_tools_of_the_request(make: Make) -> None:
    """A declared call is kept as it came."""
    message = {"content": None} | call_delta("weather", '{"city":"Oslo"}')
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=document(message, "tool_calls")))
        answer = await make(rig).complete(tools=[WEATHER])
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.arguments == '{"city":"Oslo"}'
    assert answer.choices[0].finish_reason == "tool_calls"


# --- errors -------------------------------------------------------------------------------------


async def test_an_error_in_the_stream_raises(make: Make) -> None:
    """What upstream reports in the stream is raised with its message and code."""
    error = {"message": "overloaded", "type": "server_error", "code": "busy", "param": None}
    async with proxied() as rig:
        rig.upstream.reply(streamed(ROLE, text("a"), event({"error": error}), DONE))
        with pytest.raises(openai.APIError, match="overloaded") as raised:
            await make(rig).chunks()
    assert raised.value.code == "busy"


@pytest.mark.parametrize(
    "stream",
    [
        streamed(ROLE, text("a")),
        streamed(ROLE, text("a"), DONE),
        streamed(ROLE, text("a"), b'data: {"id":"x","cho'),
        streamed(ROLE, text("a"), b"data: {not json}\n\n"),
        stream_head() + framed(ROLE) + framed(text("a")),
        streamed(),
    ],
    ids=["eof", "done", "mid-event", "malformed", "cut", "nothing"],
)
@pytest.mark.parametrize("method", ["chunks", "accumulate"])
async def test_an_upstream_that_dies_raises(make: Make, stream: bytes, method: str) -> None:
    """An answer that is not whole never looks as if it were."""
    async with proxied() as rig:
        rig.upstream.reply(stream)
        with pytest.raises(openai.APIError):
            await getattr(make(rig), method)()


async def test_an_upstream_that_dies_has_delivered_what_it_said() -> None:
    """The text before the death arrives before the error."""
    got: list[str] = []
    async with proxied() as rig:
        rig.upstream.reply(stream_head() + framed(ROLE) + framed(text("before")))
        http = openai.DefaultAsyncHttpxClient(trust_env=False)
        async with openai.AsyncOpenAI(
            base_url=rig.base_url, api_key="k", max_retries=0, http_client=http
        ) as client:
            stream = await client.chat.completions.create(model="m", messages=QUESTION, stream=True)

            async def read() -> None:
                async for piece in stream:
                    got.append(piece.choices[0].delta.content or "")

            with pytest.raises(openai.APIError):
                await read()
    assert "".join(got) == "before"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("401 Unauthorized", openai.AuthenticationError),
        ("404 Not Found", openai.NotFoundError),
        ("429 Too Many Requests", openai.RateLimitError),
        ("500 Internal Server Error", openai.InternalServerError),
        ("503 Service Unavailable", openai.InternalServerError),
    ],
)
async def test_statuses_raise_what_they_mean(
    make: Make, status: str, kind: type[openai.APIStatusError]
) -> None:
    """The package picks its exception by the status, which is upstream's. So is the code, if it is
    the request that is wrong."""
    error = {"message": "no", "type": "t", "code": "c", "param": None}
    async with proxied() as rig:
        rig.upstream.reply(response(status, body=json.dumps({"error": error}).encode()))
        with pytest.raises(kind) as raised:
            await make(rig).complete()
    assert raised.value.code == ("c" if status < "500" else "upstream_error")


async def test_a_refused_path_raises(make: Make) -> None:
    """What is not served is a NotFoundError with a message, not a puzzle."""
    async with proxied() as rig:
        client = make(rig)
        client._options["base_url"] = f"http://{rig.running.data}/other"
        with pytest.raises(openai.NotFoundError, match="not served"):
            await client.complete()
        assert rig.upstream.calls == []


async def test_breaking_out_of_a_stream_frees_the_upstream() -> None:
    """A program that has read enough closes its stream, and upstream may stop."""
    async with proxied() as rig:
        http = openai.DefaultAsyncHttpxClient(trust_env=False)
        async with openai.AsyncOpenAI(
            base_url=rig.base_url, api_key="k", max_retries=0, http_client=http
        ) as client:
            asking = asyncio.create_task(
                client.chat.completions.create(model="m", messages=QUESTION, stream=True)
            )
            call: Call = await rig.upstream.accept()
            await call.request_body()
            await call.send(stream_head(), framed(ROLE), framed(text("a")))
            async with await asking as stream:
                async for _ in stream:
                    break
            await call.gone()


async def test_the_rest_of_the_api(make: Make) -> None:
    """Models, embeddings and files work through the same base URL."""
    models = {"object": "list", "data": [{"id": "m", "object": "model", "created": 1,
                                          "owned_by": "o"}]}  # fmt: skip
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=json.dumps(models).encode()))
        http = openai.DefaultAsyncHttpxClient(trust_env=False)
        async with openai.AsyncOpenAI(
            base_url=rig.base_url, api_key="sk-client", max_retries=0, http_client=http
        ) as client:
            assert [model.id async for model in client.models.list()] == ["m"]
            embedding = {"object": "embedding", "index": 0, "embedding": [0.1]}
            rig.upstream.reply(
                response(
                    "200 OK",
                    body=json.dumps({"object": "list", "data": [embedding], "model": "m"}).encode(),
                )
            )
            made = await client.embeddings.create(model="m", input="x", encoding_format="float")
            assert made.data[0].embedding == [0.1]
            uploaded = {"id": "f", "object": "file", "bytes": 3, "created_at": 1,
                        "filename": "a.txt", "purpose": "batch", "status": "processed"}  # fmt: skip
            rig.upstream.reply(response("200 OK", body=json.dumps(uploaded).encode()))
            file = await client.files.create(file=("a.txt", b"abc"), purpose="batch")
            assert file.id == "f"
        assert [c.request.target for c in rig.upstream.calls] == [
            "/v1/models",
            "/v1/embeddings",
            "/v1/files",
        ]
        keys = {c.request.one("Authorization") for c in rig.upstream.calls}
        assert keys == {"Bearer sk-client"}
