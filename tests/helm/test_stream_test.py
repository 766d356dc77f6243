"""What `helm test` runs: it lets a clean stream pass, and says what is not clean in another."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from sidecar.demo.upstream import upstream
from sidecar.rules.config import built_in_config
from sidecar.rules.configvalues import Address
from sidecar.server.app import serving
from tests.server.scripted import Upstream
from tests.test_cli import environment

from .rendering import CHART

SCRIPT = (CHART / "files" / "stream_test.py").read_text(encoding="utf-8")


async def run(base_url: str, model: str = "") -> tuple[int, str]:
    """As the pod runs it: the exit code and what was said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SCRIPT),
        env=environment(BASE_URL=base_url, MODEL=model),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_a_stream_through_the_sidecar_is_clean_and_one_around_it_is_not() -> None:
    async with AsyncExitStack() as stack:
        base_url = await stack.enter_async_context(upstream(0))
        loopback = Address("127.0.0.1", 0)
        config = replace(built_in_config(base_url), listen=loopback, admin=loopback)
        running = await stack.enter_async_context(serving(config))
        code, said = await run(f"http://{running.data}/v1")
        assert code == 0, said
        assert said.startswith("clean: ")
        code, said = await run(base_url)
        assert code == 1
        assert said.startswith("not clean: ")


def stream(*events: object, end: bool = True) -> bytes:
    parts = [f"data: {json.dumps(event)}\n\n" for event in events]
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    return (head + "".join(parts) + ("data: [DONE]\n\n" if end else "")).encode()


def delta(**values: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": values}]}


@pytest.mark.parametrize(
    ("events", "end", "sentence"),
    [
        ([delta(content="391")], True, "clean: 3 characters of m"),
        ([delta(content="391")], False, "not clean: the stream has no end"),
        ([delta(content="<th"), delta(content="ink>")], True, "not clean: the answer has <think"),
        ([delta(reasoning_content="17")], True, "not clean: a delta has reasoning_content"),
        ([delta(content=" ")], True, "not clean: the answer is empty"),
        ([{"error": {"message": "m"}}], True, "not clean: the stream ended with an error"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_not_clean_is_said(
    events: Sequence[object], end: bool, sentence: str
) -> None:
    peer = Upstream("127.0.0.1")
    async with peer.listening("/v1") as base_url:
        peer.reply(stream(*events, end=end))
        code, said = await run(base_url, "m")
    assert said.strip() == sentence
    assert code == (0 if sentence.startswith("clean") else 1)
