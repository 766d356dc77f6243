"""CORS: which pages of other origins may read answers, on every kind of answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sidecar.core.status import StatusPolicy
from sidecar.rules.accesssection import Access, CorsPolicy
from sidecar.rules.configvalues import WebSockets
from sidecar.rules.statussection import StatusSpec

from .scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Answer,
    Rig,
    chat,
    document,
    framed,
    proxied,
    request,
    response,
    rule,
    stream_head,
    streamed,
    text,
)
from .test_access import ACCESS, MOBILE
from .test_metrics import outcomes
from .test_websocket import HANDSHAKE, TARGET

APP, OTHER = "https://app.example.com", "http://localhost:3000"
EXPOSED = "Request-Id, Retry-After, Retry-After-Ms, X-Request-Id, X-Sidecar-Status, X-Should-Retry"


def cors(*origins: str, credentials: bool = False, keys: bool = False) -> Access:
    """Pages of these origins may read answers; ``keys``: and one is asked for."""
    policy = CorsPolicy(origins or (APP, OTHER), credentials, max_age=600.0)
    return Access(keys=ACCESS.keys if keys else (), cors=policy)


def preflight(origin: str | None = APP, *fields: str, path: str = "/v1/chat/completions") -> bytes:
    """A browser's question whether a page may post here."""
    asks = ("Access-Control-Request-Method: POST", *fields)
    return request("OPTIONS", path, *([f"Origin: {origin}"] if origin else []), *asks)


def told(answer: Answer) -> dict[str, str]:
    """What an answer says of origins; each once."""
    names = [name.lower() for name, _ in answer.head.fields]
    found = {name: answer.head.one(name) or "" for name in names if name.startswith("access-")}
    return {name.removeprefix("access-control-"): value for name, value in found.items()}


def varies(answer: Answer) -> set[str]:
    """What an answer depends on."""
    listed = ",".join(answer.head.all("Vary"))
    return {name.strip().lower() for name in listed.split(",") if name.strip()}


async def allowed(rig: Rig, raw: bytes) -> Answer:
    """The answer to a preflight: one without a body, after which the connection goes on."""
    async with await rig.client() as client:
        for _ in range(2):
            await client.send(raw)
            answer = await client.answer(empty=True)
            assert answer.status == 204
        return answer


# --- preflights ---------------------------------------------------------------------------------


async def test_a_preflight_is_answered_by_us() -> None:
    """Whatever is asked for and without a key, as browsers send none; upstream hears nothing."""
    asks = "Access-Control-Request-Headers: authorization, content-type,x-stainless-os"
    async with proxied(access=cors(keys=True)) as rig:
        for path in ("/v1/chat/completions", "/v1/models", "/not/served"):
            answer = await allowed(rig, preflight(APP, asks, path=path))
            assert told(answer) == {
                "allow-origin": APP,
                "allow-methods": "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
                "allow-headers": "authorization, content-type, x-stainless-os",
                "expose-headers": EXPOSED,
                "max-age": "600",
            }
            assert varies(answer) == {
                "origin",
                "access-control-request-method",
                "access-control-request-headers",
                "access-control-request-private-network",
            }
        assert rig.upstream.calls == []
        assert outcomes(await rig.scrape()) == {
            ("api", "none", "completed"): 4.0,
            ("refused", "none", "completed"): 2.0,
        }


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "https://app.example.com.evil.example", "http://app.example.com",
     "https://app.example.com:8443", "https://APP.example.com", "https://app.example.com/", "null",
     f"{APP} {OTHER}", f"{APP}, {OTHER}", "", None],
)  # fmt: skip
async def test_an_origin_that_is_not_listed_is_refused(origin: str | None) -> None:
    """Scheme, host and port are compared as they are."""
    async with proxied(access=cors()) as rig:
        answer = await rig.ask(preflight(origin, "Access-Control-Request-Private-Network: true"))
        assert rig.upstream.calls == []
    assert answer.status == 403
    assert answer.error["code"] == "origin_not_allowed"
    assert told(answer) == {}
    assert varies(answer) == {"origin"}


async def test_every_origin_may_be_allowed() -> None:
    """Then the answer is the same for all."""
    async with proxied(access=cors("*")) as rig:
        for origin in (APP, "null"):
            answer = await allowed(rig, preflight(origin))
            assert told(answer)["allow-origin"] == "*"
            assert "allow-credentials" not in told(answer)
            assert "origin" not in varies(answer)


async def test_what_is_no_name_of_a_header_is_not_repeated() -> None:
    asks = 'Access-Control-Request-Headers: x-a, b c, "x", , <script>, x-é, x-d'
    async with proxied(access=cors()) as rig:
        assert told(await allowed(rig, preflight(APP, asks)))["allow-headers"] == "x-a, x-d"
        for nothing in ("", "a b"):
            asks = f"Access-Control-Request-Headers: {nothing}"
            assert "allow-headers" not in told(await allowed(rig, preflight(APP, asks)))


async def test_a_page_of_the_internet_may_ask_for_a_private_network_if_it_may_ask() -> None:
    async with proxied(access=cors()) as rig:
        asks = "Access-Control-Request-Private-Network: true"
        answer = await allowed(rig, preflight(APP, asks))
        assert told(answer)["allow-private-network"] == "true"
        assert "allow-private-network" not in told(await allowed(rig, preflight(APP)))


async def test_credentials_are_allowed_if_the_configuration_says_so() -> None:
    async with proxied(access=cors(credentials=True)) as rig:
        rig.upstream.reply(WHOLE)
        answers = await allowed(rig, preflight(OTHER)), await rig.ask(chat(f"Origin: {OTHER}"))
        for answer in map(told, answers):
            assert (answer["allow-origin"], answer["allow-credentials"]) == (OTHER, "true")


@pytest.mark.parametrize("fields", [(), (f"Origin: {APP}",)])
async def test_what_is_no_preflight_is_forwarded(fields: tuple[str, ...]) -> None:
    """``OPTIONS`` means something without CORS too; and it needs the key then."""
    raw = request("OPTIONS", "/v1/models", *fields)
    async with proxied(access=cors(keys=True)) as rig:
        rig.upstream.reply(response("200 OK", "Allow: GET", body=b"{}"))
        assert (await rig.ask(raw)).status == 401
        raw = request("OPTIONS", "/v1/models", *fields, f"x-api-key: {MOBILE}")
        assert (await rig.ask(raw)).head.one("Allow") == "GET"


# --- answers ------------------------------------------------------------------------------------

WHOLE = streamed(ROLE, text("a"), FINISH, DONE)
THEIRS = (
    "Access-Control-Allow-Origin: *",
    "Access-Control-Allow-Credentials: true",
    "Access-Control-Expose-Headers: X-Reasoning",
    "access-control-allow-methods: GET",
    "Access-Control-Whatever: yes",
    "Vary: Accept",
    "vary: Accept-Language",
)
STREAM = stream_head(*THEIRS) + b"".join(map(framed, (ROLE, text("a"), FINISH, DONE))) + LAST
DOCUMENT = response("200 OK", *THEIRS, body=document({"content": "a"}))
ERROR = response("429 Slow", *THEIRS, "Retry-After: 3", body=b'{"error": {"message": "m"}}')


def models(*fields: str) -> bytes:
    """A request that no rule is about."""
    return request("GET", "/v1/models", *fields)


def refused(*fields: str) -> bytes:
    """A request that is not served."""
    return request("GET", "/not/served", *fields)


def stored(*fields: str) -> bytes:
    """A request for an answer of before."""
    return request("GET", "/v1/chat/completions/1", *fields)


ANSWERS: dict[str, tuple[Callable[..., bytes], bytes, int]] = {
    "stream": (chat, STREAM, 200),
    "document": (chat, DOCUMENT, 200),
    "error": (chat, ERROR, 429),
    "no answer": (chat, b"", 502),
    "untouched": (models, DOCUMENT, 200),
    "untouched error": (models, ERROR, 429),
    "refused": (refused, b"", 404),
    "stored": (stored, DOCUMENT, 200),
    "observed": (chat, STREAM, 200),
}

per_answer = pytest.mark.parametrize(("asked", "raw", "status"), ANSWERS.values(), ids=ANSWERS)


@per_answer
async def test_every_answer_says_who_may_read_it(
    asked: Callable[..., bytes], raw: bytes, status: int, request: pytest.FixtureRequest
) -> None:
    """Once, and nothing of what upstream says of that; our own errors too."""
    observes = "observed" in request.node.name
    options: dict[str, Any] = {"rules": [rule(mode="observe")]} if observes else {}
    async with proxied(access=cors(keys=True), **options) as rig:
        rig.upstream.reply(raw)
        for origin in (APP, OTHER):
            answer = await rig.ask(asked(f"Origin: {origin}", f"x-api-key: {MOBILE}"))
            assert answer.status == status
            assert told(answer) == {"allow-origin": origin, "expose-headers": EXPOSED}
            assert "origin" in varies(answer)
        # Whoever is not listed gets an answer that no browser shows to a page.
        for fields in ((), ("Origin: https://evil.example",), ("Origin: null",)):
            answer = await rig.ask(asked(*fields, f"x-api-key: {MOBILE}"))
            assert answer.status == status
            assert told(answer) == {}
            assert "origin" in varies(answer)
        answer = await rig.ask(asked(f"Origin: {APP}"))
        assert answer.status == 401
        assert told(answer) == {"allow-origin": APP, "expose-headers": EXPOSED}


async def test_what_else_an_answer_depends_on_stays() -> None:
    async with proxied(access=cors()) as rig:
        for vary, said in (
            (("Vary: Accept", "vary: Accept-Language"), {"origin", "accept", "accept-language"}),
            (("Vary: accept, ORIGIN",), {"origin", "accept"}),
            (("Vary: *",), {"*"}),
            ((), {"origin"}),
        ):
            rig.upstream.reply(response("200 OK", *vary, body=b"{}"))
            answer = await rig.ask(models(f"Origin: {APP}"))
            assert varies(answer) == said
            assert len(answer.head.all("Vary")) == 1


async def test_without_cors_upstream_decides() -> None:
    """Its answer to a preflight, and its headers on every answer."""
    async with proxied() as rig:
        rig.upstream.reply(response("204 No Content", *THEIRS, content_type=None))
        assert told(await allowed(rig, preflight()))["allow-origin"] == "*"
        assert rig.upstream.calls[0].request.one("Origin") == APP
        rig.upstream.reply(DOCUMENT)
        for raw in (chat(f"Origin: {APP}"), models(f"Origin: {APP}")):
            assert told(await rig.ask(raw))["allow-origin"] == "*"


async def test_an_answer_to_a_page_may_begin_before_upstreams() -> None:
    """It is ours to say who may read it, so nobody waits for upstream's word."""
    status = StatusSpec(StatusPolicy(first_after=0.0), {})
    raw = chat(f"Origin: {APP}", "Sec-Fetch-Site: cross-site")
    async with proxied(access=cors(), status=status) as rig, rig.call(raw) as (client, call):
        head = await client.head()
        assert await client.chunk()
        await call.send(WHOLE)
    assert head.status == 200
    assert told(Answer(head, b"")) == {"allow-origin": APP, "expose-headers": EXPOSED}


# --- WebSockets ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "opened"),
    [(APP, True), (None, True), ("http://sidecar", True), ("https://evil.example", False),
     ("http://sidecar:1", False), ("null", False), ("", False)],
)  # fmt: skip
async def test_a_page_that_is_not_listed_opens_no_websocket(
    origin: str | None, opened: bool
) -> None:
    """No browser looks after that. Programs say no origin, or that of the server."""
    fields = HANDSHAKE if origin is None else (*HANDSHAKE, f"Origin: {origin}")
    async with proxied(access=cors(), websocket=WebSockets.PASS) as rig:
        rig.upstream.reply(response("418 I'm a teapot"))
        answer = await rig.ask(request("GET", TARGET, *fields))
        assert len(rig.upstream.calls) == opened
    assert answer.status == (418 if opened else 403)
