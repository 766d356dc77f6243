"""The way to the upstream: requests, what is waited for, and what is sent again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import Any, Final, TypeVar

import aiohttp
from yarl import URL

from sidecar.core.stream import Fault
from sidecar.rules.upstreamsection import Upstream
from sidecar.server.connections import connector, only_fresh
from sidecar.server.headers import Headers
from sidecar.server.replies import Refusal
from sidecar.server.retries import Retry, backoff, pause
from sidecar.server.unreachable import UNSENT, Telling, Unreachable, unreachable

_PLAIN = frozenset({"", "identity"})
_DECODABLE = _PLAIN | {"gzip", "deflate", "br", "zstd"}
_FRAMINGS = frozenset({"chunked", "identity"})
"""The transfer codings of an answer that are undone, and the one of old that is none."""
Body = bytes | AsyncIterator[bytes] | None
_Result = TypeVar("_Result")

TIMED_OUT = Fault("upstream_timeout", "The upstream server sent nothing for too long.")


BROKEN = (aiohttp.ClientError, ConnectionError)
"""What reading an answer may raise, apart from a timeout."""

CLOSING = 5.0
"""Seconds in which the other end of a WebSocket may answer that it is closed."""

LINGER: Final = 0.1
"""Seconds in which an answer may end that has said all. Its connection is kept then, and otherwise
closed; no model goes on for longer because of it."""
_LINGERING: Final = 65_536
"""Bytes that it may still send: nothing worth more than a handshake."""

_PIECE: Final = 65_536
"""Bytes of a body that are written at a time. It matters how much of it is out: asyncio's TLS takes
any number at once, and does not say how many it has sent."""


class Declined(Exception):
    """Upstream answered with this error, and these headers, instead of opening a WebSocket."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers


def _uncounted(reason: Retry) -> None:
    """A retry that nobody counts."""


class UpstreamClient:
    """Sends requests upstream. Open until :meth:`close`.

    A request whose connection had been kept, and ended before a byte of an answer, is sent once
    more on a new one, whatever its method. RFC 9110, 9.2.2 allows a proxy that only where a method
    may be repeated, and nginx keeps to it, as a server could have acted on the request and died
    before it answered. Here every request that matters is a POST, the usual reason is that the
    server closed an idle connection just then, and the cost of being wrong is a second generation
    that nobody reads: the client that got an error instead would send it again. ``reuse: never``
    is for those who want neither.

    Raises OSError if a file of the configuration cannot be used.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._first_byte = upstream.timeouts.first_byte
        self._server_name = upstream.tls.server_name
        self._retries = upstream.retries
        self._telling = Telling()
        self._lingering: set[asyncio.Task[None]] = set()
        connections = connector(upstream)
        self._keeps = not connections.force_close
        options: dict[str, Any] = {
            "connector": connections,
            "cookie_jar": aiohttp.DummyCookieJar(),
            "timeout": aiohttp.ClientTimeout(total=None, connect=upstream.timeouts.connect),
            "auto_decompress": False,
            "trust_env": False,
            "skip_auto_headers": ("Accept", "Content-Type", "User-Agent"),
            # Some gateways put whole policies into a response header; aiohttp would stop at 8 KiB.
            "max_line_size": 65_536,
            "max_field_size": 65_536,
        }
        self._session = aiohttp.ClientSession(**options)
        # Of its own: a request takes longer where somebody may watch it.
        traces = aiohttp.TraceConfig()
        traces.on_request_redirect.append(_stay)
        self._websockets = aiohttp.ClientSession(
            **options, connector_owner=False, trace_configs=[traces]
        )

    @asynccontextmanager
    async def answer(
        self,
        method: str,
        url: str,
        headers: Headers,
        body: Body,
        *,
        decode: bool,
        retried: Callable[[Retry], None] = _uncounted,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The head of the answer. Its connection is closed afterwards, unless it was read to its
        end and the connection may be used again.

        ``url`` is taken as it is, to the byte. ``decode``: a content encoding that upstream used
        although it was asked for none is undone. ``retried`` is told of every attempt after the
        first one. Raises Refusal if there is no answer.
        """

        def judge(answer: aiohttp.ClientResponse, attempt: int) -> float | None:
            seconds = pause(answer.status, answer.headers, attempt, random.random())
            if seconds is not None:
                answer.close()
            return seconds

        # Of a body that streams, the beginning is gone.
        again = self._retries if body is None or isinstance(body, bytes) else None
        send = partial(self._send, method, url, headers, body, decode=decode)
        answer = await self._repeat(send, judge, again, retried)
        del send, headers, body  # this frame lasts as long as the answer
        try:
            if answer.status < 200:
                raise unexpected(answer)
            if answer.headers.get("Transfer-Encoding", "chunked").strip().lower() not in _FRAMINGS:
                # aiohttp would hand over what is still coded in some way.
                raise Refusal(
                    502, "upstream_malformed", "The upstream server's transfer coding is not known."
                )
            yield answer
        except BaseException:
            answer.close()
            raise
        self._leave(answer)

    async def websocket(
        self,
        url: str,
        headers: Headers,
        protocols: Collection[str],
        *,
        limit: int,
        retried: Callable[[Retry], None] = _uncounted,
    ) -> aiohttp.ClientWebSocketResponse[bool]:
        """A WebSocket at ``url``, which is taken as it is. Whoever gets it must close it, and
        answers its pings. ``limit``: bytes of one message.

        Raises Declined if upstream answers with an error, Refusal if it does not answer well.
        """

        async def send() -> aiohttp.ClientWebSocketResponse[bool]:
            async with self._waiting():
                return await self._websockets.ws_connect(
                    URL(url, encoded=True),
                    headers=headers,
                    protocols=protocols,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSING),
                    autoclose=False,
                    autoping=False,
                    max_msg_size=limit,
                    decode_text=False,
                    server_hostname=self._server_name,
                )

        try:
            return await self._repeat(send, lambda *_: None, self._retries, retried)
        except aiohttp.WSServerHandshakeError as error:
            if error.status < 400:
                raise unexpected(error) from None
            raise Declined(error.status, error.headers or {}) from None

    async def close(self) -> None:
        """Close every connection."""
        for task in self._lingering:
            task.cancel()
        await asyncio.gather(*self._lingering, return_exceptions=True)
        await self._websockets.close()
        await self._session.close()

    async def _repeat(
        self,
        send: Callable[[], Awaitable[_Result]],
        judge: Callable[[_Result, int], float | None],
        again: int | None,
        retried: Callable[[Retry], None],
    ) -> _Result:
        """What the last ``send`` gives: there are ``again`` more after the first, and a free one if
        a kept connection was closed; None if not even that. ``judge`` says after how many seconds a
        result is to be tried again, if it is. Each attempt has the whole time for the first byte.
        """
        fresh, attempt = False, 0
        while True:
            attempt += 1
            left = again is not None and attempt <= again
            try:
                with only_fresh() if fresh else nullcontext():
                    result = await send()
                seconds, reason = judge(result, attempt) if left else None, Retry.STATUS
                if seconds is None:
                    return result
            except Unreachable as failed:
                if failed.stale and not fresh and again is not None:
                    fresh, attempt = True, attempt - 1
                    seconds, reason = 0.0, Retry.STALE
                elif left and failed.failure in UNSENT:
                    seconds, reason = backoff(attempt, random.random()), Retry.CONNECT
                else:
                    self._telling.tell(failed.failure)
                    raise
            retried(reason)
            await asyncio.sleep(seconds)

    async def _send(
        self, method: str, url: str, headers: Headers, body: Body, *, decode: bool
    ) -> aiohttp.ClientResponse:
        async with self._waiting() as scope:
            if isinstance(body, bytes) and len(body) > _PIECE:
                headers = headers.copy()
                headers["Content-Length"] = str(len(body))
                body = _in_pieces(body)
            elif body is not None and not isinstance(body, bytes):
                body = _while_it_flows(body, scope)
            return await self._session.request(
                method,
                URL(url, encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
                auto_decompress=decode,
                server_hostname=self._server_name,
            )

    @asynccontextmanager
    async def _waiting(self) -> AsyncIterator[asyncio.Timeout]:
        """The wait for the head of an answer. Raises Refusal if it does not come."""
        try:
            async with asyncio.timeout(self._first_byte) as scope:
                yield scope
        except aiohttp.WSServerHandshakeError:
            raise  # an answer, if not the one that was wanted
        except aiohttp.ServerTimeoutError as error:
            raise unreachable(error) from None
        except TimeoutError:
            raise Refusal(504, TIMED_OUT.code, TIMED_OUT.message) from None
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error.__cause__, Refusal):
                raise error.__cause__ from None  # of the request's own body
            raise unreachable(error) from None

    def _leave(self, answer: aiohttp.ClientResponse) -> None:
        """The answer was read as far as anybody wants it."""
        if answer.closed or not self._keeps:
            answer.close()
            return
        task = asyncio.create_task(_see_out(answer))
        self._lingering.add(task)
        task.add_done_callback(self._lingering.discard)


async def _see_out(answer: aiohttp.ClientResponse) -> None:
    """Give an answer the time to end. aiohttp takes the connection back when it does."""
    left = _LINGERING
    try:
        with suppress(TimeoutError, *BROKEN):
            async with asyncio.timeout(LINGER):
                while left >= 0 and (chunk := await answer.content.readany()):
                    left -= len(chunk)
    finally:
        answer.close()


def is_readable(answer: aiohttp.ClientResponse, *, decoded: bool) -> bool:
    """Whether the answer's body is plain, or (``decoded``) was made so."""
    encoding = answer.headers.get("Content-Encoding", "").strip().lower()
    return encoding in (_DECODABLE if decoded else _PLAIN)


def unexpected(answer: aiohttp.ClientResponse | aiohttp.WSServerHandshakeError) -> Refusal:
    """What a client is told of an answer that is neither an answer nor an error."""
    return Refusal(
        502, "upstream_malformed", f"The upstream server answered with status {answer.status}."
    )


async def _stay(
    session: aiohttp.ClientSession, context: object, redirect: aiohttp.TraceRequestRedirectParams
) -> None:
    """Raises WSServerHandshakeError: a WebSocket would follow, with the client's keys, to wherever
    upstream points, and aiohttp has no option against it."""
    answer = redirect.response
    answer.close()
    raise aiohttp.WSServerHandshakeError(
        answer.request_info, answer.history, status=answer.status, headers=answer.headers
    )


async def _in_pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]


async def _while_it_flows(
    body: AsyncIterator[bytes], scope: asyncio.Timeout
) -> AsyncIterator[bytes]:
    """``body``; the wait for the answer begins anew with each piece of it."""
    loop = asyncio.get_running_loop()
    deadline = scope.when()
    seconds = 0.0 if deadline is None else deadline - loop.time()
    async for piece in body:
        yield piece
        with suppress(RuntimeError):  # the answer's head is here, and the wait is over
            scope.reschedule(loop.time() + seconds)
