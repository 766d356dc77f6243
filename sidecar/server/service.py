"""What is served: by the newest configuration what begins now, and by its own what began before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from aiohttp import web

from sidecar.core.stream import Fault
from sidecar.metrics import Metrics
from sidecar.playground.plane import Playground
from sidecar.playground.runs import Runs
from sidecar.rules.config import Config
from sidecar.rules.ruleset import RuleSet
from sidecar.server.accesslog import Sink, access_log
from sidecar.server.exchange import Reporting
from sidecar.server.inflight import InFlight
from sidecar.server.models import Models
from sidecar.server.observed import Observed
from sidecar.server.proxy import Proxy
from sidecar.server.tracing import Tracing
from sidecar.server.upstream import UpstreamClient


class _Generation:
    """A configuration, and what it is served with. What the one ``before`` has, and what is the
    same by both, is shared: connections stay open, and the names of models known."""

    def __init__(
        self,
        config: Config,
        rules: RuleSet,
        before: _Generation | None,
        metrics: Metrics,
        observed: Observed,
        in_flight: InFlight,
        tracing: Tracing | None,
        runs: Runs,
        sink: Sink,
    ) -> None:
        self.config = config
        self.requests = 0
        """How many are being served."""
        self.upstream: UpstreamClient
        self.models: Models
        if before is not None and before.config.upstream == config.upstream:
            self.upstream = before.upstream
            same = before.config.models == config.models
            self.models = before.models if same else Models(config, self.upstream)
        else:
            self.upstream = UpstreamClient(config.upstream)
            self.models = Models(config, self.upstream)
        origin = urlsplit(config.upstream.base_url)
        reporting = Reporting(
            metrics,
            observed,
            self.models,
            access_log(config.access_log, sink),
            tracing and tracing.towards(origin.hostname or "", origin.port),
        )
        if config.access.keys:
            metrics.tell_clients_apart()
        self.proxy = Proxy(config, rules, self.upstream, reporting, in_flight)
        self.playground: Playground | None = None
        if config.playground:
            self.playground = Playground(config, rules, self.upstream, reporting, in_flight, runs)

    @property
    def parts(self) -> tuple[Models | UpstreamClient, ...]:
        """What must be closed, in this order."""
        return self.models, self.upstream


class Service:
    """Serves requests, each by the configuration that was the newest when it came.

    What a configuration was served with is closed when the last request that began by it has ended,
    and no other has it. Raises OSError if a file of ``config`` cannot be used.
    """

    def __init__(
        self,
        config: Config,
        rules: RuleSet,
        metrics: Metrics,
        observed: Observed,
        in_flight: InFlight,
        tracing: Tracing | None,
    ) -> None:
        self._sink = Sink(metrics.dropped_line)
        self._shared = (metrics, observed, in_flight, tracing, Runs(), self._sink)
        self._newest = _Generation(config, rules, None, *self._shared)
        self._living = [self._newest]
        self._closing: set[asyncio.Task[None]] = set()

    def use(self, config: Config, rules: RuleSet) -> None:
        """Serve by these what begins from now on. Raises OSError, and changes nothing, if a file of
        ``config`` cannot be used. Blocks for as long as it takes to read the authorities of another
        upstream with TLS, about 20 ms."""
        before = self._newest
        self._newest = _Generation(config, rules, before, *self._shared)
        self._living.append(self._newest)
        self._leave(before)

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one request; the handler of the data listener."""
        with self._serving() as generation:
            return await generation.proxy.serve(request)

    async def play(self, request: web.BaseRequest) -> web.StreamResponse | None:
        """The answer to a request of the playground's page; None if it is for something else, or
        there is no playground. Raises Refusal."""
        with self._serving() as generation:
            playground = generation.playground
            return None if playground is None else await playground.serve(request)

    def malformed(self, request: web.BaseRequest, reply: web.StreamResponse, fault: Fault) -> None:
        """What has come is no request that is read, and ``reply`` says so."""
        self._newest.proxy.malformed(request, reply, fault)

    async def close(self) -> None:
        """Close every connection to an upstream, and the access log."""
        await self._sink.close()
        await asyncio.gather(*self._closing)
        for part in dict.fromkeys(part for each in self._living for part in each.parts):
            await part.close()

    @contextmanager
    def _serving(self) -> Iterator[_Generation]:
        """The newest one serves a request."""
        generation = self._newest
        generation.requests += 1
        try:
            yield generation
        finally:
            generation.requests -= 1
            self._leave(generation)

    def _leave(self, generation: _Generation) -> None:
        """Close what nobody will use any more, if the last request of an old generation ended."""
        if generation is self._newest or generation.requests:
            return
        self._living.remove(generation)
        kept = {part for each in self._living for part in each.parts}
        for part in generation.parts:
            if part not in kept:
                task = asyncio.create_task(part.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
