"""Who a message came through, who answered, and when: Via, Server and Date (RFC 9110, 7.6.3, 10.2.4
and 6.6.1)."""

from __future__ import annotations

import re

import pytest

from sidecar.rules.configvalues import WebSockets

from .scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Head,
    chat,
    document,
    framed,
    proxied,
    request,
    response,
    rule,
    stream_head,
    text,
)
from .test_websocket import HANDSHAKE, tunnels

MODELS = request("GET", "/v1/models")
DATE = "Thu, 01 Jan 1970 00:00:00 GMT"
THEIRS = ("Server: theirs", "Via: 1.1 gateway, HTTP/2 edge", "Via: 1.0 last", f"Date: {DATE}")
STREAM = framed(ROLE + text("a") + FINISH + DONE) + LAST
NOW = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} 20\d\d \d\d:\d\d:\d\d GMT")


def who(head: Head) -> tuple[str | None, str | None, str | None]:
    """What a message says of itself."""
    return head.one("Server"), head.one("Via"), head.one("Date")


@pytest.mark.parametrize("rules", [None, ()], ids=["filtered", "untouched"])
@pytest.mark.parametrize(
    ("fields", "via"),
    [
        ((), "1.1 sidecar"),
        (("Via: 1.1 a",), "1.1 a, 1.1 sidecar"),
        (("Via: 1.1 a, 2 b", "via: 1.1 c (x)"), "1.1 a, 2 b, 1.1 c (x), 1.1 sidecar"),
    ],
)
async def test_a_request_says_that_it_came_through_us(
    rules: tuple[object, ...] | None, fields: tuple[str, ...], via: str
) -> None:
    """Last, after all before us."""
    async with proxied(rules=rules) as rig, rig.call(chat(*fields)) as (_, call):
        assert call.request.one("Via") == via


async def test_the_version_is_that_in_which_the_request_came() -> None:
    """Not the one in which it goes on."""
    asked = MODELS.replace(b"HTTP/1.1", b"HTTP/1.0")
    async with proxied() as rig, rig.call(asked) as (_, call):
        assert call.request.start == "GET /v1/models HTTP/1.1"
        assert call.request.one("Via") == "1.0 sidecar"


@pytest.mark.parametrize("asked", [MODELS, chat()])
async def test_an_untouched_answer_is_upstreams(asked: bytes) -> None:
    """Its server and its date stay; the way that it came is complete."""
    async with proxied(rules=()) as rig:
        rig.upstream.reply(response("200 OK", *THEIRS, body=b"{}"))
        head = (await rig.ask(asked)).head
        assert who(head) == ("theirs", "1.1 gateway, HTTP/2 edge, 1.0 last, 1.1 sidecar", DATE)
        rig.upstream.reply(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        assert (await rig.ask(asked)).head.one("Via") == "1.0 sidecar"


async def test_an_observed_answer_is_upstreams() -> None:
    """Nothing of it is changed."""
    async with proxied(rules=[rule(mode="observe")]) as rig:
        rig.upstream.reply(response("200 OK", *THEIRS, body=document({"content": "a"})))
        head = (await rig.ask(chat())).head
    assert who(head) == ("theirs", "1.1 gateway, HTTP/2 edge, 1.0 last, 1.1 sidecar", DATE)


@pytest.mark.parametrize(
    "raw",
    [
        stream_head(*THEIRS) + STREAM,
        response("200 OK", *THEIRS, body=document({"content": "a"})),
        response("400 Bad", *THEIRS, body=b'{"error":{"message":"x"}}'),
    ],
    ids=["stream", "document", "error"],
)
async def test_a_filtered_answer_is_ours(raw: bytes) -> None:
    """What is upstream's in it was written at upstream's time."""
    async with proxied() as rig:
        rig.upstream.reply(raw)
        assert who((await rig.ask(chat())).head) == ("sidecar", "1.1 sidecar", DATE)


@pytest.mark.parametrize(
    "raw",
    [stream_head() + STREAM, response("200 OK", body=document({"content": "a"}))],
    ids=["stream", "document"],
)
@pytest.mark.parametrize("rules", [None, ()], ids=["filtered", "untouched"])
async def test_what_upstream_does_not_say_we_do(
    raw: bytes, rules: tuple[object, ...] | None
) -> None:
    """And no library does."""
    async with proxied(rules=rules) as rig:
        rig.upstream.reply(raw)
        server, via, date = who((await rig.ask(chat())).head)
    assert (server, via) == ("sidecar", "1.1 sidecar")
    assert NOW.fullmatch(date or "")


@pytest.mark.parametrize(
    "asked", [request("GET", "/nowhere"), request("POST", "/v1/chat/completions", body=b"{")]
)
async def test_an_answer_of_our_own(asked: bytes) -> None:
    """A refusal says who refused."""
    async with proxied() as rig:
        server, via, date = who((await rig.ask(asked)).head)
    assert (server, via) == ("sidecar", "1.1 sidecar")
    assert NOW.fullmatch(date or "")


async def test_a_websocket() -> None:
    """Its handshake is a request and an answer like any other."""
    async with tunnels() as opened, opened.open(headers={"Via": "1.1 a"}) as ends:
        assert ends.asked.headers.getall("Via") == ["1.1 a, 1.1 sidecar"]
    asked = request("GET", "/v1/realtime", *HANDSHAKE)
    async with proxied(websocket=WebSockets.PASS) as rig, rig.call(asked) as (client, call):
        await call.send(response("403 Forbidden", body=b"{}"))
        assert who((await client.answer()).head)[:2] == ("sidecar", "1.1 sidecar")
