"""Figures: of one round, and of all rounds of a target in a workload."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from statistics import median
from typing import NamedTuple

MICRO = 1e6
MILLI = 1e3


class Memory(NamedTuple):
    """Bytes that are resident, and the most that were."""

    resident: int
    peak: int


class Round(NamedTuple):
    """One round of one target. Seconds and bytes."""

    events: int
    """That upstream sent."""
    streams: int
    seconds: float
    """From the first connection to the last end."""
    cpu: float
    """Processor time of the proxy; where there is none, of the load."""
    busiest: float
    """That of its busiest process."""
    peak: int
    first_p50: float
    """From a request to the first byte of its answer's body."""
    first_p99: float
    delay_p50: float
    """From upstream's write of an event to its arrival; nan if that is not known."""
    delay_p99: float

    @property
    def cpu_per_event(self) -> float:
        """Seconds."""
        return self.cpu / self.events

    @property
    def cpu_per_stream(self) -> float:
        """Seconds."""
        return self.cpu / self.streams

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds

    @property
    def capacity(self) -> float:
        """Events per second that the processes would do, if each had a core to itself and the
        busiest one was the limit."""
        return self.events / self.busiest


Figure = Callable[[Round], float]

CPU_PER_EVENT: Figure = attrgetter("cpu_per_event")
CPU_PER_STREAM: Figure = attrgetter("cpu_per_stream")
RATE: Figure = attrgetter("rate")
CAPACITY: Figure = attrgetter("capacity")
FIRST_P50: Figure = attrgetter("first_p50")
FIRST_P99: Figure = attrgetter("first_p99")
DELAY_P50: Figure = attrgetter("delay_p50")
DELAY_P99: Figure = attrgetter("delay_p99")


@dataclass
class Result:
    """All rounds of one target in one workload. Seconds and bytes."""

    cold_start: float
    open_streams: int
    """At a time."""
    idle: int = 0
    """Memory before the first request."""
    warm: int = 0
    """After a first round that does not count."""
    rounds: list[Round] = field(default_factory=list)

    def median(self, figure: Figure) -> float:
        """Of all rounds."""
        return median(map(figure, self.rounds))

    @property
    def peak(self) -> int:
        """Of all rounds."""
        return max(round_.peak for round_ in self.rounds)

    @property
    def per_stream(self) -> float:
        """Bytes that an open stream takes: the median of what each round added."""
        return max(0, median(round_.peak for round_ in self.rounds) - self.warm) / self.open_streams


@dataclass
class Results:
    """A whole run: by workload, then by target."""

    workloads: dict[str, dict[str, Result]] = field(default_factory=dict)
    growth: dict[str, list[float]] = field(default_factory=dict)
    """See :mod:`tests.bench.growth`."""
    failures: list[str] = field(default_factory=list)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent are not above; nan if there is none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def ratio(ours: Result, theirs: Result, figure: Figure) -> float:
    """The median of the rounds' ratios: both were measured by turns, so what slowed one slowed the
    other."""
    pairs = zip(ours.rounds, theirs.rounds, strict=True)
    return median(figure(our) / figure(their) for our, their in pairs)


def difference(ours: Result, theirs: Result, figure: Figure) -> float:
    """The median of the rounds' differences."""
    pairs = zip(ours.rounds, theirs.rounds, strict=True)
    return median(figure(our) - figure(their) for our, their in pairs)
