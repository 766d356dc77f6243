"""The figures as text: a Markdown table for each workload and one of the goals; and as JSON."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tests.bench import targets
from tests.bench.goals import Verdict
from tests.bench.processes import CORES
from tests.bench.results import (
    CPU_PER_EVENT,
    CPU_PER_STREAM,
    DELAY_P50,
    DELAY_P99,
    FIRST_P50,
    FIRST_P99,
    MICRO,
    MILLI,
    RATE,
    Figure,
    Result,
    Results,
    difference,
    ratio,
)
from tests.bench.workloads import Workload

_KIBI, _MEBI = 1 << 10, 1 << 20

_COLUMNS = (
    "",
    "CPU µs/event",
    "rounds",
    "ratio",
    "CPU µs/stream",
    "events/s",
    "first p50 ms",
    "p99",
    "event p50 ms",
    "p99",
    "idle MiB",
    "peak MiB",
    "KiB/stream",
    "start ms",
)
NOTE = """\
CPU: user and system time of the proxy, the median of the rounds, and their range; of "no proxy",
what the load itself takes. ratio: to the pass-through's, the median of the rounds' ratios (in the
last table, of the default rules). first: from a request to the first byte of the answer's body.
event: from upstream's write of an event to its arrival (but for the first; not known where it
floods). Of both, each proxy has what it adds to "no proxy": medians of the rounds' percentiles.
KiB/stream: what a round's peak adds to a process that is warm, by open streams. start: from the
process to its first connection. In "short" an event is a whole answer."""


def machine() -> str:
    """What it was measured on."""
    try:
        loop = f"uvloop {version('uvloop')}"
    except PackageNotFoundError:
        loop = "asyncio's own loop"
    python = platform.python_version()
    aiohttp = version("aiohttp")
    return f"{len(CORES)} cores, {platform.machine()}, CPython {python}, aiohttp {aiohttp}, {loop}"


def table(workload: Workload, results: dict[str, Result]) -> str:
    """One workload: a row for each target."""
    none = results.get(targets.NONE.name)
    rows = [_row(name, result, none, _ratio(name, results)) for name, result in results.items()]
    return f"### {workload.name}: {workload.about}\n\n{_markdown(_COLUMNS, rows)}"


def summary(results: Results) -> str:
    """Processor time of an event, in microseconds: a row for each workload."""
    names = [target.name for target in targets.USUAL if target is not targets.NONE]
    rows = [
        (
            workload,
            *(_cpu(measured.get(name)) for name in names),
            _ratio(targets.DEFAULT.name, measured),
        )
        for workload, measured in results.workloads.items()
    ]
    return _markdown(("CPU µs/event", *names, "ratio"), rows)


def goals(verdicts: Sequence[Verdict]) -> str:
    """The goals, with what became of them."""
    rows = [
        (
            verdict.goal.workload,
            verdict.goal.what,
            _number(verdict.figure, verdict.goal.unit),
            f"{'≥' if verdict.goal.at_least else '≤'} {verdict.goal.bound:g}{verdict.goal.unit}",
            {True: "met", False: "not met", None: "not measured"}[verdict.met],
        )
        for verdict in verdicts
    ]
    return _markdown(("workload", "with the default rules", "measured", "goal", ""), rows, left=2)


def as_json(results: Results, verdicts: Sequence[Verdict]) -> str:
    """Everything: seconds and bytes, every round."""
    whole: dict[str, Any] = {
        "machine": machine(),
        "workloads": {
            name: {target: _plain(result) for target, result in by_target.items()}
            for name, by_target in results.workloads.items()
        },
        "growth": results.growth,
        "failures": results.failures,
        "goals": [
            {
                "workload": verdict.goal.workload,
                "what": verdict.goal.what,
                "figure": verdict.figure,
                "bound": verdict.goal.bound,
                "unit": verdict.goal.unit.strip(),
                "met": verdict.met,
            }
            for verdict in verdicts
        ],
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _plain(result: Result) -> dict[str, Any]:
    rounds = [
        {name: None if math.isnan(value) else value for name, value in round_._asdict().items()}
        for round_ in result.rounds
    ]
    return {**asdict(result), "rounds": rounds}


def _cpu(result: Result | None) -> str:
    return f"{result.median(CPU_PER_EVENT) * MICRO:.2f}" if result else ""


def _ratio(name: str, measured: dict[str, Result]) -> str:
    """To the pass-through that does with connections what the target does."""
    kept = name in (target.name for target in targets.KEPT)
    bare = measured.get((targets.PASS_THROUGH_KEPT if kept else targets.PASS_THROUGH).name)
    if bare is None or name == targets.NONE.name:
        return ""
    return f"{ratio(measured[name], bare, CPU_PER_EVENT):.2f}"


def _row(name: str, result: Result, none: Result | None, to_bare: str) -> tuple[str, ...]:
    each = [round_.cpu_per_event * MICRO for round_ in result.rounds]
    costs = (
        _cpu(result),
        f"{min(each):.2f}–{max(each):.2f}",
        to_bare,
        f"{result.median(CPU_PER_STREAM) * MICRO:,.0f}",
    )
    memory = ("", "", "", "")
    if name != targets.NONE.name:
        memory = (
            f"{result.idle / _MEBI:.1f}",
            f"{result.peak / _MEBI:.1f}",
            f"{result.per_stream / _KIBI:.1f}",
            f"{result.cold_start * MILLI:.0f}",
        )
    times = (
        _added(result, none, figure) for figure in (FIRST_P50, FIRST_P99, DELAY_P50, DELAY_P99)
    )
    return (name, *costs, f"{result.median(RATE):,.0f}", *times, *memory)


def _added(result: Result, none: Result | None, figure: Figure) -> str:
    """In milliseconds: what there is without a proxy, and what each proxy adds to it."""
    alone = none is None or none is result
    value = result.median(figure) if alone or none is None else difference(result, none, figure)
    if math.isnan(value):
        return ""
    return f"{value * MILLI:.2f}" if alone else f"{value * MILLI:+.2f}"


def _number(figure: float | None, unit: str) -> str:
    return "" if figure is None else f"{figure:.{0 if figure >= 10 else 2}f}{unit}"


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Of words in the first ``left`` columns, and figures in the others."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * width if column < left else f"{'-' * max(1, width - 1)}:"
        for column, width in enumerate(widths)
    ]
    return "\n".join([line(columns), line(rule), *map(line, rows)])
