"""The sidecar as a process of its own: started with a configuration file, watched from outside."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench.processes import await_listener, free_port
from tests.server.scripted import Peer, request

PATIENCE = 60.0
"""Seconds for anything on a machine with much to do: what takes longer hangs."""

_LOOK_EVERY = 0.05
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CHECKOUT = Path(__file__).resolve().parents[2]
_SAMPLE = re.compile(r"(?P<name>[a-z_]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


class Sample(NamedTuple):
    """One line of the metrics."""

    name: str
    labels: dict[str, str]
    value: float


class Metrics:
    """What a scrape has said. ``text`` is all of it."""

    def __init__(self, text: str) -> None:
        self.text = text
        lines = (line for line in text.splitlines() if not line.startswith("#"))
        found = (_SAMPLE.fullmatch(line) for line in lines)
        self._samples = [
            Sample(line["name"], dict(_LABEL.findall(line["labels"] or "")), float(line["value"]))
            for line in found
            if line
        ]

    def of(self, name: str) -> list[Sample]:
        """The series of that name."""
        return [sample for sample in self._samples if sample.name == name]

    def total(self, name: str) -> float:
        """The sum of the series of that name."""
        return sum(sample.value for sample in self.of(name))


class Level(NamedTuple):
    """What a process has: bytes of memory, file descriptors, and tasks."""

    memory: int
    descriptors: int
    tasks: int


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until something holds. Raises TimeoutError, with ``what`` is wrong, if it never does."""
    try:
        async with asyncio.timeout(PATIENCE):
            # What another process does is no event here.
            while not await holds():  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_EVERY)
    except TimeoutError:
        raise TimeoutError(what) from None


class Sidecar:
    """A sidecar that runs. ``out`` and ``err`` are the files of what it says."""

    def __init__(
        self, process: subprocess.Popen[bytes], port: int, admin: int, folder: Path
    ) -> None:
        self.port = port
        self._process = process
        self._admin = admin
        self.out = folder / "access.log"
        self.err = folder / "sidecar.log"

    @property
    def resident(self) -> int:
        """Bytes of its memory that are resident."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * _PAGE

    @property
    def descriptors(self) -> int:
        """File descriptors that it has open."""
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page of its admin port."""
        async with Peer(*await asyncio.open_connection("127.0.0.1", self._admin)) as peer:
            answer = await peer.ask(request("GET", path, "Connection: close"))
        return answer.status, answer.body.decode()

    async def metrics(self) -> Metrics:
        """What a scrape says."""
        status, text = await self.get("/metrics")
        assert status == 200, status
        return Metrics(text)

    async def level(self) -> Level:
        """What it has now."""
        memory, descriptors = self.resident, self.descriptors  # a scrape has a socket, too
        return Level(memory, descriptors, int((await self.metrics()).total("sidecar_tasks")))

    def end(self) -> None:
        """Ask it to end."""
        self._process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """Wait until it has; its exit code."""
        return await asyncio.to_thread(self._process.wait)


@contextmanager
def running(folder: Path, settings: str) -> Iterator[Sidecar]:
    """A sidecar with a configuration of these ``settings``, killed in the end. Raises RuntimeError
    if it does not start."""
    port, admin = free_port(), free_port()
    config = folder / "sidecar.yaml"
    config.write_text(f"listen: 127.0.0.1:{port}\nadmin: 127.0.0.1:{admin}\n{settings}")
    # Warnings are off by default, and that a socket was never closed is one.
    command = [sys.executable, "-W", "default", "-m", "sidecar", "serve", "--config", str(config)]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SIDECAR_")}
    with open(folder / "access.log", "wb") as out, open(folder / "sidecar.log", "wb") as err:
        process = subprocess.Popen(command, cwd=_CHECKOUT, stdout=out, stderr=err, env=kept)
        try:
            await_listener("the sidecar", process, port)
            await_listener("its admin port", process, admin)
            yield Sidecar(process, port, admin, folder)
        finally:
            process.kill()
            process.wait()
