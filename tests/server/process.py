"""The real command, as a process of its own in front of a scripted upstream."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sidecar.rules.configvalues import Address, parse_address
from sidecar.server.app import Addresses
from tests.test_cli import command, environment

from .scripted import LIMIT, Rig, Upstream

AT_ONCE = "drain: {delay: 0}\n"
"""A setting: no new request is served any more when the end is asked for."""


FILE = "sidecar.yaml"
"""The name of its configuration."""

DATA = r"serving http://(\S+)/v1 "
ADMIN = r"health and metrics on http://(\S+)$"
"""How it says where it listens."""


@dataclass(frozen=True)
class Command:
    """A sidecar that runs: what it is talked to by, and what it says."""

    rig: Rig
    process: asyncio.subprocess.Process
    out: asyncio.StreamReader
    err: asyncio.StreamReader

    async def said(self, pattern: str) -> re.Match[str]:
        """Wait until it says this on standard error."""
        return await _said(self.err, pattern)

    async def ended(self) -> tuple[int, str, str]:
        """Wait until it has ended: its exit code, and the rest of what it said."""
        out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), err.decode()


def configuration(
    settings: str, base_url: str, *, listen: str = "127.0.0.1:0", upstream: str = ""
) -> str:
    """The text of a configuration with these ``settings``; ``upstream``: what else it says of the
    upstream, as in a flow mapping."""
    return (
        f"listen: {listen}\nadmin: 127.0.0.1:0\nmodels: [m]\n{settings}"
        f"upstream: {{base_url: {base_url}, {upstream}}}\n"
    )


@asynccontextmanager
async def running(
    folder: Path,
    settings: str = AT_ONCE,
    *,
    listen: str = "127.0.0.1:0",
    upstream_settings: str = "",
    program: Sequence[str] = (),
    seconds: float = 2 * LIMIT,
) -> AsyncIterator[Command]:
    """A sidecar with a configuration of these ``settings``, and an upstream of its own; killed in
    the end, if it has not ended by itself. ``upstream_settings``: what else the configuration says
    of the upstream, as in a flow mapping; ``program``: what is run instead of the command;
    ``seconds``: for how long at most."""
    upstream = Upstream("127.0.0.1")
    async with asyncio.timeout(seconds), upstream.listening("/v1") as base_url:
        config = folder / FILE
        config.write_text(
            configuration(settings, base_url, listen=listen, upstream=upstream_settings),
            encoding="utf-8",
        )
        process = await asyncio.create_subprocess_exec(
            *(program or command()),
            *("serve", "--config", str(config)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(),
        )
        out, err = process.stdout, process.stderr
        assert out is not None
        assert err is not None
        try:
            data = await address_said(err, DATA)
            admin = await address_said(err, ADMIN)
            yield Command(Rig(upstream, Addresses(data, admin)), process, out, err)
        finally:
            if process.returncode is None:
                # Its own kill() takes the exit code of one that has ended, which asyncio waits for.
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
                await process.communicate()


async def address_said(log: asyncio.StreamReader, pattern: str) -> Address:
    """Wait until a sidecar says an address in this way."""
    return parse_address((await _said(log, pattern))[1])


async def _said(log: asyncio.StreamReader, pattern: str) -> re.Match[str]:
    async for line in log:
        found = re.search(pattern, line.decode().strip())
        if found is not None:
            return found
    raise AssertionError(f"it did not say {pattern!r}")
