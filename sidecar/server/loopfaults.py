"""What is logged of an exception that nobody catches in the event loop: its class.

asyncio's own handler logs its text, a traceback, and the callback with its arguments, any of which
may be what a client or a model has said.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

log = logging.getLogger("sidecar")


@contextmanager
def logged_by_class() -> Iterator[None]:
    """The exceptions of the running loop are logged so, as long as the context is open."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(_log)
    try:
        yield
    finally:
        loop.set_exception_handler(before)


def _log(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    fault = context.get("exception")
    what = "something was left unfinished" if fault is None else type(fault).__name__
    log.error("failed in the event loop: %s", what)
