"""Processor time of the real proxy, against a bare pass-through: real processes and sockets."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench import loop, workloads
from tests.bench.engine import visible_text
from tests.bench.load import Load, Mode
from tests.bench.workloads import DONE_EVENT, Workload

PROXY_CORE = 0
LOAD_CORE = 1

_CHECKOUT = Path(__file__).resolve().parents[2]
_START_SECONDS = 20.0
_STALL_SECONDS = 10.0
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


Command = Callable[[str, int], list[str]]
"""The command line of a proxy for an upstream URL and a port."""


class Proxy(NamedTuple):
    """A running proxy."""

    name: str
    pid: int
    port: int


class Cost(NamedTuple):
    """What one round cost: processor time and time."""

    cpu: float
    """Microseconds per event, user and system."""
    rate: float
    """Events per second."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--mode", type=Mode, choices=list(Mode), default=Mode.LOCKSTEP)
    parser.add_argument("--streams", type=int, default=64, help="streams at a time")
    parser.add_argument("--events", type=int, default=1500, help="events of one stream")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each proxy")
    parser.add_argument("--max-ratio", type=float, help="exit code 1 if the sidecar costs more")


def run(arguments: argparse.Namespace) -> int:
    """Measure both proxies by turns, print a table; the exit code."""
    if sys.platform != "linux" or (os.cpu_count() or 1) < 2:
        print("needs Linux (/proc) and two cores", file=sys.stderr)
        return 2
    workload = workloads.plain(arguments.events)
    load = Load(workload, arguments.streams, arguments.mode)
    rounds = loop.run(_measure(load, workload, arguments))
    return _report(rounds, arguments.max_ratio)


async def _measure(
    load: Load, workload: Workload, arguments: argparse.Namespace
) -> dict[str, list[Cost]]:
    upstream = f"http://127.0.0.1:{await load.listen()}/v1"
    with ExitStack() as stack:
        proxies = [
            stack.enter_context(_started("pass-through", _passthrough_command, upstream)),
            stack.enter_context(_started("sidecar", _sidecar_command, upstream)),
        ]
        os.sched_setaffinity(0, {LOAD_CORE})
        rounds: dict[str, list[Cost]] = {proxy.name: [] for proxy in proxies}
        for number in range(arguments.rounds + 1):
            for proxy in proxies:
                cost = await _round(load, workload, proxy)
                if number:  # The first one warms up.
                    rounds[proxy.name].append(cost)
    load.close()
    return rounds


async def _round(load: Load, workload: Workload, proxy: Proxy) -> Cost:
    started, used = time.perf_counter(), _processor_seconds(proxy.pid)
    streams = await load.run(proxy.port, _STALL_SECONDS)
    used, elapsed = _processor_seconds(proxy.pid) - used, time.perf_counter() - started
    for stream in streams:
        _check(stream, workload, proxy)
    events = len(streams) * len(workload.events)
    return Cost(used / events * 1e6, events / elapsed)


def _check(stream: bytes, workload: Workload, proxy: Proxy) -> None:
    if not stream.endswith(DONE_EVENT) or visible_text(stream) != workload.visible:
        raise ValueError(f"{proxy.name} did not deliver the answer; its end: {stream[-300:]!r}")


def _report(rounds: dict[str, list[Cost]], max_ratio: float | None) -> int:
    print(f"{'proxy':14} {'CPU µs per event':>17} {'rounds':>15} {'events/s':>9}")
    for name, costs in rounds.items():
        times = [cost.cpu for cost in costs]
        spread = f"{min(times):.2f} to {max(times):.2f}"
        rate = median(cost.rate for cost in costs)
        print(f"{name:14} {median(times):17.2f} {spread:>15} {rate:9,.0f}")
    bare, sidecar = rounds.values()
    ratio = median(ours.cpu / theirs.cpu for ours, theirs in zip(sidecar, bare, strict=True))
    print(f"ratio {ratio:.2f} (median of {len(bare)} pairs of rounds)")
    if max_ratio is not None and ratio > max_ratio:
        print(f"more than {max_ratio}", file=sys.stderr)
        return 1
    return 0


# --- processes ------------------------------------------------------------------------------------


def _passthrough_command(upstream: str, port: int) -> list[str]:
    listen = f"127.0.0.1:{port}"
    module = "tests.bench.passthrough"
    return [sys.executable, "-m", module, "--upstream", upstream, "--listen", listen]


def _sidecar_command(upstream: str, port: int) -> list[str]:
    listen, admin = f"127.0.0.1:{port}", f"127.0.0.1:{_free_port()}"
    command = [sys.executable, "-m", "sidecar", "serve", "--upstream", upstream]
    return [*command, "--listen", listen, "--admin", admin]


@contextmanager
def _started(name: str, command: Command, upstream: str) -> Iterator[Proxy]:
    """A proxy on its core, ready for connections; killed in the end."""
    port = _free_port()
    # A child inherits the core, with all the threads that it will start.
    os.sched_setaffinity(0, {PROXY_CORE})
    process = subprocess.Popen(command(upstream, port), cwd=_CHECKOUT, stdout=subprocess.DEVNULL)
    try:
        _await_listener(name, process, port)
        yield Proxy(name, process.pid, port)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()


def _await_listener(name: str, process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{name} does not listen")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _processor_seconds(pid: int) -> float:
    """User and system time of all threads of a process (proc(5), fields 14 and 15)."""
    # The second field is the program's name in brackets, and may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK
