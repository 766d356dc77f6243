"""The data plane: one request in, one answer out."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from enum import Enum, auto
from typing import Any

import aiohttp
from aiohttp import web

from sidecar.core.jsontext import MalformedJSON, dump, parse
from sidecar.core.stream import Fault
from sidecar.metrics import Metrics
from sidecar.rules.config import Config
from sidecar.rules.ruleset import Rule, RuleSet
from sidecar.server import headers as passed
from sidecar.server.advice import Advice
from sidecar.server.exchange import Exchange, Outcome
from sidecar.server.inquiry import read_inquiry
from sidecar.server.relay import TIMED_OUT, CutOff, Relay
from sidecar.server.replies import Refusal, error_reply, json_reply
from sidecar.server.routes import Kind, Routes
from sidecar.server.upstream import Body, UpstreamClient, is_readable
from sidecar.wire.chat import Chat
from sidecar.wire.completions import Completions
from sidecar.wire.errors import visible_error
from sidecar.wire.ruling import Ruling

_WIRES: dict[Kind, type[Chat]] = {Kind.CHAT: Chat, Kind.COMPLETIONS: Completions}
"""The wire formats of the routes that are filtered."""

_NOT_UTF8 = re.compile("[\udc80-\udcff]")
"""What stands for a byte of a header that is not UTF-8; it could not be sent on as it came."""

_REQUEST_IDLE = 60.0
"""Seconds without a byte of a request's body, after which it is given up: more than any network
stalls, and less than a connection may be held for nothing."""

_ERROR_BODY = 65_536
"""Bytes of an upstream error that are read; servers were seen to send a hundred megabytes."""


class Proxy:
    """Serves requests by ``config`` and ``rules``."""

    def __init__(
        self, config: Config, rules: RuleSet, upstream: UpstreamClient, metrics: Metrics
    ) -> None:
        self._config = config
        self._rules = rules
        self._upstream = upstream
        self._metrics = metrics
        self._advice = Advice()
        self._routes = Routes(config.upstream.base_url, config.paths)

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one request; the handler of the data listener."""
        exchange = Exchange(self._metrics)
        try:
            return await self._serve(request, exchange)
        except Refusal as refusal:
            exchange.outcome = _outcome_of(refusal)
            reply = error_reply(refusal.status, refusal.fault)
            if not request.content.at_eof():
                reply.force_close()
            return reply
        except CutOff as cut:
            exchange.outcome = cut.outcome
            raise ConnectionResetError from None
        except Exception:
            exchange.outcome = Outcome.FAILED
            raise
        finally:
            exchange.end()

    async def _serve(self, request: web.BaseRequest, exchange: Exchange) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        route = self._routes.find(request.method, path)
        exchange.kind = route.kind
        if route.kind is Kind.REFUSED:
            raise Refusal(404, "not_found", "This path is not served here.")
        if any(map(_NOT_UTF8.search, request.headers.values())):
            raise Refusal(400, "bad_request", "The value of a request header is not UTF-8.")
        if "upgrade" in request.headers and request.headers["upgrade"].lower() == "websocket":
            raise Refusal(501, "not_supported", "WebSockets are not served here.")
        await _continue(request)
        url = f"{route.url}?{query}" if query else route.url
        if route.kind in _WIRES and self._rules.rules:
            return await self._judged(request, exchange, path, url)
        return await self._untouched(request, exchange, url, _streamed(request))

    async def _judged(
        self, request: web.BaseRequest, exchange: Exchange, path: str, url: str
    ) -> web.StreamResponse:
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Refusal(415, "unsupported_encoding", "Send the request body uncompressed.")
        body = await self._read_body(request)
        inquiry = read_inquiry(request, path, body)
        facts = inquiry.facts
        completes = exchange.kind is Kind.COMPLETIONS
        if completes:
            # It has no tools: the key would only choose another rule.
            facts = replace(facts, tools_declared=False)
        rule = self._rules.choose(facts)
        if rule is None:
            return await self._untouched(request, exchange, url, body)
        exchange.rule = rule.name
        ruling = rule.ruling(
            inquiry.tools,
            model=facts.model,
            thinking_off=inquiry.thinking_off,
            raw_prompt=inquiry.raw_prompt if completes else None,
            seed=secrets.token_hex(6),
        )
        try:
            return await self._filtered(request, exchange, url, body, rule, ruling)
        finally:
            closed = exchange.stats is not None and exchange.stats.orphan_closers
            # Of a completion each prompt decides anew, and no rule could.
            if closed and not completes:
                self._advice.orphan_closer(facts.model)

    async def _untouched(
        self, request: web.BaseRequest, exchange: Exchange, url: str, body: Body
    ) -> web.StreamResponse:
        headers = self._headers(request, filtered=False)
        if request.content_length is not None and body is not None:
            headers["Content-Length"] = str(request.content_length)
        async with self._answer(request.method, url, headers, body, decode=False) as answer:
            relay = self._relay(request, answer, exchange)
            return await relay.raw(passed.untouched(answer.headers.items()))

    async def _filtered(
        self,
        request: web.BaseRequest,
        exchange: Exchange,
        url: str,
        body: bytes,
        rule: Rule,
        ruling: Ruling,
    ) -> web.StreamResponse:
        headers = self._headers(request, filtered=True)
        wire = _WIRES[exchange.kind](ruling)
        if rule.observes:
            async with self._answer(request.method, url, headers, body, decode=False) as answer:
                relay = self._relay(request, answer, exchange)
                untouched = passed.untouched(answer.headers.items())
                if _kind_of(answer, decoded=False) is None:
                    return await relay.raw(untouched)
                return await relay.observed(untouched, wire)
        async with self._answer(request.method, url, headers, body, decode=True) as answer:
            relay = self._relay(request, answer, exchange)
            harmless = passed.harmless(answer.headers.items(), self._config.response_headers)
            if answer.status >= 400:
                exchange.outcome = Outcome.UPSTREAM_ERROR
                return await _error(relay, answer.status, harmless, ruling)
            kind = _kind_of(answer, decoded=True)
            if kind is None:
                raise _unexpected(answer)
            reply = relay.events if kind is _Kind.EVENTS else relay.document
            return await reply(harmless, wire)

    def _headers(self, request: web.BaseRequest, *, filtered: bool) -> passed.Headers:
        return passed.to_upstream(
            request.headers.items(), api_key=self._config.upstream.api_key, filtered=filtered
        )

    def _relay(
        self, request: web.BaseRequest, answer: aiohttp.ClientResponse, exchange: Exchange
    ) -> Relay:
        config = self._config
        return Relay(request, answer, exchange, config.upstream.timeouts, config.limits.event)

    @asynccontextmanager
    async def _answer(
        self, method: str, url: str, headers: passed.Headers, body: Body, *, decode: bool
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The head of upstream's answer; its connection is closed afterwards, come what may."""
        try:
            async with asyncio.timeout(self._config.upstream.timeouts.first_byte) as scope:
                if body is not None and not isinstance(body, bytes):
                    body = _while_it_flows(body, scope)
                answer = await self._upstream.send(method, url, headers, body, decode=decode)
        except aiohttp.ServerTimeoutError:
            raise Refusal(
                504, "upstream_unreachable", "The upstream server could not be reached in time."
            ) from None
        except TimeoutError:
            raise Refusal(504, TIMED_OUT.code, TIMED_OUT.message) from None
        except aiohttp.ClientConnectorError:
            raise Refusal(
                502, "upstream_unreachable", "The upstream server could not be reached."
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error.__cause__, Refusal):
                raise error.__cause__ from None  # of the request's own body
            raise Refusal(
                502, "upstream_malformed", "The upstream server's answer is not valid HTTP."
            ) from None
        try:
            if answer.status < 200:
                raise _unexpected(answer)
            yield answer
        finally:
            answer.close()

    async def _read_body(self, request: web.BaseRequest) -> bytes:
        limit = self._config.limits.request_body
        body = bytearray()
        async for chunk in _pieces(request):
            body += chunk
            if len(body) > limit:
                raise Refusal(
                    413, "request_too_large", f"The request body is larger than {limit} bytes."
                )
        return bytes(body)


class _Kind(Enum):
    EVENTS = auto()
    DOCUMENT = auto()


def _kind_of(answer: aiohttp.ClientResponse, *, decoded: bool) -> _Kind | None:
    """How the answer is read; None if it is none that could be."""
    if answer.status != 200 or not is_readable(answer, decoded=decoded):
        return None
    if answer.content_type == "text/event-stream":
        return _Kind.EVENTS
    return _Kind.DOCUMENT if answer.content_type == "application/json" else None


def _unexpected(answer: aiohttp.ClientResponse) -> Refusal:
    what = (
        f"with status {answer.status}"
        if answer.status != 200
        else "neither with an event stream nor with JSON"
    )
    return Refusal(502, "upstream_malformed", f"The upstream server answered {what}.")


async def _error(
    relay: Relay, status: int, headers: passed.Headers, ruling: Ruling
) -> web.StreamResponse:
    """Upstream's error, if it is a well-formed error object, or one of our own."""
    own = Fault("upstream_error", f"The upstream server answered with status {status}.")
    try:
        error = _error_object(parse(await relay.body(_ERROR_BODY)).value)
    except (Refusal, MalformedJSON):
        error = None
    if error is None:
        return error_reply(status, own, headers)
    record, _ = visible_error(error, ruling)
    return json_reply(status, dump({"error": record}, exact=True), headers)


def _error_object(document: Any) -> Any:
    """The error in an error document: OpenAI's ``error`` object, older vLLM's flat one, or
    FastAPI's ``detail``."""
    if not isinstance(document, dict):
        return None
    if document.get("error"):
        return document["error"]
    if isinstance(document.get("message"), str):
        return document
    return document["detail"] if isinstance(document.get("detail"), str) else None


def _outcome_of(refusal: Refusal) -> Outcome:
    if refusal.status < 500 or refusal.status == 501:
        return Outcome.REFUSED
    return Outcome.UPSTREAM_TIMEOUT if refusal.status == 504 else Outcome.UPSTREAM_ERROR


async def _continue(request: web.BaseRequest) -> None:
    """Ask for the body, if the client waits to be asked (RFC 9110, 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer has not begun


def _streamed(request: web.BaseRequest) -> AsyncIterator[bytes] | None:
    return _pieces(request) if request.body_exists else None


async def _pieces(request: web.BaseRequest) -> AsyncIterator[bytes]:
    """The request's body as it arrives."""
    while True:
        try:
            async with asyncio.timeout(_REQUEST_IDLE):
                chunk = await request.content.readany()
        except TimeoutError:
            raise Refusal(
                408, "request_timeout", "The request body did not arrive in time."
            ) from None
        except web.RequestPayloadError:
            raise Refusal(400, "bad_request", "The request body is not valid HTTP.") from None
        if not chunk:
            return
        yield chunk


async def _while_it_flows(
    body: AsyncIterator[bytes], scope: asyncio.Timeout
) -> AsyncIterator[bytes]:
    """``body``; the wait for the answer begins anew with each piece of it."""
    loop = asyncio.get_running_loop()
    deadline = scope.when()
    seconds = 0.0 if deadline is None else deadline - loop.time()
    async for piece in body:
        yield piece
        with suppress(RuntimeError):  # the answer's head is here, and the wait is over
            scope.reschedule(loop.time() + seconds)
