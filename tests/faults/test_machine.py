"""A machine that has no more files, no more room, or another idea of the time."""

from __future__ import annotations

import asyncio
import errno
import re
import resource
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from aiohttp import web

import sidecar
from sidecar.core.status import StatusPolicy
from sidecar.rules.configvalues import Address
from sidecar.rules.statussection import StatusSpec
from sidecar.server.listener import Listener
from sidecar.server.uncaught import QUIET, UNCAUGHT, tell_by_class
from tests.server.clock import Clock
from tests.server.conftest import PROMISED
from tests.server.process import AT_ONCE, Command, running
from tests.server.scripted import (
    DONE,
    FINISH,
    ROLE,
    Peer,
    Rig,
    chat,
    framed,
    request,
    stream_head,
    streamed,
    text,
)
from tests.test_cli import free_ports

from .verdicts import SECRET, Told, complete, refused, watched

WHOLE = streamed(ROLE, text("a"), FINISH, DONE)
QUIETLY = AT_ONCE + "access_log: 'off'\nstatus: {first_after: 'off'}\n"
ON_ASYNCIO = (
    sys.executable,
    "-c",
    "import sys; sys.modules['uvloop'] = None; from sidecar.cli import main; main()",
)
"""Where uvloop is not installed."""


# --- no more files --------------------------------------------------------------------------------


class Listened:
    """What a process says, as it says it."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self.said = b""
        self._stream = stream
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while data := await self._stream.read(65_536):
            self.said += data

    async def end(self) -> str:
        """Everything that it said, once it has ended."""
        await self._task
        return self.said.decode()


@pytest.mark.parametrize("program", [(), ON_ASYNCIO], ids=["as-it-is", "asyncio"])
async def test_no_more_files(program: tuple[str, ...], tmp_path: Path) -> None:
    """Who is connected is answered, the log stays small, and all is well when there are files
    again."""
    async with running(tmp_path, QUIETLY, program=program) as command:
        log = Listened(command.err)
        rig = command.rig
        rig.upstream.reply(WHOLE)
        async with await rig.client() as known:
            assert (await known.ask(request("GET", "/nowhere"))).status == 404
            _leave_files(command, 20)
            crowd = [await rig.client() for _ in range(100)]
            for client in crowd:
                await client.send(request("GET", "/nowhere"))
            answered = await _answered(crowd)
            assert 0 < len(answered) < len(crowd)
            # No file is left for a connection to upstream.
            refused(await known.ask(chat()), 502, "upstream_unreachable")
            assert (await known.ask(request("GET", "/nowhere"))).status == 404
            assert command.process.returncode is None
            for client in crowd:
                client.abort()
            await _until_served(rig)
        command.process.terminate()
        assert await command.process.wait() == 0
        said = await log.end()
    assert len(said) < 10_000
    assert "Traceback" not in said


def _leave_files(command: Command, few: int) -> None:
    """The process may open so ``few`` files more."""
    pid = command.process.pid
    limit = len(list(Path(f"/proc/{pid}/fd").iterdir())) + few
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))


async def _answered(crowd: list[Peer]) -> list[Peer]:
    """Those who are answered, and with what they should be; the rest are closed, or wait: for two
    seconds, in which whoever is let in has been."""

    async def one(client: Peer) -> Peer | None:
        try:
            return client if (await client.answer()).status == 404 else None
        except Exception:  # closed by the system
            return None

    tasks = [asyncio.create_task(one(client)) for client in crowd]
    done, waiting = await asyncio.wait(tasks, timeout=2.0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return [client for task in done if (client := task.result()) is not None]


async def _until_served(rig: Rig) -> None:
    """Wait until a new client is answered in full."""
    while True:
        try:
            answer = await rig.ask(chat())
        except Exception:  # not yet
            await asyncio.sleep(0.1)
            continue
        if answer.status == 200:
            complete(answer, "a")
            return
        await asyncio.sleep(0.1)


def test_no_more_files_is_met_once_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By asyncio, which tries again after a second: attempts that multiply take all the time."""
    told: list[Any] = []
    met = asyncio.Event()

    def none_left(_: socket.socket) -> NoReturn:
        raise OSError(errno.EMFILE, "")

    def tell(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        told.append(context["message"])
        met.set()

    async def crowd() -> None:
        asyncio.get_running_loop().set_exception_handler(tell)
        listener = Listener(_nobody)
        listener.limit(write_timeout=1.0, connections=10)
        address = await listener.start(Address("127.0.0.1", 0))
        monkeypatch.setattr(socket.socket, "accept", none_left)
        with socket.create_connection((address.host, address.port)):
            await met.wait()
        await listener.stop()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(crowd())
    assert told == ["socket.accept() out of system resource"]


async def _nobody(_: web.BaseRequest) -> NoReturn:
    raise AssertionError("nobody was accepted")


async def test_what_nobody_caught_is_told_in_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """Without its text, and each of its kind once in a while."""
    loop, clock = asyncio.get_running_loop(), Clock(frozen=True)
    full = {"message": "socket.accept() out of system resource", "exception": OSError(24, SECRET)}
    tell_by_class()
    for _ in range(1000):
        loop.call_exception_handler(full)
    loop.call_exception_handler(full | {"exception": ValueError(SECRET)})
    loop.call_exception_handler({"message": f"Exception in callback f({SECRET!r})"})
    clock.advance(QUIET + 1)
    loop.call_exception_handler(full)
    told = [record.getMessage() for record in caplog.records if record.msg == UNCAUGHT]
    of_files = "in the event loop: socket.accept() out of system resource (OSError)"
    assert told == [
        of_files,
        of_files.replace("OSError", "ValueError"),
        "in the event loop: an exception that nobody caught (no exception)",
        of_files,
    ]
    caplog.clear()
    assert UNCAUGHT not in PROMISED


# --- no more room ---------------------------------------------------------------------------------

NO_ROOM = (
    "import os; full = os.open('/dev/full', os.O_WRONLY); os.dup2(full, 1); os.dup2(full, 2); "
    "from sidecar.cli import main; main()"
)
NOBODY_READS = (
    "import os; here, there = os.pipe(); os.close(here); os.dup2(there, 1); os.dup2(there, 2); "
    "from sidecar.cli import main; main()"
)


@asynccontextmanager
async def speechless(way: str, folder: Path, upstream_url: str) -> AsyncIterator[int]:
    """A sidecar that can say nothing; its port."""
    port, admin = free_ports(2)
    config = folder / "sidecar.yaml"
    config.write_text(
        f"listen: 127.0.0.1:{port}\nadmin: 127.0.0.1:{admin}\nmodels: [m]\n"
        f"{AT_ONCE}status: {{first_after: 'off'}}\nupstream: {{base_url: {upstream_url}}}\n",
        encoding="utf-8",
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", way, "serve", "--config", str(config)
    )
    try:
        yield port
        process.terminate()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full disk")
@pytest.mark.parametrize("way", [NO_ROOM, NOBODY_READS], ids=["no-room", "nobody-reads"])
async def test_a_log_that_takes_nothing(way: str, tmp_path: Path) -> None:
    """Neither the lines of requests nor those of the log: every request is served."""
    async with watched(seconds=60) as rig, speechless(way, tmp_path, rig.upstream.base_url) as port:
        while True:
            try:
                peer = Peer(*await asyncio.open_connection("127.0.0.1", port, limit=2**20))
                break
            except ConnectionError:
                await asyncio.sleep(0.05)
        async with peer as client:
            for _ in range(30):
                rig.upstream.reply(WHOLE)
                complete(await client.ask(chat()), "a")
                rig.upstream.reply(b"")
                refused(await client.ask(chat()), 502, "upstream_closed")


# --- another idea of the time ---------------------------------------------------------------------

WALL_CLOCK = re.compile(r"\btime\.(?:time|localtime|gmtime)|\bfrom time\b|datetime\.(?:utc)?now")
KNOWN = {
    "server/accesslog.py": 1,  # the time of a line
    "server/app.py": 1,  # since when it is counted what rules observe
    "server/reload.py": 1,  # when the configuration was read, for a metric
    "server/exchange.py": 1,  # when a request arrived, for a person to read
    "demo/upstream.py": 1,  # when an answer was made
}
"""Uses of the wall clock, none of which is a timer."""


def test_no_timer_goes_by_the_wall_clock() -> None:
    """It jumps when it is set, and a second may last for an hour."""
    folder = Path(sidecar.__file__).parent
    found = {
        str(path.relative_to(folder)): len(uses)
        for path in folder.rglob("*.py")
        if (uses := WALL_CLOCK.findall(path.read_text(encoding="utf-8")))
    }
    assert found == KNOWN


@pytest.mark.parametrize("seconds", [-4e8, 4e8], ids=["back", "forth"])
async def test_the_wall_clock_jumps(
    seconds: float, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By thirteen years, in the middle of an answer: nothing is cut off, and nothing took as
    long."""
    status = StatusSpec(StatusPolicy(first_after=None, heartbeat=3600.0), {})
    async with (
        watched(status=status, idle=60.0, first_byte=60.0) as rig,
        rig.call(chat()) as (client, call),
    ):
        await call.send(stream_head(), framed(ROLE))
        head = await client.head()
        came = await client.chunk()
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + seconds)
        await call.send(framed(text("a")))
        while b'"a"' not in came:
            came += await client.chunk()
        await call.send(framed(FINISH + DONE))
        came += b"".join([data async for data in client.chunks()])
        [line] = told.lines()
    assert head.status == 200
    assert came.endswith(DONE)
    assert b'"error"' not in came
    assert 0 <= line["duration"] < 60
    elapsed = [int(each) for each in re.findall(rb'"elapsed_ms":(-?\d+)', came)]
    assert elapsed
    assert all(0 <= each < 60_000 for each in elapsed)
