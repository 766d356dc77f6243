"""Asks for a stream, and notes when what of it came. Knows nothing of what that means.

In HTTP/1.1, without following redirects and without a proxy of the environment: what is examined is
the way to this URL. It accepts gzip, as browsers do, so that what compresses shows itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from sidecar import __version__
from sidecar.core.framing import EVENTS
from sidecar.core.jsontext import MalformedJSON, parse
from sidecar.core.sse import DONE, EventTooLarge, Frame
from sidecar.doctor.refusals import NoStream, refused
from sidecar.doctor.stream import Event, Stream
from sidecar.unreached import unreached

_LARGEST: Final = 1_048_576
"""Bytes of a stream that are read; neither a drip nor a short answer has as many."""

_ERROR: Final = 65_536
"""Bytes that are read of an answer which is no stream."""

_NO_LIMITS: Final = aiohttp.ClientTimeout(total=None, connect=10, sock_read=None)
"""But for the connection: for the rest a question has its patience."""


class Question(NamedTuple):
    """What is asked. ``patience``: seconds for all of it. ``body`` makes it a POST of JSON."""

    url: str
    headers: Mapping[str, str]
    patience: float
    body: bytes | None = None


async def ask(question: Question) -> Stream:
    """The stream that answers ``question``, as far as it came. Raises NoStream if there is none."""
    headers = CIMultiDict(
        {
            "Accept": "text/event-stream",
            "Accept-Encoding": "gzip, deflate",
            "Content-Type": "application/json",
            "User-Agent": f"sidecar-doctor/{__version__}",
        }
    )
    if question.body is None:
        del headers["Content-Type"]
    headers.update(question.headers)
    began = asyncio.get_running_loop().time()
    deadline = began + question.patience
    method = "GET" if question.body is None else "POST"
    try:
        url = URL(question.url, encoded=True)
        async with (
            aiohttp.ClientSession(timeout=_NO_LIMITS) as session,
            asyncio.timeout_at(deadline) as time_is_up,
            session.request(
                method, url, headers=headers, data=question.body, allow_redirects=False
            ) as answer,
        ):
            if answer.status != 200 or answer.content_type != EVENTS.content_type:
                body = await answer.content.read(_ERROR)
                raise refused(answer.status, answer.headers, body)
            time_is_up.reschedule(None)  # what has come until then is examined
            return await _Reading(answer, began).until(deadline)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise NoStream(unreached(error)) from None


class _Reading:
    """A stream that is being read; ``began``: when it was asked for, in the loop's time."""

    def __init__(self, answer: aiohttp.ClientResponse, began: float) -> None:
        self._answer = answer
        self._began = began
        self._loop = asyncio.get_running_loop()
        self._decoder = EVENTS.decoder(_LARGEST)
        self._events: list[Event] = []
        self._reads = 0
        self._done = False

    async def until(self, deadline: float) -> Stream:
        """All of it, until it ends, breaks off, or the ``deadline``: what is missing says which."""
        with suppress(aiohttp.ClientError, OSError, TimeoutError, EventTooLarge):
            async with asyncio.timeout_at(deadline):
                await self._read()
        version = self._answer.version
        return Stream(
            f"{version.major}.{version.minor}" if version else "",
            self._answer.headers,
            tuple(self._events),
            self._reads,
            self._elapsed(),
            self._done,
        )

    async def _read(self) -> None:
        left = _LARGEST
        while left and (piece := await self._answer.content.read(left)):
            left -= len(piece)
            self._reads += 1
            at = self._elapsed()
            for frame in self._decoder.feed(piece):
                self._note(frame, at)

    def _note(self, frame: Frame, at: float) -> None:
        if frame.data == DONE:
            self._done = True
        elif frame.data is not None:
            with suppress(MalformedJSON):
                value = parse(frame.data).value
                if isinstance(value, dict):
                    self._events.append(Event(at, value))

    def _elapsed(self) -> float:
        return self._loop.time() - self._began
