"""A histogram that is cheap enough to observe with every event.

The Prometheus client takes 0.7 µs for one observation, with a lock for each bucket; three with
every event would be a tenth of what an event costs. This one counts in a list, which is read when
somebody scrapes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Series:
    """The observations of one set of labels. ``bounds`` are the upper ends of the buckets, in
    order; one more bucket has what is above them all."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self._bounds = bounds

    def observe(self, value: float) -> None:
        """One more observation."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class Tally:
    """Series by their labels."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.series: dict[tuple[str, ...], Series] = {}

    def of(self, *labels: str) -> Series:
        """The series with these labels."""
        found = self.series.get(labels)
        if found is None:
            found = self.series[labels] = Series(self.bounds)
        return found
