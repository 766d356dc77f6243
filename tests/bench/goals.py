"""What the figures should be, and whether they are."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import NamedTuple

from tests.bench import targets
from tests.bench.growth import EVENTS, HIDDEN
from tests.bench.processes import CORES
from tests.bench.results import (
    CAPACITY,
    CPU_PER_EVENT,
    DELAY_P99,
    MILLI,
    RATE,
    Figure,
    Result,
    Results,
    difference,
    ratio,
)
from tests.bench.targets import Target

_MEBI = 1 << 20
_ENOUGH_CORES = 3
"""For two proxies and the load, each on its own."""

Judge = Callable[[Results], float]
"""The figure. Raises KeyError if what it needs was not measured, ZeroDivisionError if it is too
little to be compared with."""


class Goal(NamedTuple):
    """One figure, and its bound. ``unit`` follows both."""

    workload: str
    what: str
    judge: Judge
    bound: float
    unit: str = "×"
    at_least: bool = False


class Verdict(NamedTuple):
    """A goal's figure; None if it was not measured."""

    goal: Goal
    figure: float | None

    @property
    def met(self) -> bool | None:
        """None if it was not measured."""
        if self.figure is None:
            return None
        if self.goal.at_least:
            return self.figure >= self.goal.bound
        return self.figure <= self.goal.bound


def judged(results: Results) -> list[Verdict]:
    """Every goal, in the order of the table."""
    return [Verdict(goal, _figure(goal, results)) for goal in GOALS]


def _figure(goal: Goal, results: Results) -> float | None:
    try:
        return goal.judge(results)
    except (KeyError, ZeroDivisionError):
        return None


def _cpu(workload: str, theirs: Target, ours: Target = targets.DEFAULT) -> Judge:
    """Processor time per event, to that of another."""

    def judge(results: Results) -> float:
        measured = results.workloads[workload]
        return ratio(measured[ours.name], measured[theirs.name], CPU_PER_EVENT)

    return judge


def _packed(results: Results) -> float:
    """Both workloads were measured at different times, so the medians are compared."""
    packed, alone = (
        results.workloads[name][targets.DEFAULT.name] for name in ("packed", "saturation")
    )
    return packed.median(CPU_PER_EVENT) / alone.median(CPU_PER_EVENT)


def _more_delay(results: Results) -> float:
    ours, bare, _ = _three(results, "paced")
    return difference(ours, bare, DELAY_P99) * MILLI


def _added_first(results: Results) -> float:
    ours, bare, none = _three(results, "first")
    return median(
        (our.first_p50 - least.first_p50) / (their.first_p50 - least.first_p50)
        for our, their, least in zip(ours.rounds, bare.rounds, none.rounds, strict=True)
    )


def _memory(results: Results) -> float:
    ours, bare, _ = _three(results, "many")
    return ours.per_stream / bare.per_stream


def _lag(results: Results) -> float:
    ours, bare, _ = _three(results, "many")
    return ratio(ours, bare, DELAY_P99)


def _growth(what: str) -> Judge:
    return lambda results: median(results.growth[what])


def _of_all(figure: Callable[[Result], float]) -> Judge:
    """The median over all starts of the sidecar with its default rules."""

    def judge(results: Results) -> float:
        name = targets.DEFAULT.name
        found = [measured[name] for measured in results.workloads.values() if name in measured]
        if not found:
            raise KeyError(name)
        return median(map(figure, found))

    return judge


def _two(results: Results) -> float:
    measured = results.workloads["processes"]
    return ratio(measured[targets.TWO.name], measured[targets.DEFAULT.name], _TWO[1])


def _three(results: Results, workload: str) -> tuple[Result, Result, Result]:
    measured = results.workloads[workload]
    ours, bare, none = targets.DEFAULT, targets.PASS_THROUGH, targets.NONE
    return measured[ours.name], measured[bare.name], measured[none.name]


_BARE = targets.PASS_THROUGH

_TWO: tuple[str, Figure] = ("events/s of two processes, to one", RATE)
if len(CORES) < _ENOUGH_CORES:
    # One of them shares its core with the load.
    _TWO = ("events per CPU second of the busier of two processes, to one", CAPACITY)

GOALS = (
    Goal("saturation", "CPU per event, to the pass-through", _cpu("saturation", _BARE), 1.15),
    Goal("saturation", "CPU per event, to nginx", _cpu("saturation", targets.NGINX), 2.1),
    Goal("flood", "CPU per event, to the pass-through", _cpu("flood", _BARE), 1.3),
    Goal("flood", "CPU per event, to nginx", _cpu("flood", targets.NGINX), 1.0),
    Goal("packed", "CPU per event, to its own in saturation", _packed, 0.5),
    Goal("big", "CPU per event, to the pass-through", _cpu("big", _BARE), 1.5),
    Goal("thinking", "CPU per event, to the pass-through", _cpu("thinking", _BARE), 1.0),
    Goal("structured", "CPU per event, to the pass-through", _cpu("structured", _BARE), 1.0),
    Goal("paced", "p99 time per event, more than the pass-through's", _more_delay, 1.0, " ms"),
    Goal("first", "added time to the first event, to the pass-through's", _added_first, 1.5),
    Goal("many", "memory per open stream, to the pass-through's", _memory, 1.3),
    Goal("many", "p99 time per event, to the pass-through's", _lag, 1.2),
    Goal("short", "CPU per answer, to the pass-through", _cpu("short", _BARE), 1.3),
    Goal(
        "short",
        "the same, both keeping connections",
        _cpu("short", targets.PASS_THROUGH_KEPT, targets.DEFAULT_KEPT),
        1.3,
    ),
    Goal("growth", "an event of 100,000, to one of 100", _growth(EVENTS), 1.1),
    Goal("growth", "an event of 1 MiB of hidden text, to one of 1 KiB", _growth(HIDDEN), 1.1),
    Goal("processes", _TWO[0], _two, 1.7, at_least=True),
    Goal("all", "cold start", _of_all(lambda result: result.cold_start * MILLI), 400, " ms"),
    Goal("all", "idle memory", _of_all(lambda result: result.idle / _MEBI), 60, " MiB"),
)
