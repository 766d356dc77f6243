"""One workload: its targets are started, and measured by turns."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import NamedTuple

from tests.bench.checks import WrongAnswer
from tests.bench.load import Job, Load
from tests.bench.measuring import measured, memory
from tests.bench.processes import Proxy, started
from tests.bench.results import Result
from tests.bench.targets import Target
from tests.bench.workloads import Workload


class Broken(Exception):
    """A target did not start, or did not deliver what it should have."""


class _Running(NamedTuple):
    target: Target
    proxy: Proxy
    result: Result


async def by_turns(
    load: Load, port: int, workload: Workload, targets: tuple[Target, ...], rounds: int
) -> dict[str, Result]:
    """So many rounds of every target in front of the load's upstream at ``port``, after one that
    warms them up. Raises Broken."""
    job, warming = Job.of(workload), Job.of(workload.warming())
    with ExitStack() as stack:
        running = [_start(stack, target, port, workload.streams) for target in targets]
        for one in running:
            one.result.idle = memory(one.proxy).resident
        for one in running:
            await _round(load, warming, one)
        for one in running:
            one.result.warm = memory(one.proxy).resident
            one.result.rounds.clear()
        for _ in range(rounds):
            for one in running:
                await _round(load, job, one)
    return {one.target.name: one.result for one in running}


def _start(stack: ExitStack, target: Target, port: int, streams: int) -> _Running:
    if target.command is None:
        proxy = Proxy(target.name, (os.getpid(),), port, 0.0)
    else:
        upstream = f"http://127.0.0.1:{port}/v1"
        start = started(target.name, target.command, upstream, target.processes)
        try:
            proxy = stack.enter_context(start)
        except (OSError, RuntimeError) as error:
            raise Broken(str(error)) from error
    return _Running(target, proxy, Result(proxy.cold_start, streams))


async def _round(load: Load, job: Job, one: _Running) -> None:
    try:
        one.result.rounds.append(await measured(load, job, one.target, one.proxy))
    except (WrongAnswer, TimeoutError, OSError) as error:
        raise Broken(f"{one.target.name}: {error}") from error
