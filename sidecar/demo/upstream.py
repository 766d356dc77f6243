"""A small OpenAI-compatible upstream that recites the transcripts, at a token's pace.

Owns the shapes of its answers. Knows nothing of the sidecar.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeAlias

from aiohttp import web

from sidecar.demo.transcripts import QUESTION, TRANSCRIPTS, Delta, Transcript

Record: TypeAlias = dict[str, Any]

_MODELS: Final = {transcript.model: transcript for transcript in TRANSCRIPTS}
_PACE: Final = web.AppKey("pace", float)


@asynccontextmanager
async def upstream(pace: float) -> AsyncIterator[str]:
    """Serves on a free port of the loopback interface; yields the base URL.

    ``pace`` multiplies the delay between two deltas: 1 is a model's own, 0 as fast as possible.
    """
    # A stream that a client still reads is over in seconds; leaving should not wait for it.
    runner = web.AppRunner(make_app(pace), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def make_app(pace: float) -> web.Application:
    """The upstream as an application; for ``pace`` see :func:`upstream`."""
    app = web.Application()
    app[_PACE] = pace
    app.router.add_get("/v1/models", _list_models)
    app.router.add_post("/v1/chat/completions", _complete)
    return app


async def _list_models(request: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [_model(each) for each in TRANSCRIPTS]})


def _model(transcript: Transcript) -> Record:
    """One that is listed; the last three keys tell the playground what it recites."""
    return {
        "id": transcript.model,
        "object": "model",
        "created": 0,
        "owned_by": "demo",
        "name": transcript.name,
        "description": transcript.description,
        "prompt": QUESTION,
    }


async def _complete(request: web.Request) -> web.StreamResponse:
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return _error(400, "The body is not a JSON object.", param=None, code=None)
    transcript = _MODELS.get(str(body.get("model")))
    if transcript is None:
        message = f"The model does not exist, expected one of {', '.join(_MODELS)}."
        return _error(404, message, param="model", code="model_not_found")
    if not body.get("stream"):
        return web.json_response(_document(transcript))
    options = body.get("stream_options")
    usage = isinstance(options, dict) and bool(options.get("include_usage"))
    return await _stream(request, transcript, include_usage=usage)


async def _stream(
    request: web.Request, transcript: Transcript, *, include_usage: bool
) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    )
    await response.prepare(request)
    delay = transcript.delay * request.app[_PACE]
    with suppress(ConnectionError):  # whoever asked has heard enough
        for chunk in _chunks(transcript, include_usage=include_usage):
            await response.write(_event(json.dumps(chunk)))
            await asyncio.sleep(delay)
        await response.write(_event("[DONE]"))
        await response.write_eof()
    return response


def _chunks(transcript: Transcript, *, include_usage: bool) -> Iterator[Record]:
    envelope = _envelope(transcript, "chat.completion.chunk")
    usage_so_far: Record = {"usage": None} if include_usage else {}

    def chunk(delta: Delta, finish_reason: str | None) -> Record:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return envelope | {"choices": [choice]} | usage_so_far

    yield chunk({"role": "assistant", "content": ""}, None)
    for delta in transcript.deltas:
        yield chunk(delta, None)
    yield chunk({}, "stop")
    if include_usage:
        yield envelope | {"choices": [], "usage": _usage(transcript)}


def _document(transcript: Transcript) -> Record:
    choice = {
        "index": 0,
        "message": _message(transcript),
        "logprobs": None,
        "finish_reason": "stop",
    }
    envelope = _envelope(transcript, "chat.completion")
    return envelope | {"choices": [choice], "usage": _usage(transcript)}


def _message(transcript: Transcript) -> Record:
    """The whole message, as the deltas add up to it; a tool's own message has no place in it."""
    message: Record = {"role": "assistant", "content": transcript.content}
    reasoning = "".join(delta.get("reasoning_content", "") for delta in transcript.deltas)
    if reasoning:
        message["reasoning_content"] = reasoning
    calls = [call for delta in transcript.deltas for call in delta.get("tool_calls", ())]
    if calls:
        arguments = "".join(call["function"]["arguments"] for call in calls)
        first = {key: calls[0][key] for key in ("id", "type")}
        name = calls[0]["function"]["name"]
        message["tool_calls"] = [first | {"function": {"name": name, "arguments": arguments}}]
    return message


def _envelope(transcript: Transcript, kind: str) -> Record:
    return {
        "id": f"chatcmpl-{transcript.model}",
        "object": kind,
        "created": int(time.time()),
        "model": transcript.model,
    }


def _usage(transcript: Transcript) -> Record:
    prompt, completion = 24, len(transcript.deltas)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def _error(status: int, message: str, *, param: str | None, code: str | None) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return web.json_response({"error": error}, status=status)
