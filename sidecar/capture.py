"""Records the events of an answer, each with when it came, for ``sidecar replay``.

Of the request and of the headers nothing is written. What an upstream repeats of a secret that was
sent to it (an error may quote the key) is written as ``[secret]``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple

import aiohttp
from yarl import URL

from sidecar.core.framing import EVENTS
from sidecar.core.sse import EventTooLarge, Frame
from sidecar.doctor.refusals import message_of
from sidecar.printable import printable
from sidecar.timing import mark
from sidecar.unreached import unreached

SHORTEST: Final = 8
"""Characters of a header's value from which on it may be a secret; less is found everywhere."""

_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=10, sock_read=300)
"""A model that is loaded first takes minutes."""

_ERROR: Final = 65_536


class NotCaptured(Exception):
    """There is nothing to record; the text says why."""


class Captured(NamedTuple):
    """How many events came in how many seconds; ``whole`` if the answer ended as HTTP says."""

    events: int
    seconds: float
    whole: bool


async def capture(
    url: str, headers: Mapping[str, str], body: bytes, write: Callable[[bytes], object], limit: int
) -> Captured:
    """POST ``body``, and write what comes, event by event. ``limit``: bytes of one event. Raises
    NotCaptured if no event stream answers."""
    began = asyncio.get_running_loop().time()
    fixed = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.post(
                URL(url, encoded=True),
                headers=fixed | dict(headers),
                data=body,
                allow_redirects=False,
            ) as answer,
        ):
            if answer.status != 200 or answer.content_type != EVENTS.content_type:
                raise _refused(answer, await answer.content.read(_ERROR))
            return await _Recorder(began, _secrets(headers), write, limit).record(answer)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise NotCaptured(unreached(error)) from None


class _Recorder:
    def __init__(
        self,
        began: float,
        secrets: Collection[bytes],
        write: Callable[[bytes], object],
        limit: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = began
        self._secrets = secrets
        self._write = write
        self._decoder = EVENTS.decoder(limit)
        self._events = 0

    async def record(self, answer: aiohttp.ClientResponse) -> Captured:
        try:
            while piece := await answer.content.readany():
                self._feed(piece)
        except EventTooLarge:
            return self._captured(whole=False)
        except (aiohttp.ClientError, TimeoutError):
            whole = False
        else:
            whole = True
        frames, rest = self._decoder.finish()
        if rest is not None:  # which nothing has ended: neither do we
            frames.append(rest._replace(raw=rest.raw.removesuffix(b"\n\n")))
        self._note(frames)
        return self._captured(whole=whole)

    def _captured(self, *, whole: bool) -> Captured:
        return Captured(self._events, self._loop.time() - self._began, whole)

    def _feed(self, piece: bytes) -> None:
        frames: list[Frame] = []
        try:
            frames.extend(self._decoder.feed(piece))
        finally:
            self._note(frames)

    def _note(self, frames: list[Frame]) -> None:
        if frames:
            self._events += sum(frame.data is not None for frame in frames)
            raw = b"".join(frame.raw for frame in frames)
            for secret in self._secrets:
                raw = raw.replace(secret, b"[secret]")
            self._write(mark(self._loop.time() - self._began) + raw)


def _secrets(headers: Mapping[str, str]) -> list[bytes]:
    """Every value that may be one, whole and by its words (``Bearer KEY``): the longest first."""
    words = {word for value in headers.values() for word in (value, *value.split())}
    return sorted((word.encode() for word in words if len(word) >= SHORTEST), key=len, reverse=True)


def _refused(answer: aiohttp.ClientResponse, body: bytes) -> NotCaptured:
    said = message_of(body)
    if answer.status != 200:
        return NotCaptured(
            f"It answers with {answer.status}." + (f" It says: {said}" if said else "")
        )
    kind = printable(answer.content_type)
    return NotCaptured(f"It answers with {kind} instead of an event stream.")
