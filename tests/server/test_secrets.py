"""What nobody may read who is not meant to: a canary in every place where a secret can stand, and
every log, metric, span and answer searched for it, through every way in which a request ends."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sidecar.core.status import StatusPolicy
from sidecar.core.stream import StreamFilter
from sidecar.rules.accesssection import Access
from sidecar.rules.config import Config
from sidecar.rules.configvalues import AccessLog, WebSockets
from sidecar.rules.statussection import StatusSpec
from sidecar.server.app import serving
from sidecar.server.downstream import Downstream
from sidecar.server.exchange import Exchange
from sidecar.server.models import Models
from sidecar.server.proxy import Proxy
from sidecar.server.relay import Relay
from sidecar.server.tracing import Tracing

from .scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Cut,
    Rig,
    Upstream,
    chat,
    chunk,
    configured,
    document,
    event,
    framed,
    proxied,
    request,
    response,
    rule,
    stream_head,
    text,
)
from .test_access import access
from .test_websocket import HANDSHAKE, TARGET

PROMPT, ANSWER, HIDDEN = "canary-prompt-51", "canary-answer-52", "canary-hidden-53"
CLIENT_KEY, OWN_KEY = "sk-canary-client-54-0000", "sk-canary-upstream-55"
QUERY, COOKIE = "canary-query-56", "canary-cookie-57"
SECRETS = (PROMPT, ANSWER, HIDDEN, CLIENT_KEY, OWN_KEY, QUERY, COOKIE)
NOT_FOR_CLIENTS = (HIDDEN, OWN_KEY)

ALL = " ".join(SECRETS)
"""What an upstream may know, in a text of its."""

KEYED = access(mobile=CLIENT_KEY)
CLIENT = (
    f"Authorization: Bearer {CLIENT_KEY}",
    f"Cookie: session={COOKIE}",
    f"X-Note: {PROMPT}",
    f"User-Agent: {COOKIE}",
    f"Referer: http://a/?{QUERY}",
)
PATH = f"/v1/chat/completions?k={QUERY}"
ASKED = {"messages": [{"role": "user", "content": PROMPT}], "user": COOKIE}


def asked(path: str = PATH, **more: Any) -> bytes:
    """A request full of secrets."""
    return chat(*CLIENT, path=path, **ASKED | more)


# --- who listens --------------------------------------------------------------------------------


class Ears:
    """All that an operator, a scraper and a collector get to see."""

    def __init__(self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
        self.exporter = InMemorySpanExporter()
        self.heard = ""
        self._caplog = caplog
        self._capfd = capfd

    def tracing(self, *_: Any, **upstream: Any) -> Tracing:
        """What makes spans, and keeps them."""
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        return Tracing(provider, **upstream)

    def listen(self, scrape: str = "") -> str:
        """All of it until now."""
        out, err = self._capfd.readouterr()
        spans = [span.to_json() for span in self.exporter.get_finished_spans()]
        self.heard += "\n".join([self._caplog.text, out, err, scrape, *spans])
        self._caplog.clear()
        return self.heard


LOGGERS = ("", "asyncio", "sidecar", "aiohttp.server", "aiohttp.client", "aiohttp.web",
           "aiohttp.internal", "aiohttp.websocket", "aiohttp.access")  # fmt: skip


@pytest.fixture
def ears(
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Ears]:
    """They hear everything, down to what only debugging shows; and no secret."""
    found = Ears(caplog, capfd)
    for name in LOGGERS:
        caplog.set_level(logging.DEBUG, name or None)
    monkeypatch.setattr("sidecar.server.app.tracing_from_environment", found.tracing)
    yield found
    heard = found.listen()
    assert [secret for secret in SECRETS if secret in heard] == []


@asynccontextmanager
async def overheard(ears: Ears, **options: Any) -> AsyncIterator[Rig]:
    """A sidecar with keys on both sides, of which everything is heard."""
    status = StatusSpec(StatusPolicy(first_after=None), {})
    usual: dict[str, Any] = {
        "access": KEYED,
        "api_key": OWN_KEY,
        "status": status,
        "access_log": AccessLog.JSON,
    }
    async with proxied(**usual | options) as rig:
        yield rig
        ears.listen(await rig.scrape())
    assert '"outcome"' in ears.listen()


async def got(rig: Rig, raw: bytes) -> bytes:
    """All the bytes of the answer, until the connection is closed."""
    async with await rig.client() as client:
        await client.send(raw)
        with suppress(Cut, ConnectionError):
            answer = await client.answer()
            return str(answer).encode() + answer.body
        return b""


# --- what upstream says -------------------------------------------------------------------------

CALL = {
    "index": 0,
    "id": HIDDEN,
    "type": "function",
    "function": {"name": "look_up", "arguments": json.dumps({HIDDEN: HIDDEN})},
}
TOLD = (f"X-Reasoning: {ALL}", f"Server: {ALL}", f"Set-Cookie: {ALL}")
WHOLE = (
    ROLE,
    chunk({"reasoning_content": HIDDEN, "tool_calls": [CALL]}),
    text(f"<think>{HIDDEN}</think>{ANSWER}"),
    FINISH,
    DONE,
)
LOUD = {"error": {"message": ALL, "type": ALL, "code": ALL, "param": ALL}}


def _stream(*parts: bytes, end: bytes = LAST) -> bytes:
    return stream_head() + b"".join(map(framed, parts)) + end


def _error(status: str, message: str = ALL) -> bytes:
    error = {"message": message, "type": "invalid_request_error", "code": "invalid_api_key"}
    return response(status, body=json.dumps({"error": error}).encode())


ANSWERS = {
    "stream": _stream(*WHOLE),
    "document": response(
        "200 OK",
        body=document({"content": ANSWER, "reasoning": HIDDEN, "tool_calls": [CALL]}),
    ),
    "400": _error("400 Bad", f"{PROMPT} is too long"),
    "401": _error("401 No", f"Incorrect API key provided: {OWN_KEY}."),
    "401 masked": _error("401 No", f"Incorrect API key provided: {OWN_KEY[:9]}***."),
    "400 with the key": _error("400 Bad", f"Bad header Authorization: Bearer {OWN_KEY}"),
    "400 with the key escaped": _error("400 Bad", OWN_KEY).replace(b"sk-", b"\\u0073k-"),
    "403": _error("403 No", f"{PROMPT} {OWN_KEY}"),
    "500": response(f"500 {HIDDEN}", *TOLD, body=json.dumps(LOUD).encode()),
    "HTML": response("502 Bad", body=f"<pre>{ALL}</pre>".encode(), content_type="text/html"),
    "no error object": response("404 No", body=ALL.encode(), content_type="text/plain"),
    "redirect": response("307 Go", f"Location: http://{HIDDEN}/?{ALL}"),
    "switching": f"HTTP/1.1 101 {HIDDEN}\r\nUpgrade: {HIDDEN}\r\n\r\n".encode(),
    "no document": response("200 OK", body=ALL.encode()),
    "another type": response("200 OK", body=ALL.encode(), content_type=f"text/{ALL}"),
    "no HTTP": f"{ALL}\r\n\r\n".encode(),
    "bad header": f"HTTP/1.1 200 OK\r\n{HIDDEN}\r\nX: {ALL}\r\n\r\n".encode(),
    "control byte": response("200 OK", f"Retry-After: {HIDDEN}\x01", body=document({})),
    "long header": response("200 OK", f"X: {HIDDEN * 9000}"),
    "bad length": f"HTTP/1.1 200 OK\r\nContent-Length: {HIDDEN}\r\n\r\n".encode(),
    "encoding": response("200 OK", "Content-Encoding: gzip", body=ALL.encode()),
    "no JSON in a stream": _stream(ROLE, f"data: {HIDDEN} {OWN_KEY}\n\n".encode()),
    "error in a stream": _stream(ROLE, event({"error": {"message": PROMPT}})),
    "bad chunk": _stream(ROLE, end=f"{HIDDEN}\r\n{ALL}".encode()),
    "cut": _stream(ROLE, text(f"<think>{HIDDEN}"), end=b""),
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("mode", ["enforce", "observe"])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_whatever_upstream_says(answer: bytes, mode: str, ears: Ears) -> None:
    """The client sees the answer; what is hidden and the key for upstream it never sees."""
    rules = [rule(mode=mode)]
    async with overheard(ears, rules=rules, idle=1.0, first_byte=1.0) as rig:
        rig.upstream.reply(answer)
        seen = await got(rig, asked())
        [call] = rig.upstream.calls
        assert OWN_KEY in str(call.request)
        assert CLIENT_KEY not in str(call.request)
    if mode == "enforce":
        assert [secret for secret in NOT_FOR_CLIENTS if secret.encode() in seen] == []
    if answer in (ANSWERS["stream"], ANSWERS["document"]):
        assert ANSWER.encode() in seen


@pytest.mark.parametrize("target", ["/v1/models", "/v1/chat/completions/1", "/v1/files"])
@pytest.mark.parametrize("raw", [ANSWERS["401"], ANSWERS["401 masked"]], ids=["whole", "masked"])
async def test_upstreams_word_on_our_key_is_for_no_client(
    target: str, raw: bytes, ears: Ears
) -> None:
    """It quotes it, whole or in parts, even where nothing else is changed."""
    async with overheard(ears, rules=[rule()]) as rig:
        rig.upstream.reply(raw)
        seen = await got(rig, request("GET", f"{target}?{QUERY}", *CLIENT))
    assert b" 401 " in seen
    assert OWN_KEY[:9].encode() not in seen


async def test_a_clients_own_key_is_its_own_matter(ears: Ears) -> None:
    """Without a key of ours, what upstream says of the client's goes to the client."""
    async with overheard(ears, api_key=None, access=Access()) as rig:
        rig.upstream.reply(_error("401 No", f"Incorrect API key provided: {CLIENT_KEY}"))
        for raw in (asked(), request("GET", "/v1/models", *CLIENT)):
            assert CLIENT_KEY.encode() in await got(rig, raw)


async def test_an_upstream_that_is_not_there(ears: Ears, unused_tcp_port: int) -> None:
    """Nothing of the URL either, in which a path or a name may be a secret."""
    url = f"http://127.0.0.1:{unused_tcp_port}/{HIDDEN}/v1"
    config = replace(configured(url, api_key=OWN_KEY, access=KEYED), access_log=AccessLog.JSON)
    async with serving(config) as running:
        rig = Rig(Upstream(""), running)
        seen = await got(rig, asked())
        ears.listen(await rig.scrape())
    assert b" 502 " in seen
    assert HIDDEN.encode() not in seen


# --- what a client says -------------------------------------------------------------------------

BODY = json.dumps({"model": "m", **ASKED}).encode()
LINES = "\r\n".join(CLIENT)
OPENING = f"POST {PATH} HTTP/1.1\r\nHost: a\r\n{LINES}\r\n".encode()

REQUESTS = {
    "no JSON": request("POST", PATH, *CLIENT, body=BODY[:-1]),
    "a key twice": request("POST", PATH, *CLIENT, body=BODY[:-1] + BODY.replace(b"{", b",", 1)),
    "odd model": asked(model=f"{PROMPT} {{}}"),
    "not served": request("GET", f"/{PROMPT}?{QUERY}", *CLIENT),
    "wrong key": chat(f"Authorization: Bearer {CLIENT_KEY}x", path=PATH, **ASKED),
    "wrong host": request("GET", PATH, *CLIENT, host=f"{COOKIE} {PROMPT}"),
    "bad chunk": OPENING + f"Transfer-Encoding: chunked\r\n\r\n{PROMPT}\r\n{ALL}".encode(),
    "bad chunk, not served": OPENING.replace(b"/v1/chat", b"/x")
    + f"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n{PROMPT}\r\n{ALL}".encode(),
    "two framings": OPENING + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
    "bad length": OPENING + f"Content-Length: {PROMPT}\r\n\r\n".encode() + BODY,
    "bad header": OPENING + f"{PROMPT}\r\n\r\n".encode(),
    "folded": OPENING + f" {PROMPT}\r\n\r\n".encode(),
    "not UTF-8": OPENING + b"X-Odd: " + PROMPT.encode() + b"\xff\r\n\r\n",
    "long header": OPENING + b"X-Long: " + PROMPT.encode() * 9000 + b"\r\n\r\n",
    "long target": b"GET /" + PROMPT.encode() * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "no method": f"{PROMPT} / HTTP/1.1\r\n{LINES}\r\n\r\n".encode(),
    "no HTTP": f"{PROMPT} {CLIENT_KEY}\r\n\r\n".encode(),
    "pipelined": request("GET", f"/{PROMPT}", *CLIENT) + f"{PROMPT} {CLIENT_KEY}\r\n".encode(),
    "compressed": request("POST", PATH, *CLIENT, "Content-Encoding: gzip", body=BODY),
    "websocket": request(
        "GET",
        TARGET + QUERY,
        *HANDSHAKE,
        f"Sec-WebSocket-Protocol: openai-insecure-api-key.{CLIENT_KEY}, {PROMPT}",
    ),
}


@pytest.mark.parametrize("raw", REQUESTS.values(), ids=REQUESTS)
async def test_whatever_a_client_says(raw: bytes, ears: Ears) -> None:
    """No bad request is quoted, to nobody."""
    async with proxied(
        access=KEYED, api_key=OWN_KEY, access_log=AccessLog.JSON, websocket=WebSockets.PASS
    ) as rig:
        rig.upstream.reply(_error("418 I'm a teapot"))
        async with await rig.client() as client:
            await client.send(raw)
            client.writer.write_eof()
            seen = await client.gone()
        ears.listen(await rig.scrape())
    for secret in (*NOT_FOR_CLIENTS, CLIENT_KEY, QUERY, COOKIE):
        assert secret.encode() not in seen


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_leaves(begun: bool, ears: Ears) -> None:
    async with overheard(ears) as rig, rig.call(asked()) as (client, call):
        if begun:
            await call.send(stream_head(), framed(WHOLE[0]), framed(WHOLE[1]))
            await client.head()
            await client.chunk()
        client.abort()
        await call.gone()


# --- mistakes of our own ------------------------------------------------------------------------


class Place(NamedTuple):
    """Where a mistake of our own happens; ``begun``: after the answer has begun."""

    owner: type
    name: str
    begun: bool = False


PLACES = {
    "routing": Place(Proxy, "_serve"),
    "judging": Place(Proxy, "_judged"),
    "relaying": Place(Relay, "filtered"),
    "beginning": Place(Downstream, "begin"),
    "filtering": Place(StreamFilter, "feed", begun=True),
    "finishing": Place(StreamFilter, "finish", begun=True),
    "counting": Place(Exchange, "judged", begun=True),
    "waiting": Place(StreamFilter, "wait", begun=True),
    "asking for models": Place(Models, "_list", begun=True),
    "answering": Place(web.StreamResponse, "prepare", begun=True),
}


class Mistake(RuntimeError):
    """What a library may say: its text, its cause and its context quote what it was given."""


def fails(*_: Any, **__: Any) -> Any:
    """Raises Mistake."""
    try:
        raise ValueError(ALL)
    except ValueError as cause:
        raise Mistake(ALL) from cause


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
async def test_a_mistake_of_our_own(
    place: Place, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it happens, what it says is told to nobody; and the next request is served."""
    monkeypatch.setattr(place.owner, place.name, fails)
    early = StatusSpec(StatusPolicy(first_after=0.0), {})
    options: dict[str, Any] = {"status": early} if place.name == "wait" else {}
    async with overheard(ears, models=None, **options) as rig:
        rig.upstream.reply(_stream(*WHOLE))
        seen = await got(rig, asked())
        shown = {secret for secret in SECRETS if secret.encode() in seen}
        assert shown == ({ANSWER} if place.owner is Models else set())
        if not place.begun:
            assert b" 500 " in seen
        monkeypatch.undo()
        monkeypatch.setattr("sidecar.server.app.tracing_from_environment", ears.tracing)
        assert ANSWER.encode() in await got(rig, asked())


async def test_a_mistake_that_nobody_catches(ears: Ears) -> None:
    """In a callback of the loop, with a secret among its arguments, and in a forgotten task."""
    loop = asyncio.get_running_loop()
    async with overheard(ears) as rig:
        rig.upstream.reply(_stream(*WHOLE))
        loop.call_soon(fails, ALL)
        task = loop.create_task(_failing())
        await asyncio.wait([task])
        del task
        loop.call_exception_handler({"message": ALL, "handle": ALL})
        await got(rig, asked())
    assert "in the event loop: Task exception was never retrieved (Mistake)" in ears.heard
    # Nor is anything quoted of what happens while the loop ends.
    assert loop.get_exception_handler() is not None


async def _failing() -> None:
    fails()


# --- configuration ------------------------------------------------------------------------------


@pytest.mark.parametrize("show", [repr, str, "{}".format], ids=["repr", "str", "format"])
def test_a_configuration_shows_no_key(show: Callable[[Config], str]) -> None:
    """Neither itself nor any part of it; of a client's key it holds nothing that could be shown."""
    config = configured("http://a/v1", api_key=OWN_KEY, access=KEYED)
    for part in (config, config.upstream, config.access, *config.access.keys):
        assert not [secret for secret in SECRETS if secret in show(part)]  # type: ignore[arg-type]
    assert KEYED.keys[0].digest.hex() not in show(config)
