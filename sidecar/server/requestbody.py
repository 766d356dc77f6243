"""The body of a client's request: whole, or piece by piece as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from sidecar.server.replies import Refusal

_IDLE = 60.0
"""Seconds without a byte of it, after which it is given up: more than any network stalls, and less
than a connection may be held for nothing."""


_WHOLE = 300.0
"""Seconds in all for a body that is collected, so that nobody holds one for ever by a byte a
minute: the largest that is taken by default comes in that time at one megabit a second."""


async def ask_for_body(request: web.BaseRequest) -> None:
    """Say that it is wanted, if the client waits to be asked (RFC 9110, 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer has not begun


async def whole_body(request: web.BaseRequest, limit: int) -> bytes:
    """All of it. Raises Refusal if it is larger than ``limit`` bytes, or does not come."""
    body = bytearray()
    try:
        async with asyncio.timeout(_WHOLE):
            async for piece in _pieces(request):
                body += piece
                if len(body) > limit:
                    raise Refusal(
                        413, "request_too_large", f"The request body is larger than {limit} bytes."
                    )
    except TimeoutError:
        raise _too_late() from None
    return bytes(body)


def streamed_body(request: web.BaseRequest) -> AsyncIterator[bytes] | None:
    """It as it arrives; None if there is none."""
    return _pieces(request) if request.body_exists else None


async def _pieces(request: web.BaseRequest) -> AsyncIterator[bytes]:
    content = request.content
    while True:
        try:
            if content.is_eof():  # and what is not read yet is here
                piece = content.read_nowait()
            else:
                async with asyncio.timeout(_IDLE):
                    piece = await content.readany()
        except TimeoutError:
            raise _too_late() from None
        except web.RequestPayloadError:
            raise Refusal(400, "bad_request", "The request body is not valid HTTP.") from None
        if not piece:
            return
        yield piece


def _too_late() -> Refusal:
    return Refusal(408, "request_timeout", "The request body did not arrive in time.")
