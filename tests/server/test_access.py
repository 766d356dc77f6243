"""Keys of clients: who may ask, who is told apart, and where a key goes."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest

from sidecar.rules.accesssection import Access, ClientKey
from sidecar.rules.configvalues import AccessLog, WebSockets
from sidecar.rules.match import Match
from sidecar.wire.formats import WireFormat

from .scripted import (
    DONE,
    FINISH,
    ROLE,
    Answer,
    chat,
    document,
    proxied,
    request,
    response,
    rule,
    streamed,
    text,
)
from .test_metrics import total
from .test_websocket import HANDSHAKE, TARGET, tunnels
from .test_wire_formats import per_format

MOBILE, NEXT, OPS = "sk-mobile-0000000001", "sk-mobile-0000000002", "sk-ops-000000000003"
OWN = "sk-upstream-00000004"


def access(**keys: str) -> Access:
    """Keys by their values; a name may have several, which are told apart by what follows a _."""
    return Access(
        keys=tuple(
            ClientKey(name.partition("_")[0], hashlib.sha256(key.encode()).digest())
            for name, key in keys.items()
        )
    )


ACCESS = access(mobile=MOBILE, mobile_next=NEXT, ops=OPS)
WHOLE = streamed(ROLE, text("a"), FINISH, DONE)


# --- who may ask --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        (f"Authorization: Bearer {MOBILE}",),
        (f"authorization: bearer   {NEXT}",),
        (f"X-API-Key: {OPS}",),
        (f"Authorization: Bearer {MOBILE}", "x-api-key: another"),
        ("Authorization: Basic YTpi", f"x-api-key: {MOBILE}"),
        ("Authorization: Bearer wrong", f"Authorization: Bearer {MOBILE}"),
    ],
)
async def test_whoever_shows_a_key_is_served(fields: tuple[str, ...]) -> None:
    """In either of the two headers that clients use; and several keys may be valid at a time."""
    async with proxied(access=ACCESS) as rig:
        rig.upstream.reply(WHOLE)
        assert (await rig.ask(chat(*fields))).status == 200


NO_KEY = [
    (),
    ("Authorization:",),
    ("Authorization: Bearer",),
    ("Authorization: Bearer ",),
    (f"Authorization: {MOBILE}",),
    (f"Authorization: Basic {MOBILE}",),
    (f"Authorization: Bearer {MOBILE[:-1]}",),
    (f"Authorization: Bearer {MOBILE}0",),
    (f"Authorization: Bearer {MOBILE.upper()}",),
    (f"Authorization: Bearer {MOBILE} {MOBILE}",),
    (f"Authorization: Bearer {MOBILE}, Bearer {MOBILE}",),
    ("Authorization: Bearer \xff",),
    (f"Authorization: Bearer {hashlib.sha256(MOBILE.encode()).hexdigest()}",),
    ("x-api-key:",),
    (f"x-api-key: Bearer {MOBILE}",),
    (f"api-key: {MOBILE}",),
    (f"Cookie: {MOBILE}", f"X-Sidecar-Key: {MOBILE}"),
    (f"Sec-WebSocket-Protocol: openai-insecure-api-key.{MOBILE}",),
    # Ways round other proxies: what a probe says it is, and what one in front may say.
    ("User-Agent: kube-probe/1.29", "X-Forwarded-Uri: /healthz", "X-Forwarded-For: 127.0.0.1"),
]


@pytest.mark.parametrize("fields", NO_KEY)
async def test_whoever_shows_none_is_not(fields: tuple[str, ...]) -> None:
    """And upstream hears nothing of it."""
    async with proxied(access=ACCESS) as rig:
        answer = await rig.ask(chat(*fields, path=f"/v1/chat/completions?api_key={MOBILE}"))
        assert rig.upstream.calls == []
    assert answer.status == 401
    assert answer.head.one("WWW-Authenticate") == "Bearer"
    assert answer.error["code"] == "invalid_api_key"
    assert MOBILE not in str(answer)


async def test_the_body_of_whoever_shows_none_is_not_asked_for() -> None:
    """It is refused by its head, and the connection ends with that."""
    head = "Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
    async with proxied(access=ACCESS) as rig, await rig.client() as client:
        await client.send(f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n{head}".encode())
        answer = await client.answer()
    assert answer.status == 401
    assert answer.head.one("Connection") == "close"


@per_format
async def test_it_is_told_in_the_words_of_the_format(wire_format: WireFormat) -> None:
    async with proxied(access=ACCESS) as rig:
        answer = await rig.ask(chat(path=wire_format.path))
    assert answer.status == 401
    body = json.loads(answer.body)
    error = {"message": "The request shows no key that is valid here.", "code": "invalid_api_key"}
    assert body == wire_format.error(401, error)


@pytest.mark.parametrize(
    "target", ["/v1/models", "/metrics", "/internal/x", "/v1/chat/../x", "//a/b", "http://a/b"]
)
@pytest.mark.parametrize("fields", [(), HANDSHAKE], ids=["http", "websocket"])
async def test_nobody_without_a_key_learns_what_is_served(
    target: str, fields: tuple[str, ...]
) -> None:
    """Paths that are and that are not have the same answer, to the byte."""

    def told(answer: Answer) -> Any:
        return [pair for pair in answer.head.fields if pair[0] != "Date"], answer.body

    async with proxied(access=ACCESS, paths=("/internal/*",)) as rig:
        one = await rig.ask(request("GET", target, *fields))
        other = await rig.ask(request("GET", "/v1/models", *fields))
    assert one.status == 401
    assert told(one) == told(other)


async def test_every_key_is_compared_whichever_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long an answer takes for the first as for the last, and for none."""
    compared = 0
    original = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        nonlocal compared
        compared += 1
        assert len(one) == len(other)
        return original(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    async with proxied(access=ACCESS) as rig:
        rig.upstream.reply(WHOLE)
        for key in (MOBILE, NEXT, OPS, "x", "x" * 8000):
            compared = 0
            await rig.ask(chat(f"Authorization: Bearer {key}"))
            assert compared == 3


# --- where a key goes ---------------------------------------------------------------------------

ROUTES = {
    "judged": chat,
    "stored": lambda *fields: request("GET", "/v1/chat/completions/1", *fields),
    "untouched": lambda *fields: request("GET", "/v1/models", *fields),
    "streamed": lambda *fields: request("POST", "/v1/files", *fields, body=b"x"),
    "listed": lambda *fields: request("GET", "/internal/x", *fields),
}

per_route = pytest.mark.parametrize("asked", ROUTES.values(), ids=ROUTES)


@per_route
@pytest.mark.parametrize("api_key", [None, OWN])
async def test_the_key_stays_between_the_client_and_us(asked: Any, api_key: str | None) -> None:
    """Upstream gets its own, if there is one; and what else the client sends for it."""
    fields = (f"Authorization: Bearer {MOBILE}", f"x-api-key: {MOBILE}", "Cookie: a=b")
    async with proxied(access=ACCESS, api_key=api_key, paths=("/internal/*",)) as rig:
        rig.upstream.reply(response("200 OK", body=document({"content": "a"})))
        assert (await rig.ask(asked(*fields))).status == 200
        [call] = rig.upstream.calls
    assert call.request.all("Authorization") == ([f"Bearer {OWN}"] if api_key else [])
    assert call.request.all("x-api-key") == []
    assert call.request.all("Cookie") == ["a=b"]
    assert MOBILE not in str(call.request)


@per_route
async def test_a_key_of_the_clients_own_for_upstream_goes_on(asked: Any) -> None:
    """Where it stands beside the one for us: either may be in either header."""
    async with proxied(access=ACCESS, paths=("/internal/*",)) as rig:
        rig.upstream.reply(response("200 OK", body=document({"content": "a"})))
        await rig.ask(asked(f"Authorization: Bearer {MOBILE}", "x-api-key: sk-theirs"))
        await rig.ask(asked("Authorization: Bearer sk-theirs", f"x-api-key: {OPS}"))
        first, second = (call.request for call in rig.upstream.calls)
    assert (first.all("Authorization"), first.all("x-api-key")) == ([], ["sk-theirs"])
    assert (second.all("Authorization"), second.all("x-api-key")) == (["Bearer sk-theirs"], [])


async def test_without_keys_the_clients_own_goes_through_as_it_came() -> None:
    async with proxied() as rig:
        rig.upstream.reply(WHOLE)
        await rig.ask(chat(f"Authorization: Bearer {MOBILE}", f"x-api-key: {MOBILE}"))
        [call] = rig.upstream.calls
    assert call.request.all("Authorization") == [f"Bearer {MOBILE}"]
    assert call.request.all("x-api-key") == [MOBILE]


async def test_a_rule_may_still_ask_for_the_key() -> None:
    """It is about what the client has sent, not about what upstream gets."""
    own = rule("ops", match=Match(headers=(("authorization", f"Bearer {OPS}"),)), reasoning="keep")
    answers = {}
    async with proxied(access=ACCESS, rules=[own, rule("others")]) as rig:
        rig.upstream.reply(streamed(ROLE, text("<think>hm</think>a"), FINISH, DONE))
        for key in (OPS, MOBILE):
            answers[key] = (await rig.ask(chat(f"Authorization: Bearer {key}"))).body
    assert b"hm" in answers[OPS]
    assert b"hm" not in answers[MOBILE]


# --- WebSockets ---------------------------------------------------------------------------------

PROTOCOL = "openai-insecure-api-key."


@pytest.mark.parametrize("api_key", [None, OWN])
@pytest.mark.parametrize("shown", ["subprotocol", "header"])
async def test_a_websocket_shows_its_key_in_a_subprotocol_or_in_a_header(
    shown: str, api_key: str | None
) -> None:
    """A browser can set no header; the rest of what it offers reaches upstream."""
    offered = ["realtime", "openai-beta.v1"]
    headers = {"Authorization": f"Bearer {MOBILE}"} if shown == "header" else {}
    if shown == "subprotocol":
        offered.insert(0, PROTOCOL + MOBILE)
    async with (
        tunnels(("realtime",), access=ACCESS, api_key=api_key) as opened,
        opened.open(offered, headers) as (client, _, asked, _),
    ):
        assert client.protocol == "realtime"
        assert asked.headers["Sec-WebSocket-Protocol"].split(",") == offered[-2:]
        assert asked.headers.getall("Authorization", []) == ([f"Bearer {OWN}"] if api_key else [])
        assert MOBILE not in str(asked.headers)


@pytest.mark.parametrize(
    "offered", ["realtime", PROTOCOL, PROTOCOL + MOBILE[:-1], MOBILE, f"x{PROTOCOL}{MOBILE}"]
)
async def test_a_websocket_without_a_key_is_not_opened(offered: str) -> None:
    fields = (*HANDSHAKE, f"Sec-WebSocket-Protocol: {offered}")
    async with proxied(access=ACCESS, websocket=WebSockets.PASS) as rig:
        answer = await rig.ask(request("GET", TARGET, *fields))
        assert rig.upstream.calls == []
    assert answer.status == 401


# --- what is told -------------------------------------------------------------------------------


async def test_clients_are_counted_by_their_names() -> None:
    """Several keys of a name are one client; who has none is nobody."""
    async with proxied(access=ACCESS) as rig:
        rig.upstream.reply(WHOLE)
        for key in (MOBILE, NEXT, OPS, "sk-unknown", ""):
            await rig.ask(chat(f"x-api-key: {key}"))
        await rig.ask(request("GET", "/internal", f"x-api-key: {OPS}"))
        scrape = await rig.scrape()
    name = "sidecar_client_requests_total"
    assert total(scrape, name, client="mobile", outcome="completed") == 2
    assert total(scrape, name, client="ops", outcome="completed") == 1
    assert total(scrape, name, client="ops", outcome="refused") == 1
    assert total(scrape, name, client="none", outcome="refused") == 2
    assert total(scrape, name) == 6
    assert not [key for key in (MOBILE, NEXT, OPS, "sk-unknown") if key in scrape]


async def test_nobody_is_counted_without_keys() -> None:
    async with proxied() as rig:
        rig.upstream.reply(WHOLE)
        await rig.ask(chat(f"x-api-key: {MOBILE}"))
        assert "sidecar_client_requests" not in await rig.scrape()


async def test_the_access_log_has_the_name_and_not_the_key(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with proxied(access=ACCESS, access_log=AccessLog.JSON) as rig:
        rig.upstream.reply(WHOLE)
        await rig.ask(chat(f"Authorization: Bearer {NEXT}"))
        await rig.ask(chat("Authorization: Bearer sk-unknown"))
    out = capsys.readouterr().out
    known, unknown = map(json.loads, out.splitlines())
    assert (known["client"], known["status"]) == ("mobile", 200)
    assert "client" not in unknown
    assert unknown["status"] == 401
    assert "sk-" not in out
