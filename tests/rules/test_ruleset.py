"""Which rule is about an answer of which nobody knows what model wrote it."""

from __future__ import annotations

import pytest

from sidecar.core.policy import Mode, Policy, Reasoning, ToolCalls, ToolResults
from sidecar.rules.config import RuleSpec
from sidecar.rules.match import Match, RequestFacts, Tools
from sidecar.rules.ruleset import RuleSet
from tests.promises import CATALOGUE

UNNAMED = RequestFacts("", "/v1/responses", {}, tools_declared=False)
KEEP = Policy(Reasoning.KEEP, ToolCalls.KEEP, ToolResults.KEEP)
LOOK = Policy(mode=Mode.OBSERVE)
SOME = Match(model=("qwen*",))


def rules(*wishes: tuple[Match, Policy]) -> RuleSet:
    """Rules that are called by their positions."""
    specs = [RuleSpec(str(i), match, ("think",), wish) for i, (match, wish) in enumerate(wishes)]
    return RuleSet(specs, CATALOGUE)


@pytest.mark.parametrize(
    ("wishes", "chosen"),
    [
        ([], None),
        ([(Match(), Policy())], "0"),
        ([(Match(), KEEP), (Match(), Policy())], None),
        ([(SOME, Policy())], "0"),
        ([(SOME, KEEP)], None),
        ([(SOME, KEEP), (Match(), Policy())], "1"),
        ([(SOME, LOOK), (Match(), Policy())], "1"),
        ([(SOME, LOOK)], None),
        ([(SOME, Policy()), (Match(), KEEP)], "0"),
        ([(Match(), LOOK), (Match(), Policy())], "0"),
        ([(Match(tools=Tools.DECLARED), Policy()), (Match(), KEEP)], None),
        ([(Match(path="/v1/chat/*"), Policy()), (SOME, Policy())], "1"),
    ],
)
def test_the_first_that_may_be_about_it_and_hides(
    wishes: list[tuple[Match, Policy]], chosen: str | None
) -> None:
    """A rule for some models may be; one that keeps all of theirs, or only looks, says nothing of
    the others."""
    found = rules(*wishes).choose_unnamed(UNNAMED)
    assert (found and found.name) == chosen


@pytest.mark.parametrize(
    ("wishes", "hides"),
    [
        ([], False),
        ([(Match(), KEEP), (SOME, LOOK)], False),
        ([(Match(), KEEP), (SOME, Policy())], True),
    ],
)
def test_whether_any_rule_hides_anything(wishes: list[tuple[Match, Policy]], hides: bool) -> None:
    """If none does, nothing that is stored is read."""
    assert rules(*wishes).hides is hides
