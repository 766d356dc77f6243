"""The rules, ready to be asked: which one is about a request, and what it means for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sidecar.core.policy import Mode, Policy
from sidecar.core.vocabulary import Vocabulary
from sidecar.rules.catalogue import Catalogue
from sidecar.rules.config import RuleSpec
from sidecar.rules.match import Match, RequestFacts, matches
from sidecar.wire.choice import Ruling


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule with its formats compiled; shared by all its streams."""

    name: str
    match: Match
    policy: Policy
    vocabulary: Vocabulary

    @property
    def observes(self) -> bool:
        """Whether it counts what it would do, and changes nothing."""
        return self.policy.mode is Mode.OBSERVE

    def ruling(self, declared: Collection[str]) -> Ruling:
        """What it means for a request that declares these tools."""
        return Ruling(self.policy, self.vocabulary, frozenset(declared))


class RuleSet:
    """The rules in their order: the first that matches wins."""

    def __init__(self, specs: Iterable[RuleSpec], catalogue: Catalogue) -> None:
        self.rules = tuple(
            Rule(
                spec.name,
                spec.match,
                spec.policy,
                Vocabulary(catalogue.resolve(spec.formats), spec.policy),
            )
            for spec in specs
        )

    def choose(self, facts: RequestFacts) -> Rule | None:
        """The rule for a request, or None if nothing of its answer is to be touched."""
        for rule in self.rules:
            if matches(rule.match, facts):
                return rule if rule.policy.hides else None
        return None

    def named(self, name: str) -> Rule | None:
        """The rule of that name."""
        return next((rule for rule in self.rules if rule.name == name), None)
