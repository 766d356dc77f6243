"""The rules, ready to be asked: which one is about a request, and what it means for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace

from sidecar.core.format import Format
from sidecar.core.policy import Mode, Policy, Reasoning, StartsIn
from sidecar.core.status import NO_STATUSES, StatusPolicy
from sidecar.core.vocabulary import Vocabulary
from sidecar.rules.catalogue import Catalogue
from sidecar.rules.config import RuleSpec
from sidecar.rules.match import Match, RequestFacts, matches
from sidecar.rules.requestfields import FieldTable, field_table
from sidecar.rules.start import (
    begins_in_reasoning,
    closers_of_reasoning,
    prompt_opens_reasoning,
)
from sidecar.rules.statussection import StatusSpec
from sidecar.wire.formats import WIRE_FORMATS
from sidecar.wire.promotion import MAX_PROMOTED
from sidecar.wire.ruling import Ruling


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule with its formats compiled; shared by all its streams."""

    name: str
    match: Match
    policy: Policy
    formats: tuple[Format, ...]
    vocabulary: Vocabulary
    opened_by_prompt: tuple[str, ...]
    """Globs for the models whose prompt opens the reasoning of one of the formats."""
    closers: frozenset[str]
    """What closes reasoning and is nothing else."""
    promoted: int
    """Bytes of hidden reasoning that may be kept for an answer of which nothing is left."""
    status: StatusSpec
    request_fields: Mapping[str, FieldTable]
    """By the name of the wire format, what becomes of the fields of a request."""

    @property
    def observes(self) -> bool:
        """Whether it counts what it would do, and changes nothing."""
        return self.policy.mode is Mode.OBSERVE

    def ruling(
        self,
        tools: Mapping[str, object],
        *,
        model: str = "",
        thinking_off: bool = False,
        raw_prompt: str | None = None,
        seed: str = "",
        status: StatusPolicy = NO_STATUSES,
        at: float = 0.0,
    ) -> Ruling:
        """What it means for a request to ``model`` that declares these tools, given as JSON schemas
        of their parameters by name. ``seed`` becomes part of the ids of moved calls.
        ``raw_prompt`` is the prompt of a completion: no template adds to it, so that it alone says
        where the answer begins. ``status`` is what a person is told meanwhile, and ``at`` when the
        request came, in seconds since 1970.
        """
        policy, vocabulary = self.policy, self.vocabulary
        if policy.reasoning is Reasoning.KEEP:
            # All that an answer begins with is kept, too.
            in_reasoning = False
        elif raw_prompt is not None and policy.starts_in is StartsIn.AUTO:
            in_reasoning = prompt_opens_reasoning(raw_prompt, self.formats)
        else:
            in_reasoning = begins_in_reasoning(
                policy.starts_in,
                model=model,
                thinking_off=thinking_off,
                opened_by_prompt=self.opened_by_prompt,
            )
        return Ruling(
            policy,
            vocabulary,
            frozenset(tools),
            vocabulary.start_in_reasoning if in_reasoning else None,
            self.closers if policy.starts_in is StartsIn.AUTO else frozenset(),
            self.promoted,
            tools,
            seed,
            self.name,
            status,
            model,
            at,
        )


class RuleSet:
    """The rules in their order: the first that matches wins."""

    def __init__(
        self, specs: Iterable[RuleSpec], catalogue: Catalogue, *, promoted: int = MAX_PROMOTED
    ) -> None:
        self.rules = tuple(_rule(spec, catalogue.resolve(spec.formats), promoted) for spec in specs)

    def choose(self, facts: RequestFacts) -> Rule | None:
        """The rule for a request, or None if nothing of its answer is to be touched."""
        for rule in self.rules:
            if matches(rule.match, facts):
                return rule if rule.policy.hides else None
        return None

    def choose_unnamed(self, facts: RequestFacts) -> Rule | None:
        """The rule for an answer of which nobody knows what model wrote it: the first that may be
        about it and hides anything. None if no such rule does."""
        for rule in self.rules:
            if matches(replace(rule.match, model=()), facts):
                hides = rule.policy.hides
                if not rule.match.model:
                    return rule if hides else None
                if hides and not rule.observes:
                    return rule
        return None

    def only(self, name: str) -> RuleSet | None:
        """The rule of that name alone, about every request; None if there is none."""
        rule = self.named(name)
        if rule is None:
            return None
        chosen = copy(self)
        chosen.rules = (replace(rule, match=Match()),)
        return chosen

    @property
    def hides(self) -> bool:
        """Whether any rule keeps anything from a client."""
        return any(rule.policy.hides and not rule.observes for rule in self.rules)

    def named(self, name: str) -> Rule | None:
        """The rule of that name."""
        return next((rule for rule in self.rules if rule.name == name), None)


def _rule(spec: RuleSpec, formats: Sequence[Format], promoted: int) -> Rule:
    return Rule(
        spec.name,
        spec.match,
        spec.policy,
        tuple(formats),
        Vocabulary(formats, spec.policy),
        tuple(glob for format_ in formats for glob in format_.opened_by_prompt),
        closers_of_reasoning(formats),
        promoted,
        spec.status,
        {wire.name: field_table(wire.name, spec.request_fields) for wire in WIRE_FORMATS},
    )
