"""Stored answers that are fetched later: which rule is about each, and how they are relayed."""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from urllib.parse import unquote_plus

from aiohttp import web

from sidecar.core.jsontext import MalformedJSON, parse
from sidecar.core.policy import Mode, Policy
from sidecar.core.vocabulary import Vocabulary
from sidecar.rules.config import Config
from sidecar.rules.ruleset import RuleSet
from sidecar.server import headers as passed
from sidecar.server.errorreply import upstream_error
from sidecar.server.exchange import Exchange, Outcome
from sidecar.server.inquiry import headers_of, inquire
from sidecar.server.relay import Relay
from sidecar.server.replies import Refusal
from sidecar.server.requestbody import streamed_body
from sidecar.server.upstream import UpstreamClient, unexpected
from sidecar.wire.fields import Record
from sidecar.wire.formats import WIRE_FORMATS
from sidecar.wire.responses import Responses
from sidecar.wire.resumption import Resumed
from sidecar.wire.ruling import Ruling
from sidecar.wire.stored import HiddenItem, StoredAnswer, StoredDocument

_AFTER = "starting_after"
"""What asks for a stream from its middle (OpenAI API reference, "Get a model response")."""
_NUMBER = re.compile("[0-9]{1,18}")

_NAMES = {wire_format.path: wire_format.name for wire_format in WIRE_FORMATS}


class Retrieval:
    """Serves the requests for stored answers."""

    def __init__(self, config: Config, rules: RuleSet, upstream: UpstreamClient) -> None:
        self._config = config
        self._rules = rules
        self._upstream = upstream

    async def serve(
        self, request: web.BaseRequest, exchange: Exchange, stored: StoredAnswer, url: str
    ) -> web.StreamResponse:
        """The answer to one request. Raises Refusal."""
        chosen = _Chosen(self._rules, request, stored.endpoint, exchange)
        after = None
        if stored.streams:
            url, after = _from_its_beginning(url)
        headers = passed.to_upstream(
            exchange.headers.items(),
            api_key=self._config.upstream.api_key,
            filtered=True,
            version=request.version,
        )
        body = streamed_body(request)
        if request.content_length is not None and body is not None:
            headers["Content-Length"] = str(request.content_length)
        async with self._upstream.answer(
            request.method, url, headers, body, decode=True, retried=exchange.retried
        ) as answer:
            exchange.heard(answer.status)
            relay = Relay(request, answer, exchange, self._config)
            harmless = passed.harmless(answer.headers.items(), self._config.response_headers)
            if answer.status >= 400:
                exchange.outcome = Outcome.UPSTREAM_ERROR
                unnamed = chosen.ruling({}) or Ruling(Policy(), Vocabulary((), Policy()))
                return await upstream_error(relay, answer.status, harmless, unnamed)
            if answer.status >= 300:
                raise unexpected(answer)
            if stored.streams and answer.content_type == Responses.framing.content_type:
                return await _stream(relay, harmless, chosen, after)
            return await _document(relay, harmless, chosen, stored)


class _Chosen:
    """The rules for the answers to one request.

    An answer says itself what model wrote it and which tools were declared. Where it does not, the
    first rule that may be about it and hides anything is.
    """

    def __init__(
        self, rules: RuleSet, request: web.BaseRequest, endpoint: str, exchange: Exchange
    ) -> None:
        self.exchange = exchange
        self._rules = rules
        self._wire_format = _NAMES[endpoint]
        self._endpoint = endpoint
        self._headers = headers_of(request)

    def ruling(self, record: Record) -> Ruling | None:
        """What the rules mean for an answer; ``record`` is what it says of its request."""
        inquiry = inquire(record, self._wire_format, self._endpoint, self._headers)
        facts = inquiry.facts
        choose = self._rules.choose if facts.model else self._rules.choose_unnamed
        rule = choose(facts)
        if rule is None:
            return None
        self.exchange.govern(rule, facts.model)
        return rule.ruling(
            inquiry.tools,
            model=facts.model,
            thinking_off=inquiry.thinking_off,
            seed=secrets.token_hex(6),
        )


async def _document(
    relay: Relay, headers: passed.Headers, chosen: _Chosen, stored: StoredAnswer
) -> web.StreamResponse:
    document = StoredDocument(stored, chosen.ruling)
    chosen.ruling({})
    try:
        reply = await relay.document(headers, document)
        chosen.exchange.outcome = Outcome.COMPLETED
        return reply
    except HiddenItem:
        raise Refusal(404, "not_found", "This item is not shown to clients.") from None
    finally:
        for rule, stats in document.judged:
            chosen.exchange.answered(rule, stats)


async def _stream(
    relay: Relay, headers: passed.Headers, chosen: _Chosen, after: int | None
) -> web.StreamResponse:
    """The rule is chosen by the first event, with which the response is told of."""
    begun, data = await relay.first_event()
    ruling = chosen.ruling(_response_in(data))
    if ruling is None or ruling.policy.mode is Mode.OBSERVE:
        return await relay.raw(relay.described(headers), begun=begun)
    answer = Responses(ruling)
    downstream = relay.silent(answer if after is None else Resumed(answer, after))
    return await relay.events(headers, downstream, begun)


def _from_its_beginning(url: str) -> tuple[str, int | None]:
    """The URL without what asks for a stream from its middle, and after which event that begins.
    Raises Refusal if it is no number: upstream might take it for one."""
    path, _, query = url.partition("?")
    pairs = [(pair, unquote_plus(pair).partition("=")) for pair in query.split("&")]
    asked = [value for _, (key, _, value) in pairs if key == _AFTER]
    if not asked:
        return url, None
    if len(asked) > 1 or not _NUMBER.fullmatch(asked[0]):
        raise Refusal(400, "bad_request", f"{_AFTER} must be the number of an event.")
    rest = "&".join(pair for pair, (key, _, _) in pairs if key != _AFTER)
    return (f"{path}?{rest}" if rest else path), int(asked[0])


def _response_in(data: bytes) -> Record:
    with suppress(MalformedJSON):
        event = parse(data).value
        response = event.get("response") if isinstance(event, dict) else None
        if isinstance(response, dict):
            return response
    return {}
