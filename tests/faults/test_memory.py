"""However much passes, the sidecar keeps little of it: measured in a process of its own.

``SIDECAR_UPLOAD_MIB=1024`` makes the files as large as the largest that anybody uploads; without it
they are large enough to show in the memory of a process, and no test is long.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import repeat
from pathlib import Path
from typing import Final

import pytest

from tests.server.process import AT_ONCE, Command, running
from tests.server.scripted import (
    LAST,
    ROLE,
    Answer,
    Peer,
    chat,
    framed,
    request,
    response,
    stream_head,
    text,
)
from tests.server.test_slow_clients import Flood, lazy_client

from .verdicts import broken, refused
from .wires import flood

MIB: Final = 2**20
FILE: Final = int(os.environ.get("SIDECAR_UPLOAD_MIB", "256")) * MIB
BLOCK: Final = bytes(range(256)) * 4096
"""A mebibyte that is not all the same."""
LIMIT: Final = 30.0
"""Seconds for a process to start and a test to run, and as many as a slow machine needs for a file
besides."""

QUIETLY = AT_ONCE + "access_log: 'off'\nstatus: {first_after: 'off'}\n"

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="this system does not tell of its memory"
)


def resident(pid: int, which: str) -> int:
    """Bytes in memory: now (VmRSS), or at most (VmHWM)."""
    found = re.search(rf"{which}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def forget_highest(pid: int) -> int:
    """From now on, the most is that since now; the bytes in memory."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return resident(pid, "VmRSS")


@asynccontextmanager
async def keeping(most: int, folder: Path) -> AsyncIterator[Command]:
    """A sidecar whose memory must not grow by more than ``most`` bytes, not even for a moment."""
    async with running(folder, QUIETLY, seconds=LIMIT + FILE / MIB / 8) as command:
        rig, pid = command.rig, command.process.pid
        # Whatever is imported, compiled or allocated with the first answers is there.
        for _ in range(3):
            rig.upstream.reply(stream_head() + framed(ROLE + text("x" * 100_000)) + LAST)
            await rig.ask(chat())
            rig.upstream.reply(response("200 OK", body=b"x" * 100_000))
            await rig.ask(request("POST", "/v1/files", body=b"x" * 100_000))
        rig.upstream.reply(None)
        before = forget_highest(pid)
        yield command
        grown = resident(pid, "VmHWM") - before
        assert grown < most, f"{grown / MIB:.1f} MiB"


def blocks() -> Iterator[bytes]:
    """A file."""
    return repeat(BLOCK, FILE // MIB)


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_an_upload(framing: str, tmp_path: Path) -> None:
    """A multipart file reaches upstream whole, and is never held."""
    before = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    after = b"\r\n--x--\r\n"
    length = len(before) + FILE + len(after)
    fields = ["Content-Type: multipart/form-data; boundary=x"]
    chunked = framing == "chunked"
    fields.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {length}")
    sent = hashlib.blake2b()

    async def send(client: Peer) -> None:
        for part in (before, *blocks(), after):
            sent.update(part)
            await client.send(framed(part) if chunked else part)
        if chunked:
            await client.send(LAST)

    async with keeping(48 * MIB, tmp_path) as command:
        head = request("POST", "/v1/audio/transcriptions", *fields)
        async with await command.rig.client() as client:
            await client.send(head)
            sending = asyncio.create_task(send(client))
            call = await command.rig.upstream.accept()
            assert call.request.one("Content-Length") == (None if chunked else str(length))
            came = hashlib.blake2b()
            if chunked:
                async for data in call.chunks():
                    came.update(data)
            else:
                await _hash(call, length, came)
            await sending
            await call.send(response("200 OK", body=b"{}"))
            assert (await client.answer()).body == b"{}"
    assert came.digest() == sent.digest()


async def _hash(peer: Peer, length: int, into: hashlib.blake2b) -> None:
    while length:
        data = await peer.reader.read(min(length, MIB))
        assert data, "it ended too soon"
        into.update(data)
        length -= len(data)


async def test_a_download(tmp_path: Path) -> None:
    """The same in the other direction."""
    sent, came = hashlib.blake2b(), hashlib.blake2b()
    async with (
        keeping(48 * MIB, tmp_path) as command,
        command.rig.call(request("GET", "/v1/files/f/content")) as (client, call),
    ):

        async def send() -> None:
            await call.send(f"HTTP/1.1 200 OK\r\nContent-Length: {FILE}\r\n\r\n".encode())
            for block in blocks():
                sent.update(block)
                await call.send(block)

        sending = asyncio.create_task(send())
        assert (await client.head()).status == 200
        await _hash(client, FILE, came)
        await sending
    assert came.digest() == sent.digest()


def bomb(first: bytes) -> bytes:
    """As much as a large file, in a thousandth of it."""
    packer = zlib.compressobj(level=1, wbits=31)
    packed = [packer.compress(first)]
    packed += (packer.compress(bytes(MIB)) for _ in range(256))
    return b"".join(packed) + packer.flush()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
async def test_a_bomb(stream: bool, tmp_path: Path) -> None:
    """What is packed is undone no further than to the limit."""
    packed = bomb(b"data: " if stream else b'{"x":"')
    raw = (
        stream_head("Content-Encoding: gzip") + framed(packed) + LAST
        if stream
        else response("200 OK", "Content-Encoding: gzip", body=packed)
    )
    async with keeping(64 * MIB, tmp_path) as command:
        command.rig.upstream.reply(raw)
        answer: Answer = await command.rig.ask(chat(stream=stream))
    if stream:
        broken(answer, "", "upstream_event_too_large")
    else:
        refused(answer, 502, "upstream_answer_too_large")


async def test_an_event_that_never_ends(tmp_path: Path) -> None:
    """It is held up to the limit, of 8 MiB."""
    async with (
        keeping(64 * MIB, tmp_path) as command,
        command.rig.call(chat()) as (client, call),
    ):
        await call.request_body()
        await call.send(stream_head(), framed(b"data: "))
        await flood(call, repeat(framed(b"x" * 65_536)))
        broken(await client.answer(), "", "upstream_event_too_large")


async def test_clients_that_read_nothing(tmp_path: Path) -> None:
    """Each costs a few buffers, whatever upstream has to say to it."""
    async with keeping(32 * MIB, tmp_path) as command, AsyncExitStack() as stack:
        rig, floods = command.rig, list[Flood]()
        for _ in range(20):
            client = await stack.enter_async_context(lazy_client(rig))
            await client.send(chat())
            call = await rig.upstream.accept()
            await call.request_body()
            await call.send(stream_head(), framed(ROLE))
            floods.append(Flood(call))
        for each in floods:
            await each.stuck()
        for each in floods:
            await each.end()
