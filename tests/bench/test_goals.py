"""A goal is met by figures within its bound, and by nothing that was not measured."""

from __future__ import annotations

import pytest

from tests.bench import report, targets
from tests.bench.goals import GOALS, Goal, Verdict, judged
from tests.bench.results import Results
from tests.bench.test_results import rounds
from tests.bench.workloads import WORKLOADS


def goal(*, at_least: bool = False) -> Goal:
    return Goal("flood", "CPU", lambda _: 0.0, 1.3, at_least=at_least)


@pytest.mark.parametrize(
    ("figure", "at_least", "met"),
    [
        (1.3, False, True),
        (1.31, False, False),
        (1.3, True, True),
        (1.29, True, False),
        (None, False, None),
        (None, True, None),
    ],
)
def test_a_goal_is_met_up_to_its_bound(
    figure: float | None, at_least: bool, met: bool | None
) -> None:
    assert Verdict(goal(at_least=at_least), figure).met is met


def test_what_was_not_measured_is_not_judged() -> None:
    assert {verdict.met for verdict in judged(Results())} == {None}


def test_a_figure_is_of_the_default_rules_and_of_the_pass_through() -> None:
    measured = {
        targets.PASS_THROUGH.name: rounds(2.0, 2.0),
        targets.NO_RULE.name: rounds(9.0, 9.0),
        targets.DEFAULT.name: rounds(5.0, 5.0),
    }
    verdicts = judged(Results(workloads={"flood": measured}))
    found = [verdict for verdict in verdicts if verdict.goal.workload == "flood"]
    assert [verdict.figure for verdict in found] == [2.5, None]  # nginx is not there
    table = report.goals(found).splitlines()
    assert [cell.strip() for cell in table[2].split("|")[3:6]] == ["2.50×", "≤ 1.3×", "not met"]
    assert "not measured" in table[3]


def test_every_goal_is_of_a_workload_that_there_is() -> None:
    names = {workload.name for workload in WORKLOADS} | {"growth", "all"}
    assert {goal.workload for goal in GOALS} <= names
