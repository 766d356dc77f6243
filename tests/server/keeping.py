"""An upstream that keeps its connections, in the hands of the test request by request.

Where :mod:`tests.server.scripted` has one request on each connection, this one says on which
connection a request came: that is what is tested.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sidecar.server.app import serving

from .scripted import LIMIT, Answer, Cut, Head, Peer, Rig, Upstream, configured
from .test_metrics import parsed


class Asked(NamedTuple):
    """A request, and the connection on which it came."""

    peer: Peer
    head: Head
    body: bytes


class Keeper:
    """A server; ``reads`` says whether it reads the bodies of requests."""

    def __init__(self, *, reads: bool = True) -> None:
        self.connections: list[Peer] = []
        self._ended: dict[Peer, asyncio.Event] = {}
        self._reads = reads
        self._asked: asyncio.Queue[Asked] = asyncio.Queue()

    async def asked(self) -> Asked:
        """The next request, on whichever connection it comes."""
        return await self._asked.get()

    async def ended(self, peer: Peer) -> None:
        """Wait until the sidecar has closed a connection."""
        await self._ended[peer].wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        peer = Peer(reader, writer)
        self.connections.append(peer)
        ended = self._ended[peer] = asyncio.Event()
        try:
            while True:
                head = await peer.head()
                body = await peer.body(head) if self._reads else b""
                self._asked.put_nowait(Asked(peer, head, body))
                if not self._reads:
                    return
        except (Cut, ConnectionError):
            ended.set()


class Kept(NamedTuple):
    """A keeper, its port if it has one, and the sidecar in front of it."""

    keeper: Keeper
    rig: Rig
    port: int | None

    @asynccontextmanager
    async def asking(self, raw: bytes) -> AsyncIterator[tuple[Asked, asyncio.Task[Answer]]]:
        """Another client asks: its request as upstream gets it, and the answer to come."""
        task = asyncio.create_task(self.rig.ask(raw))
        try:
            yield await self.keeper.asked(), task
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def ask(self, raw: bytes, *parts: bytes) -> tuple[Peer, Answer]:
        """Another client asks, and upstream answers with these bytes; on which connection, and what
        the client gets."""
        async with self.asking(raw) as (asked, answer):
            await asked.peer.send(*parts)
            return asked.peer, await answer

    async def retries(self) -> dict[str, float]:
        """How often requests were sent again, by why."""
        return {
            dict(labels)["reason"]: value
            for (name, labels), value in parsed(await self.rig.scrape()).items()
            if name == "sidecar_upstream_retries_total"
        }


@asynccontextmanager
async def keeping(
    *,
    context: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    unix_socket: Path | None = None,
    reads: bool = True,
    seconds: float = LIMIT,
    **options: Any,
) -> AsyncIterator[Kept]:
    """A keeper, with TLS if there is a ``context``, and the sidecar in front of it, which calls it
    ``host``; ``options`` are those of a configuration."""
    keeper = Keeper(reads=reads)
    async with asyncio.timeout(seconds):
        if unix_socket is not None:
            server = await asyncio.start_unix_server(keeper.serve, unix_socket, limit=2**24)
            url, port = f"http://{host}/v1", None
        else:
            server = await asyncio.start_server(
                keeper.serve, "127.0.0.1", 0, limit=2**24, ssl=context
            )
            scheme = "http" if context is None else "https"
            port = server.sockets[0].getsockname()[1]
            url = f"{scheme}://{host}:{port}/v1"
        config = configured(url, unix_socket=unix_socket, **options)
        try:
            async with serving(config) as running:
                yield Kept(keeper, Rig(Upstream(""), running), port)
        finally:
            server.close()
            for peer in keeper.connections:
                peer.abort()
            await server.wait_closed()
