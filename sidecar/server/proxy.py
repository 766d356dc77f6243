"""The data plane: one request in, one answer out."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

import aiohttp
from aiohttp import web

from sidecar.core.jsontext import parse
from sidecar.core.policy import Unknown
from sidecar.core.status import NO_STATUSES, TEXTS, Beat, Form, Statuses
from sidecar.core.stream import Fault, StreamFilter
from sidecar.dialects import DIALECTS
from sidecar.rules.config import Config
from sidecar.rules.configvalues import WebSockets
from sidecar.rules.match import RequestFacts
from sidecar.rules.ruleset import Rule, RuleSet
from sidecar.server import headers as passed
from sidecar.server.access import Access
from sidecar.server.advice import Advice
from sidecar.server.cors import Cors
from sidecar.server.downstream import Downstream
from sidecar.server.drip import drip
from sidecar.server.errorreply import upstream_error, upstream_error_in_stream
from sidecar.server.exchange import CutOff, Exchange, Outcome, Reporting
from sidecar.server.inflight import InFlight, Stopping, TooMany
from sidecar.server.inquiry import Inquiry, headers_of, inquire
from sidecar.server.listener import has_stalled
from sidecar.server.relay import Relay
from sidecar.server.replies import Refusal, error_reply
from sidecar.server.requestbody import ask_for_body, streamed_body, whole_body
from sidecar.server.requestfields import governed
from sidecar.server.requesthead import OddHead, check_head
from sidecar.server.retrieval import Retrieval
from sidecar.server.routes import Kind, Routes
from sidecar.server.statusform import HEADER, form_of, may_begin_early
from sidecar.server.unambiguous import read_record, the_rule
from sidecar.server.unreadable import Reason, may_stream, reason_of, unreadable
from sidecar.server.upstream import Body, UpstreamClient, is_readable, unexpected
from sidecar.server.websocket import opens_websocket, tunnel
from sidecar.wire.answer import Answer
from sidecar.wire.formats import WIRE_FORMATS, WireFormat
from sidecar.wire.ruling import Ruling

_NOT_UTF8 = re.compile("[\udc80-\udcff]")
"""What stands for a byte of a header that is not UTF-8; it could not be sent on as it came."""

_MEDIA = re.compile(r"/v1/(?:audio|images)/[a-z]+")
"""The endpoints that stream sounds and pictures, in events that no rule is about."""


@dataclass(slots=True)
class _Asked:
    """A request whose answer is judged: where it goes, and with which body, until that is sent: a
    long prompt would be kept for as long as its answer comes."""

    request: web.BaseRequest
    exchange: Exchange
    url: str
    body: bytes


class Proxy:
    """Serves requests by ``config`` and ``rules``; ``formats`` are the wire formats, each as it is
    to be read."""

    def __init__(
        self,
        config: Config,
        rules: RuleSet,
        upstream: UpstreamClient,
        reporting: Reporting,
        in_flight: InFlight,
        formats: Iterable[WireFormat] = WIRE_FORMATS,
    ) -> None:
        self._config = config
        self._in_flight = in_flight
        self._rules = rules
        self._upstream = upstream
        self._reporting = reporting
        self._advice = Advice()
        self._routes = Routes(config.upstream.base_url, config.paths, formats)
        self._retrieval = Retrieval(config, rules, upstream)
        self._cors = Cors(config.access.cors)
        self._access = Access(config, self._cors)

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one request; the handler of the data listener."""
        exchange = Exchange(request, self._reporting, self._cors)
        try:
            reply = await self._serve(request, exchange)
            exchange.begins(reply)
            return reply
        except Refusal as refusal:
            exchange.outcome = _outcome_of(refusal)
            exchange.error = refusal.fault.code
            if exchange.begun:
                raise ConnectionResetError from None
            shape = exchange.route.error
            reply = error_reply(refusal.status, refusal.fault, refusal.headers, shape=shape)
            exchange.begins(reply)
            if isinstance(refusal, OddHead) or not request.content.at_eof():
                reply.force_close()
            return reply
        except CutOff as cut:
            exchange.outcome = cut.outcome
            raise ConnectionResetError from None
        except Exception:
            exchange.outcome = Outcome.FAILED
            raise
        finally:
            if has_stalled(request):
                exchange.outcome = Outcome.CLIENT_TIMEOUT
            exchange.end()

    def malformed(self, request: web.BaseRequest, reply: web.StreamResponse, fault: Fault) -> None:
        """What has come is no request that is read, and ``reply`` says so."""
        exchange = Exchange(request, self._reporting, self._cors)
        exchange.outcome, exchange.error = Outcome.REFUSED, fault.code
        exchange.begins(reply)
        exchange.end()

    async def _serve(self, request: web.BaseRequest, exchange: Exchange) -> web.StreamResponse:
        check_head(request)
        path, _, query = request.raw_path.partition("?")
        route = exchange.route = self._routes.find(request.method, path)
        if (preflight := self._access.admit(request, exchange)) is not None:
            return preflight
        if route.kind is Kind.REFUSED:
            raise Refusal(404, "not_found", "This path is not served here.")
        if any(map(_NOT_UTF8.search, request.headers.values())):
            raise Refusal(400, "bad_request", "The value of a request header is not UTF-8.")
        url = f"{route.url}?{query}" if query else route.url
        with self._in_flight.admitted(request, exchange.client):
            if self._rules.rules and route.wire_format is not None and not opens_websocket(request):
                return await self._judged(request, exchange, route.wire_format, url)
            async with self._in_flight.until_stopped():
                return await self._unjudged(request, exchange, url)

    async def _unjudged(
        self, request: web.BaseRequest, exchange: Exchange, url: str
    ) -> web.StreamResponse:
        """The answer to a request that is in no wire format, or that no rule can be about."""
        if exchange.route.kind is Kind.DRIP:
            return await drip(request, exchange)
        if opens_websocket(request):
            if self._config.websocket is WebSockets.REFUSE:
                raise Refusal(501, "not_supported", "WebSockets are not served here.")
            return await tunnel(request, exchange, self._upstream, url, self._config)
        await ask_for_body(request)
        stored = exchange.route.stored
        if stored is not None and self._rules.hides:
            return await self._retrieval.serve(request, exchange, stored, url)
        return await self._untouched(request, exchange, url, streamed_body(request))

    async def _judged(
        self, request: web.BaseRequest, exchange: Exchange, wire_format: WireFormat, url: str
    ) -> web.StreamResponse:
        encodings = request.headers.getall("Content-Encoding", ())
        if any(encoding.lower() != "identity" for encoding in encodings):
            raise Refusal(415, "unsupported_encoding", "Send the request body uncompressed.")
        async with self._in_flight.until_stopped():
            await ask_for_body(request)
            body = await whole_body(request, self._config.limits.request_body)
        rule, inquiry, body = self._choose(request, exchange, wire_format, body)
        if rule is None:
            async with self._in_flight.until_stopped():
                return await self._untouched(request, exchange, url, body)
        model, is_raw = inquiry.facts.model, inquiry.raw_prompt is not None
        status = rule.status.policy(request.headers.get("Accept-Language", ""))
        ruling = rule.ruling(
            inquiry.tools,
            model=model,
            thinking_off=inquiry.thinking_off,
            raw_prompt=inquiry.raw_prompt,
            seed=secrets.token_hex(6),
            status=status if inquiry.streams and not rule.observes else NO_STATUSES,
            at=exchange.at,
        )
        asked = _Asked(request, exchange, url, body)
        del inquiry, body  # this frame lasts as long as the answer
        try:
            if rule.observes:
                return await self._observed(asked, ruling, wire_format)
            return await self._filtered(asked, ruling, wire_format)
        finally:
            closed = exchange.stats is not None and exchange.stats.orphan_closers
            # Of a raw prompt each decides anew, and no rule could.
            if closed and not is_raw:
                self._advice.orphan_closer(model)

    def _choose(
        self, request: web.BaseRequest, exchange: Exchange, wire_format: WireFormat, body: bytes
    ) -> tuple[Rule | None, Inquiry, bytes]:
        """The rule about a request, if there is one; what the request says, and its body, as that
        rule lets them go upstream. Raises Refusal."""
        name, path, query = wire_format.name, wire_format.path, request.raw_path.partition("?")[2]
        record = read_record(body, query, name)
        inquiry = inquire(record, name, path, headers_of(request))
        rule = the_rule(self._rules, inquiry)
        if rule is None:
            return rule, inquiry, body
        exchange.govern(rule, inquiry.facts.model)
        if rule.observes:
            return rule, inquiry, body
        kept = governed(body, record, rule.request_fields[name])
        if kept is not body:
            # What upstream does not get decides nothing but the rule, which it has.
            left = inquire(parse(kept).value, name, path, inquiry.facts.headers)
            inquiry = left._replace(facts=inquiry.facts)
        return rule, inquiry, kept

    async def _untouched(
        self, request: web.BaseRequest, exchange: Exchange, url: str, body: Body
    ) -> web.StreamResponse:
        headers = self._headers(request, exchange, filtered=False)
        if isinstance(body, bytes):  # it was read, though no rule is about it
            headers = passed.of_json(headers)
        if request.content_length is not None and body is not None:
            headers["Content-Length"] = str(request.content_length)
        async with self._upstream.answer(
            request.method, url, headers, body, decode=False, retried=exchange.retried
        ) as answer:
            exchange.heard(answer.status)
            if may_stream(answer) and exchange.route.wire_format is None:
                self._look_at_stream(request, exchange, answer)
            relay = Relay(request, answer, exchange, self._config)
            return await relay.raw(passed.untouched(answer.headers.items(), answer.version))

    def _look_at_stream(
        self, request: web.BaseRequest, exchange: Exchange, answer: aiohttp.ClientResponse
    ) -> None:
        """A stream that no wire format knows may be an answer. Raises Refusal if a rule says that
        such ones are blocked."""
        path = request.raw_path.partition("?")[0]
        if request.method.upper() != "POST" or _MEDIA.fullmatch(path):
            return
        rule = self._rules.choose_unnamed(
            RequestFacts("", path, headers_of(request), tools_declared=False)
        )
        if rule is not None:
            exchange.govern(rule)
            if not exchange.lets_pass(Reason.PATH, answer):
                raise unreadable(Reason.PATH, answer)

    async def _observed(
        self, asked: _Asked, ruling: Ruling, wire_format: WireFormat
    ) -> web.StreamResponse:
        """The answer as it is; what the rule would do with it is counted."""
        async with self._in_flight.until_stopped(), self._answer(asked, decode=False) as answer:
            asked.exchange.heard(answer.status)
            relay = Relay(asked.request, answer, asked.exchange, self._config)
            untouched = passed.untouched(answer.headers.items(), answer.version)
            if not is_readable(answer, decoded=False):
                return await relay.raw(untouched)
            return await relay.observed(untouched, wire_format.answer(ruling))

    async def _filtered(
        self, asked: _Asked, ruling: Ruling, wire_format: WireFormat
    ) -> web.StreamResponse:
        """The answer as the rule wants it, which may begin before upstream's."""
        exchange, wire = asked.exchange, wire_format.answer(ruling)
        async with self._downstream(asked, ruling, wire, wire_format) as downstream:
            try:
                async with (
                    self._in_flight.until_stopped(),
                    self._answer(asked, decode=True) as answer,
                ):
                    exchange.heard(answer.status)
                    await downstream.answered()
                    relay = Relay(asked.request, answer, exchange, self._config)
                    if downstream.begun:
                        return await self._follow(relay, answer, exchange, downstream)
                    headers = passed.harmless(answer.headers.items(), self._config.response_headers)
                    if answer.status >= 400:
                        exchange.outcome = Outcome.UPSTREAM_ERROR
                        return await upstream_error(
                            relay, answer.status, headers, ruling, wire_format.error
                        )
                    if answer.status >= 300:
                        raise unexpected(answer)
                    return await relay.filtered(headers, wire, downstream)
            except Refusal as refusal:
                await downstream.answered()
                if not downstream.begun:
                    raise
                exchange.outcome = _outcome_of(refusal)
                return await downstream.fail(refusal.fault)

    async def _follow(
        self,
        relay: Relay,
        answer: aiohttp.ClientResponse,
        exchange: Exchange,
        downstream: Downstream,
    ) -> web.StreamResponse:
        """The client's answer has begun, and upstream's is here. Raises Refusal if it is none that
        can follow."""
        if answer.status >= 400:
            exchange.outcome = Outcome.UPSTREAM_ERROR
            return await upstream_error_in_stream(relay, answer.status, downstream)
        if answer.status >= 300:
            raise unexpected(answer)
        if relay.is_events(downstream):
            return await relay.events(passed.Headers(), downstream)
        reason = reason_of(answer)
        exchange.cannot_read(reason, answer, Unknown.BLOCK)
        raise unreadable(reason, answer)

    def _downstream(
        self, asked: _Asked, ruling: Ruling, wire: Answer, wire_format: WireFormat
    ) -> Downstream:
        """The client's side of the answer. Raises Refusal for a form that does not exist."""
        request, exchange, status = asked.request, asked.exchange, ruling.status
        headers, statuses = passed.Headers(), None
        if status is not NO_STATUSES:
            form = form_of(request, status, wire_format)
            exchange.form = headers[HEADER] = form.value
            if form is not Form.OFF:
                statuses = Statuses(
                    status,
                    DIALECTS[form],
                    wire,
                    wire.stats,
                    exchange.elapsed_ms,
                    as_text=form in TEXTS,
                )
            if form in TEXTS and status.beat is Beat.STATUS:
                # It would be text of the answer again and again.
                status = replace(status, beat=Beat.COMMENT)
            if not may_begin_early(request, allows_origins=self._cors.is_ours):
                status = replace(status, first_after=None)
        exchange.stats = wire.stats
        stream = StreamFilter(
            wire,
            limit=self._config.limits.event,
            passes_unreadable=exchange.unknown is Unknown.PASS,
            statuses=statuses,
        )
        return Downstream(request, exchange, stream, status, headers)

    def _answer(
        self, asked: _Asked, *, decode: bool
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """The head of the answer; see :meth:`UpstreamClient.answer`, which gets the body."""
        body, asked.body = asked.body, b""
        return self._upstream.answer(
            asked.request.method,
            asked.url,
            passed.of_json(self._headers(asked.request, asked.exchange, filtered=True)),
            body,
            decode=decode,
            retried=asked.exchange.retried,
        )

    def _headers(
        self, request: web.BaseRequest, exchange: Exchange, *, filtered: bool
    ) -> passed.Headers:
        headers = passed.to_upstream(
            exchange.headers.items(),
            api_key=self._config.upstream.api_key,
            filtered=filtered,
            version=request.version,
        )
        own = exchange.traces(request)
        if own:
            for name in ("traceparent", "tracestate"):
                headers.popall(name, None)
            headers.update(own)
        return headers


def _outcome_of(refusal: Refusal) -> Outcome:
    if isinstance(refusal, Stopping):
        return Outcome.SHUT_DOWN
    if isinstance(refusal, TooMany):
        return Outcome.REFUSED
    if refusal.status < 500 or refusal.status == 501:
        return Outcome.REFUSED
    return Outcome.UPSTREAM_TIMEOUT if refusal.status == 504 else Outcome.UPSTREAM_ERROR
