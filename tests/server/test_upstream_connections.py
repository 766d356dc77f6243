"""Which connections to upstream carry another request: clean ones, and no others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from sidecar.rules.upstreamsection import Reuse, Timeouts, Upstream
from sidecar.server import connections, upstream
from sidecar.server.connections import connector, only_fresh
from sidecar.server.turns import Turns
from sidecar.server.unreachable import UNREACHABLE

from .keeping import Kept, keeping
from .scripted import (
    DONE,
    FINISH,
    LAST,
    LIMIT,
    ROLE,
    chat,
    document,
    framed,
    request,
    response,
    stream_head,
    streamed,
    text,
    visible,
)

MODELS = request("GET", "/v1/models")
HONEST = response("200 OK", body=b'{"honest":1}')
FORGED = response("200 OK", "X-Forged: 1", body=b'{"forged":1}')
STREAM = streamed(ROLE, text("honest"), FINISH, DONE)


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy is given its time."""
    monkeypatch.setattr(upstream, "LINGER", 10.0)


# --- what is kept -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reuse", "connections"), [(Reuse.AUTO, 4), (Reuse.NEVER, 4), (Reuse.ALWAYS, 1)]
)
async def test_without_tls_connections_are_kept_if_that_is_wished(
    reuse: Reuse, connections: int
) -> None:
    """Requests of every kind, one after another; a new connection each, or one for all."""
    async with keeping(reuse=reuse) as kept:
        await kept.ask(MODELS, HONEST)
        assert visible((await kept.ask(chat(), STREAM))[1].body) == "honest"
        await kept.ask(chat(stream=False), response("200 OK", body=document({"content": "a"})))
        _, answer = await kept.ask(chat(), response("400 Bad", body=b'{"error":{"message":"x"}}'))
        assert answer.status == 400
        assert len(kept.keeper.connections) == connections


@pytest.mark.parametrize(("reuse", "close"), [(Reuse.NEVER, "close"), (Reuse.ALWAYS, None)])
async def test_upstream_is_told_whether_its_connection_is_kept(
    reuse: Reuse, close: str | None
) -> None:
    """RFC 9112, 9.6: who will close after the answer says so."""
    async with keeping(reuse=reuse) as kept, kept.asking(MODELS) as (asked, _):
        assert asked.head.one("Connection") == close


async def test_requests_at_the_same_time_have_connections_of_their_own() -> None:
    """Nothing is pipelined, and nobody waits for a place: there is no ceiling."""
    async with keeping(reuse=Reuse.ALWAYS) as kept:
        many = 120  # aiohttp's own ceiling is 100
        answers = [asyncio.create_task(kept.rig.ask(MODELS)) for _ in range(many)]
        asked = [await kept.keeper.asked() for _ in range(many)]
        assert len(kept.keeper.connections) == many
        for one in asked:
            await one.peer.send(HONEST)
        assert {answer.status for answer in await asyncio.gather(*answers)} == {200}


@pytest.mark.usefixtures("patience")
async def test_a_stream_may_end_a_moment_after_its_end_mark() -> None:
    """Servers write the last chunk on its own; the client does not wait for it."""
    async with keeping(reuse=Reuse.ALWAYS) as kept:
        async with kept.asking(chat()) as (asked, answer):
            await asked.peer.send(stream_head(), framed(ROLE + text("a") + FINISH + DONE))
            assert visible((await answer).body) == "a"
            await asked.peer.send(LAST)
        peer, _ = await kept.ask(MODELS, HONEST)
        assert peer is asked.peer


async def test_a_stream_that_does_not_end_is_left() -> None:
    """The connection is closed, soon, and no other request waits for that."""
    async with keeping(reuse=Reuse.ALWAYS) as kept, kept.asking(chat()) as (asked, answer):
        await asked.peer.send(stream_head(), framed(ROLE + text("a") + FINISH + DONE))
        await answer
        assert (await kept.ask(MODELS, HONEST))[0] is not asked.peer
        await kept.keeper.ended(asked.peer)


@pytest.mark.usefixtures("patience")
async def test_a_stream_that_goes_on_after_its_end_mark_is_left() -> None:
    """However patient one is: what comes is nothing worth more than a connection."""
    async with keeping(reuse=Reuse.ALWAYS) as kept, kept.asking(chat()) as (asked, answer):
        await asked.peer.send(stream_head(), framed(ROLE + text("a") + FINISH + DONE))
        await answer
        with suppress(ConnectionError):
            while not asked.peer.writer.is_closing():
                await asked.peer.send(framed(b"x" * 10_000))
                await asyncio.sleep(0)


async def test_an_old_connection_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is opened to the address that DNS names then."""
    monkeypatch.setattr(connections, "OLDEST", -1.0)
    async with keeping(reuse=Reuse.ALWAYS) as kept:
        await kept.ask(MODELS, HONEST)
        await kept.ask(MODELS, HONEST)
        assert len(kept.keeper.connections) == 2


# --- nobody gets an answer that is not his ------------------------------------------------------

DIRTY = {
    "answer": HONEST + FORGED,
    "answer-chunked": streamed(b"data: 1\n\n") + FORGED,
    "half-a-head": HONEST + b"HTTP/1.1 200 OK\r\nX-Forged: 1\r\n",
    "half-a-head-chunked": streamed(b"data: 1\n\n") + b"HTTP/1.1 200 OK\r\nX-Forged: 1\r\n",
    "one-byte": HONEST + b"H",
    "line-end": HONEST + b"\r\n",
    "line-end-chunked": streamed(b"data: 1\n\n") + b"\r\n",
    "interim": HONEST + b"HTTP/1.1 100 Continue\r\n\r\n",
    "longer": HONEST + b"x",
    "longer-by-an-answer": response("200 OK", body=b"") + FORGED,
    "no-content": b"HTTP/1.1 204 No Content\r\n\r\n" + FORGED,
    "no-content-with-a-body": b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n",
    "close": response("200 OK", "Connection: close", body=b"{}"),
    "keep-alive-of-http-1.0": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2"
    b"\r\n\r\n{}",
    "two-framings": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
    + framed(b"{}")
    + LAST,
    "switched": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "rubbish": b"rubbish\r\n\r\n",
}


async def assert_not_used_again(kept: Kept, dirty: bytes, asked: bytes = MODELS) -> None:
    """An answer ``dirty`` to one user, and the next one gets a connection and an answer of his own,
    whatever else comes on the first."""
    first, _ = await kept.ask(asked, dirty)
    async with kept.asking(MODELS) as (second, answer):
        assert second.peer is not first
        first.writer.write(b"X-Forged: 1\r\n\r\n" + FORGED)
        await second.peer.send(HONEST)
        assert (await answer).body == b'{"honest":1}'
        assert (await answer).head.one("X-Forged") is None


@pytest.mark.parametrize("dirty", DIRTY.values(), ids=DIRTY)
async def test_a_connection_with_more_than_the_answer_is_not_used_again(dirty: bytes) -> None:
    """In one segment, where aiohttp's pool hands it on."""
    async with keeping(reuse=Reuse.ALWAYS) as kept:
        # A client of the rest of the API would get the 204, and wait for more.
        await assert_not_used_again(kept, dirty, chat() if b"204" in dirty else MODELS)


async def test_what_follows_is_seen_wherever_it_is_cut() -> None:
    """An answer and a forged one in two segments, cut at every byte: the answer arrives, or is one
    that cannot be read, and no connection is used twice."""
    raw = HONEST + FORGED
    async with keeping(reuse=Reuse.ALWAYS, seconds=60) as kept:
        seen = set()
        for cut in range(len(HONEST) - 3, len(raw)):
            async with kept.asking(MODELS) as (asked, answer):
                await asked.peer.send(raw[:cut])
                for _ in range(5):
                    await asyncio.sleep(0)
                await asked.peer.send(raw[cut:])
                assert (await answer).body == b'{"honest":1}'
                assert asked.peer not in seen
                seen.add(asked.peer)


async def test_a_body_where_none_may_be_is_not_the_next_answer() -> None:
    """Of HEAD: its answer ends with its head (RFC 9112, 6.3)."""
    async with keeping(reuse=Reuse.ALWAYS) as kept:
        async with await kept.rig.client() as client:
            await client.send(request("HEAD", "/v1/models"))
            asked = await kept.keeper.asked()
            await asked.peer.send(FORGED)
            assert (await client.answer(empty=True)).status in (200, 502)
        peer, answer = await kept.ask(MODELS, HONEST)
        assert peer is not asked.peer
        assert answer.body == b'{"honest":1}'


async def test_the_answer_to_head_is_the_last_on_its_connection() -> None:
    """Its body may still come, from a server that does not know better."""
    async with keeping(reuse=Reuse.ALWAYS) as kept:
        async with await kept.rig.client() as client:
            await client.send(request("HEAD", "/v1/models"))
            asked = await kept.keeper.asked()
            await asked.peer.send(HONEST.partition(b"{")[0])
            assert (await client.answer(empty=True)).status == 200
        assert (await kept.ask(MODELS, HONEST))[0] is not asked.peer


@pytest.mark.parametrize("unasked", [FORGED, b"H", b"\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_connection_on_which_something_comes_while_nobody_asks_is_closed(
    unasked: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and whatever it is; not when its time is over."""
    monkeypatch.setattr(connections, "IDLE", 10 * LIMIT)
    async with keeping(reuse=Reuse.ALWAYS) as kept:
        peer, _ = await kept.ask(MODELS, HONEST)
        await peer.send(unasked)
        await kept.keeper.ended(peer)
        again, answer = await kept.ask(MODELS, HONEST)
        assert again is not peer
        assert answer.body == b'{"honest":1}'


async def test_an_answer_that_a_client_abandons_takes_its_connection_with_it() -> None:
    """What is still to come of it is nobody's."""
    async with keeping(reuse=Reuse.ALWAYS) as kept:
        async with await kept.rig.client() as client:
            await client.send(chat())
            asked = await kept.keeper.asked()
            await asked.peer.send(stream_head(), framed(ROLE))
            await client.head()
        await kept.keeper.ended(asked.peer)
        assert (await kept.ask(MODELS, HONEST))[1].body == b'{"honest":1}'


async def test_an_answer_that_is_too_large_takes_its_connection_with_it() -> None:
    """It is not read to its end, not even for the sake of the connection."""
    async with keeping(reuse=Reuse.ALWAYS, event_limit=1000) as kept:
        raw = response("200 OK", body=document({"content": "x" * 2000}))
        async with kept.asking(chat(stream=False)) as (asked, answer):
            await asked.peer.send(raw[:-5])
            assert (await answer).error["code"] == "upstream_answer_too_large"
            await kept.keeper.ended(asked.peer)


async def test_an_answer_before_the_request_was_sent_is_the_last_on_its_connection() -> None:
    """A server that has not read a request may take the rest of it for the next one."""
    async with keeping(reuse=Reuse.ALWAYS, reads=False) as kept:
        async with await kept.rig.client() as client:
            await client.send(request("POST", "/v1/files", "Content-Length: 100") + b"x" * 50)
            asked = await kept.keeper.asked()
            await asked.peer.send(response("413 Too Large", body=b"{}"))
            assert (await client.head()).status == 413
        assert (await kept.ask(MODELS, HONEST))[0] is not asked.peer


async def test_an_upload_that_goes_on_after_the_head_of_its_answer_is_the_last() -> None:
    """The same, though both come to their end."""
    async with keeping(reuse=Reuse.ALWAYS, reads=False) as kept:
        async with await kept.rig.client() as client:
            await client.send(request("POST", "/v1/files", "Content-Length: 100") + b"x" * 50)
            asked = await kept.keeper.asked()
            await asked.peer.send(stream_head(content_type="text/plain"), framed(b"one"))
            await client.head()
            await client.send(b"x" * 50)
            assert await asked.peer.reader.readexactly(100) == b"x" * 100
            await asked.peer.send(LAST)
            assert b"".join([data async for data in client.chunks()]) == b"one"
        assert (await kept.ask(MODELS, HONEST))[0] is not asked.peer


async def test_a_large_question_that_upstream_did_not_read_is_the_last() -> None:
    """Of a body that we hold as a whole, too: it is not out because it was written."""
    async with keeping(reuse=Reuse.ALWAYS, reads=False) as kept:
        async with kept.asking(chat(padding="x" * 16_000_000)) as (asked, answer):
            await asked.peer.send(response("400 Bad", body=b'{"error":{"message":"x"}}'))
            assert (await answer).status == 400
        assert (await kept.ask(MODELS, HONEST))[0] is not asked.peer


# --- connections that upstream has closed -------------------------------------------------------


@asynccontextmanager
async def one_kept(reuse: Reuse = Reuse.ALWAYS) -> AsyncIterator[Kept]:
    """A connection that is kept."""
    async with keeping(reuse=reuse) as kept:
        await kept.ask(MODELS, HONEST)
        yield kept


@pytest.mark.parametrize("end", ["finish", "abort"])
@pytest.mark.parametrize("asked", [MODELS, chat(), request("POST", "/v1/embeddings")])
async def test_a_request_on_a_connection_that_had_ended_is_sent_once_more(
    asked: bytes, end: str
) -> None:
    """Whatever its method: nothing of it was answered. It is the same to the byte."""
    async with one_kept() as kept, kept.asking(asked) as (first, answer):
        getattr(first.peer, end)()
        second = await kept.keeper.asked()
        assert second.peer is not first.peer
        assert (second.head, second.body) == (first.head, first.body)
        await second.peer.send(response("429 Slow", body=b'{"error":{"message":"x"}}'))
        assert (await answer).status == 429
        assert await kept.retries() == {"stale": 1.0}


async def test_it_is_sent_no_third_time() -> None:
    """And the second time on a connection that nobody had before, though there is one."""
    async with keeping(reuse=Reuse.ALWAYS) as kept:
        async with kept.asking(MODELS) as (one, done), kept.asking(MODELS) as (two, also):
            await one.peer.send(HONEST)
            await two.peer.send(HONEST)
            await asyncio.gather(done, also)
        async with kept.asking(MODELS) as (first, answer):
            assert first.peer in (one.peer, two.peer)
            first.peer.finish()
            second = await kept.keeper.asked()
            assert second.peer not in (one.peer, two.peer)
            second.peer.finish()
            assert (await answer).status == 502
            assert (await answer).error["code"] == "upstream_closed"
        assert len(kept.keeper.connections) == 3


@pytest.mark.parametrize("reuse", Reuse)
@pytest.mark.parametrize("asked", [MODELS, chat()])
async def test_what_ends_a_new_connection_is_not_repeated(reuse: Reuse, asked: bytes) -> None:
    """Upstream got the request, and may have died of it; aiohttp would send a GET again."""
    async with keeping(reuse=reuse) as kept, kept.asking(asked) as (first, answer):
        first.peer.finish()
        assert (await answer).status == 502
        assert (await answer).error["code"] == "upstream_closed"
        assert len(kept.keeper.connections) == 1
        assert await kept.retries() == {}


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", HONEST[:20]])
async def test_what_was_answered_in_part_is_not_repeated(begun: bytes) -> None:
    """Then the connection was alive, and upstream at work."""
    async with one_kept() as kept, kept.asking(chat()) as (first, answer):
        await first.peer.send(begun)
        first.peer.finish()
        assert (await answer).status == 502
        assert len(kept.keeper.connections) == 1


async def test_a_body_that_streams_is_not_repeated() -> None:
    """Its beginning is gone."""
    asked = request("POST", "/v1/files", "Transfer-Encoding: chunked") + framed(b"a") + LAST
    async with one_kept() as kept, kept.asking(asked) as (first, answer):
        first.peer.finish()
        assert (await answer).status == 502
        assert len(kept.keeper.connections) == 1


async def test_a_failure_is_told_once_and_without_its_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line for a class of failures, not one for each request."""
    async with keeping() as kept:
        for _ in range(3):
            async with kept.asking(MODELS) as (asked, answer):
                asked.peer.finish()
                assert (await answer).status == 502
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert lines == [UNREACHABLE % "closed"]


# --- aiohttp, as far as this depends on it ------------------------------------------------------


def settings(url: str, reuse: Reuse = Reuse.ALWAYS) -> Upstream:
    """An upstream at ``url``."""
    return Upstream(url, None, Timeouts(5.0, 5.0, 5.0), reuse=reuse)


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[socket.socket, str]]:
    """A server without a loop of its own: what it has sent is there before our loop looks."""
    async with asyncio.timeout(LIMIT):
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            yield server, f"http://127.0.0.1:{server.getsockname()[1]}/"


async def answered(
    server: socket.socket, session: aiohttp.ClientSession, url: str
) -> socket.socket:
    """One question and its answer; the connection on which it came."""
    loop = asyncio.get_running_loop()
    asking = asyncio.create_task(session.get(url))
    accepted, _ = await loop.sock_accept(server)
    await loop.sock_recv(accepted, 65_536)
    await loop.sock_sendall(accepted, HONEST)
    assert await (await asking).read() == b'{"honest":1}'
    return accepted


def is_closed(accepted: socket.socket) -> bool:
    """Whether the other end has closed it."""
    try:
        return accepted.recv(65_536) == b""
    except ConnectionResetError:  # it had not read everything
        return True


@pytest.mark.parametrize("unasked", [FORGED, b"H", b""], ids=["answer", "byte", "end"])
async def test_what_the_loop_has_not_seen_yet_is_looked_for(unasked: bytes) -> None:
    """Bytes that came since the loop last looked are as unasked as any; so is the end."""
    made = connector(settings("http://127.0.0.1/v1"))
    async with listening() as (server, url), aiohttp.ClientSession(connector=made) as session:
        with await answered(server, session, url) as first:
            if unasked:
                first.send(unasked)
            else:
                first.shutdown(socket.SHUT_WR)
            with await answered(server, session, url):
                assert is_closed(first)


async def test_only_fresh_connections_are_taken_if_that_is_wished() -> None:
    """The one that is kept is closed."""
    made = connector(settings("http://127.0.0.1/v1"))
    async with listening() as (server, url), aiohttp.ClientSession(connector=made) as session:
        first = await answered(server, session, url)
        with first, only_fresh(), await answered(server, session, url):
            assert is_closed(first)


@asynccontextmanager
async def one_protocol() -> AsyncIterator[tuple[connections._Kept, socket.socket]]:
    """A connection that waits for an answer, and its other end."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    theirs.setblocking(False)
    transport, protocol = await loop.create_connection(
        lambda: connections._Kept(loop, Turns(loop)), sock=ours
    )
    protocol.set_response_params()
    async with asyncio.timeout(LIMIT):
        with theirs:
            yield protocol, theirs
            transport.abort()


@pytest.mark.parametrize("unsent", [0, 4_000_000])
async def test_what_is_written_is_not_yet_sent(unsent: int) -> None:
    """A request may be out of our hands, and not in the kernel's."""
    async with one_protocol() as (protocol, theirs):
        assert protocol.transport is not None
        protocol.transport.write(bytes(unsent))
        protocol.start_timeout()
        await asyncio.get_running_loop().sock_sendall(theirs, HONEST)
        _, body = await protocol.read()
        assert await body.read() == b'{"honest":1}'
        assert protocol.should_close is bool(unsent)


@pytest.mark.parametrize("follows", [b"", b"HTTP/1.1 200 OK\r\n"])
@pytest.mark.parametrize("size", [1_000, 4_000_000])
async def test_of_what_was_held_back_nobody_knows_the_end(size: int, follows: bytes) -> None:
    """A slow reader makes the parser hold back what has come, and what follows it."""
    raw = response("200 OK", body=bytes(size)) + follows
    async with one_protocol() as (protocol, theirs):
        protocol.start_timeout()
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(theirs, raw))
        _, body = await protocol.read()
        if size > 1_000:
            while not protocol._reading_paused:  # noqa: ASYNC110  # nobody is told
                await asyncio.sleep(0)
        assert await body.read() == bytes(size)
        await sending
        assert protocol.should_close is (size > 1_000 or follows != b"")


@pytest.mark.parametrize("reuse", Reuse)
async def test_aiohttp_makes_the_connections_that_we_give_it(reuse: Reuse) -> None:
    """The private attribute that says which is still the one."""
    made = connector(settings("http://127.0.0.1/v1", reuse))
    async with listening() as (_, url), aiohttp.ClientSession(connector=made):
        connection = await made.connect(
            aiohttp.ClientRequest("GET", URL(url), loop=asyncio.get_running_loop()),
            [],
            aiohttp.ClientTimeout(),
        )
        wanted = connections._Kept if reuse is Reuse.ALWAYS else connections.Carrier
        assert type(connection.protocol) is wanted
        connection.close()


async def test_a_connection_that_is_not_ours_is_not_used() -> None:
    """Should aiohttp make it in another way, nothing is sent on it."""
    made = connector(settings("http://127.0.0.1/v1"))
    made._factory = partial(ResponseHandler, asyncio.get_running_loop())
    async with listening() as (server, url), aiohttp.ClientSession(connector=made) as session:
        with pytest.raises(TypeError):
            await session.get(url)
        accepted, _ = await asyncio.get_running_loop().sock_accept(server)
        with accepted:
            assert await asyncio.get_running_loop().sock_recv(accepted, 1) == b""
