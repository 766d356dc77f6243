"""Proxies as processes of their own, pinned to cores that the load does not use."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
"""Those that there were at the start."""
LOAD_CORE = CORES[min(1, len(CORES) - 1)]
PROXY_CORES = (CORES[0], CORES[2] if len(CORES) > 2 else LOAD_CORE)
"""A second process has a core of its own only where there are three; else it shares the load's."""

_CHECKOUT = Path(__file__).resolve().parents[2]
_COMPILED = TemporaryDirectory(prefix="bench-compiled-")
"""What Python has compiled is kept there, by every proxy and whatever this process was told: as
where a package is installed, no start but the first one compiles."""
_START_SECONDS = 60.0
_LOOK_EVERY = 0.002

Command = Callable[[str, int, Path], list[str]]
"""The command line of a proxy for an upstream URL, a port, and a folder for its files."""


class Proxy(NamedTuple):
    """A running proxy."""

    name: str
    pids: tuple[int, ...]
    port: int
    cold_start: float
    """Seconds from the start of its process until it took a connection."""


def usable() -> str:
    """Why nothing can be measured here; empty if it can."""
    return "" if sys.platform == "linux" and len(CORES) > 1 else "needs Linux and two cores"


def pin_load() -> None:
    """Let this process, and whatever it starts but proxies, use the load's core only; and all of
    them as many files as the system allows, for a thousand streams."""
    os.sched_setaffinity(0, {LOAD_CORE})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def sidecar_command(
    upstream: str, port: int, folder: Path, config: Path | None = None
) -> list[str]:
    """That of the sidecar, with a file or with its built-in rules."""
    listen, admin = f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}"
    rules = ["--config", str(config)] if config else ["--upstream", upstream]
    command = [sys.executable, "-m", "sidecar", "serve", *rules]
    return [*command, "--listen", listen, "--admin", admin]


@contextmanager
def started(name: str, command: Command, upstream: str, processes: int = 1) -> Iterator[Proxy]:
    """A proxy on its core, ready for connections; killed in the end. Of several processes each has
    a core, and they share the port. Raises RuntimeError if it does not start."""
    running: list[subprocess.Popen[bytes]] = []
    with TemporaryDirectory(prefix="bench-") as folder:
        said = Path(folder, "stderr")
        try:
            port = free_port()
            cold_start = 0.0
            try:
                for core in PROXY_CORES[:processes]:
                    argv = command(upstream, port, Path(folder))
                    before = time.perf_counter()
                    running.append(_start(argv, core, said))
                    await_listener(name, running[-1], port)
                    cold_start = max(cold_start, time.perf_counter() - before)
                _await_all(name, port, processes)
            except RuntimeError as error:
                raise RuntimeError(f"{error}: {said.read_text()[-1000:]}") from None
            yield Proxy(name, tuple(process.pid for process in running), port, cold_start)
        finally:
            for process in running:
                # Not asked to end: it would drain, for load balancers that there are not.
                process.kill()
                process.wait()


def _start(argv: list[str], core: int, said: Path) -> subprocess.Popen[bytes]:
    # A child inherits the core, with all the threads that it will start.
    here = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    env = os.environ | {"PYTHONPYCACHEPREFIX": _COMPILED.name}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        with said.open("ab") as errors:
            return subprocess.Popen(
                argv, cwd=_CHECKOUT, env=env, stdout=subprocess.DEVNULL, stderr=errors
            )
    finally:
        os.sched_setaffinity(0, here)


def await_listener(name: str, process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until ``process`` listens on ``port`` of loopback. Raises RuntimeError if it never
    does."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(_LOOK_EVERY)
    raise RuntimeError(f"{name} does not listen")


def _await_all(name: str, port: int, count: int) -> None:
    """Wait until so many sockets listen on a port, which one of them alone answers for. Raises
    RuntimeError if they never do."""
    suffix, deadline = f":{port:04X}", time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()]
        if sum(row[1].endswith(suffix) and row[3] == "0A" for row in rows) == count:
            return
        time.sleep(_LOOK_EVERY)
    raise RuntimeError(f"of {name} not all processes listen")


def free_port() -> int:
    """A port of loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
