"""The state machine of one choice: text in, segments out.

A lane knows what the markers mean and nothing of wishes, JSON or sockets. It holds back exactly
the tail that cannot be judged yet: a proper prefix of a marker, white space beside a removed
region, a code span whose end decides, or a region whose fate its own end decides.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from enum import StrEnum

from sidecar.core.channel import Channel, Segment
from sidecar.core.format import At, Body, ToolName
from sidecar.core.jsonbody import JsonBody
from sidecar.core.markers import QUOTE_STOPS, Action, ActiveRegion, Marker
from sidecar.core.quotes import Line, Protection, Quotes
from sidecar.core.vocabulary import Place, Vocabulary

MAX_SPACE = 256
"""Characters of white space held beside a removed region. No model separates by more."""

MAX_WITHHELD = 65_536
"""Characters of a region kept until its end decides its fate; a longer one stays hidden. Tool
calls with whole files in their arguments are larger than that, but no server leaves those in the
text of an answer."""

_SPACE = " \t\r\n"
_BETWEEN_CALLS = _SPACE + ",;"
_NOTHING_DECLARED: frozenset[str] = frozenset()
_NOT_SPACE = re.compile(r"[^ \t\r\n]")
_LINE_ENDS = ("\n", "\r")
_ANYWHERE = (At.ANYWHERE,)


class _Edge(StrEnum):
    """What the visible text, if any, would be joined to."""

    START = "nothing came before"
    LEADING = "only removed text came before"
    VISIBLE = "visible text came before"
    REMOVED = "visible text came before, then removed text"


class Lane:
    """One choice's text. ``declared`` are the tools whose calls may stay in the text; ``start`` is
    where it begins, if not where the rule says."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        declared: Collection[str] = _NOTHING_DECLARED,
        start: Place | None = None,
    ) -> None:
        self._vocabulary = vocabulary
        self._declared = declared
        self._place: Place = start or vocabulary.start
        self._held = ""
        self._space = ""
        self._edge = _Edge.START if self._place.region is None else _Edge.LEADING
        self._line_ends = 0
        """Line ends at the end of the visible text so far."""
        self._line = Line()
        self._blank_in_content = True
        """Whether the visible answer's last line is blank, while the lane is in a region."""
        self._quotes = Quotes()
        self._json: JsonBody | None = None
        self._withheld: list[Segment] | None = None
        self._withheld_size = 0
        self._tool_names: Sequence[ToolName] = ()
        """How to read the tools of the withheld call."""
        self._removed_call = False
        """The last thing removed was a tool call: a comma may separate it from the next."""
        self._plain_stops: re.Pattern[str] | None = None
        """What a text must not have to be visible as it is; None if it must be read anyway."""
        self._out: list[Segment] = []
        self._finished = False
        if self._place.region is not None and vocabulary.shows_unclosed:
            self._withheld = []
        self._enter_body()

    def __repr__(self) -> str:
        return f"<Lane in {self.where}, edge {self._edge.name.lower()}, holds {len(self.held)}>"

    @property
    def where(self) -> str:
        """The region the lane is in, as ``format.region``; ``content`` in the visible answer."""
        region = self._place.region
        return "content" if region is None else f"{region.format_id}.{region.facts.name}"

    @property
    def held(self) -> str:
        """The text that was fed but not yet judged."""
        withheld = "".join(segment.text for segment in self._withheld or ())
        return self._space + withheld + self._held

    def passes(self, text: str) -> bool:
        """Whether ``text`` is visible as it is; if so it was taken, if not nothing happened."""
        stops = self._plain_stops
        if stops is None or not text or stops.search(text) is not None:
            return False
        if self._line.blank or not self._vocabulary.keeps_quotes:
            self._line.carry(text, len(text))
        self._count_line_ends(text)
        return True

    def feed(self, text: str) -> list[Segment]:
        """What ``text`` makes certain, in order."""
        if not text:
            return []
        if self.passes(text):
            return [Segment(Channel.CONTENT, text, "")]
        return self._read(self._held + text, final=False)

    def finish(self) -> list[Segment]:
        """What was held, now that nothing will follow. A lane finishes once."""
        if self._finished:
            return []
        self._finished = True
        out = self._read(self._held, final=True)
        self._out = []
        self._settle_withheld(final=True)
        self._settle_space()
        return out + self._out

    # Reading: from position to position, until the text ends or its tail must wait.

    def _read(self, text: str, *, final: bool) -> list[Segment]:
        self._out = []
        position = 0
        while position < len(text):
            if self._place.region is None:
                position, waits = self._read_content(text, position, final)
            else:
                position, waits = self._read_region(text, position, final)
            if waits:
                break
        self._held = text[position:]
        self._line.carry(text, position)
        self._plain_stops = self._find_plain_stops()
        return self._out

    def _find_plain_stops(self) -> re.Pattern[str] | None:
        if self._edge is not _Edge.VISIBLE or self._held or self._place.region is not None:
            return None
        return self._place.later.stops if self._quotes.plain else None

    def _read_content(self, text: str, position: int, final: bool) -> tuple[int, bool]:
        keeps_quotes = self._vocabulary.keeps_quotes
        unseen = self._edge in (_Edge.START, _Edge.LEADING)
        markers = self._place.markers if unseen else self._place.later
        shown = position
        start_ends = self._start_ends(text, position) if markers.restricted and unseen else -1
        while True:
            found = markers.stops.search(text, position)
            stop = len(text) if found is None else found.start()
            if stop > position and not self._quotes.plain:
                self._quotes.pass_text(self._line, position)
            if found is None:
                self._show(text[shown:])
                return len(text), False
            if keeps_quotes and text[stop] in QUOTE_STOPS:
                position = self._quotes.pass_stop(text, stop, self._line)
                continue
            places = self._places_at(text, stop, start_ends) if markers.restricted else _ANYWHERE
            match = markers.match(text, stop, places)
            waits = match.pending and not final
            if not waits and match.marker is None:
                self._quotes.pass_text(self._line, stop)
                position = stop + 1
                continue
            if not waits and keeps_quotes:
                protection = self._quotes.protection(text, stop, self._line, final=final)
                if protection is Protection.MENTION:
                    position = stop + 1
                    continue
                waits = protection is Protection.UNDECIDED
            self._show(text[shown:stop])
            if waits:
                return stop, True
            assert match.marker is not None
            self._line.skip(text, stop, match.end)
            self._apply(match.marker)
            return match.end, False

    def _read_region(self, text: str, position: int, final: bool) -> tuple[int, bool]:
        place, body = self._place, self._json
        assert place.region is not None
        hidden = position
        while True:
            stop = self._next_stop(text, position)
            if stop == len(text):
                self._hide(place.region, text[hidden:])
                return stop, False
            places = self._places_at(text, stop, -1) if place.markers.restricted else _ANYWHERE
            match = place.markers.match(text, stop, places)
            if match.pending and not final:
                self._hide(place.region, text[hidden:stop])
                return stop, True
            if match.marker is not None:
                self._hide(place.region, text[hidden:stop])
                self._line.skip(text, stop, match.end)
                self._apply(match.marker)
                return match.end, False
            position = stop + 1
            if body is not None and body.take(text[stop]):
                self._hide(place.region, text[hidden:position])
                self._line.skip(text, stop, position)
                self._leave(place.region.then)
                return position, False

    def _next_stop(self, text: str, position: int) -> int:
        markers = self._place.markers
        if self._json is not None:
            return self._json.seek(text, position, markers.json_stops)
        found = markers.stops.search(text, position)
        return len(text) if found is None else found.start()

    def _places_at(self, text: str, position: int, start_ends: int) -> Collection[At]:
        """What ``position`` is; up to ``start_ends`` nothing visible stands in the message."""
        places = {At.ANYWHERE}
        if self._line.blank_before(text, position):
            places.add(At.LINE)
        if position <= start_ends:
            places.add(At.START)
        return places

    def _start_ends(self, text: str, position: int) -> int:
        """Where the first visible character from ``position`` on stands; -1 if one is held."""
        if self._space.strip(_SPACE):
            return -1
        found = _NOT_SPACE.search(text, position)
        end = len(text) if found is None else found.start()
        # More space than is held is visible, as it is when it comes in pieces.
        return min(end, position + MAX_SPACE - len(self._space))

    # Moving between places.

    def _apply(self, marker: Marker) -> None:
        region = marker.region
        if marker.action is Action.OPEN:
            assert region is not None
            self._open(region, marker)
        elif marker.action is Action.CLOSE:
            assert region is not None
            self._mark(marker)
            self._leave(region.then)
        else:
            if self._place.region is None:
                self._remove(marker)
            self._mark(marker)

    def _open(self, region: ActiveRegion, marker: Marker) -> None:
        place = self._place
        interrupted = place.interrupted
        if place.region is not None:
            self._settle_withheld(final=False)
            if place.region.facts.channel is Channel.REASONING:
                interrupted = place.region
        if not region.kept:
            self._remove(marker)
        self._mark(marker)
        if region.facts.channel is Channel.CONTENT:
            self._go(None, None, place.ended | {region.format_id})
        else:
            self._go(region, interrupted, place.ended)
            self._line.blank = marker.at is not At.LINE

    def _leave(self, then: ActiveRegion | None) -> None:
        """The running region has closed; ``then`` follows, or the visible answer."""
        if then is not None:
            self._go(then, self._place.interrupted, self._place.ended)
            return
        self._settle_withheld(final=False)
        self._go(None, None, self._place.ended)

    def _go(
        self,
        region: ActiveRegion | None,
        interrupted: ActiveRegion | None,
        ended: frozenset[str],
    ) -> None:
        if self._place.region is None:
            self._blank_in_content = self._line.blank
        self._place = self._vocabulary.place(region, interrupted, ended)
        if region is None:
            self._line.blank = self._blank_in_content
        self._enter_body()

    def _enter_body(self) -> None:
        region = self._place.region
        self._json = None
        if region is not None and region.facts.body is Body.JSON:
            self._json = JsonBody(ends_with_value=not region.facts.close)

    # Withholding: regions whose fate is decided when they end.

    def _withholds(self, region: ActiveRegion) -> bool:
        channel = region.facts.channel
        if channel is Channel.CONTENT:
            return False
        is_call = channel is Channel.TOOL_CALL
        return self._vocabulary.shows_unclosed or (self._vocabulary.withholds_calls and is_call)

    def _settle_withheld(self, *, final: bool) -> None:
        """The withheld region has ended, by the end of the text if ``final``."""
        withheld, self._withheld = self._withheld, None
        if withheld is None:
            return
        text = "".join(segment.text for segment in withheld)
        if (final and self._vocabulary.shows_unclosed) or self._is_declared(text):
            self._edge = _Edge.VISIBLE
            self._emit(text)
        else:
            self._out.extend(withheld)

    def _is_declared(self, call: str) -> bool:
        for tool_name in self._tool_names:
            names = tool_name.read(call)
            if names and all(names):
                return all(name in self._declared for name in names)
        return False

    # Writing segments.

    def _show(self, text: str) -> None:
        """Visible text, less the white space that only a removed region needed."""
        if self._edge is _Edge.VISIBLE or not text:
            self._emit(text)
            return
        text = self._space + text
        body = text.lstrip(_BETWEEN_CALLS if self._removed_call else _SPACE)
        space = text[: len(text) - len(body)]
        if body or len(space) > MAX_SPACE:
            self._space = space[:MAX_SPACE]
            self._settle_space()
            self._edge = _Edge.VISIBLE
            self._removed_call = False
            self._emit(text[len(space[:MAX_SPACE]) :])
        else:
            self._space = space

    def _settle_space(self) -> None:
        """The held white space is followed by visible text, or by the end."""
        space, self._space = self._space, ""
        if self._edge is _Edge.LEADING:
            excess = len(space) - len(space.lstrip(_SPACE))
        elif self._edge is _Edge.REMOVED:
            excess = _length_of_line_ends(space, self._line_ends)
        else:
            excess = 0
        self._separate(space[:excess])
        self._emit(space[excess:])

    def _remove(self, marker: Marker) -> None:
        """A region that ``marker`` opens, or the lone ``marker``, is removed here: the white space
        before it goes with it, and so do the commas between two calls."""
        region = marker.region
        call = region is not None and region.facts.channel is Channel.TOOL_CALL
        if not call and self._space.strip(_SPACE):
            self._settle_space()
            self._edge = _Edge.VISIBLE
        if self._edge is not _Edge.START:
            self._drop_space()
        if region is not None:
            self._removed_call = call
            if self._withholds(region):
                self._withheld, self._withheld_size = [], 0
                self._tool_names = self._vocabulary.tool_names(marker.literal)
        self._drop_space()
        self._edge = _AFTER_REMOVAL[self._edge]

    def _drop_space(self) -> None:
        space, self._space = self._space, ""
        self._separate(space)

    def _separate(self, text: str) -> None:
        if text:
            self._put(Segment(Channel.SEPARATOR, text, ""))

    def _mark(self, marker: Marker) -> None:
        region = marker.region or self._place.region
        if region is not None and region.kept:
            self._show(marker.literal)
            return
        self._put(Segment(Channel.MARKUP, marker.literal, marker.format_id))

    def _hide(self, region: ActiveRegion, text: str) -> None:
        if region.kept:
            self._show(text)
        elif text:
            self._put(Segment(region.facts.channel, text, region.format_id))

    def _put(self, segment: Segment) -> None:
        if self._withheld is None:
            self._out.append(segment)
            return
        self._withheld.append(segment)
        self._withheld_size += len(segment.text)
        if self._withheld_size > MAX_WITHHELD:
            self._out.extend(self._withheld)
            self._withheld = None

    def _emit(self, text: str) -> None:
        if text:
            self._out.append(Segment(Channel.CONTENT, text, ""))
            self._count_line_ends(text)

    def _count_line_ends(self, text: str) -> None:
        if text[-1:] not in _LINE_ENDS:
            self._line_ends = 0
            return
        rest = text.rstrip("\r\n")
        ends = text.count("\n", len(rest))
        self._line_ends = ends if rest else self._line_ends + ends


_AFTER_REMOVAL = {
    _Edge.START: _Edge.LEADING,
    _Edge.LEADING: _Edge.LEADING,
    _Edge.VISIBLE: _Edge.REMOVED,
    _Edge.REMOVED: _Edge.REMOVED,
}


def _length_of_line_ends(text: str, most: int) -> int:
    """The length of the line ends, ``most`` at the most, that ``text`` begins with."""
    length = 0
    while most and length < len(text) and text[length] in "\r\n":
        most -= text[length] == "\n"
        length += 1
    return length


def visible_text(vocabulary: Vocabulary, text: str) -> str:
    """What of ``text``, which is no model's answer but may quote one, is visible."""
    lane = Lane(vocabulary, start=vocabulary.place(None, None, frozenset()))
    segments = [*lane.feed(text), *lane.finish()]
    return "".join(part.text for part in segments if part.channel is Channel.CONTENT)
