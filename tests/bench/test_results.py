"""Percentiles and ratios are those of the rounds."""

from __future__ import annotations

import math

import pytest

from tests.bench.results import (
    CPU_PER_EVENT,
    DELAY_P99,
    Result,
    Round,
    difference,
    percentile,
    ratio,
)


def rounds(*cpus: float) -> Result:
    """A target that took so much time in each round of one event."""
    result = Result(cold_start=0.1, open_streams=2, warm=100)
    result.rounds = [Round(1, 1, 1.0, cpu, cpu, 300, 0, 0, cpu, cpu) for cpu in cpus]
    return result


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([7.0], 50, 7.0),
        ([4.0, 1.0, 3.0, 2.0], 50, 2.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([float(n) for n in range(1, 102)], 99, 100.0),
        ([2.0, 1.0], 100, 2.0),
    ],
)
def test_so_many_percent_are_not_above_it(
    values: list[float], percent: float, expected: float
) -> None:
    assert percentile(values, percent) == expected


def test_of_nothing_there_is_no_percentile() -> None:
    assert math.isnan(percentile([], 50))


def test_a_ratio_is_the_median_of_the_rounds_own() -> None:
    # A slow round slowed both; the ratio of the medians would be 2.
    assert ratio(rounds(1.0, 30.0, 4.0), rounds(1.0, 10.0, 2.0), CPU_PER_EVENT) == 2.0
    assert ratio(rounds(3.0, 3.0, 8.0), rounds(1.0, 3.0, 4.0), CPU_PER_EVENT) == 2.0


def test_a_difference_is_the_median_of_the_rounds_own() -> None:
    assert difference(rounds(3.0, 9.0, 5.0), rounds(1.0, 8.0, 1.0), DELAY_P99) == 2.0


def test_an_open_stream_takes_what_is_more_than_a_warm_process() -> None:
    assert rounds(1.0, 1.0).per_stream == 100
