"""How much may be under way at a time, and what becomes of what is more."""

from __future__ import annotations

import asyncio
import hashlib
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest

from sidecar.rules.accesssection import Access, ClientKey
from sidecar.server.descriptors import Descriptors, plan_descriptors, share

from .scripted import (
    DONE,
    FINISH,
    LIMIT,
    ROLE,
    Call,
    Peer,
    Rig,
    chat,
    proxied,
    request,
    response,
    streamed,
    text,
    visible,
)

WHOLE = streamed(ROLE, text("whole"), FINISH, DONE)


async def under_way(rig: Rig, stack: AsyncExitStack, raw: bytes) -> tuple[Peer, Call]:
    """A request that upstream has not answered."""
    return await stack.enter_async_context(rig.call(raw))


async def finish(client: Peer, call: Call) -> None:
    """Upstream answers, and the client has read all of it."""
    await call.send(WHOLE)
    assert visible((await client.answer()).body) == "whole"


OTHERS = [
    chat(stream=False),
    request("POST", "/v1/embeddings", "Content-Type: application/json", body=b"{}"),
    request("GET", "/v1/models"),
]


@pytest.mark.parametrize("raw", [chat(), *OTHERS], ids=["stream", "document", "untouched", "list"])
async def test_one_more_than_there_may_be_is_told_to_come_back(raw: bytes) -> None:
    """At once, and upstream hears nothing of it; it is served as soon as another has ended."""
    async with proxied(streams=2) as rig, AsyncExitStack() as stack:
        first = await under_way(rig, stack, chat())
        await under_way(rig, stack, chat(stream=False))
        refused = await rig.ask(raw)
        assert (refused.status, refused.error["code"]) == (503, "overloaded")
        assert refused.head.one("Retry-After") == "1"
        assert len(rig.upstream.calls) == 2
        await finish(*first)
        client, call = await under_way(rig, stack, raw)
        await call.send(response("200 OK", body=b"[]"))
        await client.head()
        assert 'outcome="refused"' in await rig.scrape()


async def test_a_client_that_leaves_makes_room() -> None:
    """Before upstream has answered."""
    async with proxied(streams=1) as rig:
        async with rig.call(chat()) as (client, call):
            client.abort()
            await call.gone()
        async with rig.call(chat()) as (client, call):
            await finish(client, call)


async def test_a_refused_path_needs_no_room() -> None:
    """What is answered by ourselves is under way for no time."""
    async with proxied(streams=1) as rig, rig.call(chat()):
        assert (await rig.ask(request("GET", "/nowhere"))).status == 404


async def test_the_admin_port_needs_no_room() -> None:
    """Whoever is on call can look when it matters."""
    async with proxied(streams=1) as rig, rig.call(chat()):
        assert "sidecar_requests_total" in await rig.scrape()


KEYS = [
    ("Authorization: Bearer a", "Authorization: Bearer b"),
    ("x-api-key: a", "x-api-key: b"),
    ("x-api-key: a", "Authorization: Bearer a"),
]


@pytest.mark.parametrize(("mine", "yours"), KEYS)
async def test_one_client_does_not_take_the_room_of_others(mine: str, yours: str) -> None:
    """A client is told apart by its key."""
    async with proxied(streams=10, streams_per_client=2) as rig, AsyncExitStack() as stack:
        first = await under_way(rig, stack, chat(mine))
        await under_way(rig, stack, chat(mine))
        refused = await rig.ask(chat(mine))
        assert (refused.status, refused.error["code"]) == (429, "too_many_streams")
        assert refused.head.one("Retry-After") == "1"
        await under_way(rig, stack, chat(yours))
        await finish(*first)
        await under_way(rig, stack, chat(mine))


async def test_clients_without_a_key_are_told_apart_by_their_address() -> None:
    """All of this test's are one."""
    async with proxied(streams_per_client=1) as rig, rig.call(chat()):
        assert (await rig.ask(chat())).status == 429
        async with rig.call(chat("Authorization: Bearer a")) as (client, call):
            await finish(client, call)


async def test_nobody_is_told_apart_unless_it_is_wished() -> None:
    async with proxied(streams=4) as rig, AsyncExitStack() as stack:
        for _ in range(4):
            await under_way(rig, stack, chat("Authorization: Bearer a"))
        assert (await rig.ask(chat())).status == 503


# --- connections and file descriptors -----------------------------------------------------------


@pytest.fixture
def few_files() -> Iterator[int]:
    """A limit of the system for this process that is raised by nobody's wish."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = 300
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, before[1]))
    yield few
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_limit_of_files_is_raised_as_far_as_it_is_needed(few_files: int) -> None:
    """And no further: libraries close every file that they might have."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert plan_descriptors(100) == Descriptors(100, 200)
    limit, still = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert few_files < limit < 1000
    assert still == most
    assert plan_descriptors(10) == Descriptors(10, 20)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == limit


@pytest.mark.parametrize("limit", [0, 64, 128, 200, 1024, 20_000, 1_048_576])
@pytest.mark.parametrize("streams", [1, 100, 4096, 1_000_000])
def test_what_is_promised_can_be_opened(limit: int, streams: int) -> None:
    """Every answer under way has its two connections, and something is left besides; but for a
    system on which nothing could be served at all."""
    shared = share(limit, streams)
    assert 1 <= shared.streams <= streams
    assert shared.streams <= shared.connections <= 2 * streams
    if limit > 130:
        assert shared.streams + shared.connections <= limit - 128


async def test_one_connection_more_than_there_may_be_is_closed() -> None:
    """Those that there are go on."""
    async with proxied(streams=1) as rig, rig.call(chat()) as (client, call):
        async with await rig.client() as idle, await rig.client() as more:
            assert await more.gone() == b""
            idle.finish()
            await idle.gone()
        await finish(client, call)


def _most_waiting() -> int:
    """As many connections as the system lets wait for one listener."""
    return int(Path("/proc/sys/net/core/somaxconn").read_text())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a listener may wait for fewer")
async def test_many_who_come_at_once_find_room() -> None:
    """While none of them is accepted; who finds none comes again after a second."""
    async with proxied() as rig:
        address = (rig.running.data.host, rig.running.data.port)
        with ExitStack() as stack:
            for _ in range(min(500, _most_waiting())):  # without a turn of the event loop
                stack.enter_context(socket.create_connection(address, timeout=LIMIT))


async def test_a_connection_that_ends_makes_room() -> None:
    async with proxied(streams=1) as rig:
        rig.upstream.reply(WHOLE)
        for _ in range(10):
            async with asyncio.timeout(5):
                assert (await rig.ask(chat())).status == 200


async def test_a_client_with_a_name_is_told_apart_by_it() -> None:
    """Whatever else a request shows: nobody becomes another client by a header of more."""
    named = Access(
        keys=tuple(
            ClientKey(name, hashlib.sha256(key.encode()).digest())
            for name, key in (("app", "a" * 16), ("app", "b" * 16), ("other", "c" * 16))
        )
    )
    mine = "Authorization: Bearer " + "a" * 16
    same = (
        (mine,),
        (mine, "x-api-key: x"),
        ("Authorization: Bearer x", "x-api-key: " + "a" * 16),
        ("Authorization: Bearer " + "b" * 16,),
    )
    async with proxied(streams_per_client=1, access=named) as rig, rig.call(chat(mine)):
        for shown in same:
            assert (await rig.ask(chat(*shown))).status == 429
        async with rig.call(chat("x-api-key: " + "c" * 16)) as (client, call):
            await finish(client, call)
