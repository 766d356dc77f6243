"""Where an answer begins, decided from what is known of its request."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.core.channel import Channel
from sidecar.core.format import Format, Region
from sidecar.core.policy import Policy, StartsIn
from sidecar.rules.catalogue import Catalogue
from sidecar.rules.config import RuleSpec
from sidecar.rules.match import Match
from sidecar.rules.ruleset import Rule, RuleSet
from sidecar.rules.start import begins_in_reasoning, closers_of_reasoning
from tests.promises import CATALOGUE

AUTO, CONTENT, REASONING = StartsIn.AUTO, StartsIn.CONTENT, StartsIn.REASONING
GLOBS = ("*deepthink-r?", "qwq*")


@pytest.mark.parametrize(
    ("wish", "model", "thinking_off", "in_reasoning"),
    [
        # The operator's word counts, whatever else is known.
        (CONTENT, "qwq", False, False),
        (REASONING, "qwq", True, True),
        (REASONING, "gpt", False, True),
        (REASONING, "", True, True),
        # Then the request's, then what is known of the model.
        (AUTO, "qwq", True, False),
        (AUTO, "qwq", False, True),
        (AUTO, "QwQ-32B", False, True),
        (AUTO, "vendor/DeepThink-R1", False, True),
        (AUTO, "vendor/DeepThink-R1-lite", False, False),
        (AUTO, "vendor/qwq", False, False),
        (AUTO, "gpt", False, False),
        (AUTO, "", False, False),
        (AUTO, "q" * 100_000, False, False),
    ],
)
def test_where_an_answer_begins(
    wish: StartsIn, model: str, thinking_off: bool, in_reasoning: bool
) -> None:
    found = begins_in_reasoning(
        wish, model=model, thinking_off=thinking_off, opened_by_prompt=GLOBS
    )
    assert found is in_reasoning


@pytest.mark.parametrize("thinking_off", [False, True])
def test_without_a_known_model_nothing_is_assumed(thinking_off: bool) -> None:
    assert not begins_in_reasoning(
        AUTO, model="qwq", thinking_off=thinking_off, opened_by_prompt=()
    )


def test_a_marker_that_closes_something_else_too_says_nothing_about_reasoning() -> None:
    thoughts = Format(
        "t",
        (
            Region("a", Channel.REASONING, ("<T>",), ("</T>", "<END>", "<EOT>", "<STOP>")),
            Region("b", Channel.TOOL_CALL, ("<c>",), ("</c>", "<END>")),
        ),
        discard=("<EOT>",),
    )
    other = Format("o", (), tail=("<STOP>",))
    assert closers_of_reasoning([thoughts, other]) == {"</t>"}
    assert closers_of_reasoning([thoughts]) == {"</t>", "<stop>"}
    assert closers_of_reasoning([]) == frozenset()


def test_the_shipped_formats_have_such_markers() -> None:
    assert "</think>" in closers_of_reasoning(CATALOGUE.resolve(["all"]))


def rule(starts_in: StartsIn, *formats: str) -> Rule:
    thinks = replace(CATALOGUE.formats["think"], opened_by_prompt=("qwq*",))
    catalogue = Catalogue({**CATALOGUE.formats, "think": thinks})
    spec = RuleSpec("mine", Match(), formats, Policy(starts_in=starts_in))
    return RuleSet([spec], catalogue).rules[0]


def test_a_rule_knows_the_models_of_its_own_formats() -> None:
    knows, does_not = rule(AUTO, "think"), rule(AUTO, "thought")
    assert knows.ruling({}, model="QwQ").start is knows.vocabulary.start_in_reasoning
    assert knows.ruling({}, model="QwQ", thinking_off=True).start is None
    assert knows.ruling({}, model="gpt").start is None
    assert knows.ruling({}).start is None
    assert does_not.ruling({}, model="QwQ").start is None


@pytest.mark.parametrize("starts_in", [CONTENT, REASONING])
def test_where_the_operator_has_decided_nobody_wonders_about_a_close_marker(
    starts_in: StartsIn,
) -> None:
    assert rule(AUTO, "think").ruling({}).closers == {"</think>"}
    assert rule(starts_in, "think").ruling({}).closers == frozenset()


@pytest.mark.parametrize(
    ("prompt", "in_reasoning"),
    [
        ("<|user|>Hi<|assistant|><think>\n", True),
        ("<think>", True),
        ("<think>plan</think>", False),
        ("What does <think> mean?", False),
        ("Hi", False),
        ("", False),
    ],
)
def test_a_completion_begins_where_its_prompt_ends(prompt: str, in_reasoning: bool) -> None:
    knows = rule(AUTO, "think")
    start = knows.ruling({}, model="qwq", thinking_off=True, raw_prompt=prompt).start
    assert (start is knows.vocabulary.start_in_reasoning) is in_reasoning
    told = rule(REASONING, "think")
    assert told.ruling({}, raw_prompt=prompt).start is told.vocabulary.start_in_reasoning
