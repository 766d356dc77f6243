"""aiohttp's server, with what a public listener needs."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from sidecar.core.stream import Fault
from sidecar.rules.configvalues import Address
from sidecar.server.replies import error_reply
from sidecar.server.requesthead import is_last
from sidecar.server.tls import HANDSHAKE

log = logging.getLogger("sidecar")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Malformed = Callable[[web.BaseRequest, web.StreamResponse, Fault], None]
"""Is told of what is no request, or of none that is read, and of the answer that it gets."""

_BACKLOG = 1024
"""Connections that may wait to be accepted, if the system lets as many (listen(2)). A gateway that
starts anew opens hundreds at once, and one that finds no room tries again after a second, and after
another two (RFC 6298, 5.5)."""

_AT_ONCE = 1
"""Connections that asyncio accepts in a turn of its loop. When no file descriptor is left, CPython
tries the rest of them all the same, and each attempt is reported and made again a second later, as
often: they multiply (python/cpython#151615). uvloop's number is its own."""

_IDLE_CONNECTION = 75.0
"""Seconds that a client may keep a connection without a request. aiohttp's hour would leave a
client that never finishes its request head for as long."""

_CANCELLED = 1.0
"""Seconds in which a handler that is cancelled can clean up; aiohttp waits for them twice."""


class Listener:
    """One address that is listened on.

    ``malformed`` is told of what the ``handler`` never sees. To be given its limits before it
    starts.
    """

    def __init__(self, handler: Handler, *, malformed: Malformed | None = None) -> None:
        self._server = _Server(handler)
        self._server.malformed = malformed
        self._listening: asyncio.Server | None = None

    def limit(self, *, write_timeout: float, connections: int) -> None:
        """For the connections to come. ``write_timeout``: seconds in which a client must take
        something of what is written to it. ``connections``: how many there may be; one more is
        closed at once."""
        self._server.write_timeout = write_timeout
        self._server.most = connections

    async def start(
        self, address: Address, *, reuse_port: bool = False, tls: ssl.SSLContext | None = None
    ) -> Address:
        """Listen, with ``tls`` if there is one; the address with its real port. Raises OSError,
        whose text has the address, if that cannot be.

        ``reuse_port``: other processes may listen on it too, and the system gives each connection
        to one of them (SO_REUSEPORT).
        """
        try:
            self._listening = await asyncio.get_running_loop().create_server(
                self._server,
                address.host,
                address.port,
                backlog=_AT_ONCE,
                reuse_port=reuse_port or None,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else HANDSHAKE,
            )
            for each in self._listening.sockets:
                with socket.fromfd(each.fileno(), each.family, each.type) as same:
                    same.listen(_BACKLOG)
        except OSError as error:
            number, reason = error.errno or 0, error.strerror or str(error)
            if number > 0:  # else no number of the system's, as of a name that is not found
                # The event loop's own words say the address once more.
                reason = os.strerror(number).lower()
            raise OSError(f"cannot listen on {address}: {reason}") from error
        host, port, *_ = self._listening.sockets[0].getsockname()
        return Address(host, port)

    def announce_end(self) -> None:
        """From now on an answer says that its connection ends with it."""
        self._server.closing = True

    def close(self) -> None:
        """Listen no more, and close the connections on which nothing is under way; the others are
        closed after what is."""
        self.announce_end()
        if self._listening is not None:
            self._listening.close()
        self._server.close_idle()

    async def stop(self) -> None:
        """Close the listener and all its connections, whatever is under way on them."""
        self.close()
        await self._server.shutdown(_CANCELLED)
        if self._listening is not None:
            await self._listening.wait_closed()


class _Server(web.Server):
    """Makes our protocol for each connection."""

    write_timeout: float
    most: int
    """How many connections there may be."""

    def __init__(self, handler: Handler) -> None:
        super().__init__(self._serve, request_factory=_request, handler_cancellation=True)
        self.closing = False
        """No connection is kept for another request."""
        self.malformed: Malformed | None = None
        self._handler = handler
        self._busy: set[RequestHandler] = set()

    @property
    def is_full(self) -> bool:
        """Whether there are more connections than there may be."""
        return len(self._connections) > self.most

    def __call__(self) -> _Protocol:
        return _Protocol(
            self,
            loop=self._loop,
            auto_decompress=False,
            access_log=None,
            keepalive_timeout=_IDLE_CONNECTION,
            write_timeout=self.write_timeout,
        )

    def close_idle(self) -> None:
        """Close the connections on which nothing is under way. aiohttp's own ``pre_shutdown`` only
        stops reading, from these and from those whose request is still arriving."""
        for connection in self.connections:
            if connection not in self._busy:
                connection.force_close()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        self._busy.add(connection)
        try:
            return await self._handler(request)
        finally:
            self._busy.discard(connection)
            if self.closing:
                connection.close()


_TOO_MANY = "Too many headers received"
"""How aiohttp calls it; there is no class for it."""


class _Protocol(RequestHandler):
    """One connection of a client.

    Answers what is not HTTP without quoting it, which may be a key or a prompt; and cuts off a
    client that for ``write_timeout`` seconds takes nothing of what is written to it.
    """

    __slots__ = ("_stall_timer", "_write_timeout", "server", "stalled")

    def __init__(self, server: _Server, *, write_timeout: float, **options: Any) -> None:
        super().__init__(server, **options)
        self.server = server
        self.stalled = False
        """It was cut off."""
        self._write_timeout = write_timeout
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """What the system does not take at once is what the client has not taken."""
        super().connection_made(transport)
        connected = cast(asyncio.Transport, transport)
        # Not 0, at which TLS would always have as much as it may.
        connected.set_write_buffer_limits(high=1)
        if self.server.is_full:
            connected.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """There is nobody left to wait for."""
        self._stop_watching()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes less than is written."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """The client has taken everything."""
        self._stop_watching()
        super().resume_writing()

    def _watch(self) -> None:
        if self.transport is not None:
            size = self.transport.get_write_buffer_size()
            self._stall_timer = self._loop.call_later(self._write_timeout, self._look, size)

    def _stop_watching(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _look(self, before: int) -> None:
        transport = self.transport
        if transport is None:
            return
        if transport.get_write_buffer_size() < before:
            self._watch()
        else:
            self.stalled = True
            transport.abort()

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
        if status >= 500:
            fault = Fault("internal_error", "The request failed inside the sidecar.")
        elif isinstance(exc, LineTooLong) or message == _TOO_MANY:  # RFC 6585, 5
            status, fault = 431, Fault("request_too_large", "The head of the request is too large.")
        else:
            fault = Fault("bad_request", "The request is not valid HTTP.")
        reply = error_reply(status, fault)
        reply.force_close()
        if status < 500 and self.server.malformed is not None:
            self.server.malformed(request, reply, fault)
        return reply

    def log_exception(self, *args: Any, **options: Any) -> None:
        """The class of it: aiohttp would log its text too, and a traceback."""
        log.error(
            "connection failed inside the sidecar: %s", type(options.get("exc_info")).__name__
        )


class _Request(web.BaseRequest):
    """A request whose connection ends with its answer when the listener is about to end, or when
    nothing that follows it can be trusted."""

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow on the connection (RFC 9112, 9.3)."""
        kept = super().keep_alive and not is_last(self)
        return kept and not _connection(self).server.closing


def _request(
    message: Any, payload: Any, protocol: RequestHandler, writer: Any, task: asyncio.Task[None]
) -> web.BaseRequest:
    return _Request(message, payload, protocol, writer, task, asyncio.get_running_loop())


def has_stalled(request: web.BaseRequest) -> bool:
    """Whether its client was cut off because it did not read."""
    return _connection(request).stalled


def _connection(request: web.BaseRequest) -> _Protocol:
    return cast(_Protocol, request.protocol)
