"""From the upstream's answer to the client's: raw, as an event stream, or as a document.

What becomes of what comes, and how an answer ends; how it comes is :mod:`sidecar.server.pump`'s.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext, suppress
from typing import Protocol

import aiohttp
from aiohttp import web

from sidecar.core.document import DocumentWire, filter_document
from sidecar.core.jsontext import MalformedJSON
from sidecar.core.policy import Unknown
from sidecar.core.sse import Decoder, EventTooLarge
from sidecar.core.stats import Stats
from sidecar.core.status import NO_STATUSES
from sidecar.core.stream import (
    UPSTREAM_CLOSED,
    Fault,
    MalformedChunk,
    StreamFilter,
    Wire,
)
from sidecar.rules.config import Config
from sidecar.server.downstream import Downstream
from sidecar.server.exchange import CutOff, Exchange, Outcome
from sidecar.server.headers import VIA, Headers
from sidecar.server.pump import READ, Pump
from sidecar.server.replies import SERVER, Refusal, StreamReply, error_reply, json_reply
from sidecar.server.unreadable import STREAMS, Reason, reason_of, unreadable
from sidecar.server.upstream import BROKEN, TIMED_OUT, is_readable
from sidecar.server.watchdog import Watchdog
from sidecar.tally import MANY
from sidecar.wire.answer import Answer
from sidecar.wire.errorclass import ErrorClass, sentence
from sidecar.wire.errors import UPSTREAM_ERROR

_DOCUMENT = "application/json"

OWN_KEY_REFUSED = Fault(UPSTREAM_ERROR, sentence(ErrorClass.AUTHENTICATION))
"""What a client is told where upstream's own words are likely to quote our key."""


class Tap(Protocol):
    """Something that reads an answer on its way, and changes nothing."""

    def feed(self, chunk: bytes) -> object:
        """A piece of the body has come."""

    def finish(self) -> object:
        """The body is complete."""


class DocumentTap:
    """Judges a document once it has passed; one larger than ``limit`` bytes is not judged."""

    def __init__(self, wire: Answer, limit: int) -> None:
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
    """One upstream answer on its way to one client."""

    def __init__(
        self,
        request: web.BaseRequest,
        answer: aiohttp.ClientResponse,
        exchange: Exchange,
        config: Config,
    ) -> None:
        self._request = request
        self._answer = answer
        self._exchange = exchange
        self.own_key = config.upstream.api_key
        """What upstream was asked with, if the client's own key was not."""
        timeouts = config.upstream.timeouts
        self._first_byte = timeouts.first_byte
        self._watchdog = Watchdog(timeouts.first_byte, then=timeouts.idle)
        self._limit = config.limits.event
        """Bytes of an event, or of an answer that is one document."""

    async def raw(
        self, headers: Headers, tap: Tap | None = None, begun: bytes = b""
    ) -> web.StreamResponse:
        """The answer as it is, unless it refuses a key that the client does not know. ``begun``:
        what was read of it before."""
        if self._answer.status == 401 and self.own_key is not None:
            self._exchange.outcome = Outcome.UPSTREAM_ERROR
            return error_reply(401, OWN_KEY_REFUSED, shape=self._exchange.route.error)

        def take(chunk: bytes) -> bytes:
            if tap is not None:
                tap.feed(chunk)
                self._exchange.judged()
            return chunk

        reply = self._reply(self._answer.status, headers)
        writer = await reply.prepare(self._request)
        assert writer is not None
        if begun:
            await self._write(reply, begun)
        streams = self._answer.content_type in STREAMS
        with self._exchange.streaming() if streams else nullcontext():
            try:
                await Pump(self._answer, writer, self._watchdog, take).run()
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

    async def observed(self, headers: Headers, wire: Answer) -> web.StreamResponse:
        """The answer as it is, and what the rule would have done is counted."""
        content_type = self._answer.content_type
        if self._answer.status == 200 and content_type == wire.framing.content_type:
            self._exchange.stats = wire.stats
            stream = StreamFilter(wire, limit=self._limit)
            reply = await self.raw(headers, stream)
            if wire.stats.unreadable_events:
                self._exchange.lets_pass(Reason.EVENT, self._answer)
            return reply
        if self._answer.status == 200 and content_type == _DOCUMENT:
            self._exchange.stats = wire.stats
            return await self.raw(headers, DocumentTap(wire, self._limit))
        if self._answer.status < 300:
            self._exchange.lets_pass(reason_of(self._answer), self._answer)
        return await self.raw(headers)

    async def filtered(
        self, headers: Headers, wire: Answer, downstream: Downstream
    ) -> web.StreamResponse:
        """The answer, which is no error, filtered as a stream or as a document. Raises Refusal if
        it is neither, and the rule does not let such ones pass."""
        answer = self._answer
        if self.is_events(downstream):
            return await self.events(headers, downstream)
        is_document = answer.status == 200 and is_readable(answer, decoded=True)
        if is_document and answer.content_type == _DOCUMENT:
            return await self._document(headers, wire)
        reason = reason_of(answer)
        if not self._exchange.lets_pass(reason, answer):
            raise unreadable(reason, answer)
        return await self.raw(self.described(headers))

    def is_events(self, downstream: Downstream) -> bool:
        """Whether the answer is one in events that ``downstream`` can be fed with."""
        answer = self._answer
        is_read = answer.status == 200 and is_readable(answer, decoded=True)
        return is_read and answer.content_type == downstream.stream.content_type

    async def events(
        self, headers: Headers, downstream: Downstream, begun: bytes = b""
    ) -> web.StreamResponse:
        """The answer's events, filtered. ``begun``: what was read of it before."""
        exchange, stream = self._exchange, downstream.stream
        exchange.stats = stream.stats
        await downstream.begin(headers)
        fault = await self._pump(downstream, begun)
        last = stream.finish(fault)
        exchange.judged()
        await downstream.write(last)
        await downstream.end()
        exchange.outcome = outcome_of(stream.stats, fault)
        if stream.stats.unreadable_events:
            exchange.lets_pass(Reason.EVENT, self._answer)
        return downstream.reply

    def silent(self, wire: Wire) -> Downstream:
        """The client's side of an answer that comes as fast as it is read, so that nobody needs to
        be told of it."""
        passes = self._exchange.unknown is Unknown.PASS
        stream = StreamFilter(wire, limit=self._limit, passes_unreadable=passes)
        return Downstream(self._request, self._exchange, stream, NO_STATUSES, Headers())

    async def document(self, headers: Headers, wire: DocumentWire) -> web.StreamResponse:
        """The answer as one JSON document, filtered. Raises Refusal if it cannot be read, and the
        rule does not let such ones pass."""
        body = await self.body(self._limit)
        try:
            return json_reply(200, filter_document(body, wire), headers)
        except (MalformedJSON, MalformedChunk):
            if not self._exchange.lets_pass(Reason.DOCUMENT, self._answer):
                raise unreadable(Reason.DOCUMENT, self._answer) from None
            return json_reply(200, body, headers)

    async def _document(self, headers: Headers, wire: Answer) -> web.StreamResponse:
        exchange = self._exchange
        exchange.stats = wire.stats
        reply = await self.document(headers, wire)
        exchange.judged()
        exchange.outcome = outcome_of(wire.stats, None)
        if wire.stats.error is not None:
            reply.set_status(502)
        return reply

    def described(self, headers: Headers) -> Headers:
        """With what says how to read the answer's body, which passes as it is."""
        given = self._answer.headers
        names = ["Content-Type"]
        if not is_readable(self._answer, decoded=True):
            names.append("Content-Encoding")
        headers.update({name: given[name] for name in names if name in given})
        return headers

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

    async def first_event(self) -> tuple[bytes, bytes]:
        """What the stream begins with, up to its first event that says anything, and the data of
        that event; empty if there is none. Raises Refusal if it breaks off before."""
        begun = bytearray()
        decoder = Decoder(self._limit)
        try:
            async with asyncio.timeout(self._first_byte):
                while chunk := await self._answer.content.readany():
                    begun += chunk
                    for frame in decoder.feed(chunk):
                        if frame.data:
                            return bytes(begun), frame.data
        except EventTooLarge:
            pass  # whoever is fed what has begun finds the same
        except TimeoutError:
            raise Refusal(504, TIMED_OUT.code, TIMED_OUT.message) from None
        except BROKEN:
            raise Refusal(502, UPSTREAM_CLOSED.code, UPSTREAM_CLOSED.message) from None
        return bytes(begun), b""

    async def _pump(self, downstream: Downstream, begun: bytes) -> Fault | None:
        """Relay until the stream is done. Returns why it could not go on, if it could not."""
        exchange, stream = self._exchange, downstream.stream
        # The loop's own clock may tick in milliseconds.
        feed, stats, now = stream.feed, stream.stats, time.monotonic
        came = left = held = 0.0
        firsts = 0

        def take(chunk: bytes) -> bytes:
            nonlocal came, left, held, firsts
            before, came = came, now()
            if before:
                upstream(came - before)
                if len(pending) >= MANY:
                    pace.trim()
            out = feed(chunk)
            if stats.firsts != firsts:
                firsts = stats.firsts
                exchange.judged()
            if stream.holds:
                held = held or came
            elif held:
                pace.held.observe(came - held)
                held = 0.0
            if stream.done:
                pump.stop()
            if out:
                before, left = left, now()
                if before:
                    client(left - before)
                added(left - came)
                downstream.wrote_at = left
            return out

        try:
            with exchange.streaming() as pace:
                # As Series.observe does, all three at a time.
                upstream, client, added = (each.pending.append for each in pace[:3])
                pending = pace.upstream.pending
                await downstream.write(feed(begun))
                if not stream.done:
                    pump = Pump(self._answer, downstream.writer, self._watchdog, take)
                    await pump.run()
                if held:
                    pace.held.observe(now() - held)
        except TimeoutError:
            return TIMED_OUT
        except BROKEN:
            return UPSTREAM_CLOSED
        return None

    async def _read(self) -> bytes:
        self._watchdog.listen()
        chunk = await self._answer.content.read(READ)
        self._watchdog.pause()
        return chunk

    def _reply(self, status: int, headers: Headers) -> web.StreamResponse:
        reply = StreamReply(status=status, reason=None, headers=headers)
        # Upstream's own pass where all of its headers do.
        reply.headers.setdefault("Server", SERVER)
        reply.headers.setdefault("Via", VIA)
        self._exchange.begins(reply)
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


def outcome_of(stats: Stats, fault: Fault | None) -> Outcome:
    """How an answer ended that was read to its end, or to the ``fault``."""
    if stats.error is None:
        return Outcome.COMPLETED
    return Outcome.UPSTREAM_TIMEOUT if fault is TIMED_OUT else Outcome.UPSTREAM_INCOMPLETE
