"""The markers that matter to one rule, for each place a lane can be in.

Formats are facts and a policy is a wish; this is where they meet. A channel that is kept is
recognised all the same: what stands inside its regions is theirs, whatever it looks like.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sidecar.core.callreader import CallFacts
from sidecar.core.channel import Channel
from sidecar.core.format import SELF, At, Format, Region, ToolName
from sidecar.core.jsonbody import STRING_STOPS
from sidecar.core.markers import Action, ActiveRegion, Marker, MarkerSet, Proof
from sidecar.core.policy import Policy, Quoted, Reasoning, ToolCalls, ToolResults, Unclosed
from sidecar.core.spelling import Spelling

_ONLY_WITHOUT_TEXT = (At.START, At.AFTER)


class Where(NamedTuple):
    """A place a lane can be in.

    ``region`` is None in the visible answer. ``interrupted`` is the reasoning that a call broke
    into: its close marker still counts. ``ended`` are the formats whose markers are plain text
    from here on, because their last region (the answer) has begun. ``wrapper`` is what the answer
    is wrapped in.
    """

    region: ActiveRegion | None = None
    interrupted: ActiveRegion | None = None
    ended: frozenset[str] = frozenset()
    wrapper: ActiveRegion | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a lane is, and the markers that count there.

    ``later`` are those that count once visible text stands before. ``recall`` are the close
    markers of the reasoning that was interrupted: they may count inside a string, and
    ``string_stops`` finds, by its quote, where one may begin or the string may end.
    """

    where: Where
    markers: MarkerSet
    later: MarkerSet
    recall: MarkerSet | None
    string_stops: Mapping[str, re.Pattern[str]]


class Opening(NamedTuple):
    """Where a lane begins: at ``place``, as though the message had begun with ``text``."""

    place: Place
    text: str = ""


class Vocabulary:
    """What lanes of one rule look for. Immutable in effect; shared by all streams of the rule."""

    def __init__(self, formats: Iterable[Format], policy: Policy) -> None:
        formats = tuple(formats)
        kept, sharing = _kept_channels(policy), _sharing(formats)
        self._spelling = Spelling(
            any_case=policy.case_insensitive,
            attributes=policy.attributes,
            spaced=policy.spaced_tags,
            escaped=policy.html_escaped,
        )
        self._formats = tuple(
            _Active.of(format_, kept, sharing, self._spelling) for format_ in formats
        )
        self._tool_names: dict[str, list[ToolName]] = {}
        self._calls: dict[str, list[CallFacts]] = {}
        for region in self._regions(frozenset()):
            for literal in region.facts.open:
                self._learn_calls(literal, region.facts)
        self._places: dict[Where, Place] = {}
        self.keeps_quotes = policy.quoted is Quoted.KEEP
        self.withholds_calls = policy.tool_calls is ToolCalls.DECLARED
        self.shows_unclosed = policy.unclosed is Unclosed.SHOW
        self.start = Opening(self.place(Where()))
        """The visible answer."""
        self.start_in_reasoning = self._start_in_reasoning()
        """What the prompt has opened."""

    def place(self, where: Where) -> Place:
        """The place; built on first use and remembered."""
        place = self._places.get(where)
        if place is None:
            recall, string_stops, spelling = None, STRING_STOPS, self._spelling
            if where.region is None:
                found = tuple(self._in_content(where))
            else:
                found = tuple(self._in_region(where, where.region))
                if where.region.facts.escaped:
                    spelling = replace(spelling, escaped=False)
                if where.interrupted is not None:
                    recall = MarkerSet(_closers(where.interrupted), spelling=spelling)
                    string_stops = {
                        quote: re.compile(f"{stop.pattern}|{recall.stops.pattern}")
                        for quote, stop in STRING_STOPS.items()
                    }
            markers = MarkerSet(found, spelling=spelling)
            later = markers.without(_ONLY_WITHOUT_TEXT)
            place = self._places[where] = Place(where, markers, later, recall, string_stops)
        return place

    def tool_names(self, opener: str) -> Sequence[ToolName]:
        """The ways to read the tools of a call that the marker ``opener`` opened: families share
        markers."""
        return self._tool_names.get(opener, ())

    def calls(self, opener: str) -> Sequence[CallFacts]:
        """The ways to read the whole of such a call; none where no family says how."""
        return self._calls.get(opener, ())

    def _learn_calls(self, opener: str, facts: Region) -> None:
        if facts.tool_name is None:
            return
        names = self._tool_names.setdefault(opener, [])
        if facts.tool_name not in names:
            names.append(facts.tool_name)
        if facts.arguments is not None:
            calls = self._calls.setdefault(opener, [])
            call = CallFacts(facts.tool_name, facts.arguments)
            if call not in calls:
                calls.append(call)

    def _regions(self, ended: frozenset[str]) -> Iterator[ActiveRegion]:
        for active in self._formats:
            if active.id not in ended:
                yield from active.regions

    def _in_content(self, where: Where) -> Iterator[Marker]:
        if where.wrapper is not None:
            yield from _closers(where.wrapper)
        for opener in self._openers(where.ended):
            if opener.region is None or opener.region.facts.inside is None:
                yield opener
        for region in self._regions(where.ended):
            facts = region.facts
            if not (facts.stray_close_is_text or facts.inside or region.kept):
                for literal in facts.close:
                    yield Marker(literal, Action.DISCARD, region.format_id)
        for active in self._formats:
            if active.id not in where.ended:
                for literal in active.discard:
                    yield Marker(literal, Action.DISCARD, active.id)
                for literal in active.tail:
                    yield Marker(literal, Action.TAIL, active.id)

    def _in_region(self, where: Where, region: ActiveRegion) -> Iterator[Marker]:
        yield from _closers(region)
        if where.interrupted is not None:
            yield from _closers(where.interrupted)
        for opener in self._openers(where.ended):
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

    def _start_in_reasoning(self) -> Opening:
        """Where an answer begins whose prompt has already opened a region."""
        regions = tuple(self._regions(frozenset()))
        for region in regions:
            if region.facts.implicit:
                return Opening(self.start.place, region.facts.open[0])
        reasoning = [
            region
            for region in regions
            if region.facts.channel is Channel.REASONING and not region.kept
        ]
        closers = tuple(literal for region in reasoning for literal in region.facts.close)
        implicit = ActiveRegion(
            Region("implicit", Channel.REASONING, close=closers),
            reasoning[0].format_id if reasoning else "implicit",
            frozenset(region.format_id for region in reasoning),
            implicit=True,
        )
        return Opening(self.place(Where(implicit)))


@dataclass(frozen=True, slots=True)
class _Active:
    """A format, its regions linked."""

    id: str
    regions: tuple[ActiveRegion, ...]
    discard: tuple[str, ...]
    tail: tuple[str, ...]

    @classmethod
    def of(
        cls,
        format_: Format,
        kept: frozenset[Channel],
        sharing: Mapping[str, frozenset[str]],
        spelling: Spelling,
    ) -> _Active:
        named = {region.name: region for region in format_.regions}
        built: dict[str, ActiveRegion] = {}

        def build(region: Region, seen: frozenset[str]) -> ActiveRegion:
            if region.name not in built:
                follower = named.get(region.inside or region.then or "")
                seen |= {region.name}
                then = None
                if follower is not None and follower.name not in seen:
                    then = build(follower, seen)
                # The header of what is kept is kept with it.
                header_of_kept = region.channel is Channel.MARKUP and then is not None and then.kept
                built[region.name] = ActiveRegion(
                    region,
                    format_.id,
                    frozenset({format_.id}).union(*map(sharing.__getitem__, region.open)),
                    kept=region.channel in kept or header_of_kept,
                    then=then,
                    proof=Proof.of(region, spelling) if region.proof else None,
                )
            return built[region.name]

        regions = tuple(build(region, frozenset()) for region in format_.regions)
        return cls(format_.id, regions, format_.discard, format_.tail)


def _sharing(formats: Iterable[Format]) -> dict[str, frozenset[str]]:
    """By open marker, the formats that have it: its region belongs to all of them."""
    sharing: dict[str, frozenset[str]] = {}
    for format_ in formats:
        for region in format_.regions:
            for literal in region.open:
                sharing[literal] = sharing.get(literal, frozenset()) | {format_.id}
    return sharing


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
    facts = opener.facts
    if facts.inside is not None:
        return facts.inside == region.facts.name and opener.format_id == region.format_id
    if facts.proof:
        return False
    if region.facts.channel is Channel.MARKUP:
        return True
    interrupts = facts.interrupts
    if region.implicit and interrupts - _NOT_REASONING:
        return True
    if region.facts.channel in interrupts or not region.formats.isdisjoint(interrupts):
        return True
    return SELF in interrupts and opener.format_id in region.formats
