"""The runs of the playground: one answer each, and what is told of its raw side.

The page opens the raw side first (:meth:`Runs.opened`), and then asks for the answer
(:meth:`Run.answering`). Neither outlives the other.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeAlias

from sidecar.core.channel import Segment
from sidecar.core.jsontext import dump
from sidecar.server.replies import Refusal

Record: TypeAlias = dict[str, Any]

MOST: Final = 8
"""Runs at a time: a few people with a page each. Every one may cost money."""
LONGEST: Final = 600.0
"""Seconds that a run may last."""
MAX_WAITING: Final = 4_194_304
"""Characters of the raw side that wait for a page that reads slowly; what is more is left out."""
MAX_ERROR: Final = 2_000
"""Characters of upstream's own error that are shown."""

_ID = re.compile(r"[0-9a-f]{32}")
"""128 random bits of the page's: nobody else can name its run."""


class Run:
    """One answer. What is told of its raw side waits to be taken by :meth:`records`."""

    def __init__(self) -> None:
        self._waiting: list[Record] = []
        self._size = 0
        self._heard = False
        self._read = False
        self._taken = False
        self._ended = False
        self._news = asyncio.Event()
        self._scope: asyncio.Timeout | None = None

    # What whoever reads the answer tells.

    def begin(self) -> None:
        """A rule is about the answer, so it is read."""
        self._read = True

    def hear(self) -> None:
        """Upstream has sent an event."""
        if not self._heard:
            self._heard = True
            self._add({"mark": "first_byte"})

    def judge(self, segment: Segment) -> None:
        """A piece of the answer was judged."""
        if segment.text:
            record = {"channel": segment.channel.value, "text": segment.text}
            self._add(record, len(segment.text))

    def fail(self, error: object) -> None:
        """Upstream has sent ``error`` instead of an answer, or of its rest."""
        self._add({"error": dump(error, exact=True).decode()[:MAX_ERROR]})

    # What the page's two requests do.

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """The answer is on its way to the page. Raises Refusal if it has been, TimeoutError if it
        takes too long or if nobody looks at the raw side any more."""
        if self._taken:
            raise Refusal(409, "conflict", "This run of the playground has had its answer.")
        self._taken = True
        try:
            async with asyncio.timeout(LONGEST) as self._scope:
                yield
        finally:
            self._scope = None
            self._end()

    async def records(self) -> AsyncIterator[list[Record]]:
        """What is told, as it comes, until the run is over; all of it at most once."""
        while self._waiting or not self._ended:
            await self._news.wait()
            self._news.clear()
            records, self._waiting, self._size = self._waiting, [], 0
            yield records

    def abandon(self) -> None:
        """Nobody looks at the raw side any more: the answer ends."""
        if self._scope is not None and not self._ended:
            self._scope.reschedule(asyncio.get_running_loop().time())

    def _end(self) -> None:
        self._add({"mark": "done", "read": self._read})
        self._ended = True

    def _add(self, record: Record, size: int = 0) -> None:
        if size and self._size + size > MAX_WAITING:
            return
        self._size += size
        self._waiting.append(record)
        self._news.set()


class Runs:
    """Those that are open."""

    def __init__(self) -> None:
        self._open: dict[str, Run] = {}

    @contextmanager
    def opened(self, name: str) -> Iterator[Run]:
        """A run, as long as its raw side is looked at. Raises Refusal if there are too many, or if
        that is no name for one."""
        if not _ID.fullmatch(name) or name in self._open:
            raise Refusal(409, "conflict", "A run has a new name of 32 hexadecimal digits.")
        if len(self._open) >= MOST:
            raise Refusal(
                503, "overloaded", "Too many runs of the playground are open.", retry_after=1
            )
        run = self._open[name] = Run()
        try:
            yield run
        finally:
            del self._open[name]
            run.abandon()

    def named(self, name: str) -> Run:
        """The open run of that name. Raises Refusal if there is none."""
        run = self._open.get(name)
        if run is None:
            raise Refusal(409, "conflict", "There is no such run: its raw side is opened first.")
        return run
