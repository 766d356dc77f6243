"""Puts the sidecar together and runs it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, NamedTuple

from sidecar.metrics import Metrics
from sidecar.playground.plane import PATH
from sidecar.rules.catalogue import Catalogue, shipped_catalogue
from sidecar.rules.config import Config
from sidecar.rules.configvalues import Address
from sidecar.rules.ruleset import RuleSet
from sidecar.rules.source import Read, Source
from sidecar.server.admin import Admin
from sidecar.server.descriptors import ADMIN_CONNECTIONS, Descriptors, plan_descriptors
from sidecar.server.hosts import Hosts
from sidecar.server.inflight import InFlight
from sidecar.server.listener import Listener
from sidecar.server.observed import Observed
from sidecar.server.reload import Reloader
from sidecar.server.service import Service
from sidecar.server.tls import ReloadingContext
from sidecar.server.tracing import tracing_from_environment
from sidecar.server.uncaught import tell_by_class

log = logging.getLogger("sidecar")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

OVERDUE = "draining took too long: %s ended with an error"
"""The line of answers that were still under way."""

_NEW_OBJECTS = 10_000
"""By so many more lists, dicts and the like Python looks for those that only lead to each other:
what some twenty streams have, or a megabyte."""

_LAST_WORDS = 5.0
"""Seconds in which an answer that is ended can be told to the client."""


class Addresses(NamedTuple):
    """Where a sidecar listens, with the real ports."""

    data: Address
    admin: Address


class Listeners(NamedTuple):
    """Both of them."""

    data: Listener
    admin: Listener

    def limit(self, config: Config, descriptors: Descriptors) -> None:
        """For the connections to come."""
        timeout = config.write_timeout
        self.data.limit(write_timeout=timeout, connections=descriptors.connections)
        self.admin.limit(write_timeout=timeout, connections=ADMIN_CONNECTIONS)


class Running:
    """A sidecar that serves, by which configuration, and how it ends."""

    def __init__(
        self,
        config: Config,
        service: Service,
        listeners: Listeners,
        in_flight: InFlight,
        metrics: Metrics,
        addresses: Addresses,
    ) -> None:
        self.data = addresses.data
        self.admin = addresses.admin
        self.metrics = metrics
        self.ready = True
        """New requests may be sent here."""
        self._config = config
        self._service = service
        self._listeners = listeners
        self._in_flight = in_flight

    def use(self, config: Config, rules: RuleSet) -> None:
        """Serve by these what begins from now on; what listens stays as it is. Raises OSError, and
        changes nothing, if a file of ``config`` cannot be used."""
        descriptors = plan_descriptors(config.limits.streams)
        self._service.use(config, rules)
        self._in_flight.limits = replace(config.limits, streams=descriptors.streams)
        self._listeners.limit(config, descriptors)
        self._config = config
        _warn(config, self.admin)

    @property
    def under_way(self) -> int:
        """The number of answers that have begun and not ended."""
        return len(self._in_flight)

    async def drain(self, *, delay: float | None = None) -> None:
        """End as the configuration says, with a ``delay`` of other seconds if it is given: say that
        it is not ready, go on serving for the delay, then listen no more, and wait for the answers
        under way. Those that take too long are ended with an error."""
        self.ready = False
        drain, listener = self._config.drain, self._listeners.data
        listener.announce_end()
        log.info("draining: %s under way", _answers(self.under_way))
        await asyncio.sleep(drain.delay if delay is None else delay)
        listener.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(drain.timeout):
                await self._in_flight.none_left()
        if not self.under_way:
            return
        log.warning(OVERDUE, _answers(self.under_way))
        self._in_flight.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self._in_flight.none_left()


@asynccontextmanager
async def serving(config: Config, catalogue: Catalogue | None = None) -> AsyncIterator[Running]:
    """A sidecar that serves as long as the context is open; without a ``catalogue``, with the
    formats that ship with the package and those that ``config`` adds.

    Raises OSError if an address cannot be listened on or a certificate cannot be used, ConfigError
    if a format file is wrong.
    """
    catalogue = catalogue or shipped_catalogue(config.formats)
    rules = RuleSet(config.rules, catalogue, promoted=config.limits.promoted)
    metrics, observed = Metrics(), Observed(time.time())
    tell_by_class()
    tls = None if config.access.tls is None else ReloadingContext(config.access.tls)
    tracing = tracing_from_environment(os.environ)
    descriptors = plan_descriptors(config.limits.streams)
    in_flight = InFlight(replace(config.limits, streams=descriptors.streams))
    running: Running | None = None
    async with AsyncExitStack() as stack:
        if tracing is not None:
            stack.push_async_callback(asyncio.to_thread, tracing.close)
        service = Service(config, rules, metrics, observed, in_flight, tracing)
        stack.push_async_callback(service.close)
        plane = Admin(
            metrics,
            observed,
            lambda: running is not None and running.ready,
            Hosts((), config.admin),
            service.play,
        )
        listeners = Listeners(
            Listener(service.serve, malformed=service.malformed), Listener(plane.serve)
        )
        listeners.limit(config, descriptors)
        stack.push_async_callback(listeners.admin.stop)
        admin = await listeners.admin.start(config.admin)
        stack.push_async_callback(listeners.data.stop)
        data = await listeners.data.start(config.listen, reuse_port=config.reuse_port, tls=tls)
        running = Running(config, service, listeners, in_flight, metrics, Addresses(data, admin))
        yield running
        running.ready = False


async def serve(read: Read, source: Source | None = None) -> None:
    """Serve by what was ``read`` until SIGTERM, then drain; SIGINT, which is somebody at a
    keyboard, has no delay. A second signal ends the process at once.

    Meanwhile ``source`` is read again when it changes, and on SIGHUP; without one nothing is, and
    SIGHUP ends the process.
    """
    loop = asyncio.get_running_loop()
    received: asyncio.Future[signal.Signals] = loop.create_future()
    for number in _SIGNALS:
        loop.add_signal_handler(number, _receive, number, received)
    asked = asyncio.Event()
    if source is not None:
        loop.add_signal_handler(signal.SIGHUP, asked.set)
    config = read.config
    async with serving(config, read.catalogue) as running:
        scheme = "http" if config.access.tls is None else "https"
        upstream = config.upstream.base_url
        settle_memory()
        log.info("serving %s://%s/v1 in front of %s", scheme, running.data, upstream)
        log.info("health and metrics on http://%s", running.admin)
        _warn(config, running.admin)
        async with AsyncExitStack() as stack:
            if source is not None:
                reloader = Reloader(source, read, running.use, running.metrics, asked)
                await stack.enter_async_context(_in_background(reloader.run()))
            number = await received
            await running.drain(delay=0.0 if number is signal.SIGINT else None)
    log.info("stopped")


def settle_memory() -> None:
    """What was made to serve stays, and so does the little that the start has thrown away. A
    collection that looks at all of it takes 30 ms, in which every stream stands still; from now on
    one looks at what was made since, and seldom: an answer that ends as it should leaves nothing to
    be found, and to look for it was a tenth of what a short one took."""
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)
    gc.enable()


@asynccontextmanager
async def _in_background(run: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """As long as the context is open."""
    task = asyncio.create_task(run)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _warn(config: Config, admin: Address) -> None:
    """What somebody should know who did not mean it."""
    if not config.rules:
        log.warning("the rules are empty: nothing is filtered")
    if config.playground:
        log.warning(
            "playground on http://%s%s: who reaches it can send prompts upstream, and sees what "
            "the rules hide",
            admin,
            PATH,
        )


def _answers(number: int) -> str:
    return "1 answer is" if number == 1 else f"{number} answers are"


def _receive(number: signal.Signals, received: asyncio.Future[signal.Signals]) -> None:
    """The first signal; the next one has its effect by the system."""
    if received.done():
        return  # it came together with the first, before that had its effect
    received.set_result(number)
    for each in _SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(each)
        signal.signal(each, signal.SIG_DFL)
