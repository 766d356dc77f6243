"""Proxies as processes of their own, each on the first core."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

PROXY_CORE = 0
LOAD_CORE = 1

_CHECKOUT = Path(__file__).resolve().parents[2]
_START_SECONDS = 20.0

Command = Callable[[str, int], list[str]]
"""The command line of a proxy for an upstream URL and a port."""


class Proxy(NamedTuple):
    """A running proxy."""

    name: str
    pid: int
    port: int


def sidecar_command(upstream: str, port: int) -> list[str]:
    """That of the sidecar with its built-in rules."""
    listen, admin = f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "sidecar", "serve", "--upstream", upstream]
    return [*command, "--listen", listen, "--admin", admin]


@contextmanager
def started(name: str, command: Command, upstream: str) -> Iterator[Proxy]:
    """A proxy on its core, ready for connections; killed in the end. Raises RuntimeError if it does
    not start."""
    port = free_port()
    # A child inherits the core, with all the threads that it will start.
    os.sched_setaffinity(0, {PROXY_CORE})
    process = subprocess.Popen(command(upstream, port), cwd=_CHECKOUT, stdout=subprocess.DEVNULL)
    try:
        await_listener(name, process, port)
        yield Proxy(name, process.pid, port)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()


def await_listener(name: str, process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until ``process`` listens on ``port`` of loopback. Raises RuntimeError if it never
    does."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{name} does not listen")


def free_port() -> int:
    """A port of loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
