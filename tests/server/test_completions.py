"""Legacy completions through the proxy: raw, and as the openai package reads them."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai.types import Completion

from sidecar.core.policy import Mode, Reasoning
from sidecar.rules.match import Match, Tools

from .scripted import (
    DONE,
    Answer,
    Rig,
    event,
    framed,
    payloads,
    proxied,
    request,
    response,
    rule,
    stream_head,
    streamed,
)

PATH = "/v1/completions"


def chunk(text: str, finish: str | None = None, index: int = 0) -> bytes:
    """A chunk with one choice."""
    choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
    return event(body(choice))


def body(*choices: Any, **more: Any) -> Any:
    """What is around the choices."""
    envelope = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m"}
    return envelope | {"choices": list(choices)} | more


def ask(path: str = PATH, **more: Any) -> bytes:
    """A request for a completion; ``more`` are keys of its body."""
    asked = json.dumps({"model": "m", "prompt": "?", "stream": True} | more).encode()
    return request("POST", path, "Content-Type: application/json", body=asked)


STOP = chunk("", "stop")
REASONED = streamed(chunk("<thi"), chunk("nk>SECRET</th"), chunk("ink>Visible."), STOP, DONE)
WHOLE = json.dumps(
    body(
        {"text": "<think>SECRET</think>Visible.", "index": 0, "finish_reason": "stop"},
        usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    )
).encode()
TOOLS = [{"type": "function", "function": {"name": "f"}}]


async def answer_to(asked: bytes, reply: bytes, **options: Any) -> Answer:
    """The answer to one request."""
    async with proxied(**options) as rig:
        rig.upstream.reply(reply)
        return await rig.ask(asked)


async def test_each_event_arrives_before_the_next_is_sent() -> None:
    """A visible event is delivered at once, as its original bytes."""
    async with proxied() as rig, rig.call(ask()) as (client, call):
        assert call.request.target == PATH
        await call.send(stream_head())
        assert (await client.head()).status == 200
        for sent in (chunk("one"), chunk(" two"), STOP, DONE):
            await call.send(framed(sent))
            assert await client.chunk() == sent
        assert await client.chunk() == b""


async def test_reasoning_is_dropped_from_a_stream_and_from_a_document() -> None:
    """Under the rules that are built in."""
    out = (await answer_to(ask(), REASONED)).body
    assert b"SECRET" not in out
    *chunks, done = payloads(out)
    assert done == "[DONE]"
    assert "".join(value["choices"][0]["text"] for value in chunks) == "Visible."
    whole = await answer_to(ask(stream=False), response("200 OK", body=WHOLE))
    assert whole.status == 200
    assert json.loads(whole.body)["choices"][0]["text"] == "Visible."
    assert b"SECRET" not in whole.body


async def test_tools_in_such_a_request_declare_nothing() -> None:
    """No rule for agents is about it, and no call is kept."""
    agents = rule("agents", match=Match(tools=Tools.DECLARED), reasoning=Reasoning.KEEP)
    out = (await answer_to(ask(tools=TOOLS), REASONED, rules=(agents, rule("people")))).body
    assert b"SECRET" not in out
    call = '<tool_call>{"name":"f","arguments":{"q":"SECRET"}}</tool_call>'
    out = (await answer_to(ask(tools=TOOLS), streamed(chunk(call), STOP, DONE))).body
    assert b"SECRET" not in out


async def test_a_rule_may_be_about_completions_alone() -> None:
    """By their path; an answer that no rule matches is not touched."""
    mine = rule(match=Match(path=PATH), reasoning=Reasoning.DROP)
    assert b"SECRET" not in (await answer_to(ask(), REASONED, rules=(mine,))).body
    other = rule(match=Match(path="/v1/chat/*"), reasoning=Reasoning.DROP)
    assert b"SECRET" in (await answer_to(ask(), REASONED, rules=(other,))).body


async def test_a_rule_that_observes_changes_nothing_and_counts() -> None:
    """Streams and documents."""
    async with proxied(rules=(rule("watch", mode=Mode.OBSERVE),)) as rig:
        rig.upstream.reply(REASONED)
        assert b"SECRET" in (await rig.ask(ask())).body
        rig.upstream.reply(response("200 OK", body=WHOLE))
        assert (await rig.ask(ask(stream=False))).body == WHOLE
        scrape = await rig.scrape()
    assert 'channel="reasoning",format="think",rule="watch"} 12.0' in scrape


async def test_the_route_has_a_label_of_its_own() -> None:
    """What is counted is counted apart from chat."""
    async with proxied() as rig:
        rig.upstream.reply(REASONED)
        await rig.ask(ask())
        scrape = await rig.scrape()
    labels = 'model="other",outcome="completed",route="completions",rule="default"'
    counted = f"sidecar_requests_total{{{labels}}} 1.0"
    assert counted in scrape


async def test_what_is_not_a_request_is_refused() -> None:
    """As for chat: no rule can be chosen, and nothing reaches upstream."""
    async with proxied() as rig:
        answer = await rig.ask(request("POST", PATH, body=b"x"))
        assert rig.upstream.calls == []
    assert answer.status == 400
    assert answer.error["code"] == "invalid_json"


# --- the openai package -------------------------------------------------------------------------


async def complete(rig: Rig) -> Completion:
    """A completion in one piece, as a program gets it."""
    async with client_of(rig) as client:
        return await client.completions.create(model="m", prompt="?")


async def chunks_of(rig: Rig) -> list[Completion]:
    """A completion as a stream of chunks."""
    async with client_of(rig) as client:
        stream = await client.completions.create(model="m", prompt="?", n=2, stream=True)
        return [piece async for piece in stream]


def client_of(rig: Rig) -> openai.AsyncOpenAI:
    """The package's client, with the sidecar's base URL."""
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    return openai.AsyncOpenAI(
        base_url=rig.base_url, api_key="sk-client", max_retries=0, timeout=15.0, http_client=http
    )


def shown(chunks: list[Completion], index: int = 0) -> str:
    """The text that a program shows of one choice."""
    return "".join(c.text for piece in chunks for c in piece.choices if c.index == index)


async def test_the_package_reads_a_stream() -> None:
    """Two choices that take turns, and the usage at the end."""
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    async with proxied() as rig:
        rig.upstream.reply(
            streamed(
                chunk("<think>SEC", None, 0),
                chunk("one <th", None, 1),
                chunk("RET</think>zero <", None, 0),
                chunk("ink>SECRET</think>more", None, 1),
                chunk("", "stop", 0),
                chunk("", "length", 1),
                event(body(usage=usage)),
                DONE,
            )
        )
        chunks = await chunks_of(rig)
    assert shown(chunks, 0) == "zero <"
    assert shown(chunks, 1) == "one more"
    reasons = [c.finish_reason for piece in chunks for c in piece.choices if c.finish_reason]
    assert reasons == ["stop", "length"]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 12
    assert "SECRET" not in "".join(piece.model_dump_json() for piece in chunks)


async def test_the_package_reads_a_document() -> None:
    """The same in one piece."""
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=WHOLE))
        answer = await complete(rig)
    assert answer.choices[0].text == "Visible."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert "SECRET" not in answer.model_dump_json()


@pytest.mark.parametrize(
    "stream",
    [
        streamed(chunk("a")),
        streamed(chunk("a"), DONE),
        streamed(chunk("a"), b"data: {not json}\n\n"),
        streamed(chunk("a"), event({"error": {"message": "overloaded"}}), DONE),
        stream_head() + framed(chunk("a")),
        streamed(),
    ],
    ids=["eof", "done", "malformed", "error", "cut", "nothing"],
)
async def test_an_upstream_that_dies_raises(stream: bytes) -> None:
    """An answer that is not whole never looks as if it were."""
    async with proxied() as rig:
        rig.upstream.reply(stream)
        with pytest.raises(openai.APIError):
            await chunks_of(rig)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({"prompt": "Hi<think>\n"}, "Visible."),
        ({"prompt": ["Hi<think>"]}, "Visible."),
        ({"prompt": "Hi"}, "planVisible."),
        ({"prompt": ["Hi", "Ho<think>"]}, "planVisible."),
        ({"prompt": [[1, 2]]}, "planVisible."),
        ({"prompt": "Hi<think>", "echo": True}, "planVisible."),
        # No template adds to a raw prompt, whatever the model.
        ({"prompt": "Hi", "model": "qwq-32b"}, "planVisible."),
    ],
)
async def test_an_answer_begins_where_its_prompt_ends(asked: Any, shown: str) -> None:
    reply = streamed(chunk("plan"), chunk("</think>Visible."), STOP, DONE)
    answer = await answer_to(ask(**asked), reply)
    said = [choice["text"] for p in payloads(answer.body)[:-1] for choice in p["choices"]]
    assert "".join(said) == shown
