"""Processor time of the real proxy, against a bare pass-through: real processes and sockets."""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench import loop, workloads
from tests.bench.engine import visible_text
from tests.bench.load import Load, Mode
from tests.bench.processes import LOAD_CORE, Proxy, sidecar_command, started
from tests.bench.workloads import DONE_EVENT, Workload

_STALL_SECONDS = 10.0
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


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
            stack.enter_context(started("pass-through", _passthrough_command, upstream)),
            stack.enter_context(started("sidecar", sidecar_command, upstream)),
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


def _passthrough_command(upstream: str, port: int) -> list[str]:
    listen = f"127.0.0.1:{port}"
    module = "tests.bench.passthrough"
    return [sys.executable, "-m", module, "--upstream", upstream, "--listen", listen]


def _processor_seconds(pid: int) -> float:
    """User and system time of all threads of a process (proc(5), fields 14 and 15)."""
    # The second field is the program's name in brackets, and may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK
