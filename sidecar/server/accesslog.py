"""The line that tells of a request when it has ended: who, what, how long, and nothing of what was
said."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import select
import sys
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, TextIO

from sidecar.rules.configvalues import AccessLog

log = logging.getLogger("sidecar")

Fields = Mapping[str, str | int | float | bool | None]
Write = Callable[[Fields], None]

_BARE: Final = re.compile(r"[A-Za-z0-9._:/@+-]+")
"""What logfmt need not quote."""


MAX_WAITING = 1_048_576
"""Characters of lines that wait for their reader: those of some two thousand requests."""

_AGAIN = 0.1
"""Seconds until a reader that took nothing is tried again."""
_LAST_TRIES = 10
"""Times that it is, in the end, before it is given up."""


class Sink:
    """Where lines go, in their order: to ``out``, standard output if None is given.

    A reader who takes nothing stops no answer. The lines wait, and those for which there is no room
    are dropped: ``dropped`` is told of each, and the log of how many once it goes on. Where writing
    fails, the line is lost, and the log says so once.
    """

    def __init__(self, dropped: Callable[[], None], out: TextIO | None = None) -> None:
        self._dropped = dropped
        self._out = out
        self._waiting: deque[str] = deque()
        self._size = 0
        self._missing = 0
        self._fails = False
        self._timer: asyncio.TimerHandle | None = None

    def write(self, line: str) -> None:
        """Write a line, or keep it until it can be written."""
        if not self._waiting and self._takes():
            self._put(line)
        elif self._size + len(line) <= MAX_WAITING:
            self._waiting.append(line)
            self._size += len(line)
            if self._timer is None:
                self._try_later()
        else:
            self._missing += 1
            self._dropped()

    async def close(self) -> None:
        """Write what waits, as long as somebody reads."""
        if self._timer is not None:
            self._timer.cancel()
        tries = 0
        while tries < _LAST_TRIES:
            before = len(self._waiting)
            self._flush()
            if not self._waiting:
                return
            tries = tries + 1 if len(self._waiting) == before else 0
            await asyncio.sleep(_AGAIN)
        log.warning(NOT_READ, len(self._waiting) + self._missing)

    @property
    def _stream(self) -> TextIO:
        return sys.stdout if self._out is None else self._out

    def _takes(self) -> bool:
        """Whether a line can be written without waiting: to a pipe, of which this is said where
        there is room for PIPE_BUF bytes (pipe(7)), and a line has less."""
        try:
            descriptor = self._stream.fileno()
        except (OSError, ValueError):
            return True  # memory
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        return bool(poll.poll(0))

    def _put(self, line: str) -> None:
        try:
            self._stream.write(line)
            self._stream.flush()
        except OSError as error:
            # A full disk, or a reader that is gone: the request was served all the same.
            if not self._fails:
                log.warning("the access log cannot be written: %s", error.strerror)
            self._fails = True
        else:
            self._fails = False

    def _try_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_AGAIN, self._try)

    def _try(self) -> None:
        self._timer = None
        self._flush()
        if self._waiting:
            self._try_later()

    def _flush(self) -> None:
        while self._waiting and self._takes():
            line = self._waiting.popleft()
            self._size -= len(line)
            self._put(line)
        if self._missing and not self._waiting:
            missing, self._missing = self._missing, 0
            log.warning(NOT_READ, missing)


NOT_READ = "the access log was not read fast enough: %s of its lines are missing"


def access_log(form: AccessLog, sink: Sink) -> Write:
    """What writes the line of a request."""
    if form is AccessLog.OFF:
        return lambda _: None
    line = _json if form is AccessLog.JSON else _logfmt

    def write(fields: Fields) -> None:
        stamped = {"time": datetime.now(UTC).isoformat(timespec="milliseconds")} | dict(fields)
        said = {key: value for key, value in stamped.items() if value is not None}
        sink.write(line(said) + "\n")

    return write


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))


def _json(fields: Fields) -> str:
    return _ENCODER.encode(fields)


def _logfmt(fields: Fields) -> str:
    return " ".join(f"{key}={_logfmt_value(value)}" for key, value in fields.items())


def _logfmt_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text)
