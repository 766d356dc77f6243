"""A rolling restart behind a load balancer: no answer is cut, and no request refused."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.server.process import Command, running
from tests.server.scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Call,
    chat,
    framed,
    stream_head,
    text,
    visible,
)
from tests.server.test_draining import is_refused, ready

from .balancer import NGINX, Balancer, balancing

STREAMS: Final = 100
TOKENS: Final = 20
SECONDS: Final = float(os.environ.get("SIDECAR_STREAM_SECONDS", "20"))
"""How long each of the streams takes at least; it ends when both sidecars are leaving."""
PATIENCE: Final = 120.0 + SECONDS
SETTINGS: Final = "drain: {delay: 10s, timeout: 100s}\nstatus: {heartbeat: off}\n"
"""With a delay in which even a busy machine reloads nginx: a request that is sent in the moment in
which the listener closes may be lost."""

pytestmark = pytest.mark.skipif(
    "SIDECAR_REQUIRE_NGINX" not in os.environ,
    reason="it takes a minute and an nginx: SIDECAR_REQUIRE_NGINX=1 asks for it",
)


async def test_a_rolling_restart_cuts_no_stream_and_refuses_no_request(tmp_path: Path) -> None:
    """Each of two sidecars is replaced while both are answering."""
    if NGINX is None:
        pytest.fail("there is no nginx here")
    folders = [tmp_path / name for name in ("one", "two", "next", "nginx")]
    for folder in folders:
        folder.mkdir()
    end = asyncio.Event()
    async with _sidecar(folders[0], end) as one, _sidecar(folders[1], end) as two:
        with balancing(folders[3], one.rig.running.data, two.rig.running.data) as balancer:
            begun: asyncio.Queue[None] = asyncio.Queue()
            async with asyncio.TaskGroup() as group:
                streams = [group.create_task(_ask(balancer, TOKENS, begun)) for _ in range(STREAMS)]
                for _ in range(STREAMS):
                    await begun.get()
                async with _visitors(balancer) as visits:
                    await _leaves(one, balancer, two)
                    async with _sidecar(folders[2], end) as following:
                        assert await ready(following.rig) == 200
                        await balancer.send_to(two.rig.running.data, following.rig.running.data)
                        await _leaves(two, balancer, following)
                        end.set()
                        for stream in streams:
                            await stream
                        for ended in (one, two):
                            code, _, err = await ended.ended()
                            assert code == 0, err
                        await _serves_alone(following, balancer)
                        visits.cancel()
            answers = [stream.result() for stream in streams]
    assert {said for _, said in answers} == {_words(TOKENS)}
    served = [by for by, _ in answers]
    for sidecar in (one, two):
        assert served.count(str(sidecar.rig.running.data)) == STREAMS / 2


async def _leaves(leaving: Command, balancer: Balancer, staying: Command) -> None:
    """SIGTERM; and the balancer is told as soon as readiness turns, while the listener is there."""
    leaving.process.send_signal(signal.SIGTERM)
    await leaving.said("draining")
    assert await ready(leaving.rig) == 503
    async with await leaving.rig.client() as late:
        answer = await late.ask(chat(max_tokens=1))
    assert visible(answer.body) == _words(1)
    await balancer.send_to(staying.rig.running.data)
    while not await is_refused(leaving.rig):
        pass
    assert leaving.process.returncode is None
    await _serves_alone(staying, balancer)


async def _serves_alone(sidecar: Command, balancer: Balancer) -> None:
    """Every new request goes to it."""
    answers = [await _ask(balancer, 1) for _ in range(10)]
    assert answers == [(str(sidecar.rig.running.data), _words(1))] * len(answers)


@asynccontextmanager
async def _visitors(balancer: Balancer) -> AsyncIterator[asyncio.Task[None]]:
    """Somebody who asks all the time, and is always answered."""

    async def visit() -> None:
        while True:
            _, said = await _ask(balancer, 1)
            assert said == _words(1)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(visit())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _ask(
    balancer: Balancer, tokens: int, begun: asyncio.Queue[None] | None = None
) -> tuple[str, str]:
    """An answer of so many tokens: who gave it, and what it said. Raises Cut if it was cut."""
    async with await balancer.client() as client:
        await client.send(chat(max_tokens=tokens))
        head = await client.head()
        assert head.status == 200
        received = bytearray()
        while b"word" not in received:
            received += await client.chunk()
        if begun is not None:
            begun.put_nowait(None)
        async for data in client.chunks():
            received += data
    assert received.endswith(DONE)
    by = head.one("X-Served-By")
    assert by is not None
    return by, visible(bytes(received))


def _words(tokens: int) -> str:
    return "word " * tokens


@asynccontextmanager
async def _sidecar(folder: Path, end: asyncio.Event) -> AsyncIterator[Command]:
    """One with an upstream that takes :data:`SECONDS` for a long answer, and does not end it before
    ``end``."""
    async with running(folder, SETTINGS, seconds=PATIENCE) as sidecar, asyncio.TaskGroup() as group:

        async def accept() -> None:
            while True:
                group.create_task(_answer(await sidecar.rig.upstream.accept(), end))

        accepting = group.create_task(accept())
        yield sidecar
        accepting.cancel()


async def _answer(call: Call, end: asyncio.Event) -> None:
    tokens = json.loads(await call.request_body())["max_tokens"]
    await call.send(stream_head(), framed(ROLE))
    for number in range(tokens):
        if number:
            await asyncio.sleep(SECONDS / (TOKENS - 1))
        await call.send(framed(text("word ")))
    if tokens > 1:
        await end.wait()
    await call.send(framed(FINISH), framed(DONE), LAST)
    call.finish()
