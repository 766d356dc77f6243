"""The markers that matter to one rule, for each place a lane can be in.

Formats are facts and a policy is a wish; this is where they meet. A channel that is kept is
recognised all the same: what stands inside its regions is theirs, whatever it looks like.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from sidecar.core.channel import Channel
from sidecar.core.format import SELF, At, Format, Region, ToolName
from sidecar.core.markers import Action, ActiveRegion, Marker, MarkerSet
from sidecar.core.policy import (
    Policy,
    Quoted,
    Reasoning,
    StartsIn,
    ToolCalls,
    ToolResults,
    Unclosed,
)


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a lane is, and the markers that count there.

    ``region`` is None in the visible answer. ``interrupted`` is the reasoning that a call broke
    into: its close marker still counts. ``ended`` are the formats whose markers are plain text
    from here on, because their last region (the answer) has begun. ``later`` are the markers once
    visible text is out, when those that begin a message no longer count.
    """

    region: ActiveRegion | None
    interrupted: ActiveRegion | None
    ended: frozenset[str]
    markers: MarkerSet
    later: MarkerSet


class Vocabulary:
    """What lanes of one rule look for. Immutable in effect; shared by all streams of the rule."""

    def __init__(self, formats: Iterable[Format], policy: Policy) -> None:
        kept = _kept_channels(policy)
        self._formats = tuple(_Active.of(format_, kept) for format_ in formats)
        self._tool_names: dict[str, list[ToolName]] = {}
        for region in self._regions(frozenset()):
            if region.facts.tool_name is not None:
                for literal in region.facts.open:
                    self._tool_names.setdefault(literal, []).append(region.facts.tool_name)
        self._places: dict[
            tuple[ActiveRegion | None, ActiveRegion | None, frozenset[str]], Place
        ] = {}
        self.keeps_quotes = policy.quoted is Quoted.KEEP
        self.withholds_calls = policy.tool_calls is ToolCalls.DECLARED
        self.shows_unclosed = policy.unclosed is Unclosed.SHOW
        implicit = self._implicit() if policy.starts_in is StartsIn.REASONING else None
        self.start = self.place(implicit, None, frozenset())

    def place(
        self,
        region: ActiveRegion | None,
        interrupted: ActiveRegion | None,
        ended: frozenset[str],
    ) -> Place:
        """The place of these three; built on first use and remembered."""
        key = (region, interrupted, ended)
        place = self._places.get(key)
        if place is None:
            if region is None:
                found, quotes = tuple(self._in_content(ended)), self.keeps_quotes
            else:
                found, quotes = tuple(self._in_region(region, interrupted, ended)), False
            markers = MarkerSet(found, quotes=quotes)
            later = MarkerSet(found, quotes=quotes, without=At.START)
            place = self._places[key] = Place(region, interrupted, ended, markers, later)
        return place

    def tool_names(self, opener: str) -> Sequence[ToolName]:
        """The ways to read the tools of a call that ``opener`` opened: families share markers."""
        return self._tool_names.get(opener, ())

    def _regions(self, ended: frozenset[str]) -> Iterator[ActiveRegion]:
        for active in self._formats:
            if active.id not in ended:
                yield from active.regions

    def _in_content(self, ended: frozenset[str]) -> Iterator[Marker]:
        yield from self._openers(ended)
        for region in self._regions(ended):
            if not (region.facts.stray_close_is_text or region.kept):
                for literal in region.facts.close:
                    yield Marker(literal, Action.DISCARD, region.format_id)
        for active in self._formats:
            if active.id not in ended:
                for literal in active.discard:
                    yield Marker(literal, Action.DISCARD, active.id)

    def _in_region(
        self, region: ActiveRegion, interrupted: ActiveRegion | None, ended: frozenset[str]
    ) -> Iterator[Marker]:
        yield from _closers(region)
        if interrupted is not None:
            yield from _closers(interrupted)
        for opener in self._openers(ended):
            assert opener.region is not None
            if _breaks_into(opener.region, region):
                yield opener
            elif (
                opener.region.facts.channel is region.facts.channel is Channel.REASONING
                and opener.format_id in region.formats
            ):
                # An echoed open marker is syntax, not reasoning: it must not be moved along.
                yield replace(opener, action=Action.DISCARD, region=None)

    def _openers(self, ended: frozenset[str]) -> Iterator[Marker]:
        for region in self._regions(ended):
            for literal in region.facts.open:
                yield Marker(literal, Action.OPEN, region.format_id, region, region.facts.at)

    def _implicit(self) -> ActiveRegion:
        """The region of an answer whose prompt had already opened the reasoning."""
        reasoning = [
            region
            for region in self._regions(frozenset())
            if region.facts.channel is Channel.REASONING and not region.kept
        ]
        closers = tuple(literal for region in reasoning for literal in region.facts.close)
        return ActiveRegion(
            Region("implicit", Channel.REASONING, close=closers),
            reasoning[0].format_id if reasoning else "implicit",
            frozenset(region.format_id for region in reasoning),
            implicit=True,
        )


@dataclass(frozen=True, slots=True)
class _Active:
    """A format, its regions linked."""

    id: str
    regions: tuple[ActiveRegion, ...]
    discard: tuple[str, ...]

    @classmethod
    def of(cls, format_: Format, kept: frozenset[Channel]) -> _Active:
        named = {region.name: region for region in format_.regions}
        built: dict[str, ActiveRegion] = {}

        def build(region: Region, seen: frozenset[str]) -> ActiveRegion:
            if region.name not in built:
                then = named.get(region.then or "")
                seen |= {region.name}
                built[region.name] = ActiveRegion(
                    region,
                    format_.id,
                    frozenset({format_.id}),
                    kept=region.channel in kept,
                    then=build(then, seen) if then is not None and then.name not in seen else None,
                )
            return built[region.name]

        regions = tuple(build(region, frozenset()) for region in format_.regions)
        return cls(format_.id, regions, format_.discard)


def _kept_channels(policy: Policy) -> frozenset[Channel]:
    kept = set()
    if policy.reasoning is Reasoning.KEEP:
        kept.add(Channel.REASONING)
    if policy.tool_calls is ToolCalls.KEEP:
        kept.add(Channel.TOOL_CALL)
    if policy.tool_results is ToolResults.KEEP:
        kept.add(Channel.TOOL_RESULT)
    return frozenset(kept)


def _closers(region: ActiveRegion) -> Iterator[Marker]:
    for literal in region.facts.close:
        yield Marker(literal, Action.CLOSE, region.format_id, region)


_NOT_REASONING = {SELF, Channel.TOOL_CALL, Channel.TOOL_RESULT}


def _breaks_into(opener: ActiveRegion, region: ActiveRegion) -> bool:
    if region.facts.channel is Channel.MARKUP:
        return True
    interrupts = opener.facts.interrupts
    if region.implicit and interrupts - _NOT_REASONING:
        return True
    if region.facts.channel in interrupts or not region.formats.isdisjoint(interrupts):
        return True
    return SELF in interrupts and opener.format_id in region.formats
