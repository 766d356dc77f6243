"""A stream is recorded as it came, and no secret with it."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sidecar.capture import Captured, NotCaptured, capture
from sidecar.timing import timed, untimed
from tests.promises import LIMIT
from tests.server.scripted import (
    DONE,
    LAST,
    Upstream,
    event,
    framed,
    response,
    stream_head,
    streamed,
    text,
)
from tests.server.scripted import (
    LIMIT as PATIENCE,
)
from tests.test_cli import Said, command, environment

KEY = "sk-capture-00000000001"
HEADERS = {"Authorization": f"Bearer {KEY}", "X-Team": "blue"}


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    server = Upstream("127.0.0.1")
    async with asyncio.timeout(PATIENCE), server.listening("/v1"):
        yield server


async def captured(server: Upstream, limit: int = LIMIT) -> tuple[Captured, bytes]:
    written: list[bytes] = []
    url = f"{server.base_url}/chat/completions"
    said = await capture(url, HEADERS, b"{}", written.append, limit)
    return said, b"".join(written)


async def test_it_writes_what_came_and_when() -> None:
    """Event by event: one that comes in two pieces came with the second."""
    written: list[bytes] = []
    has_come = asyncio.Event()

    def write(data: bytes) -> None:
        written.append(data)
        has_come.set()

    async with upstream() as server:
        url = f"{server.base_url}/chat/completions"
        task = asyncio.create_task(capture(url, HEADERS, b"{}", write, LIMIT))
        call = await server.accept()
        whole = text("ab")
        await call.send(stream_head(), framed(whole + whole[:9]))
        await has_come.wait()
        assert untimed(written[0]) == whole
        await call.send(framed(whole[9:]), framed(DONE), LAST)
        said = await task
    recording = b"".join(written)
    assert untimed(recording) == whole + whole + DONE
    assert (said.events, said.whole) == (3, True)
    times = [part.at for part in timed(recording)]
    assert times == sorted(times)
    assert times[-1] <= said.seconds + 0.001


@pytest.mark.parametrize(
    "body",
    [
        text("a") + DONE,
        text("a").replace(b"\n", b"\r\n") + DONE,
        b": ping\n\nevent: x\nid: 1\ndata: {}\n\n" + text("a"),
        text("a") + b'data: {"unfinished',
        b"",
    ],
)
async def test_a_recording_is_the_stream_to_the_byte(body: bytes) -> None:
    async with upstream() as server:
        server.reply(stream_head() + (framed(body) if body else b"") + LAST)
        said, recording = await captured(server)
    assert untimed(recording) == body
    assert said.whole


async def test_what_broke_off_is_kept_and_told() -> None:
    async with upstream() as server:
        server.reply(stream_head() + framed(text("a")))
        said, recording = await captured(server)
    assert untimed(recording) == text("a")
    assert (said.events, said.whole) == (1, False)


async def test_no_event_is_larger_than_the_limit() -> None:
    async with upstream() as server:
        server.reply(streamed(text("a"), b"data: " + b"x" * 5_000))
        said, recording = await captured(server, limit=1_000)
    assert untimed(recording).startswith(text("a"))
    assert len(recording) < 2_000
    assert not said.whole


async def test_a_secret_that_upstream_repeats_is_not_written() -> None:
    """In an error, say, and wherever the stream is cut."""
    quoted = event({"error": {"message": f"bad key: Bearer {KEY}", "again": KEY}})
    async with upstream() as server:
        for at in range(1, len(quoted), 5):
            server.reply(streamed(quoted[:at], quoted[at:]))
            _, recording = await captured(server)
            assert KEY.encode() not in recording
            assert b"[secret]" in recording
            assert untimed(recording).count(b"data: ") == 1


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (response("200 OK", body=b"{}"), "application/json instead of an event stream"),
        (
            response("404 Not Found", body=b'{"error":{"message":"no such model"}}'),
            "It answers with 404. It says: no such model",
        ),
        (response("302 Found", "Location: /elsewhere"), "It answers with 302."),
        (b"", "without an answer"),
    ],
)
async def test_what_is_no_stream_is_not_captured(raw: bytes, said: str) -> None:
    async with upstream() as server:
        server.reply(raw)
        with pytest.raises(NotCaptured) as none:
            await captured(server)
    assert said in str(none.value)


# --- the command --------------------------------------------------------------------------------


async def sidecar(*arguments: str | Path, **more: str) -> Said:
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(**more),
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return Said(process.returncode, out, err.decode())


async def test_the_command_records_and_a_replay_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "answer.sse"
    async with upstream() as server:
        server.reply(streamed(text("<think>hm</think>"), text("Hi"), DONE))
        options = ("--upstream", server.base_url, "--model", "m", "--prompt", "Why?", "-o", path)
        said = await sidecar("capture", *options, UPSTREAM_API_KEY=KEY)
        again = await sidecar("capture", *options)
        call = server.calls[0].request
    assert (said.code, said.out) == (0, b"")
    assert said.err.startswith(f"{path}: 3 events in ")
    assert call.one("Authorization") == f"Bearer {KEY}"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    recording = path.read_bytes()
    assert not any(word in recording for word in (KEY.encode(), b"Why?", b"Authorization"))
    assert (again.code, again.err) == (1, f"{path}: File exists\n")
    assert len(server.calls) == 1
    replayed = await sidecar("replay", path, "--speed", "100x")
    assert b"hm" not in replayed.out
    assert b'"content":"Hi"' in replayed.out


async def test_a_request_of_ones_own_is_sent_as_a_stream(tmp_path: Path) -> None:
    body, path = tmp_path / "request.json", tmp_path / "answer.sse"
    body.write_text('{"model": "m", "input": "?"}', encoding="utf-8")
    async with upstream() as server:
        asking = asyncio.create_task(
            sidecar(
                *("capture", "--upstream", server.base_url, "--path", "responses"),
                *("--body", body, "-o", path),
            )
        )
        call = await server.accept()
        sent = json.loads(await call.request_body())
        await call.send(streamed(event({"type": "response.created"})))
        said = await asking
    assert call.request.target == "/v1/responses"
    assert sent == {"model": "m", "input": "?", "stream": True}
    assert said.code == 0


async def test_where_nothing_is_recorded_there_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "answer.sse"
    async with upstream() as server:
        server.reply(response("401 Unauthorized"))
        said = await sidecar("capture", "--upstream", server.base_url, "--model", "m", "-o", path)
    assert said.code == 1
    assert said.err == f"{server.base_url}/chat/completions: It answers with 401.\n"
    assert not path.exists()
