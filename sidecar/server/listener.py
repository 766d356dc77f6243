"""aiohttp's server, with what a public listener needs."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from sidecar.core.stream import Fault
from sidecar.rules.configvalues import Address
from sidecar.server.replies import error_reply
from sidecar.server.tls import HANDSHAKE

log = logging.getLogger("sidecar")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_BACKLOG = 128
"""When file descriptors run out, CPython logs an error for each waiting connection."""

_IDLE_CONNECTION = 75.0
"""Seconds that a client may keep a connection without a request. aiohttp's hour would leave a
client that never finishes its request head for as long."""


class _Protocol(RequestHandler):
    """Answers what is not HTTP without quoting it: it may be a key or a prompt."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status >= 500 and not isinstance(exc, ConnectionError):
            log.error("request failed inside the sidecar: %s", type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun, there is no place for an error in it")
        fault = (
            Fault("bad_request", "The request is not valid HTTP.")
            if status < 500
            else Fault("internal_error", "The request failed inside the sidecar.")
        )
        reply = error_reply(status, fault)
        reply.force_close()
        return reply


class _Server(web.Server):
    """Makes our protocol for each connection."""

    def __init__(self, handler: Handler, **options: Any) -> None:
        super().__init__(handler, handler_cancellation=True)
        self._options = options

    def __call__(self) -> _Protocol:
        return _Protocol(self, loop=self._loop, **self._options)


class Listener:
    """One address that is listened on."""

    def __init__(self, handler: Handler) -> None:
        server = _Server(
            handler, auto_decompress=False, access_log=None, keepalive_timeout=_IDLE_CONNECTION
        )
        # aiohttp waits this many seconds twice; what is still open then is cut.
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        self._listening: asyncio.Server | None = None

    async def start(self, address: Address, tls: ssl.SSLContext | None = None) -> Address:
        """Listen, with ``tls`` if there is one; the address with its real port. Raises OSError if
        that cannot be."""
        await self._runner.setup()
        assert self._runner.server is not None
        self._listening = await asyncio.get_running_loop().create_server(
            self._runner.server,
            address.host,
            address.port,
            backlog=_BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else HANDSHAKE,
        )
        host, port, *_ = self._listening.sockets[0].getsockname()
        return Address(host, port)

    async def stop(self) -> None:
        """Close the listener and its connections."""
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()
