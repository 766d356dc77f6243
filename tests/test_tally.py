"""A tally counts as the Prometheus client's own histogram does."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.utils import floatToGoString

from sidecar.metrics import Labels, Metrics
from sidecar.tally import MANY, Series, Tally

BOUNDS = st.lists(
    st.floats(min_value=-1e6, max_value=1e6), min_size=1, max_size=20, unique=True
).map(sorted)


def values(bounds: Sequence[float]) -> st.SearchStrategy[list[float]]:
    """Observations: on a bound, next to one on either side, or anywhere."""
    on = st.sampled_from(bounds)
    beside = on.flatmap(
        lambda bound: st.sampled_from(
            [math.nextafter(bound, -math.inf), math.nextafter(bound, math.inf)]
        )
    )
    return st.lists(on | beside | st.floats(min_value=-1e9, max_value=1e9), max_size=50)


CASES = BOUNDS.flatmap(lambda bounds: st.tuples(st.just(bounds), values(bounds)))


def below(series: Series) -> list[int]:
    """How many observations each bucket and those before it have."""
    return [sum(series.counts[: end + 1]) for end in range(len(series.counts))]


@given(CASES)
def test_it_is_the_histogram_of_the_client(case: tuple[list[float], list[float]]) -> None:
    """The same observations have the same buckets, the same count and the same sum."""
    bounds, observed = case
    theirs = Histogram("h", "h", buckets=bounds, registry=CollectorRegistry())
    ours = Tally(bounds).of()
    for value in observed:
        theirs.observe(value)
        ours.observe(value)
    ours.settle()
    [family] = theirs.collect()
    buckets = [
        (sample.labels["le"], sample.value)
        for sample in family.samples
        if sample.name == "h_bucket"
    ]
    labels = [*map(floatToGoString, bounds), "+Inf"]
    assert list(zip(labels, map(float, below(ours)), strict=True)) == buckets
    [count] = (sample.value for sample in family.samples if sample.name == "h_count")
    assert sum(ours.counts) == count == len(observed)
    if not bounds[0] < 0:  # the client has no sum where a value may be negative
        [total] = (sample.value for sample in family.samples if sample.name == "h_sum")
        assert ours.total == pytest.approx(total)


@pytest.mark.parametrize(
    ("value", "bucket"),
    [(0.5, 0), (1.0, 0), (math.nextafter(1.0, 2.0), 1), (2.0, 1), (3.0, 2), (math.inf, 2)],
)
def test_a_bound_belongs_to_the_bucket_below_it(value: float, bucket: int) -> None:
    """``le`` means less or equal."""
    series = Tally((1.0, 2.0)).of()
    series.observe(value)
    series.settle()
    assert [index for index, count in enumerate(series.counts) if count] == [bucket]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("ab"), st.floats(0, 3))))
def test_series_do_not_affect_each_other(observed: list[tuple[str, str, float]]) -> None:
    """Each set of labels has the observations that were made with it, and there is one of it."""
    tally = Tally((1.0, 2.0))
    for one, other, value in observed:
        tally.of(one, other).observe(value)
    tally.settle()
    assert tally.series.keys() == {(one, other) for one, other, _ in observed}
    for labels, series in tally.series.items():
        alone = Tally(tally.bounds).of()
        for *of, value in observed:
            if tuple(of) == labels:
                alone.observe(value)
        alone.settle()
        assert (series.counts, series.total) == (alone.counts, alone.total)


def test_what_is_pending_is_bounded_and_counted_once() -> None:
    series = Tally((1.0,)).of()
    for _ in range(2 * MANY + 1):
        series.observe(0.5)
        assert len(series.pending) < MANY
    assert series.counts == [2 * MANY, 0]
    for _ in range(2):
        series.settle()
        assert (series.counts, series.total) == ([2 * MANY + 1, 0], MANY + 0.5)


def test_a_stream_leaves_little_pending() -> None:
    pace = Metrics().pace(Labels("chat", "rule", "model"))
    pace.added.pending.extend([0.5] * MANY)
    pace.client.pending.extend([0.5] * (MANY - 1))
    pace.trim()
    assert (sum(pace.added.counts), len(pace.added.pending)) == (MANY, 0)
    assert (sum(pace.client.counts), len(pace.client.pending)) == (0, MANY - 1)
