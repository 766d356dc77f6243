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

_HEADERS = ("Content-Type", "Content-Length")
"""Of an answer, what is sent on."""


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.passthrough")
    parser.add_argument("--upstream", required=True, help="what is in front of /chat/completions")
    parser.add_argument("--listen", required=True, help="HOST:PORT")
    parser.add_argument("--keep", action="store_true", help="use connections again")
    arguments = parser.parse_args()
    host, _, port = arguments.listen.rpartition(":")
    loop.run(serve(arguments.upstream, host, int(port), keep=arguments.keep))


async def serve(upstream: str, host: str, port: int, *, keep: bool) -> None:
    """Listen, and relay every request to ``upstream``, on a connection of its own; with ``keep``,
    on one that is free, if there is one."""
    connector = aiohttp.TCPConnector(force_close=not keep, limit=0)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
    ) as session:

        async def relay(request: web.BaseRequest) -> web.StreamResponse:
            body = await request.read()
            async with session.post(f"{upstream}/chat/completions", data=body) as answer:
                headers = {
                    name: answer.headers[name] for name in _HEADERS if name in answer.headers
                }
                reply = web.StreamResponse(status=answer.status, headers=headers)
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
        await web.TCPSite(runner, host, port, backlog=1024).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    main()
