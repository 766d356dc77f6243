"""Connections to the upstream, and which of them may carry another request.

HTTP/1.1 tells answers apart by nothing but their order, so what upstream sends unasked would be the
next user's answer. A connection is therefore used again only if the last answer on it is over, to
the byte: aiohttp's own pool hands on one on which more has come (aio-libs/aiohttp#13656).

What remains, and no client can help: bytes that are already on their way when the next request is
sent. Hence ``reuse: auto`` keeps only connections with TLS, which nobody but upstream can write
to, and which are dear to open.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, cast

import aiohttp
from aiohttp import BaseConnector, ClientRequest, ClientTimeout, HttpVersion11
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from aiohttp.tracing import Trace

from sidecar.rules.upstreamsection import Reuse, Upstream
from sidecar.server.turns import Told, Turns

IDLE: Final = 15.0
"""Seconds that a connection is kept for the next request. Gateways that end TLS keep one for a
minute and longer: it is we who close first, so that hardly a request meets a closing one."""

OLDEST: Final = 300.0
"""Seconds after which a connection carries no further request: the next one asks DNS again."""

DNS_CACHE: Final = 10
"""Seconds that a name's addresses are remembered; aiohttp's default."""

_BODILESS: Final = frozenset({204, 304})
"""Statuses whose answers end with their head (RFC 9112, 6.3). Some servers send a body all the same
then, as they do to HEAD, and it may take its time."""

_fresh: ContextVar[bool] = ContextVar("fresh", default=False)


class Lost(aiohttp.ClientConnectionError):
    """The connection ended before an answer began.

    ``stale``: it had carried a request before, and nothing came after this one. ``tls``: upstream
    ended it by an alert of TLS, which is how it refuses our certificate.
    """

    def __init__(self, *, stale: bool, tls: bool) -> None:
        super().__init__()
        self.stale = stale
        self.tls = tls


class Carrier(ResponseHandler):
    """A connection for one request, which tells whoever asks when something comes on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, turns: Turns) -> None:
        super().__init__(loop)
        self._turns = turns
        self._told: Told | None = None
        self._reads = True

    def tell(self, told: Told) -> None:
        """Call ``told`` whenever something has come, or the end."""
        self._told = told

    def forget(self, told: Told) -> None:
        """Do not call it any more; one more call may be on its way."""
        if self._told == told:  # and not that of the next request
            self._told = None

    def data_received(self, data: bytes) -> None:
        """Bytes have come; none if those are read that were held back."""
        ResponseHandler.data_received(self, data)
        if self._told is not None:
            self._turns.take(self._told)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing more will come."""
        super().connection_lost(exc)
        if self._told is not None:
            self._turns.take(self._told)

    def pause_reading(self) -> None:
        """The reader is slow: the parser holds back what has come."""
        self._reads = False
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """The reader has room. aiohttp says so after each read, and has the parser look every time
        for what it held back."""
        if not self._reads:
            self._reads = True
            super().resume_reading(resume_parser)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Something went wrong while the head of an answer was waited for.

        The exceptions that are replaced here would make aiohttp send a GET again by itself, also on
        a connection that was never used before.
        """
        if isinstance(exc, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
            exc = Lost(stale=self._is_stale(), tls=isinstance(exc_cause, ssl.SSLError))
        if exc_cause is None:
            super().set_exception(exc)
        else:
            super().set_exception(exc, exc_cause)

    def _is_stale(self) -> bool:
        """Whether it looks as if upstream had closed it before it got the present request."""
        return False


class _Kept(Carrier):
    """A connection that knows whether it may carry another request."""

    def __init__(self, loop: asyncio.AbstractEventLoop, turns: Turns) -> None:
        super().__init__(loop, turns)
        self.requests = 0
        """How many it has carried, with the present one."""
        self._born = loop.time()
        self._sent = False
        """The present request is out, to its last byte."""
        self._heard = False
        """Something came after it."""
        self._followed = False
        """What is being read now is not all that has come."""
        self._body: StreamReader | None = None
        """The body of the answer, whose head has come."""

    @property
    def should_close(self) -> bool:
        """Whether it may not carry another request. aiohttp asks when the answer is over, which it
        finds in the middle of reading what has come."""
        return (
            super().should_close
            or self._followed
            or not self._is_quiet()
            or self._loop.time() - self._born > OLDEST
        )

    def set_response_params(self, **params: Any) -> None:
        """A request will be sent."""
        self.requests += 1
        self._sent = self._heard = self._followed = False
        self._body = None
        if params.get("skip_payload"):
            self.force_close()
        super().set_response_params(**params)

    def start_timeout(self) -> None:
        """The request was written, to its last byte."""
        self._sent = True
        super().start_timeout()

    def pause_reading(self) -> None:
        """The reader is slow: from now on the parser may hold back what has come, and nobody could
        say what of it is read when."""
        self.force_close()
        super().pause_reading()

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """The head of an answer has come, and this is it."""
        message, body = data
        if message.code >= 200:
            # Some servers keep the connection, and take the rest of the request for the next one.
            early = not self._sent or self._is_sending()
            odd = message.code in _BODILESS or message.version < HttpVersion11
            if early or odd:
                self.force_close()
            if self._body is None:
                self._body = body
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Bytes have come; none if those are read that were held back."""
        if self.upgraded:
            super().data_received(data)
            return
        if data and self._is_quiet():
            self.close()
            return
        self._heard = self._heard or bool(data)
        if len(data) > 1:
            # The parser does not say where an answer ends. If it does before the last byte,
            # something follows it.
            self._followed = True
            ResponseHandler.data_received(self, data[:-1])
            self._followed = False
            if self._is_quiet():
                self.force_close()
            data = data[-1:]
        super().data_received(data)

    def _is_stale(self) -> bool:
        return self.requests > 1 and not self._heard

    def _is_quiet(self) -> bool:
        """Whether there is nothing that upstream may send: no request, or its answer is over."""
        return self.requests == 0 or (self._body is not None and self._body.is_eof())

    def _is_sending(self) -> bool:
        return self.transport is not None and self.transport.get_write_buffer_size() > 0


class _Connector(BaseConnector):
    """Makes our connections, and looks at each before it is used again."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        kind = Carrier if self.force_close else _Kept
        made = partial(kind, self._loop, Turns(self._loop))
        # Private, but the one place that makes them; `connect` notices if it is no longer so.
        self._factory = cast(partial[ResponseHandler], made)

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109  # aiohttp's own signature
    ) -> Connection:
        """A connection for one request: a new one, or a clean one."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if not isinstance(protocol, Carrier):
                connection.close()
                raise TypeError("aiohttp no longer makes the connections that it is told to")
            if not isinstance(protocol, _Kept) or protocol.requests == 0:
                return connection
            if not _fresh.get() and _is_silent(connection):
                return connection
            connection.close()


class _TcpConnector(_Connector, aiohttp.TCPConnector):
    """To a host and a port."""


class _UnixConnector(_Connector, aiohttp.UnixConnector):
    """To a socket of this machine."""


def connector(upstream: Upstream) -> BaseConnector:
    """What connects to ``upstream``, as often as it is asked to: there is no ceiling.

    Needs a running loop. Raises OSError if a file of ``upstream.tls`` cannot be used.
    """
    keeps = upstream.reuse is Reuse.ALWAYS or (upstream.reuse is Reuse.AUTO and upstream.is_https)
    options: dict[str, Any] = {"limit": 0, "force_close": not keeps}
    if keeps:
        options["keepalive_timeout"] = IDLE
    if upstream.unix_socket is not None:
        return _UnixConnector(path=str(upstream.unix_socket), **options)
    if upstream.is_https:
        options["ssl"] = upstream.tls.context()
    return _TcpConnector(ttl_dns_cache=DNS_CACHE, **options)


def carrier(answer: aiohttp.ClientResponse) -> Carrier | None:
    """The connection of ours that the rest of ``answer`` comes on; None if all of it has come."""
    connection = answer.connection
    protocol = None if connection is None else connection.protocol
    return protocol if isinstance(protocol, Carrier) else None


@contextmanager
def only_fresh() -> Iterator[None]:
    """Within it, a request of this task gets a connection that never carried one; those that wait
    for their next are closed, as they are no younger than the one that was found dead."""
    token = _fresh.set(True)
    try:
        yield
    finally:
        _fresh.reset(token)


def _is_silent(connection: Connection) -> bool:
    """Whether nothing has come, not even the end, that the loop has not seen yet."""
    if connection.transport is None:
        return False
    poll = select.poll()
    poll.register(connection.transport.get_extra_info("socket"), select.POLLIN)
    return not poll.poll(0)
