"""Puts the sidecar together and runs it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import urlsplit

from sidecar.metrics import Metrics
from sidecar.playground.plane import PATH, Playground
from sidecar.rules.catalogue import Catalogue, shipped_catalogue
from sidecar.rules.config import Config
from sidecar.rules.configvalues import Address
from sidecar.rules.ruleset import RuleSet
from sidecar.server.accesslog import access_log
from sidecar.server.admin import Admin
from sidecar.server.descriptors import ADMIN_CONNECTIONS, plan_descriptors
from sidecar.server.exchange import Reporting
from sidecar.server.hosts import Hosts
from sidecar.server.inflight import InFlight
from sidecar.server.listener import Handler, Listener, Malformed
from sidecar.server.models import Models
from sidecar.server.proxy import Proxy
from sidecar.server.tls import ReloadingContext
from sidecar.server.tracing import tracing_from_environment
from sidecar.server.uncaught import told_by_class
from sidecar.server.upstream import UpstreamClient

log = logging.getLogger("sidecar")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

OVERDUE = "draining took too long: %s ended with an error"
"""The line of answers that were still under way."""

_LAST_WORDS = 5.0
"""Seconds in which an answer that is ended can be told to the client."""


class Addresses(NamedTuple):
    """Where a sidecar listens, with the real ports."""

    data: Address
    admin: Address


class Running:
    """A sidecar that serves, and how it ends."""

    def __init__(
        self, config: Config, data: Listener, in_flight: InFlight, addresses: Addresses
    ) -> None:
        self.data = addresses.data
        self.admin = addresses.admin
        self.ready = True
        """New requests may be sent here."""
        self._drain = config.drain
        self._listener = data
        self._in_flight = in_flight

    @property
    def under_way(self) -> int:
        """The number of answers that have begun and not ended."""
        return len(self._in_flight)

    async def drain(self, *, delay: float | None = None) -> None:
        """End as the configuration says, with a ``delay`` of other seconds if it is given: say that
        it is not ready, go on serving for the delay, then listen no more, and wait for the answers
        under way. Those that take too long are ended with an error."""
        self.ready = False
        self._listener.announce_end()
        log.info("draining: %s under way", _answers(self.under_way))
        await asyncio.sleep(self._drain.delay if delay is None else delay)
        self._listener.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._drain.timeout):
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
    metrics = Metrics(clients=bool(config.access.keys))
    tls = None if config.access.tls is None else ReloadingContext(config.access.tls)
    origin = urlsplit(config.upstream.base_url)
    tracing = tracing_from_environment(os.environ, address=origin.hostname or "", port=origin.port)
    descriptors = plan_descriptors(config.limits.streams)
    async with AsyncExitStack() as stack:
        stack.enter_context(told_by_class())
        upstream = UpstreamClient(config.upstream)
        stack.push_async_callback(upstream.close)
        if tracing is not None:
            stack.push_async_callback(asyncio.to_thread, tracing.close)
        models = Models(config, upstream)
        stack.push_async_callback(models.close)
        reporting = Reporting(metrics, models, access_log(config.access_log), tracing)
        in_flight = InFlight(replace(config.limits, streams=descriptors.streams))

        def listener(
            handler: Handler, connections: int, malformed: Malformed | None = None
        ) -> Listener:
            made = Listener(
                handler,
                write_timeout=config.write_timeout,
                connections=connections,
                malformed=malformed,
            )
            stack.push_async_callback(made.stop)
            return made

        running: Running | None = None
        playground = Playground(config, rules, upstream, reporting, in_flight)
        plane = Admin(
            metrics,
            lambda: running is not None and running.ready,
            Hosts((), config.admin),
            playground.serve if config.playground else None,
        )
        admin = listener(plane.serve, ADMIN_CONNECTIONS)
        admin_address = await admin.start(config.admin)
        proxy = Proxy(config, rules, upstream, reporting, in_flight)
        data = listener(proxy.serve, descriptors.connections, proxy.malformed)
        data_address = await data.start(config.listen, reuse_port=config.reuse_port, tls=tls)
        running = Running(config, data, in_flight, Addresses(data_address, admin_address))
        yield running
        running.ready = False


async def serve(config: Config, catalogue: Catalogue) -> None:
    """Serve until SIGTERM, then drain; SIGINT, which is somebody at a keyboard, has no delay. A
    second signal ends the process at once."""
    received: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, _receive, number, received)
    async with serving(config, catalogue) as running:
        scheme = "http" if config.access.tls is None else "https"
        upstream = config.upstream.base_url
        log.info("serving %s://%s/v1 in front of %s", scheme, running.data, upstream)
        log.info("health and metrics on http://%s", running.admin)
        if config.playground:
            log.warning(
                "playground on http://%s%s: who reaches it can send prompts upstream, and sees "
                "what the rules hide",
                running.admin,
                PATH,
            )
        if not config.rules:
            log.warning("the rules are empty: nothing is filtered")
        number = await received
        await running.drain(delay=0.0 if number is signal.SIGINT else None)
    log.info("stopped")


def _answers(number: int) -> str:
    return "1 answer is" if number == 1 else f"{number} answers are"


def _receive(number: signal.Signals, received: asyncio.Future[signal.Signals]) -> None:
    """The first signal; the next one has its effect by the system."""
    received.set_result(number)
    for each in _SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(each)
        signal.signal(each, signal.SIG_DFL)
