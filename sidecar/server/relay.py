"""From the upstream's answer to the client's: raw, as an event stream, or as a document.

One write for each read, at once. Awaiting the write is the back-pressure: meanwhile nothing is
read from upstream.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import Protocol

import aiohttp
from aiohttp import web

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
from sidecar.server.headers import EVENT_STREAM, Headers
from sidecar.server.replies import SERVER, Refusal, json_reply
from sidecar.server.watchdog import Watchdog
from sidecar.wire.chat import Chat

TIMED_OUT = Fault("upstream_timeout", "The upstream server sent nothing for too long.")

BROKEN = (aiohttp.ClientError, ConnectionError)
"""What reading from upstream may raise, apart from a timeout."""


class CutOff(Exception):
    """The answer cannot go on, and its head is out: the connection is cut, which is the only way
    left to say so."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Tap(Protocol):
    """Something that reads an answer on its way, and changes nothing."""

    def feed(self, chunk: bytes) -> object:
        """A piece of the body has come."""

    def finish(self) -> object:
        """The body is complete."""


class DocumentTap:
    """Judges a document once it has passed; one larger than ``limit`` bytes is not judged."""

    def __init__(self, wire: Chat, limit: int) -> None:
        self._wire = wire
        self._limit = limit
        self._body = bytearray()

    def feed(self, chunk: bytes) -> None:
        """A piece of the body has come."""
        if len(self._body) <= self._limit:
            self._body += chunk

    def finish(self) -> None:
        """The body is complete."""
        if len(self._body) <= self._limit:
            with suppress(MalformedJSON, MalformedChunk):
                filter_document(bytes(self._body), self._wire)


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

    async def raw(self, headers: Headers, tap: Tap | None = None) -> web.StreamResponse:
        """The answer as it is."""
        reply = await self._begin(self._answer.status, headers)
        streams = self._answer.content_type == "text/event-stream"
        with self._exchange.streaming() if streams else nullcontext():
            try:
                async with self._watchdog:
                    while chunk := await self._read():
                        if tap is not None:
                            tap.feed(chunk)
                            self._exchange.judged()
                        await self._write(reply, chunk)
            except TimeoutError:
                raise CutOff(Outcome.UPSTREAM_TIMEOUT) from None
            except BROKEN:
                raise CutOff(Outcome.UPSTREAM_INCOMPLETE) from None
        if tap is not None:
            tap.finish()
            self._exchange.judged()
        await self._end(reply)
        self._exchange.outcome = (
            Outcome.COMPLETED if self._answer.status < 500 else Outcome.UPSTREAM_ERROR
        )
        return reply

    async def observed(self, headers: Headers, chat: Chat) -> web.StreamResponse:
        """The answer as it is, and what the rule would have done is counted."""
        self._exchange.stats = chat.stats
        if self._answer.content_type == "text/event-stream":
            return await self.raw(headers, StreamFilter(chat, limit=self._limit))
        return await self.raw(headers, DocumentTap(chat, self._limit))

    async def events(self, headers: Headers, chat: Chat) -> web.StreamResponse:
        """The answer's event stream, filtered."""
        self._exchange.stats = chat.stats
        stream = StreamFilter(chat, limit=self._limit)
        headers.update(EVENT_STREAM)
        reply = await self._begin(200, headers)
        fault = await self._pump(reply, stream)
        last = stream.finish(fault)
        self._exchange.judged()
        if last:
            await self._write(reply, last)
        await self._end(reply)
        self._exchange.outcome = _outcome(chat, fault)
        return reply

    async def document(self, headers: Headers, chat: Chat) -> web.StreamResponse:
        """The answer as one JSON document, filtered."""
        self._exchange.stats = chat.stats
        try:
            body = filter_document(await self.body(self._limit), chat)
        except (MalformedJSON, MalformedChunk):
            raise Refusal(
                502, "upstream_malformed", "The upstream server's answer is not a completion."
            ) from None
        self._exchange.judged()
        self._exchange.outcome = _outcome(chat, None)
        return json_reply(200 if chat.stats.error is None else 502, body, headers)

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
        exchange, watchdog = self._exchange, self._watchdog
        readany = self._answer.content.readany
        try:
            with exchange.streaming():
                async with self._watchdog:
                    while not stream.done:
                        # As in _read and _write, less two coroutines for each event.
                        watchdog.listen()
                        chunk = await readany()
                        watchdog.pause()
                        if not chunk:
                            break
                        exchange.heard()
                        out = stream.feed(chunk)
                        exchange.judged()
                        if out:
                            try:
                                await reply.write(out)
                            except ConnectionError:
                                raise CutOff(Outcome.CLIENT_GONE) from None
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

    async def _begin(self, status: int, headers: Headers) -> web.StreamResponse:
        reply = web.StreamResponse(status=status, reason=None, headers=headers)
        reply.headers["Server"] = SERVER
        await reply.prepare(self._request)
        return reply

    async def _write(self, reply: web.StreamResponse, data: bytes) -> None:
        try:
            await reply.write(data)
        except ConnectionError:
            raise CutOff(Outcome.CLIENT_GONE) from None

    async def _end(self, reply: web.StreamResponse) -> None:
        try:
            await reply.write_eof()
        except ConnectionError:
            raise CutOff(Outcome.CLIENT_GONE) from None


def _outcome(chat: Chat, fault: Fault | None) -> Outcome:
    if chat.stats.error is None:
        return Outcome.COMPLETED
    return Outcome.UPSTREAM_TIMEOUT if fault is TIMED_OUT else Outcome.UPSTREAM_INCOMPLETE
