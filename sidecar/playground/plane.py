"""What the playground serves on the admin port: its page, the raw side of a run, and the answer.

The page may cause calls of a model that cost money, and shows what the rules hide: so only a page
of this very origin may ask, and everything that it asks for is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from aiohttp import web

from sidecar.core.jsontext import dump
from sidecar.core.sse import event
from sidecar.playground.runs import LONGEST, Run, Runs
from sidecar.playground.watched import watched_formats
from sidecar.rules.accesssection import Access
from sidecar.rules.config import Config
from sidecar.rules.ruleset import RuleSet
from sidecar.server.exchange import Reporting
from sidecar.server.headers import STREAM
from sidecar.server.hosts import Hosts
from sidecar.server.inflight import InFlight
from sidecar.server.proxy import Proxy
from sidecar.server.replies import SERVER, Refusal, json_reply
from sidecar.server.upstream import UpstreamClient
from sidecar.wire.formats import WIRE_FORMATS

PATH: Final = "/playground"
RUN: Final = "X-Sidecar-Run"
"""With which the page says of which run it asks for the answer."""
RULE: Final = "X-Sidecar-Rule"
"""The rule that the page has chosen; without it, the one that matches."""
MAX_REQUEST: Final = 262_144
"""Bytes of the page's request: a prompt, and not a library."""

_FOLDER = Path(__file__).parent
_FILES: Final = {
    "": ("page.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/axis.js": ("axis.js", "text/javascript"),
    "/client.js": ("client.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_SAFE: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Server": SERVER,
}


class Playground:
    """Serves the page in front of the upstream of ``config``, by ``rules``; ``runs`` are those that
    both sides know, whichever configuration each of them came by."""

    def __init__(
        self,
        config: Config,
        rules: RuleSet,
        upstream: UpstreamClient,
        reporting: Reporting,
        in_flight: InFlight,
        runs: Runs,
    ) -> None:
        # Keys are asked for as on the data plane; names and origins are those of the admin port.
        size = min(config.limits.request_body, MAX_REQUEST)
        self._config = replace(
            config,
            listen=config.admin,
            access=Access(keys=config.access.keys),
            limits=replace(config.limits, request_body=size),
        )
        self._rules = rules
        self._upstream = upstream
        self._reporting = reporting
        self._in_flight = in_flight
        self._runs = runs
        self._hosts = Hosts((), config.admin, everywhere=True)
        self._files = {
            PATH + path: (content_type, (_FOLDER / name).read_bytes())
            for path, (name, content_type) in _FILES.items()
        }

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse | None:
        """The answer to one request; None if it is for nothing that is here. Raises Refusal."""
        match request.method, request.path:
            case "GET" | "HEAD", path if path in self._files:
                content_type, body = self._files[path]
                return web.Response(
                    body=body, content_type=content_type, charset="utf-8", headers=_SAFE
                )
            case "GET", "/playground/rules":
                self._check_page(request)
                names = [rule.name for rule in self._rules.rules]
                return json_reply(200, dump({"rules": names}, exact=False), _SAFE)
            case "GET", path if path.startswith("/playground/runs/"):
                self._check_page(request)
                return await self._raw_side(request, path.rpartition("/")[2])
            case "GET", "/v1/models":
                self._check_page(request)
                return await self._proxy(self._rules).serve(request)
            case "POST", "/v1/chat/completions":
                self._check_page(request)
                return await self._answer(request)
        return None

    async def _raw_side(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        """What the model writes, piece by piece with its channel, as server-sent events. Raises
        Refusal."""
        with self._runs.opened(name) as run, suppress(TimeoutError):
            reply = web.StreamResponse(headers={**_SAFE, **STREAM})
            reply.content_type = "text/event-stream"
            await reply.prepare(request)
            await reply.write(b": opened\n\n")
            async with asyncio.timeout(LONGEST):
                async for records in run.records():
                    await reply.write(b"".join(event(dump(each, exact=True)) for each in records))
        await reply.write_eof()
        return reply

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer as any client would get it. Raises Refusal."""
        run = self._runs.named(request.headers.get(RUN, ""))
        try:
            async with run.answering():
                return await self._proxy(self._chosen(request), run).serve(request)
        except TimeoutError:
            if request.writer.output_size:
                raise ConnectionResetError from None  # in an answer there is no place to say so
            raise Refusal(504, "timeout", "A run of the playground has taken too long.") from None

    def _check_page(self, request: web.BaseRequest) -> None:
        """Raises Refusal for a page of another origin (Fetch Standard, "Origin" header; Fetch
        Metadata, 2.4), or of one that was made to lead here. A browser says its origin with every
        POST, so one without comes from no page of ours."""
        self._hosts.check(request)
        origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
        authority = None if origin is None else origin.partition("://")[2]
        is_own = authority is not None and authority == request.headers.get("Host")
        is_silent = origin is None and request.method == "GET"
        if not (is_own or is_silent) or site not in (None, "same-origin"):
            raise Refusal(403, "origin_not_allowed", "Only the playground's own page may ask here.")

    def _chosen(self, request: web.BaseRequest) -> RuleSet:
        name = request.headers.get(RULE)
        if name is None:
            return self._rules
        chosen = self._rules.only(name)
        if chosen is None:
            raise Refusal(400, "bad_request", f"{RULE} must be the name of a rule.")
        return chosen

    def _proxy(self, rules: RuleSet, run: Run | None = None) -> Proxy:
        formats = WIRE_FORMATS if run is None else watched_formats(run)
        return Proxy(self._config, rules, self._upstream, self._reporting, self._in_flight, formats)
