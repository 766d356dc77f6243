"""What the event loop tells of exceptions that nobody caught: their class and nothing of their text,
and not again and again."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any, Final

log = logging.getLogger("sidecar")

UNCAUGHT = "in the event loop: %s (%s)"
"""The line of one of them."""

QUIET: Final = 10.0
"""Seconds in which each is told once. When file descriptors run out, CPython reports every
connection that waits, once a second: megabytes, which fill the disk as well."""

_PLAIN = re.compile(r"[A-Za-z][A-Za-z .,'()]*")
"""A sentence of asyncio's own. Others quote what was called, and with what."""


def tell_uncaught(loop: asyncio.AbstractEventLoop) -> None:
    """From now on they are told in a line of the log each."""
    told: dict[tuple[str, str], float] = {}

    def tell(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error, message = context.get("exception"), str(context.get("message", ""))
        said = message if _PLAIN.fullmatch(message) else "an exception that nobody caught"
        kind = "no exception" if error is None else type(error).__name__
        now = loop.time()
        if now - told.get((said, kind), -QUIET) >= QUIET:
            told[said, kind] = now
            log.error(UNCAUGHT, said, kind)

    loop.set_exception_handler(tell)
