"""The client's side of an answer in events: when it begins, and what is said while upstream is
silent.

Two timers, and a task only when one of them has something to say: a stream that flows costs one
number for each write.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from sidecar.core.status import StatusPolicy
from sidecar.core.stream import Fault, StreamFilter
from sidecar.server.exchange import CutOff, Exchange, Outcome
from sidecar.server.headers import Headers
from sidecar.server.replies import stream_reply

HEADROOM = 0.1
"""The share of a budget that is left for the way to the client: it is what a person waits."""


class Downstream:
    """What ``stream`` makes of an answer, on its way to one client.

    ``status`` says when it begins without upstream, and how often it shows that it is alive.
    ``headers`` are those that it has whatever upstream says. ``async with``: the timers run.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        exchange: Exchange,
        stream: StreamFilter,
        status: StatusPolicy,
        headers: Headers,
    ) -> None:
        self.begun = False
        """The head of the answer is out, or is on its way: it is a stream, and its status 200."""
        self.stream = stream
        self.wrote_at = 0.0
        """When something was last written, by :func:`time.monotonic`; whoever writes says so."""
        self._request = request
        self._exchange = exchange
        self._status = status
        self._headers = headers
        self._loop = asyncio.get_running_loop()
        self._reply: web.StreamResponse | None = None
        self._writer: AbstractStreamWriter | None = None
        self._answered = False
        self._budget: asyncio.TimerHandle | None = None
        self._heartbeat: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def reply(self) -> web.StreamResponse:
        """What is written to, once it has begun."""
        assert self._reply is not None
        return self._reply

    @property
    def writer(self) -> AbstractStreamWriter:
        """What writes the reply's body, once it has begun: a call less for each event than the
        reply itself."""
        assert self._writer is not None
        return self._writer

    async def __aenter__(self) -> Downstream:
        first_after = self._status.first_after
        if first_after == 0:
            await self._wait()
        elif first_after is not None:
            due = self._exchange.arrived + first_after * (1 - HEADROOM)
            self._budget = self._loop.call_at(due, self._spend)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for timer in (self._budget, self._heartbeat):
            if timer is not None:
                timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def answered(self) -> None:
        """Upstream has answered, or has failed: from now on nothing begins without it."""
        self._answered = True
        if self._task is not None:
            await self._task

    async def begin(self, headers: Headers) -> None:
        """Make the head, unless that was done; ``headers`` are upstream's that pass. It leaves with
        what is written next, or once the writer is told to send it."""
        if self.begun:
            return
        self.begun = True
        self._reply = stream_reply(headers, self.stream.content_type, self._headers)
        self._exchange.begins(self._reply)
        self._writer = await self._reply.prepare(self._request)
        self.wrote_at = time.monotonic()
        if self._status.heartbeat is not None:
            self._heartbeat = self._loop.call_later(self._status.heartbeat, self._look)

    async def write(self, data: bytes) -> None:
        """Write what the stream has made. Raises CutOff if the client is gone."""
        if not data:
            return
        self.wrote_at = time.monotonic()
        try:
            await self.reply.write(data)
        except ConnectionError:
            raise CutOff(Outcome.CLIENT_GONE) from None

    async def end(self) -> web.StreamResponse:
        """Everything was written. Raises CutOff if the client is gone."""
        try:
            await self.reply.write_eof()
        except ConnectionError:
            raise CutOff(Outcome.CLIENT_GONE) from None
        return self.reply

    async def fail(self, fault: Fault) -> web.StreamResponse:
        """The answer has begun, and there is none. Raises CutOff."""
        await self.write(self.stream.finish(fault))
        return await self.end()

    async def refuse(self, error: Any, status: int) -> web.StreamResponse:
        """The answer has begun, and upstream has sent ``error`` with this status instead. Raises
        CutOff."""
        await self.write(self.stream.refuse(error, status))
        return await self.end()

    # What is said while upstream is silent.

    def _spend(self) -> None:
        """The budget is used up."""
        self._budget = None  # what has fired is not kept until the answer ends
        if self.begun or not self._answered:
            self._do(self._wait)

    async def _wait(self) -> None:
        if not self.begun:
            self._exchange.begun_early = True
            await self.begin(Headers())
        data = self.stream.wait()
        self._exchange.judged()
        await self.write(data)
        self.writer.send_headers()

    def _look(self) -> None:
        """A heartbeat may be due."""
        every = self._status.heartbeat
        assert every is not None
        due = self.wrote_at + every - time.monotonic()
        if due <= 0:
            due = every
            transport = self._request.transport
            # Who has not read what was written last is not kept waiting by silence.
            if transport is not None and not transport.get_write_buffer_size():
                self._do(self._beat)
        self._heartbeat = self._loop.call_later(due, self._look)

    async def _beat(self) -> None:
        data = self.stream.beat(self._status.beat)
        if data:
            self._exchange.heartbeats += 1
            self._exchange.judged()
            await self.write(data)

    def _do(self, what: Callable[[], Awaitable[None]]) -> None:
        """Do it in a task of its own, one at a time."""
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(_quietly(what))


async def _quietly(what: Callable[[], Awaitable[None]]) -> None:
    """Do it; a client that is gone is noticed by whoever serves it."""
    with suppress(CutOff, ConnectionError):
        await what()
