"""Requests that are sent to upstream again: which, how often, and after how long."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Mapping

import pytest

from sidecar.rules.upstreamsection import Reuse
from sidecar.server import upstream
from sidecar.server.app import serving
from sidecar.server.retries import LONGEST, backoff, pause

from .keeping import Kept, keeping
from .scripted import (
    DONE,
    FINISH,
    LAST,
    LIMIT,
    ROLE,
    Rig,
    Upstream,
    chat,
    configured,
    framed,
    request,
    response,
    stream_head,
    streamed,
    text,
    visible,
)
from .test_metrics import outcomes

STREAM = streamed(ROLE, text("a"), FINISH, DONE)
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


# --- what is decided ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [502, 503, 504])
@pytest.mark.parametrize("attempt", [1, 2, 3, 4, 5])
def test_a_wait_that_nobody_asks_for_is_short_and_random(status: int, attempt: int) -> None:
    """It grows, from nothing at all to a bound, so that clients do not come back together."""
    longest = pause(status, {}, attempt, 1.0)
    assert longest == backoff(attempt, 1.0) == min(1.0, 0.1 * 2 ** (attempt - 1))
    assert pause(status, {}, attempt, 0.0) == 0.0
    assert pause(status, {}, attempt, 0.5) == longest / 2


@pytest.mark.parametrize("status", [200, 204, 307, 400, 401, 404, 408, 425, 500, 501, 505, 529])
def test_other_answers_are_answers(status: int) -> None:
    """Whatever they say of time."""
    assert pause(status, {"Retry-After": "0"}, 1, 0.5) is None


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": " 3 "}, 3.0),
        ({"Retry-After": "10"}, LONGEST),
        ({"Retry-After": "11"}, None),
        ({"Retry-After": "9" * 400}, None),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:40 GMT", "Date": DATE}, 3.0),
        ({"Retry-After": "Sunday, 06-Nov-94 08:49:40 GMT", "Date": DATE}, 3.0),
        ({"Retry-After": "Sun Nov  6 08:49:40 1994", "Date": DATE}, 3.0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:50:37 GMT", "Date": DATE}, None),
        ({"Retry-After": "Sun, 06 Nov 1994 08:00:00 GMT", "Date": DATE}, 0.0),
    ],
)
def test_retry_after_says_how_long(
    status: int, headers: Mapping[str, str], seconds: float | None
) -> None:
    """As seconds or as a date of any of the three forms (RFC 9110, 10.2.3 and 5.6.7); what is too
    long for us is left to the client."""
    assert pause(status, headers, 1, 0.5) == seconds


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Retry-After": ""},
        {"Retry-After": "soon"},
        {"Retry-After": "-1"},
        {"Retry-After": "1.5"},
        {"Retry-After": "1, 2"},
        {"Retry-After": DATE},
        {"Retry-After": DATE, "Date": "today"},
        {"Retry-After": "Sun, 06 Nov 1994 08:49:37 +999999999999999", "Date": DATE},
    ],
)
def test_what_says_nothing_of_time(headers: Mapping[str, str]) -> None:
    """Too many requests are not made fewer by trying; a server that is away may be back. A date
    counts only beside the answer's own: clocks differ."""
    assert pause(429, headers, 1, 0.5) is None
    assert pause(503, headers, 1, 0.5) == 0.05


# --- what is done -------------------------------------------------------------------------------


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No wait that nobody asks for."""
    monkeypatch.setattr(random, "random", lambda: 0.0)


def unavailable(status: int = 503, *fields: str) -> bytes:
    """An answer that is no answer."""
    body = b'{"error":{"message":"busy","type":"server_error"}}'
    return response(f"{status} Busy", *fields, body=body)


ASKED = {
    "filtered": chat(),
    "document": chat(stream=False),
    "untouched": request("GET", "/v1/models"),
}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("reuse", "connections"), [(Reuse.AUTO, 3), (Reuse.ALWAYS, 1)])
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
async def test_an_answer_that_may_be_better_next_time(
    asked: bytes, reuse: Reuse, connections: int
) -> None:
    """The client sees the first that is one; the request is the same each time."""
    async with keeping(retries=3, reuse=reuse) as kept, kept.asking(asked) as (first, answer):
        await first.peer.send(unavailable(502))
        second = await kept.keeper.asked()
        await second.peer.send(unavailable(429, "Retry-After: 0"))
        third = await kept.keeper.asked()
        assert first[1:] == second[1:] == third[1:]
        assert len(kept.keeper.connections) == connections
        await third.peer.send(response("201 Created", body=b"{}"))
        assert (await answer).status in (201, 502)  # no rule can read a 201
        assert await kept.retries() == {"status": 2.0}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
async def test_the_last_answer_is_the_answer(asked: bytes) -> None:
    """With all that it says."""
    async with keeping(retries=1) as kept, kept.asking(asked) as (first, answer):
        await first.peer.send(unavailable(504))
        second = await kept.keeper.asked()
        await second.peer.send(unavailable(503, "Retry-After: 5"))
        assert (await answer).status == 503
        assert (await answer).head.one("Retry-After") == "5"
        assert len(kept.keeper.connections) == 2


async def test_an_answer_that_nobody_wants_is_left() -> None:
    """It is not read, however long it is."""
    async with keeping(retries=1, reuse=Reuse.ALWAYS) as kept, kept.asking(chat()) as (first, _):
        await first.peer.send(unavailable(503, "Retry-After: 0")[:-5])
        await kept.keeper.ended(first.peer)
        assert (await kept.keeper.asked()).peer is not first.peer


@pytest.mark.parametrize("retries", [0, 5])
@pytest.mark.parametrize(
    "raw",
    [
        unavailable(429),
        unavailable(429, "Retry-After: 11"),
        unavailable(503, "Retry-After: 11"),
        unavailable(500, "Retry-After: 0"),
    ],
)
async def test_what_is_not_repeated(raw: bytes, retries: int) -> None:
    """What would not be better, or not soon."""
    async with keeping(retries=retries) as kept:
        _, answer = await kept.ask(chat(), raw)
        assert answer.status in (429, 500, 503)
        assert len(kept.keeper.connections) == 1
        assert await kept.retries() == {}


async def test_nothing_is_repeated_by_default() -> None:
    """A client has retries of its own."""
    async with keeping() as kept:
        _, answer = await kept.ask(chat(), unavailable(503, "Retry-After: 0"))
        assert answer.status == 503
        assert len(kept.keeper.connections) == 1


async def test_a_body_that_streams_is_not_repeated() -> None:
    """Its beginning is gone."""
    asked = request("POST", "/v1/files", "Transfer-Encoding: chunked") + framed(b"a") + LAST
    async with keeping(retries=5) as kept:
        _, answer = await kept.ask(asked, unavailable(503, "Retry-After: 0"))
        assert answer.status == 503
        assert len(kept.keeper.connections) == 1


@pytest.mark.usefixtures("at_once")
async def test_nothing_is_repeated_once_the_client_has_a_byte() -> None:
    """An answer that breaks off is not begun again."""
    async with keeping(retries=5) as kept, kept.asking(chat()) as (asked, answer):
        await asked.peer.send(stream_head(), framed(ROLE + text("a")))
        asked.peer.finish()
        assert b"upstream_incomplete" in (await answer).body
        assert len(kept.keeper.connections) == 1


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"rubbish\r\n\r\n"])
async def test_what_upstream_may_have_got_is_not_repeated(raw: bytes) -> None:
    """It may be at work on it, or have died of it."""
    async with keeping(retries=5) as kept, kept.asking(chat()) as (asked, answer):
        await asked.peer.send(raw)
        asked.peer.finish()
        assert (await answer).status == 502
        assert len(kept.keeper.connections) == 1
        assert await kept.retries() == {}


@pytest.mark.usefixtures("at_once")
async def test_upstream_that_is_away() -> None:
    """A connection is tried again so often, and no more."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        async with asyncio.timeout(LIMIT), serving(configured(url, retries=3)) as running:
            rig = Rig(Upstream(""), running)
            answer = await rig.ask(chat())
            assert answer.status == 502
            assert answer.error["code"] == "upstream_unreachable"
            assert await Kept(None, rig, None).retries() == {"connect": 3.0}  # type: ignore


async def test_upstream_that_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client notices nothing."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"

    def comes_back(attempt: int, _: float) -> float:
        taken.listen()
        return 0.0

    monkeypatch.setattr(upstream, "backoff", comes_back)
    async with asyncio.timeout(LIMIT), serving(configured(url, retries=1)) as running:
        asking = asyncio.create_task(Rig(Upstream(""), running).ask(chat()))
        loop = asyncio.get_running_loop()
        taken.setblocking(False)
        while True:  # it listens only once the first attempt has failed
            try:
                accepted, _ = await loop.sock_accept(taken)
                break
            except OSError:
                await asyncio.sleep(0)
        await loop.sock_sendall(accepted, STREAM)
        assert visible((await asking).body) == "a"
        accepted.close()
    taken.close()


async def test_a_client_that_leaves_ends_the_wait() -> None:
    """Nobody asks on its behalf."""
    async with keeping(retries=5) as kept:
        async with await kept.rig.client() as client:
            await client.send(chat())
            asked = await kept.keeper.asked()
            await asked.peer.send(unavailable(503, "Retry-After: 10"))
            await kept.keeper.ended(asked.peer)
        while outcomes(await kept.rig.scrape()) != {("chat", "default", "client_gone"): 1.0}:
            pass
        assert len(kept.keeper.connections) == 1


@pytest.mark.usefixtures("at_once")
async def test_a_connection_that_had_ended_is_no_retry_of_those() -> None:
    """It costs none of them."""
    async with keeping(retries=1, reuse=Reuse.ALWAYS) as kept:
        await kept.ask(request("GET", "/v1/models"), response("200 OK", body=b"{}"))
        async with kept.asking(chat()) as (first, answer):
            first.peer.finish()
            second = await kept.keeper.asked()
            await second.peer.send(unavailable())
            third = await kept.keeper.asked()
            await third.peer.send(STREAM)
            assert visible((await answer).body) == "a"
        assert await kept.retries() == {"stale": 1.0, "status": 1.0}


@pytest.mark.usefixtures("at_once")
async def test_each_attempt_has_the_whole_time() -> None:
    """One that is waited for in vain ends the request all the same: upstream is at work on it."""
    async with keeping(retries=5, first_byte=0.5) as kept, kept.asking(chat()) as (first, answer):
        await first.peer.send(unavailable())
        await kept.keeper.asked()
        assert (await answer).status == 504
        assert (await answer).error["code"] == "upstream_timeout"
        assert len(kept.keeper.connections) == 2
