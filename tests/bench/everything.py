"""All workloads by turns, and what the figures should be."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.bench import loop, plot, report, targets
from tests.bench.checks import WrongAnswer
from tests.bench.goals import judged
from tests.bench.growth import growth
from tests.bench.load import Load
from tests.bench.processes import pin_load, usable
from tests.bench.results import Results
from tests.bench.turns import Broken, by_turns
from tests.bench.workloads import WORKLOADS, Workload

_GROWTH = "growth"
_NAMES = (*(workload.name for workload in WORKLOADS), _GROWTH)
_SHORT_ROUNDS = 3
_ROUNDS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a whole run."""
    parser.add_argument("--short", action="store_true", help="fewer events, targets and rounds")
    parser.add_argument(
        "--only", action="append", choices=_NAMES, metavar="NAME", help=f"of {', '.join(_NAMES)}"
    )
    parser.add_argument("--rounds", type=_count, help=f"of each target (default: {_ROUNDS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a chart, as SVG")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the tables and the goals; 1 if something was wrong or could not run."""
    if why := usable():
        print(why, file=sys.stderr)
        return 1
    rounds = arguments.rounds or (_SHORT_ROUNDS if arguments.short else _ROUNDS)
    only = arguments.only or _NAMES
    pin_load()
    workloads = [
        workload.shortened() if arguments.short else workload
        for workload in WORKLOADS
        if workload.name in only
    ]
    print(report.machine(), end="\n\n")
    print(report.NOTE, end="\n\n")
    results = Results()
    loop.run(_measure(workloads, rounds, results))
    if _GROWTH in only:
        _grow(1 if arguments.short else rounds, results)
    verdicts = judged(results)
    print("### All workloads", report.summary(results), sep="\n\n", end="\n\n")
    print("### Goals", report.goals(verdicts), sep="\n\n")
    if arguments.json:
        arguments.json.write_text(report.as_json(results, verdicts), encoding="utf-8")
    if arguments.plot:
        arguments.plot.write_text(plot.plot(results), encoding="utf-8")
    for failure in results.failures:
        print(failure, file=sys.stderr)
    return int(bool(results.failures))


async def _measure(workloads: list[Workload], rounds: int, results: Results) -> None:
    load = Load()
    port = await load.listen()
    for workload in workloads:
        _progress(f"{workload.name} …")
        started = time.perf_counter()
        usable_ = tuple(target for target in workload.targets if targets.available(target))
        try:
            measured = await by_turns(load, port, workload, usable_, rounds)
        except Broken as error:
            results.failures.append(f"{workload.name}: {error}")
            _progress(results.failures[-1])
            continue
        results.workloads[workload.name] = measured
        print(report.table(workload, measured), end="\n\n", flush=True)
        _progress(f"{workload.name}: {time.perf_counter() - started:.0f} s")
    load.close()


def _grow(rounds: int, results: Results) -> None:
    _progress(f"{_GROWTH} …")
    try:
        results.growth = growth(rounds)
    except WrongAnswer as error:
        results.failures.append(f"{_GROWTH}: {error}")


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count


def _progress(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
