"""Puts the sidecar together and runs it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from sidecar.metrics import Metrics
from sidecar.rules.catalogue import Catalogue, shipped_catalogue
from sidecar.rules.config import Config
from sidecar.rules.configvalues import Address
from sidecar.rules.ruleset import RuleSet
from sidecar.server.accesslog import access_log
from sidecar.server.admin import Admin
from sidecar.server.exchange import Reporting
from sidecar.server.hosts import Hosts
from sidecar.server.listener import Listener
from sidecar.server.loopfaults import logged_by_class
from sidecar.server.models import Models
from sidecar.server.proxy import Proxy
from sidecar.server.tls import ReloadingContext
from sidecar.server.tracing import tracing_from_environment
from sidecar.server.upstream import UpstreamClient

log = logging.getLogger("sidecar")


@dataclass(frozen=True, slots=True)
class Running:
    """A sidecar that serves: its two addresses, with their real ports."""

    data: Address
    admin: Address


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
    async with AsyncExitStack() as stack:
        stack.enter_context(logged_by_class())
        upstream = UpstreamClient(config.upstream)
        stack.push_async_callback(upstream.close)
        if tracing is not None:
            stack.push_async_callback(asyncio.to_thread, tracing.close)
        models = Models(config, upstream)
        stack.push_async_callback(models.close)
        reporting = Reporting(metrics, models, access_log(config.access_log), tracing)
        ready = asyncio.Event()
        admin = Listener(Admin(metrics, ready.is_set, Hosts((), config.admin)).serve)
        stack.push_async_callback(admin.stop)
        admin_address = await admin.start(config.admin)
        data = Listener(Proxy(config, rules, upstream, reporting).serve)
        stack.push_async_callback(data.stop)
        data_address = await data.start(config.listen, tls)
        ready.set()
        yield Running(data_address, admin_address)
        ready.clear()


async def serve(config: Config, catalogue: Catalogue) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stopped.set)
    async with serving(config, catalogue) as running:
        scheme = "http" if config.access.tls is None else "https"
        upstream = config.upstream.base_url
        log.info("serving %s://%s/v1 in front of %s", scheme, running.data, upstream)
        log.info("health and metrics on http://%s", running.admin)
        if not config.rules:
            log.warning("the rules are empty: nothing is filtered")
        await stopped.wait()
        log.info("stopping")
