"""The answers under way: how many there may be, in all and for one client, and the end of them all.

An answer is under way from the time when its request is served until it has ended, be it streamed
or not: in either case a model is at work, and memory and two connections are taken.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from types import TracebackType

from aiohttp import web

from sidecar.rules.config import Limits
from sidecar.server.replies import Refusal

_RETRY_AFTER = 1
"""Seconds: answers end all the time, and a client that waits much longer shows a blank screen."""

_CREDENTIALS = ("Authorization", "x-api-key")


class InFlight:
    """Counts the answers under way against ``limits``, which may change, and can end them."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._clients: Counter[str | bytes] = Counter()
        self._number = 0
        self._none_left = asyncio.Event()
        self._none_left.set()
        self._scopes: set[asyncio.Timeout] = set()
        self._stopped = False

    def __len__(self) -> int:
        return self._number

    @contextmanager
    def admitted(self, request: web.BaseRequest, client: str) -> Iterator[None]:
        """The answer to ``request`` is under way; ``client`` is who asks, empty if that is not
        known. Raises TooMany, or Stopping."""
        if self._stopped:
            raise Stopping()
        if self._number >= self.limits.streams:
            raise TooMany(503, "overloaded", "Too many answers are under way.")
        who = self._who(request, client)
        if who is not None and self._clients[who] >= (self.limits.streams_per_client or 0):
            raise TooMany(
                429, "too_many_streams", "Too many answers are under way for this client."
            )
        self._number += 1
        self._none_left.clear()
        if who is not None:
            self._clients[who] += 1
        try:
            yield
        finally:
            self._number -= 1
            if not self._number:
                self._none_left.set()
            if who is not None:
                self._clients[who] -= 1
                if not self._clients[who]:
                    del self._clients[who]

    def until_stopped(self) -> AbstractAsyncContextManager[None]:
        """What must not outlive :meth:`stop`, which ends it. Raises Stopping then."""
        if self._stopped:
            raise Stopping()
        return _UntilStopped(self._scopes)

    def stop(self) -> None:
        """End all that is under way, and let nothing begin."""
        self._stopped = True
        now = asyncio.get_running_loop().time()
        for scope in self._scopes:
            scope.reschedule(now)

    async def none_left(self) -> None:
        """Wait until nothing is under way."""
        await self._none_left.wait()

    def _who(self, request: web.BaseRequest, client: str) -> str | bytes | None:
        """Who asks: by the name, by the key of the request, of which only a digest is kept, or else
        by the address; None if nobody is told apart."""
        if self.limits.streams_per_client is None:
            return None
        if client:
            return client
        keys = [request.headers[name] for name in _CREDENTIALS if name in request.headers]
        who = "\n".join(keys) if keys else request.remote or ""
        return hashlib.sha256(who.encode()).digest()


class _UntilStopped:
    """One scope, while it is open among the ``scopes``. Every answer under way has one, and an
    object takes less than a generator."""

    __slots__ = ("_scope", "_scopes")

    def __init__(self, scopes: set[asyncio.Timeout]) -> None:
        self._scope = asyncio.timeout(None)
        self._scopes = scopes

    async def __aenter__(self) -> None:
        await self._scope.__aenter__()
        self._scopes.add(self._scope)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._scopes.discard(self._scope)
        try:
            await self._scope.__aexit__(kind, error, trace)
        except TimeoutError:
            raise Stopping() from None
        if isinstance(error, TimeoutError) and self._scope.expired():
            raise Stopping() from None


class TooMany(Refusal):
    """There is no room for another answer now."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message, retry_after=_RETRY_AFTER)


class Stopping(Refusal):
    """The sidecar ends, and so does what it was doing."""

    def __init__(self) -> None:
        super().__init__(
            503, "shutting_down", "The sidecar is shutting down.", retry_after=_RETRY_AFTER
        )
