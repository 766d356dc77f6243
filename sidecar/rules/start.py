"""Where an answer begins: in the visible text, or in reasoning that the prompt has opened.

Some families' templates write the open marker themselves, so that only the close marker ever
arrives. Owns the decision; what the facts are is said by the request and by the formats.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sidecar.core.channel import Channel
from sidecar.core.format import Format
from sidecar.core.policy import StartsIn
from sidecar.core.spelling import normal
from sidecar.rules.match import matches_any


def begins_in_reasoning(
    wish: StartsIn, *, model: str, thinking_off: bool, opened_by_prompt: Collection[str]
) -> bool:
    """Whether the answer of ``model`` begins inside reasoning, as far as the request says.

    ``thinking_off``: the request asks the model not to think. ``opened_by_prompt``: globs for the
    lower-case names of the models whose prompt opens the reasoning.
    """
    if wish is not StartsIn.AUTO:
        return wish is StartsIn.REASONING
    return not thinking_off and matches_any(opened_by_prompt, (model.lower(),))


def prompt_opens_reasoning(prompt: str, formats: Iterable[Format]) -> bool:
    """Whether ``prompt``, which the model continues as it stands, ends inside reasoning that it has
    just opened: legacy completions have no template that would."""
    end = prompt.rstrip()
    return any(
        end.endswith(literal.rstrip())
        for format_ in formats
        for region in format_.regions
        if region.channel is Channel.REASONING and region.inside is None
        for literal in region.open
    )


def closers_of_reasoning(formats: Iterable[Format]) -> frozenset[str]:
    """The markers that close reasoning and are nothing else, as
    :func:`~sidecar.core.spelling.normal` writes them: one that nothing opened says that the prompt
    may have."""
    reasoning: set[str] = set()
    others: set[str] = set()
    for format_ in formats:
        others.update(format_.discard, format_.tail)
        for region in format_.regions:
            closes = reasoning if region.channel is Channel.REASONING else others
            closes.update(region.close)
    return frozenset(map(normal, reasoning - others))
