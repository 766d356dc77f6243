"""Streams that are held open and say nothing, and what each of them costs."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import resource
import tempfile
from pathlib import Path

from tests.bench import loop
from tests.server.scripted import LAST, Peer, framed
from tests.soak.answers import HIDDEN, SHOWN
from tests.soak.client import connected
from tests.soak.process import PATIENCE, Level, Sidecar, running, until
from tests.soak.scenarios import CHAT, Act, Script, asked, head_of
from tests.soak.upstream import Upstream
from tests.wire.conformance import Kind, Piece

MOST = 64 * 1024
"""Bytes of memory for a stream: what an ordinary pod has room for a thousand times."""

_AT_A_TIME = 100
"""Connections that are opened together: fewer than wait to be accepted."""
_SETTINGS = """\
models: [soak]
access_log: off
upstream: {base_url: "http://127.0.0.1:%d/v1"}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this run."""
    parser.add_argument("--streams", type=int, default=2000, help="streams at a time (2000)")


def run(arguments: argparse.Namespace) -> int:
    """Hold them open, print the figures; the exit code."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # of the sidecar, too
    with tempfile.TemporaryDirectory() as folder:
        try:
            loop.run(_run(arguments.streams, Path(folder)))
        except (AssertionError, TimeoutError) as error:
            print(f"failed: {type(error).__name__}: {error}")
            return 1
    print("all is well")
    return 0


async def _run(count: int, folder: Path) -> None:
    async with Upstream() as upstream:
        with running(folder, _SETTINGS % upstream.port) as sidecar:
            idle = _Idle(sidecar, upstream)
            start = await sidecar.level()
            await idle.release(await idle.open(_AT_A_TIME))  # warms up
            await idle.nothing_left(start)
            before = await sidecar.level()
            held = await idle.open(count)
            during = await sidecar.level()
            each = (during.memory - before.memory) / count
            print(f"{count} idle streams: {each / 1024:.1f} KiB and", end=" ")
            print(f"{(during.descriptors - before.descriptors) / count:g} descriptors each")
            await idle.release(held)
            await idle.nothing_left(start)
            print("each got its last event and ended")
            for peer in await idle.open(count):
                peer.abort()
            await idle.nothing_left(start)
            print("all left, and nothing is left of them")
            assert each <= MOST, f"a stream may cost {MOST // 1024} KiB"


class _Idle:
    """Streams that have begun and wait for their upstream."""

    def __init__(self, sidecar: Sidecar, upstream: Upstream) -> None:
        self._sidecar = sidecar
        self._upstream = upstream
        self._numbers = itertools.count()

    async def open(self, count: int) -> list[Peer]:
        """So many streams, each with its head and its first event."""
        self._upstream.released.clear()
        peers: list[Peer] = []
        while len(peers) < count:
            some = min(_AT_A_TIME, count - len(peers))
            peers += await asyncio.gather(*(self._open() for _ in range(some)))
        return peers

    async def release(self, peers: list[Peer]) -> None:
        """Each gets its last event, and ends."""
        self._upstream.released.set()
        await asyncio.gather(*map(self._end, peers))

    async def nothing_left(self, start: Level) -> None:
        """Wait until descriptors and tasks are those of the start. TimeoutError if never."""

        async def holds() -> bool:
            level = await self._sidecar.level()
            left = level.descriptors > start.descriptors or level.tasks > start.tasks
            return not left and not self._upstream.open

        await until(holds, "something is left of the streams")

    async def _open(self) -> Peer:
        number = next(self._numbers)
        with self._upstream.expecting(number, _SCRIPT):
            async with asyncio.timeout(PATIENCE):
                peer = await connected(self._sidecar.port)
                await peer.send(asked(CHAT, number, streams=True))
                head = await peer.head()
                assert head.status == 200, head
                begun = b""
                while _BEGINS.encode() not in begun:
                    begun += await peer.chunk()
        return peer

    async def _end(self, peer: Peer) -> None:
        async with asyncio.timeout(PATIENCE), peer:
            rest = b"".join([data async for data in peer.chunks()])
        assert HIDDEN.encode() not in rest
        assert _ENDS.encode() in rest
        assert rest.endswith(CHAT.framing.mark)


_BEGINS, _ENDS = f"{SHOWN} begins", f"{SHOWN} ends"
_EVENTS = CHAT.adapter.events(
    [
        *(Piece(Kind.TEXT, said) for said in (_BEGINS, f"<think>{HIDDEN}", f"</think>{_ENDS}")),
        Piece(Kind.FINISH, "stop"),
    ]
)
_SCRIPT: Script = [
    head_of(CHAT),
    framed(CHAT.stream(_EVENTS[:3], mark=False)),
    Act.HOLD,
    framed(CHAT.stream(_EVENTS[3:])),
    LAST,
]
