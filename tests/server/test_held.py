"""What is kept of a request while its answer is on its way: what was sent on is let go of."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator

import pytest
from aiohttp.web_protocol import RequestHandler

from sidecar.core.policy import Mode

from .scripted import chat, event, framed, proxied, rule, stream_head, text

LARGE = 2**20
"""Bytes: more than anything that one stream needs."""


@pytest.fixture
def traced() -> Iterator[None]:
    """Python notes what is allocated, and what is still there."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def held() -> list[str]:
    """Where what is large, and is still there, was made."""
    traces = tracemalloc.take_snapshot().traces
    return [str(trace.traceback) for trace in traces if trace.size >= LARGE]


LEGACY = event({"object": "text_completion", "choices": [{"index": 0, "text": "a"}]})


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.OBSERVE])
@pytest.mark.parametrize(
    ("path", "first"), [("/v1/chat/completions", text("a")), ("/v1/completions", LEGACY)]
)
async def test_a_prompt(traced: None, path: str, first: bytes, mode: Mode) -> None:
    """Neither its bytes nor its text are kept while the answer comes."""
    async with proxied(rules=[rule("all", mode=mode)]) as rig, await rig.client() as client:
        prompt = "x" * 2 * LARGE
        messages = [{"role": "user", "content": prompt}]
        await client.send(chat(path=path, messages=messages, prompt=prompt))
        del prompt, messages
        call = await rig.upstream.accept()
        assert len(await call.request_body()) > 2 * LARGE
        assert held() != []  # it might have to be sent again
        await call.send(stream_head(), framed(first))
        await client.head()
        assert b'"a"' in await client.chunk()
        assert held() == []


async def test_a_connection_has_no_dictionary() -> None:
    """Of what each client has, idle or not, there are only the fields that are named."""
    async with proxied() as rig, rig.call(chat()) as (_, call):
        await call.request_body()
        connections = [each for each in gc.get_objects() if isinstance(each, RequestHandler)]
        assert connections
        assert not any(hasattr(each, "__dict__") for each in connections)
