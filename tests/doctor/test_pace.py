"""The verdict, over every way in which events can come."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.doctor.pace import Pace, pace, pace_of_arrivals

COUNTS = st.integers(10, 60)
INTERVALS = st.floats(0.05, 5)
DELAYS = st.floats(0, 60)


def steps(count: int, interval: float) -> list[float]:
    return [number * interval for number in range(count)]


@given(st.data(), COUNTS, INTERVALS, DELAYS)
def test_what_comes_as_it_was_sent_is_in_step(
    data: st.DataObject, count: int, interval: float, delay: float
) -> None:
    """However far the way is, and with every event up to a fifth of a step early or late."""
    sent = steps(count, interval)
    shifts = data.draw(st.lists(st.floats(-0.2, 0.2), min_size=count, max_size=count))
    arrived = [at + delay + shift * interval for at, shift in zip(sent, shifts, strict=True)]
    assert pace(sent, arrived) is Pace.IN_STEP


@given(st.data(), INTERVALS, DELAYS)
def test_a_machine_may_stop_for_a_quarter_of_the_time(
    data: st.DataObject, interval: float, delay: float
) -> None:
    """What is sent meanwhile comes when it goes on."""
    count = data.draw(st.integers(12, 60))
    sent = steps(count, interval)
    begin = data.draw(st.integers(0, count - count // 4))
    end = min(begin + count // 4, count - 1)
    arrived = [delay + (sent[end] if begin <= i <= end else at) for i, at in enumerate(sent)]
    assert pace(sent, arrived) is Pace.IN_STEP


@given(st.data(), INTERVALS, DELAYS)
def test_what_comes_in_groups_is_in_bursts(
    data: st.DataObject, interval: float, delay: float
) -> None:
    """From pairs on, if there are several groups."""
    size = data.draw(st.integers(2, 20))
    groups = data.draw(st.integers(2, 5)) + (8 if size == 2 else 0)
    sent = steps(size * groups, interval)
    arrived = [delay + sent[i - i % size + size - 1] for i in range(len(sent))]
    assert pace(sent, arrived) is Pace.IN_BURSTS


@given(COUNTS, INTERVALS, DELAYS, st.floats(0, 0.09))
def test_what_comes_when_all_is_over_is_all_at_the_end(
    count: int, interval: float, delay: float, share: float
) -> None:
    """At once, or one after another as fast as the way allows."""
    sent = steps(count, interval)
    arrived = [sent[-1] + delay + share * at for at in sent]
    assert pace(sent, arrived) is Pace.AT_THE_END


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3),
    st.integers(0, 1000),
    st.integers(0, 1000),
)
def test_the_clocks_need_not_agree(distances: list[tuple[int, int]], early: int, late: int) -> None:
    sent = list(accumulate(went for went, _ in distances))
    arrived = list(accumulate(came for _, came in distances))
    shifted = pace([at + early for at in sent], [at + late for at in arrived])
    assert pace(sent, arrived) is shifted


@pytest.mark.parametrize("sent", [[], [0], [0, 1], [5, 5, 5]])
def test_of_too_few_it_says_nothing(sent: list[float]) -> None:
    assert pace(sent, sent) is None


# --- without the times of sending ---------------------------------------------------------------


@given(st.floats(0.1, 1), st.lists(st.floats(0.03, 0.4), min_size=12, max_size=80))
def test_a_model_that_writes_token_by_token_is_in_step(
    first: float, distances: list[float]
) -> None:
    """Fast or slow, evenly or not."""
    assert pace_of_arrivals(list(accumulate([first, *distances]))) is Pace.IN_STEP


@given(st.integers(4, 30), st.integers(3, 20), st.floats(0.3, 5))
def test_groups_with_pauses_are_bursts(size: int, groups: int, pause: float) -> None:
    arrived = [pause * (group + 1) for group in range(groups) for _ in range(size)]
    assert pace_of_arrivals(arrived) is Pace.IN_BURSTS


@given(st.integers(3, 60), st.floats(0.1, 60))
def test_what_comes_at_once_is_all_at_the_end(count: int, at: float) -> None:
    assert pace_of_arrivals([at] * count) is Pace.AT_THE_END


@given(st.integers(40, 400))
def test_the_fastest_models_are_in_step(count: int) -> None:
    """One long group is no burst."""
    assert pace_of_arrivals([0.1 + 0.005 * number for number in range(count)]) is Pace.IN_STEP
