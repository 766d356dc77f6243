"""The least that an aiohttp proxy can do: bytes in, bytes out, one write for each read.

What the sidecar is measured against. ``python -m tests.bench.passthrough --upstream URL
--listen 127.0.0.1:PORT``. Same library on both sides, same options for the connections and the
same event loop as the sidecar, and nothing else: no routes, no rules, no headers sorted out, no
timeouts, no metrics.
"""

from __future__ import annotations

import argparse
import asyncio

import aiohttp
from aiohttp import web

from tests.bench import loop

_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache, no-transform"}


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.passthrough")
    parser.add_argument("--upstream", required=True, help="what is in front of /chat/completions")
    parser.add_argument("--listen", required=True, help="HOST:PORT")
    arguments = parser.parse_args()
    host, _, port = arguments.listen.rpartition(":")
    loop.run(serve(arguments.upstream, host, int(port)))


async def serve(upstream: str, host: str, port: int) -> None:
    """Listen, and relay every request to ``upstream``."""
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
    ) as session:

        async def relay(request: web.BaseRequest) -> web.StreamResponse:
            body = await request.read()
            async with session.post(f"{upstream}/chat/completions", data=body) as answer:
                reply = web.StreamResponse(status=answer.status, headers=_HEADERS)
                await reply.prepare(request)
                while chunk := await answer.content.readany():
                    await reply.write(chunk)
                await reply.write_eof()
                return reply

        server = web.Server(
            relay, handler_cancellation=True, auto_decompress=False, access_log=None
        )
        runner = web.ServerRunner(server)
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    main()
