"""The way to the upstream: one connection a request, and nothing shared between two users."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from io import BytesIO
from typing import Any

import aiohttp
from yarl import URL

from sidecar.core.stream import Fault
from sidecar.rules.config import Upstream
from sidecar.server.headers import Headers
from sidecar.server.replies import Refusal

_PLAIN = frozenset({"", "identity"})
_DECODABLE = _PLAIN | {"gzip", "deflate", "br", "zstd"}
_FRAMINGS = frozenset({"chunked", "identity"})
"""The transfer codings of an answer that are undone, and the one of old that is none."""
Body = bytes | AsyncIterator[bytes] | None

TIMED_OUT = Fault("upstream_timeout", "The upstream server sent nothing for too long.")


_LARGE = 2**20
"""Bytes of a body from which on aiohttp would warn that it is written in one piece."""

BROKEN = (aiohttp.ClientError, ConnectionError)
"""What reading an answer may raise, apart from a timeout."""

CLOSING = 5.0
"""Seconds in which the other end of a WebSocket may answer that it is closed."""


class Declined(Exception):
    """Upstream answered with this error, and these headers, instead of opening a WebSocket."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers


class UpstreamClient:
    """Sends requests upstream. Open until :meth:`close`."""

    def __init__(self, upstream: Upstream) -> None:
        self._first_byte = upstream.timeouts.first_byte
        traces = aiohttp.TraceConfig()
        traces.on_request_redirect.append(_stay)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                # A kept connection may hold an answer that nobody asked for; the next user would
                # get it.
                force_close=True,
                limit=0,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=upstream.timeouts.connect),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("Accept", "Content-Type", "User-Agent"),
            # Some gateways put whole policies into a response header; aiohttp would stop at 8 KiB.
            max_line_size=65_536,
            max_field_size=65_536,
            trace_configs=[traces],
        )

    @asynccontextmanager
    async def answer(
        self, method: str, url: str, headers: Headers, body: Body, *, decode: bool
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The head of the answer; its connection is closed afterwards, come what may.

        ``url`` is taken as it is, to the byte. ``decode``: a content encoding that upstream used
        although it was asked for none is undone. Raises Refusal if there is no answer.
        """
        async with self._waiting() as scope:
            if isinstance(body, bytes):
                data: Any = body if len(body) < _LARGE else BytesIO(body)
            else:
                data = None if body is None else _while_it_flows(body, scope)
            answer = await self._session.request(
                method,
                URL(url, encoded=True),
                headers=headers,
                data=data,
                allow_redirects=False,
                auto_decompress=decode,
            )
        try:
            if answer.status < 200:
                raise unexpected(answer)
            if answer.headers.get("Transfer-Encoding", "chunked").strip().lower() not in _FRAMINGS:
                # aiohttp would hand over what is still coded in some way.
                raise Refusal(
                    502, "upstream_malformed", "The upstream server's transfer coding is not known."
                )
            yield answer
        finally:
            answer.close()

    async def websocket(
        self, url: str, headers: Headers, protocols: Collection[str], *, limit: int
    ) -> aiohttp.ClientWebSocketResponse[bool]:
        """A WebSocket at ``url``, which is taken as it is. Whoever gets it must close it, and
        answers its pings. ``limit``: bytes of one message.

        Raises Declined if upstream answers with an error, Refusal if it does not answer well.
        """
        async with self._waiting():
            try:
                return await self._session.ws_connect(
                    URL(url, encoded=True),
                    headers=headers,
                    protocols=protocols,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSING),
                    autoclose=False,
                    autoping=False,
                    max_msg_size=limit,
                    decode_text=False,
                )
            except aiohttp.WSServerHandshakeError as error:
                if error.status < 400:
                    raise unexpected(error) from None
                raise Declined(error.status, error.headers or {}) from None

    @asynccontextmanager
    async def _waiting(self) -> AsyncIterator[asyncio.Timeout]:
        """The wait for the head of an answer. Raises Refusal if it does not come."""
        try:
            async with asyncio.timeout(self._first_byte) as scope:
                yield scope
        except aiohttp.ServerTimeoutError:
            raise Refusal(
                504, "upstream_unreachable", "The upstream server could not be reached in time."
            ) from None
        except TimeoutError:
            raise Refusal(504, TIMED_OUT.code, TIMED_OUT.message) from None
        except aiohttp.ClientConnectorError:
            raise Refusal(
                502, "upstream_unreachable", "The upstream server could not be reached."
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error.__cause__, Refusal):
                raise error.__cause__ from None  # of the request's own body
            if isinstance(error, aiohttp.ClientConnectionError | OSError):
                raise Refusal(
                    502,
                    "upstream_closed",
                    "The upstream server closed the connection before it answered.",
                ) from None
            raise Refusal(
                502, "upstream_malformed", "The upstream server's answer is not valid HTTP."
            ) from None

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


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
