"""A client that asks as its scenario says, and keeps what it gets."""

from __future__ import annotations

import asyncio
import socket

from tests.server.scripted import Cut, Head, Peer
from tests.soak.process import PATIENCE
from tests.soak.scenarios import Pace, Received, Scenario
from tests.soak.upstream import Upstream

_SMALL = 4_096
"""Bytes of a slow client's buffers."""
_CRAWL = 0.01
"""Seconds between two of its reads."""
_NOTHING = Head("HTTP/1.1 0 -", [])


async def ask(port: int, number: int, scenario: Scenario, upstream: Upstream) -> Received:
    """What comes of the request ``number`` of ``scenario``, sent to ``port`` on a connection of its
    own. Raises TimeoutError if it does not end, Cut if not even the head comes."""
    pace = scenario.pace
    with upstream.expecting(number, scenario.script) as visit:
        async with asyncio.timeout(PATIENCE), await connected(port, pace) as peer:
            await peer.send(scenario.request)
            if pace is Pace.LEAVES_WAITING:
                await visit.come.wait()
            elif pace is Pace.STALLS:
                await visit.over.wait()
            else:
                return await _read(peer, pace)
            return Received(_NOTHING, b"", cut=True)


async def connected(port: int, pace: Pace = Pace.READS) -> Peer:
    """A new connection to ``port``."""
    limit = 2**20
    sock = socket.socket()
    if pace in (Pace.CRAWLS, Pace.STALLS):
        limit = _SMALL
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return Peer(*await asyncio.open_connection(sock=sock, limit=limit))


async def _read(peer: Peer, pace: Pace) -> Received:
    head = await peer.head()
    if pace is Pace.LEAVES_READING:
        return Received(head, await peer.chunk(), cut=True)
    if head.one("Transfer-Encoding") is None:
        return Received(head, await peer.body(head), cut=False)
    body = bytearray()
    try:
        async for data in peer.chunks():
            body += data
            if pace is Pace.CRAWLS:
                await asyncio.sleep(_CRAWL)
    except Cut:
        return Received(head, bytes(body), cut=True)
    return Received(head, bytes(body), cut=False)
