"""Ends a wait for an upstream that says nothing.

aiohttp's own read timeout does not fire after a framing error in a body (its parser stops reading
and nobody is told), so the time is kept here. Per read it costs two assignments, not a timer.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType


class Watchdog:
    """``async with``: TimeoutError in the block when upstream is silent for too long.

    ``first`` are the seconds until the first :meth:`pause`, ``then`` those of every later wait.
    Not running while paused.
    """

    def __init__(self, first: float, then: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._scope = asyncio.timeout(None)
        self._seconds = first
        self._then = then
        self._since: float | None = None
        """When the wait for upstream began that is going on, by :func:`time.monotonic`."""
        self._timer: asyncio.TimerHandle | None = None

    def listen(self) -> None:
        """A wait for upstream begins."""
        self._since = time.monotonic()

    def pause(self) -> None:
        """Upstream has said something; now it is not upstream that is waited for."""
        self._since = None
        if self._seconds != self._then:
            self._seconds = self._then
            self._schedule(self._then)

    def hear(self) -> None:
        """Upstream has said something, and is waited for again."""
        self._since = time.monotonic()
        if self._seconds != self._then:
            self._seconds = self._then
            self._schedule(self._then)

    async def __aenter__(self) -> None:
        await self._scope.__aenter__()
        self._schedule(self._seconds)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._scope.__aexit__(kind, error, trace)

    def _schedule(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        waited = 0.0 if self._since is None else time.monotonic() - self._since
        if waited >= self._seconds:
            self._scope.reschedule(self._loop.time())
        else:
            self._schedule(self._seconds - waited)
