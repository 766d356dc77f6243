"""The stream of our own: its head, its events, who may have it, and its end."""

from __future__ import annotations

import pytest

from sidecar.server.headers import STREAM
from sidecar.server.routes import DRIP

from .scripted import chat, payloads, proxied, request, streamed, text
from .test_access import ACCESS, MOBILE
from .test_metrics import total


def ask(query: str = "events=3&interval=0", *fields: str, method: str = "GET") -> bytes:
    return request(method, f"{DRIP}?{query}", *fields)


async def test_its_events_are_numbered_and_say_when_they_were_sent() -> None:
    """Without an upstream: nobody is asked."""
    async with proxied() as rig:
        answer = await rig.ask(ask("events=3&interval=0.01"))
        assert answer.status == 200
        first, *more, last = payloads(answer.body)
        assert last == "[DONE]"
        assert first["http"] == "1.1"
        assert first["signs"] == []
        events = [first, *more]
        assert [(event["n"], event["of"]) for event in events] == [(1, 3), (2, 3), (3, 3)]
        times = [event["t"] for event in events]
        assert times == sorted(times)
        assert times[2] >= 0.02
        assert not rig.upstream.calls


async def test_its_head_is_that_of_every_other_stream() -> None:
    """What is lost on the way is lost of both."""
    own = {"x-sidecar-status", "date"}
    async with proxied() as rig:
        rig.upstream.reply(streamed(text("a")))
        stream = (await rig.ask(chat())).head
        drip = (await rig.ask(ask())).head
    kept = [{(k, v) for k, v in head.fields if k.lower() not in own} for head in (stream, drip)]
    assert kept[0] == kept[1]
    assert {name: drip.one(name) for name in STREAM} == STREAM


async def test_a_plain_one_has_no_word_against_buffering() -> None:
    async with proxied() as rig:
        head = (await rig.ask(ask("events=1&plain=1"))).head
    assert [head.one(name) for name in STREAM] == [None, None]
    assert head.one("Content-Type") == "text/event-stream"


async def test_after_the_events_it_is_silent_and_then_says_so() -> None:
    async with proxied() as rig:
        *_, idle, done = payloads((await rig.ask(ask("events=1&idle=0.01"))).body)
    assert idle == {"idle": 0.01}
    assert done == "[DONE]"


async def test_it_says_which_proxies_have_left_a_sign_and_no_value() -> None:
    async with proxied() as rig:
        answer = await rig.ask(ask("events=1", "CF-Ray: 8f-secret", "X-Amzn-Trace-Id: Root=secret"))
    assert payloads(answer.body)[0]["signs"] == ["cf-ray", "x-amzn-trace-id"]
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    ("query", "about"),
    [
        ("events=0", "events"),
        ("events=201", "events"),
        ("events=1.5", "events"),
        ("events=", "events"),
        ("events=%D9%A3", "events"),
        ("interval=5.1", "interval"),
        ("interval=-1", "interval"),
        ("interval=nan", "interval"),
        ("idle=601", "idle"),
        ("idle=1e9", "idle"),
    ],
)
async def test_what_it_does_not_give_is_refused_with_the_bounds(query: str, about: str) -> None:
    async with proxied() as rig:
        answer = await rig.ask(ask(query))
    assert answer.status == 400
    assert answer.error["message"].startswith(f"{about} is a number from ")


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_only_get_has_it(method: str) -> None:
    async with proxied(paths=("/v1/*",)) as rig:
        async with await rig.client() as client:
            await client.send(ask(method=method))
            assert (await client.answer(empty=method == "HEAD")).status == 404
        assert not rig.upstream.calls


async def test_no_path_of_upstream_takes_its_place() -> None:
    """Whatever `paths` says: the doctor must not measure another server."""
    async with proxied(paths=("/v1/*",)) as rig:
        assert payloads((await rig.ask(ask())).body)[0]["n"] == 1


async def test_it_needs_a_key_where_everything_does() -> None:
    async with proxied(access=ACCESS) as rig:
        assert (await rig.ask(ask())).status == 401
        assert (await rig.ask(ask("events=1", f"Authorization: Bearer {MOBILE}"))).status == 200


async def test_it_counts_as_an_answer_under_way() -> None:
    """So that nobody can have more of them than of answers; and when its client leaves, its place
    is free again."""
    async with proxied(streams=1) as rig:
        async with await rig.client() as client:
            await client.send(ask("events=1&idle=600"))
            await client.head()
            await client.chunk()
            assert (await rig.ask(ask())).status == 503
        while total(await rig.scrape(), "sidecar_streams_in_flight"):
            pass
        assert (await rig.ask(ask())).status == 200


async def test_a_websocket_is_not_led_there() -> None:
    fields = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    async with proxied() as rig:
        assert (await rig.ask(ask("events=1", *fields, key))).status == 200
        assert not rig.upstream.calls


async def test_a_body_that_nobody_reads_ends_the_connection() -> None:
    """So that none of it can be taken for the next request."""
    async with proxied() as rig, await rig.client() as client:
        smuggled = request("GET", "/v1/models")
        await client.send(request("GET", f"{DRIP}?events=1", body=smuggled + b"x" * 100_000))
        assert (await client.answer()).status == 200
        assert await client.gone() == b""
        assert not rig.upstream.calls


async def test_it_has_a_route_of_its_own_in_the_metrics() -> None:
    async with proxied() as rig:
        await rig.ask(ask())
        metrics = await rig.scrape()
    assert total(metrics, "sidecar_requests_total", route="drip", outcome="completed") == 1
