"""From the upstream's answer to the client's: raw, as an event stream, as a document, as an error.

One write for each read, at once. Awaiting the write is the back-pressure: meanwhile nothing is
read from upstream.
"""

from __future__ import annotations

from contextlib import nullcontext

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from sidecar.core.document import filter_document
from sidecar.core.jsontext import MalformedJSON
from sidecar.core.stream import (
    UPSTREAM_CLOSED,
    Fault,
    MalformedChunk,
    StreamFilter,
)
from sidecar.rules.config import Timeouts
from sidecar.server.exchange import Exchange, Outcome
from sidecar.server.headers import EVENT_STREAM
from sidecar.server.replies import SERVER, Refusal, json_reply
from sidecar.server.watchdog import Watchdog
from sidecar.wire.chat import Chat

TIMED_OUT = Fault("upstream_timeout", "The upstream server sent nothing for too long.")

BROKEN = (aiohttp.ClientError, ConnectionError)
"""What reading from upstream may raise, apart from a timeout."""


class ClientGone(Exception):
    """A write failed: there is nobody left to write to."""


class Relay:
    """One upstream answer on its way to one client.

    ``limit`` is the size of an event, or of an answer that is one document, in bytes.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        answer: aiohttp.ClientResponse,
        exchange: Exchange,
        timeouts: Timeouts,
        limit: int,
    ) -> None:
        self._request = request
        self._answer = answer
        self._exchange = exchange
        self._watchdog = Watchdog(timeouts.first_byte, then=timeouts.idle)
        self._limit = limit

    async def raw(self, headers: CIMultiDict[str]) -> web.StreamResponse:
        """The answer as it is. If upstream dies the client's connection is cut: there is no
        other way to say so in the middle of bytes that nobody reads."""
        reply = await self._begin(self._answer.status, headers)
        streams = self._answer.content_type == "text/event-stream"
        with self._exchange.streaming() if streams else nullcontext():
            try:
                async with self._watchdog:
                    while chunk := await self._read():
                        await self._write(reply, chunk)
            except TimeoutError:
                raise ConnectionError("upstream timed out") from None
        await self._end(reply)
        if self._answer.status < 500:
            self._exchange.outcome = Outcome.COMPLETED
        return reply

    async def events(
        self, headers: CIMultiDict[str], chat: Chat, *, observe: bool
    ) -> web.StreamResponse:
        """The answer's event stream, filtered."""
        self._exchange.stats = chat.stats
        stream = StreamFilter(chat, limit=self._limit, observe=observe)
        headers.update(EVENT_STREAM)
        reply = await self._begin(200, headers)
        fault = await self._pump(reply, stream)
        last = stream.finish(fault)
        self._exchange.judged()
        if last:
            await self._write(reply, last)
        if observe and fault is not None:
            raise ConnectionError("upstream died")  # as it would without a rule
        await self._end(reply)
        self._exchange.outcome = _outcome(chat, fault)
        return reply

    async def document(
        self, headers: CIMultiDict[str], chat: Chat, *, observe: bool
    ) -> web.StreamResponse:
        """The answer as one JSON document, filtered."""
        self._exchange.stats = chat.stats
        body = await self.body(self._limit)
        try:
            filtered = filter_document(body, chat)
        except (MalformedJSON, MalformedChunk):
            if not observe:
                raise Refusal(
                    502, "upstream_malformed", "The upstream server's answer is not a completion."
                ) from None
            filtered = body
        self._exchange.judged()
        status = 200 if chat.stats.error is None else 502
        self._exchange.outcome = _outcome(chat, None)
        return json_reply(status, body if observe else filtered, headers)

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises Refusal if it is larger than ``limit`` bytes or breaks off."""
        parts = bytearray()
        try:
            async with self._watchdog:
                while chunk := await self._read():
                    parts += chunk
                    if len(parts) > limit:
                        raise Refusal(
                            502,
                            "upstream_answer_too_large",
                            f"The upstream server's answer is larger than {limit} bytes.",
                        )
        except TimeoutError:
            raise Refusal(504, TIMED_OUT.code, TIMED_OUT.message) from None
        except BROKEN:
            raise Refusal(502, UPSTREAM_CLOSED.code, UPSTREAM_CLOSED.message) from None
        return bytes(parts)

    async def _pump(self, reply: web.StreamResponse, stream: StreamFilter) -> Fault | None:
        """Relay until the stream is done. Returns why it could not go on, if it could not."""
        exchange = self._exchange
        try:
            with exchange.streaming():
                async with self._watchdog:
                    while not stream.done and (chunk := await self._read()):
                        out = stream.feed(chunk)
                        exchange.judged()
                        if out:
                            await self._write(reply, out)
        except TimeoutError:
            return TIMED_OUT
        except BROKEN:
            return UPSTREAM_CLOSED
        return None

    async def _read(self) -> bytes:
        self._watchdog.listen()
        chunk = await self._answer.content.readany()
        self._watchdog.pause()
        if chunk:
            self._exchange.heard()
        return chunk

    async def _begin(self, status: int, headers: CIMultiDict[str]) -> web.StreamResponse:
        reply = web.StreamResponse(status=status, reason=None, headers=headers)
        reply.headers["Server"] = SERVER
        await reply.prepare(self._request)
        return reply

    async def _write(self, reply: web.StreamResponse, data: bytes) -> None:
        try:
            await reply.write(data)
        except ConnectionError:
            raise ClientGone from None

    async def _end(self, reply: web.StreamResponse) -> None:
        try:
            await reply.write_eof()
        except ConnectionError:
            raise ClientGone from None


def _outcome(chat: Chat, fault: Fault | None) -> Outcome:
    if chat.stats.error is None:
        return Outcome.COMPLETED
    return Outcome.UPSTREAM_TIMEOUT if fault is TIMED_OUT else Outcome.UPSTREAM_INCOMPLETE
