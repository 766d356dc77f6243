"""An answer's body on its way from upstream to the client, each read with one write, at once.

What has come is taken, and what becomes of it written, within the event loop's own call that brings
it. A coroutine that waits for it would have to be resumed with every event, which takes as long as
to read and judge one. Only a client that takes less than is written to it is waited for: meanwhile
nothing is read from upstream, which is the back-pressure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter

from sidecar.server.connections import carrier
from sidecar.server.exchange import CutOff, Outcome
from sidecar.server.watchdog import Watchdog

READ: Final = 65_536
"""Bytes that are read at most at a time. The system hands over half a mebibyte, of which several
copies would wait until a client takes what became of them."""


class Pump:
    """Takes what comes of ``answer`` until it is over, and writes to ``writer`` what ``take`` makes
    of each piece."""

    def __init__(
        self,
        answer: aiohttp.ClientResponse,
        writer: AbstractStreamWriter,
        watchdog: Watchdog,
        take: Callable[[bytes], bytes],
    ) -> None:
        self._content = answer.content
        self._carrier = carrier(answer)
        self._writer = cast(StreamWriter, writer)
        self._client = self._writer.protocol
        self._watchdog = watchdog
        self._take = take
        self._over = False
        self._error: Exception | None = None
        self._reading = False
        """To read may let more come, which the same reading gets."""
        self._loop = asyncio.get_running_loop()
        self._turn: asyncio.Future[None]
        """Done when the client must be waited for, or nothing more comes."""

    def stop(self) -> None:
        """What was taken last is the end."""
        self._over = True

    async def run(self) -> None:
        """Return when the body is over, or :meth:`stop` has ended it. Raises what ``take`` does,
        TimeoutError if upstream is silent for too long, aiohttp's ClientError if the body breaks
        off, and CutOff if the client is gone."""
        if self._carrier is not None:
            self._carrier.tell(self._hear)
        try:
            async with self._watchdog:
                while not self._over:
                    self._watchdog.listen()
                    self._turn = self._loop.create_future()
                    self._hear()
                    self._send_head()
                    await self._turn
                    self._watchdog.pause()
                    if self._error is not None:
                        raise self._error
                    await self._drain()
        finally:
            if self._carrier is not None:
                self._carrier.forget(self._hear)
            del self._take  # which has the pump, to stop it: nobody has to look for the circle

    def _send_head(self) -> None:
        """What has come took the head with it; if nothing has, it leaves alone."""
        try:
            self._writer.send_headers()
        except ConnectionError:
            raise CutOff(Outcome.CLIENT_GONE) from None

    def _hear(self) -> None:
        """Something may have come, or the end."""
        if self._reading or self._turn.done():
            return
        self._reading = True
        try:
            if self._read():
                self._turn.set_result(None)
        except Exception as error:
            self._error = error
            self._turn.set_result(None)
        finally:
            self._reading = False

    def _read(self) -> bool:
        """Take what has come. Whether that is all, or the client must be waited for."""
        said = False
        while chunk := self._content.read_nowait(READ):
            said = True
            if out := self._take(chunk):
                try:
                    _without_waiting(self._writer.write(out, drain=False))
                except ConnectionError:
                    raise CutOff(Outcome.CLIENT_GONE) from None
            if self._over or self._client.writing_paused:
                return True
            if len(chunk) < READ:
                break  # for now
        if self._content.is_eof():
            self._over = True
        elif said:
            self._watchdog.hear()
        return self._over

    async def _drain(self) -> None:
        """Wait until the client has taken what was written."""
        try:
            await self._writer.drain()
        except ConnectionError:
            raise CutOff(Outcome.CLIENT_GONE) from None


def _without_waiting(writing: Coroutine[Any, Any, None]) -> None:
    """Run it to its end, which it reaches at once."""
    try:
        writing.send(None)
    except StopIteration:
        return
    raise TypeError("aiohttp no longer writes at once what it is told not to drain")
