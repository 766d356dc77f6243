"""The event loop that everything runs on: uvloop's where it is installed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop

try:
    import uvloop
except ImportError:
    pass
else:

    class _Loop(uvloop.Loop):
        async def getaddrinfo(
            self,
            host: str | bytes | None,
            port: str | bytes | int | None,
            *,
            family: int = 0,
            type: int = 0,  # noqa: A002  # uvloop's own name
            proto: int = 0,
            flags: int = 0,
        ) -> list[tuple[Any, ...]]:
            """The same as uvloop's, for streams where it is not said what for.

            An IP address needs no resolver, and uvloop has none asked if it knows what for. Its own
            ``sock_connect`` does not say: every connection would have to wait for one of the few
            threads that ask, even while all of them wait for a name server that does not answer.
            """
            return await super().getaddrinfo(
                host, port, family=family, type=type or socket.SOCK_STREAM, proto=proto, flags=flags
            )

    new_event_loop = _Loop
