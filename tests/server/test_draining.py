"""How the sidecar ends: nothing that was begun is lost, and nobody is left without a word."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from sidecar.core.policy import Policy
from sidecar.rules.config import Drain
from sidecar.server.app import Running
from sidecar.wire.formats import WireFormat
from tests.wire.streams import ruling

from .process import AT_ONCE, running
from .scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Call,
    Cut,
    Peer,
    Rig,
    chat,
    framed,
    payloads,
    proxied,
    request,
    stream_head,
    streamed,
    text,
    visible,
)
from .test_wire_formats import per_format

NO_TIME = Drain(delay=0.0, timeout=0.0)
LONG = Drain(delay=3600.0, timeout=3600.0)
WHOLE = streamed(ROLE, text("whole"), FINISH, DONE)


@asynccontextmanager
async def draining(rig: Rig) -> AsyncIterator[asyncio.Task[None]]:
    """The end has been asked for."""
    assert isinstance(rig.running, Running)
    task = asyncio.create_task(rig.running.drain())
    await asyncio.sleep(0)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def ready(rig: Rig) -> int:
    async with await rig.client(rig.running.admin) as client:
        return (await client.ask(request("GET", "/readyz"))).status


async def is_refused(rig: Rig) -> bool:
    try:
        async with await rig.client():
            return False
    except ConnectionError:  # a connection that was still in the queue is reset
        return True


async def begun(client: Peer, call: Call) -> None:
    """The stream has begun, and the client has read what there is of it."""
    await call.send(stream_head(), framed(ROLE), framed(text("one")))
    await client.head()
    while "one" not in visible(await client.chunk()):
        pass


async def test_readiness_turns_first_and_the_listener_stays() -> None:
    """Who still sends requests is answered, on connections that end with the answer."""
    async with proxied(drain=LONG) as rig:
        rig.upstream.reply(WHOLE)
        assert await ready(rig) == 200
        async with await rig.client() as kept, await rig.client() as other:
            answer = await kept.ask(chat())
            assert answer.head.one("Connection") is None
            async with draining(rig):
                assert await ready(rig) == 503
                for client in (kept, other):
                    answer = await client.ask(chat())
                    assert visible(answer.body) == "whole"
                    assert answer.head.one("Connection") == "close"
                    assert await client.gone() == b""


async def test_a_stream_under_way_ends_as_upstream_ends_it() -> None:
    """The listener is closed, idle connections too; the one that is busy is closed afterwards."""
    async with (
        proxied(drain=Drain(delay=0.0, timeout=3600.0)) as rig,
        await rig.client() as idle,
        rig.call(chat()) as (client, call),
    ):
        await begun(client, call)
        async with draining(rig) as drained:
            assert await idle.gone() == b""
            assert await is_refused(rig)
            assert await ready(rig) == 503
            await call.send(framed(text(" two")), framed(FINISH), framed(DONE), LAST)
            rest = b"".join([data async for data in client.chunks()])
            assert visible(rest) == " two"
            assert rest.endswith(DONE)
            assert await client.gone() == b""
            await drained


async def test_a_request_body_that_is_still_arriving_is_read() -> None:
    """A request that has begun is under way, although nothing was answered yet."""
    head, _, body = chat("Expect: 100-continue").partition(b"\r\n\r\n")
    async with (
        proxied(drain=Drain(delay=0.0, timeout=3600.0)) as rig,
        await rig.client() as client,
        await rig.client() as idle,
    ):
        rig.upstream.reply(WHOLE)
        await client.send(head, b"\r\n\r\n")
        assert (await client.head()).status == 100
        async with draining(rig) as drained:
            assert await idle.gone() == b""
            await client.send(body)
            assert visible((await client.answer()).body) == "whole"
            await drained


@per_format
async def test_a_stream_that_takes_too_long_ends_with_an_error(wire_format: WireFormat) -> None:
    """In its own protocol; upstream's connection is closed."""
    async with proxied(drain=NO_TIME) as rig:
        raw = chat(path=wire_format.path, prompt="?", input="?", max_tokens=1)
        async with rig.call(raw) as (client, call):
            kind = wire_format.answer(ruling(Policy())).framing.content_type
            await call.send(stream_head(content_type=kind))
            assert (await client.head()).status == 200
            async with draining(rig) as drained:
                out = b"".join([data async for data in client.chunks()])
                assert b"The sidecar is shutting down." in out
                await call.gone()
                await drained
            assert 'outcome="shut_down"' in await rig.scrape()


async def test_what_was_visible_comes_before_the_error() -> None:
    """Text that was held back, because it could have become a marker, is not lost either."""
    async with proxied(drain=NO_TIME) as rig, rig.call(chat()) as (client, call):
        await begun(client, call)
        await call.send(framed(text(" <thi")))
        assert visible(await client.chunk()) == " "
        async with draining(rig):
            out = b"".join([data async for data in client.chunks()])
        assert visible(out) == "<thi"
        errors = [said["error"] for said in payloads(out) if "error" in said]
        assert [error["code"] for error in errors] == ["shutting_down"]


async def test_a_document_that_takes_too_long_is_a_503() -> None:
    """Nothing was sent yet, so the client may ask again."""
    async with proxied(drain=NO_TIME) as rig, rig.call(chat(stream=False)) as (client, call):
        await call.request_body()
        async with draining(rig):
            answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (503, "shutting_down")
        assert answer.head.one("Retry-After") is not None
        await call.gone()


async def test_what_no_rule_is_about_is_cut() -> None:
    """There is no protocol that it is known to be in."""
    raw = request("POST", "/v1/embeddings", "Content-Type: application/json", body=b"{}")
    async with proxied(drain=NO_TIME) as rig, rig.call(raw) as (client, call):
        await call.send(stream_head(content_type="application/json"), framed(b'{"data": ['))
        await client.head()
        assert await client.chunk() == b'{"data": ['
        async with draining(rig):
            with pytest.raises(Cut):
                await client.chunk()


async def test_a_request_after_the_end_is_refused() -> None:
    """On a connection that was busy when the listener closed."""
    async with proxied(drain=NO_TIME) as rig:
        assert isinstance(rig.running, Running)
        await rig.running.drain()
        assert await is_refused(rig)


# --- the process --------------------------------------------------------------------------------


async def test_sigterm_lets_a_stream_finish_and_exits_with_0(tmp_path: Path) -> None:
    """And a scrape shows it until the end."""
    async with (
        running(tmp_path) as sidecar,
        sidecar.rig.call(chat()) as (client, call),
    ):
        await begun(client, call)
        sidecar.process.send_signal(signal.SIGTERM)
        await sidecar.said("draining: 1 answer is under way")
        assert await ready(sidecar.rig) == 503
        await call.send(framed(text(" two")), framed(FINISH), framed(DONE), LAST)
        rest = b"".join([data async for data in client.chunks()])
        assert visible(rest) == " two"
        code, _, err = await sidecar.ended()
        assert code == 0, err
        assert "stopped" in err


async def test_sigterm_ends_a_stream_that_takes_too_long(tmp_path: Path) -> None:
    async with (
        running(tmp_path, "drain: {delay: 0, timeout: 100ms}\n") as sidecar,
        sidecar.rig.call(chat()) as (client, call),
    ):
        await begun(client, call)
        sidecar.process.send_signal(signal.SIGTERM)
        out = b"".join([data async for data in client.chunks()])
        assert b"shutting_down" in out
        code, _, err = await sidecar.ended()
        assert code == 0, err
        assert "1 answer is ended with an error" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_at_once(number: signal.Signals, tmp_path: Path) -> None:
    """Whatever is under way, and however long it might still be waited for."""
    settings = AT_ONCE if number is signal.SIGTERM else "drain: {delay: 1h}\n"
    async with (
        running(tmp_path, settings) as sidecar,
        sidecar.rig.call(chat()) as (client, call),
    ):
        await begun(client, call)
        sidecar.process.send_signal(number)
        await sidecar.said("draining")
        while not await is_refused(sidecar.rig):
            pass  # SIGINT does not wait for the delay either
        sidecar.process.send_signal(number)
        assert (await sidecar.ended())[0] == -number
        assert await client.gone() == b""


async def test_two_signals_at_once_are_one(tmp_path: Path) -> None:
    """As when a supervisor and a process group pass on the same end: nobody has asked twice."""
    async with running(tmp_path) as sidecar, sidecar.rig.call(chat()) as (client, call):
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
            sidecar.process.send_signal(number)
        assert (await sidecar.said("draining|in the event loop"))[0] == "draining"
        await call.send(streamed(ROLE, text("whole"), FINISH, DONE))
        assert visible((await client.answer()).body) == "whole"
        code, _, said = await sidecar.ended()
        assert (code, "in the event loop" in said) == (0, False)


async def test_several_processes_share_a_port(tmp_path: Path) -> None:
    """Each new connection goes to one of them; one that is killed takes only its own streams."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    shared = AT_ONCE + "reuse_port: true\n"
    async with (
        running(folders[0], shared) as one,
        running(folders[1], shared, listen=str(one.rig.running.data)) as two,
        AsyncExitStack() as stack,
    ):
        both = (one, two)
        clients: list[tuple[Peer, Call, int]] = []
        for _ in range(64):
            if {index for _, _, index in clients} == {0, 1}:
                break
            client = await stack.enter_async_context(await one.rig.client())
            await client.send(chat())
            accepting = [asyncio.create_task(each.rig.upstream.accept()) for each in both]
            done, rest = await asyncio.wait(accepting, return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
            (task,) = done
            clients.append((client, task.result(), accepting.index(task)))
        for client, call, _ in clients:
            await begun(client, call)
        one.process.kill()
        await one.process.wait()
        for client, call, index in clients:
            if index == 0:
                with pytest.raises(Cut):
                    await client.chunk()
                continue
            await call.send(framed(text(" two")), framed(FINISH), framed(DONE), LAST)
            rest_of_it = b"".join([data async for data in client.chunks()])
            assert visible(rest_of_it) == " two"
        two.rig.upstream.reply(WHOLE)
        for _ in range(8):
            assert visible((await two.rig.ask(chat())).body) == "whole"


async def test_without_it_a_port_is_not_shared(tmp_path: Path) -> None:
    """Two processes on one port would be a mistake that shows only now and then."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError, match="did not say"):
            async with running(tmp_path, listen=f"127.0.0.1:{port}"):
                pass
