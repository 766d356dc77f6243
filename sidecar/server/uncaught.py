"""What is logged of an exception that nobody catches in the event loop: its class, and not again
and again.

asyncio's own handler logs its text, a traceback, and the callback with its arguments, any of which
may be what a client or a model has said.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

log = logging.getLogger("sidecar")

UNCAUGHT = "in the event loop: %s (%s)"
"""The line of one of them."""

QUIET: Final = 10.0
"""Seconds in which each is told once: what fails with every connection, or while no file descriptor
is left, would fill the disk as well."""

_SENTENCES: Final = frozenset(
    {
        "SSL handshake failed",
        "Task exception was never retrieved",
        "Task was destroyed but it is pending!",
        "socket.accept() out of system resource",
    }
)
"""asyncio's own that say something. Others quote what was called, and with what."""


def tell_by_class() -> None:
    """They are told in a line of the log each as long as the running event loop lives: what happens
    while it ends must not be quoted either."""
    told: dict[tuple[str, str], float] = {}

    def tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error, message = context.get("exception"), context.get("message")
        said = message if message in _SENTENCES else "an exception that nobody caught"
        kind = "no exception" if error is None else type(error).__name__
        now = loop.time()
        if now - told.get((said, kind), -QUIET) >= QUIET:
            told[said, kind] = now
            log.error(UNCAUGHT, said, kind)

    asyncio.get_running_loop().set_exception_handler(tell)
