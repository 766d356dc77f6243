"""The state machine of one choice: text in, segments out.

A lane knows what the markers mean and nothing of wishes, JSON or sockets. It holds back exactly
the tail that cannot be judged yet: a proper prefix of a marker, white space beside a removed
region, a code span whose end decides, or a region whose fate its own end decides.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from sidecar.core.callreader import CallFacts
from sidecar.core.channel import Channel, Segment
from sidecar.core.format import At, Body, ToolName
from sidecar.core.jsonbody import JsonBody
from sidecar.core.lookahead import ends_message, is_proven
from sidecar.core.markers import (
    Action,
    ActiveRegion,
    Marker,
    MarkerSet,
    has_placeholder,
)
from sidecar.core.quotes import Line, Protection, Quotes
from sidecar.core.seam import Joint, Seam
from sidecar.core.unread import Stops
from sidecar.core.vocabulary import Opening, Vocabulary, Where

MAX_WITHHELD = 65_536
"""Characters of a region kept until its end decides its fate; a longer one stays hidden. Tool
calls with whole files in their arguments are larger than that, but no server leaves those in the
text of an answer."""

MAX_UNREAD = 1024
"""Characters of visible text from which on their lines and quotes are read unasked. To read more of
them at once would hardly cost less."""

_NOTHING_DECLARED: frozenset[str] = frozenset()
_NOT_SPACE = re.compile(r"[^ \t\r\n]")
_ANYWHERE = (At.ANYWHERE,)
_CONTENT = Channel.CONTENT


class Lane:
    """One choice's text. ``declared`` are the tools whose calls may stay in the text; ``start`` is
    where it begins, the visible answer if it is None."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        declared: Collection[str] = _NOTHING_DECLARED,
        start: Opening | None = None,
    ) -> None:
        self._vocabulary = vocabulary
        self._declared = declared
        self._place, self._held = start or vocabulary.start
        self._given = len(self._held)
        """Characters that were read but did not come: the prompt has them."""
        self._given_of_call: dict[int, str] = {}
        self._seam = Seam(hidden=self._place.where.region is not None)
        self._line = Line()
        self._blank_in_content = True
        """Whether the visible answer's last line is blank, while the lane is in a region."""
        self._quotes = Quotes()
        self._unread = ""
        """The visible text whose lines and quotes were not read, from where the line is known."""
        self._json: JsonBody | None = None
        self._withheld: list[Segment] | None = None
        self._withheld_size = 0
        self._restored_closers: Collection[str] = ()
        """What closes the withheld region, or the one that was restored last."""
        self._follows_restored = False
        """The region follows one that was restored directly."""
        self._call = 0
        """The number of the call that the lane is in, 0 if in none."""
        self._calls = 0
        self._openers: dict[int, str] = {}
        """By their numbers, the open markers of the calls in the last text fed, and of those that
        are withheld."""
        self._plain_stops: Stops | None = None
        """What a text must not have to be visible as it is; None if it must be read anyway."""
        self._hidden_stops: Stops | None = None
        """The same for one that is hidden as a whole."""
        self._out: list[Segment] = []
        self._finished = False
        self._tail = ""
        """What was held at the end, and turned out to be no marker."""
        if self._place.where.region is not None and vocabulary.shows_unclosed:
            self._withheld = []
        self._enter_body("")

    def __repr__(self) -> str:
        return f"<Lane in {self.where}, {self._seam}, holds {len(self.held)}>"

    @property
    def where(self) -> str:
        """The region the lane is in, as ``format.region``; ``content`` in the visible answer."""
        region = self._place.where.region
        return "content" if region is None else f"{region.format_id}.{region.facts.name}"

    @property
    def continuation(self) -> Opening | None:
        """Where a text begins that goes on where this one ends: in the region that is open, unless
        the rule shows it, and with what may be the beginning of a marker. None if in no region and
        with nothing."""
        tail = self._tail if self._finished else self._held
        if self._place.where.region is None:
            return Opening(self._place, tail) if tail else None
        return None if self._vocabulary.shows_unclosed else Opening(self._place, tail)

    @property
    def held(self) -> str:
        """The text that was fed but not yet judged."""
        withheld = "".join(segment.text for segment in self._withheld or ())
        return (self._seam.held + withheld + self._held)[self._given :]

    @property
    def hesitates(self) -> bool:
        """Whether text is held that may be visible."""
        return bool(self._held or self._seam.held) and self._place.where.region is None

    @property
    def call(self) -> int:
        """The number of the call that the text so far ends in, 0 if in none."""
        return self._call

    def given(self, call: int) -> str:
        """The beginning of the text of the call of that number, as far as the prompt had it."""
        return self._given_of_call.get(call, "")

    def facts(self, call: int) -> Sequence[CallFacts]:
        """The ways to read the call of that number, which is in what was returned last."""
        return self._vocabulary.calls(self._openers[call])

    def tool_names(self, call: int) -> Sequence[ToolName]:
        """The ways to read the tools that such a call names."""
        return self._vocabulary.tool_names(self._openers[call])

    def passes(self, text: str) -> bool:
        """Whether ``text`` is visible as it is; if so it was taken, if not nothing happened."""
        stops = self._plain_stops
        if stops is None or not text or stops.within(text):
            return False
        self.note(text)
        return True

    def note(self, text: str) -> None:
        """``text``, which is not empty, is visible as it is."""
        self._postpone(text)
        self._seam.passed(text)

    @property
    def settled(self) -> Stops | None:
        """What a text must not have to be visible as it is, if it is noted; None if every text must
        be read."""
        return self._plain_stops

    @property
    def hides_reasoning(self) -> bool:
        """Whether the lane is in reasoning that is hidden as it comes."""
        region = self._place.where.region
        is_reasoning = region is not None and region.facts.channel is Channel.REASONING
        return is_reasoning and self._hidden_stops is not None

    def hides(self, text: str) -> bool:
        """Whether ``text`` would be hidden as a whole; nothing happens."""
        return self._hidden_stops is not None and not self._hidden_stops.within(text)

    def feed(self, text: str) -> list[Segment]:
        """What ``text`` makes certain, in order."""
        if not text:
            return []
        if self.passes(text):
            return [Segment(_CONTENT, text, "")]
        if self.hides(text):
            region = self._place.where.region
            assert region is not None
            self._line.carry(text, len(text))
            return [Segment(region.facts.channel, text, region.format_id, self._call)]
        return self._received(self._read(self._held + text, final=False))

    def finish(self) -> list[Segment]:
        """What was held, now that nothing will follow. A lane finishes once."""
        if self._finished:
            return []
        self._finished = True
        place, held = self._place, self._held
        out = self._read(held, final=True)
        self._tail = held if self._place is place else ""
        self._settle_withheld(final=True)
        self._join(self._seam.finish())
        out += self._out
        self._out = []
        return self._received(out)

    def _received(self, out: list[Segment]) -> list[Segment]:
        """``out`` without what the prompt had given."""
        while self._given and out:
            segment = out.pop(0)
            rest = segment.text[self._given :]
            given = segment.text[: len(segment.text) - len(rest)]
            self._given -= len(given)
            if segment.call:
                if segment.marker:
                    # What is left of it says all of it.
                    given = "" if rest else segment.marker
                self._given_of_call[segment.call] = self.given(segment.call) + given
            if rest:
                out.insert(0, segment._replace(text=rest))
        return out

    # Reading: from position to position, until the text ends or its tail must wait.

    def _read(self, text: str, *, final: bool) -> list[Segment]:
        if self._withheld is None:
            self._openers = {self._call: self._openers[self._call]} if self._call else {}
        position = 0
        while position < len(text):
            if self._place.where.region is None:
                position, waits = self._read_content(text, position, final)
            else:
                position, waits = self._read_region(text, position, final)
            if waits:
                break
        self._held = text[position:]
        if self._place.where.region is None:
            self._postpone(text[:position])
        else:
            self._line.carry(text, position)
        self._plain_stops = self._find_plain_stops()
        self._hidden_stops = self._find_hidden_stops()
        # A lane that kept what it has told would keep a whole event, as long as it lasts.
        out, self._out = self._out, []
        return out

    def _find_plain_stops(self) -> Stops | None:
        if not self._seam.plain or self._held or self._place.where.region is not None:
            return None
        return self._place.later.unread

    def _find_hidden_stops(self) -> Stops | None:
        region = self._place.where.region
        if region is None or region.kept or self._held or self._given:
            return None
        judged = self._withheld is None and self._json is None
        return self._place.markers.unread if judged else None

    def _read_content(self, text: str, position: int, final: bool) -> tuple[int, bool]:
        plain = self._seam.plain
        markers = self._place.later if plain else self._place.markers
        shown = position
        text_begins = self._text_begins(text, position) if markers.restricted and not plain else -1
        while (found := markers.stops.search(text, position)) is not None:
            stop, position = found.start(), found.start() + 1
            places: Collection[At] = _ANYWHERE
            if markers.restricted:
                self._look_back(text, stop)
                places = self._places_at(text, stop, text_begins)
            match = markers.match(text, stop, places)
            marker, waits = match.marker, match.pending and not final
            if marker is None and not waits:
                continue
            self._look_back(text, stop)
            if self._quotes.running:
                continue
            if marker is None or waits:
                counts = None
            else:
                counts = self._counts(text, stop, match.end, marker, markers, final)
            if counts is False:
                continue
            self._show(text[shown:stop])
            if marker is None or counts is None:
                return stop, True
            self._line.skip(text, stop, match.end)
            self._apply(marker, text[stop : match.end])
            return match.end, False
        self._show(text[shown:])
        return len(text), False

    def _look_back(self, text: str, position: int) -> None:
        """Read the lines and quotes of the visible text before ``position``, where a marker may
        stand."""
        if self._unread:
            self._read_unread()
        self._read_quotes(text, position)
        self._quotes.meet(text[position], self._line)

    def _read_unread(self) -> None:
        self._read_quotes(self._unread, len(self._unread))
        self._line.known = 0
        self._unread = ""

    def _read_quotes(self, text: str, end: int) -> None:
        if self._vocabulary.keeps_quotes:
            self._quotes.read(text, end, self._line)
        else:
            self._line.blank_before(text, end)

    def _postpone(self, text: str) -> None:
        """The lines and quotes of ``text`` are read when a marker asks for them."""
        self._unread += text
        if len(self._unread) > MAX_UNREAD:
            self._read_unread()

    def _counts(
        self, text: str, start: int, end: int, marker: Marker, markers: MarkerSet, final: bool
    ) -> bool | None:
        """Whether the marker that stands there in the visible answer is one; None if what follows
        decides and has not come."""
        if self._vocabulary.keeps_quotes:
            protection = self._quotes.protection(text, start, self._line, final=final)
            if protection is not Protection.NONE:
                return None if protection is Protection.UNDECIDED else False
        if marker.action is Action.TAIL:
            return ends_message(text, start, end, markers, final=final)
        if marker.region is not None and marker.region.proof is not None:
            return is_proven(marker.region, text, start, end, final=final)
        return True

    def _read_region(self, text: str, position: int, final: bool) -> tuple[int, bool]:
        place, region, body = self._place, self._place.where.region, self._json
        assert region is not None
        hidden = position
        while True:
            stop = self._next_stop(text, position)
            if stop == len(text):
                self._hide(region, text[hidden:])
                return stop, False
            markers = place.markers
            if body is not None and body.in_string:
                assert place.recall is not None
                markers = place.recall
            places = self._places_at(text, stop, -1) if markers.restricted else _ANYWHERE
            match = markers.match(text, stop, places)
            counts = None if match.pending and not final else match.marker is not None
            if counts and body is not None and body.in_string:
                goes_on = body.goes_on(text, match.end, final=final)
                counts = None if goes_on is None else not goes_on
            if counts is None:
                self._hide(region, text[hidden:stop])
                return stop, True
            if counts:
                assert match.marker is not None
                self._hide(region, text[hidden:stop])
                self._line.skip(text, stop, match.end)
                self._apply(match.marker, text[stop : match.end])
                return match.end, False
            position = stop + 1
            if body is not None and not body.in_string and body.take(text[stop]):
                self._hide(region, text[hidden:position])
                self._line.skip(text, stop, position)
                self._leave(region.then)
                return position, False

    def _next_stop(self, text: str, position: int) -> int:
        place, markers = self._place, self._place.markers
        if self._json is not None:
            return self._json.seek(text, position, markers.body_stops, place.string_stops)
        found = markers.stops.search(text, position)
        return len(text) if found is None else found.start()

    def _places_at(self, text: str, position: int, text_begins: int) -> Collection[At]:
        """What ``position`` is; ``text_begins`` is where the next visible character stands, if
        that matters."""
        places = {At.ANYWHERE}
        if self._line.blank_before(text, position):
            places.add(At.LINE)
        if position <= text_begins:
            places |= self._seam.places()
        return places

    def _text_begins(self, text: str, position: int) -> int:
        """Where the first visible character from ``position`` on stands; -1 if one is held."""
        room = self._seam.room
        found = _NOT_SPACE.search(text, position)
        end = len(text) if found is None else found.start()
        # More space than is held is visible, as it is when it comes in pieces.
        return -1 if room < 0 else min(end, position + room)

    # Moving between places.

    def _apply(self, marker: Marker, text: str) -> None:
        """``marker``, written as ``text``, does what it does."""
        region = marker.region
        if marker.action is Action.OPEN:
            assert region is not None
            self._open(region, marker, text)
            return
        in_content = self._place.where.region is None
        if self._seam.restored and marker.literal in self._restored_closers:
            # The close marker of the call that stays, which its value had ended already.
            self._restore(text)
            return
        if in_content:
            self._remove(region=None)
        self._mark(region, text, marker)
        if marker.action is Action.CLOSE:
            assert region is not None
            if in_content:
                self._go(self._place.where._replace(wrapper=None))
            else:
                self._leave(region.then)

    def _open(self, region: ActiveRegion, marker: Marker, text: str) -> None:
        where = self._place.where
        if region.facts.inside is not None:
            if region.facts.channel is Channel.TOOL_CALL and not self._call:
                self._begin_call(marker)
            self._mark(region, text, marker)
            self._go(where._replace(region=region), text)
            return
        interrupted = where.interrupted
        if where.region is not None:
            self._settle_withheld(final=False)
            if where.region.facts.channel is Channel.REASONING:
                interrupted = where.region
        self._call = 0
        self._follows_restored = self._seam.restored
        if not region.kept:
            self._restored_closers = region.facts.close if self._withholds(region) else ()
            self._remove(region)
        if region.facts.channel is Channel.TOOL_CALL:
            self._begin_call(marker)
        self._mark(region, text, marker)
        if region.facts.channel is not Channel.CONTENT:
            self._go(Where(region, interrupted, where.ended, where.wrapper), text)
            self._line.blank = marker.at is not At.LINE
        else:
            ended = where.ended | {region.format_id} if region.facts.last else where.ended
            self._go(Where(ended=ended, wrapper=region if region.facts.close else where.wrapper))

    def _begin_call(self, marker: Marker) -> None:
        self._calls += 1
        self._call = self._calls
        self._openers[self._call] = marker.literal

    def _leave(self, then: ActiveRegion | None) -> None:
        """The running region has closed; ``then`` follows, or the visible answer."""
        where = self._place.where
        if then is not None:
            if then.facts.channel is not Channel.TOOL_CALL:
                self._call = 0
            self._go(where._replace(region=then))
            return
        self._settle_withheld(final=False)
        self._call = 0
        self._go(Where(ended=where.ended, wrapper=where.wrapper))

    def _go(self, where: Where, opener: str = "") -> None:
        """Go to the place, by way of an open marker written as ``opener``."""
        if self._place.where.region is None:
            self._blank_in_content = self._line.blank
        self._place = self._vocabulary.place(where)
        if where.region is None:
            self._line.blank = self._blank_in_content
        self._enter_body(opener)

    def _enter_body(self, opener: str) -> None:
        region = self._place.where.region
        self._json = None
        if region is not None and region.facts.body is not Body.TEXT:
            closes = bool(region.facts.close)
            self._json = JsonBody(region.facts.body, closes=closes, opener=opener)

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
        shown = final and self._vocabulary.shows_unclosed
        call = "".join(segment.as_family for segment in withheld)
        if shown or (self._vocabulary.withholds_calls and self._is_declared(call)):
            self._restore("".join(segment.text for segment in withheld))
        else:
            self._out.extend(withheld)

    def _restore(self, text: str) -> None:
        """``text`` of a region is visible after all."""
        self._seam.restore(text)
        self._emit(text)

    def _is_declared(self, call: str) -> bool:
        if not self._call:
            return False
        tool_names = self._vocabulary.tool_names(self._openers[self._call])
        if not tool_names:
            # Its arguments, in a region of their own, share the call's fate.
            return self._follows_restored
        for tool_name in tool_names:
            names = tool_name.read(call)
            if names and all(names):
                return all(name in self._declared for name in names)
        return False

    # Writing segments.

    def _show(self, text: str) -> None:
        self._join(self._seam.show(text))

    def _join(self, joint: Joint) -> None:
        self._separate(joint.separator)
        self._emit(joint.visible)

    def _remove(self, region: ActiveRegion | None) -> None:
        """``region``, or a lone marker if it is None, is removed here."""
        call = None if region is None else region.facts.channel is Channel.TOOL_CALL
        # White space that nothing came before shares the fate of a withheld region.
        untouched = self._seam.untouched
        joint = self._seam.remove(call=call)
        if not untouched:
            self._separate(joint.separator)
        self._emit(joint.visible)
        if region is not None and self._withholds(region):
            self._withheld, self._withheld_size = [], 0
        if untouched:
            self._separate(joint.separator)

    def _separate(self, text: str) -> None:
        if text:
            self._put(Segment(Channel.SEPARATOR, text, ""))

    def _mark(self, region: ActiveRegion | None, text: str, marker: Marker) -> None:
        """``marker``, written as ``text``, of ``region`` or of what the lane is in."""
        region = region or self._place.where.region
        if region is not None and region.kept:
            self._keep(text)
        else:
            plain = (
                "" if text == marker.literal or has_placeholder(marker.literal) else marker.literal
            )
            self._put(Segment(Channel.MARKUP, text, marker.format_id, self._call, plain))

    def _hide(self, region: ActiveRegion, text: str) -> None:
        if region.kept:
            self._keep(text)
        elif text:
            self._put(Segment(region.facts.channel, text, region.format_id, self._call))

    def _keep(self, text: str) -> None:
        """``text`` belongs to a region, and is visible all the same."""
        # What is withheld came before it.
        self._settle_withheld(final=False)
        self._show(text)

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


def visible_text(vocabulary: Vocabulary, text: str, start: Opening | None = None) -> str:
    """What of ``text``, which is no model's answer but may quote one, is visible."""
    lane = Lane(vocabulary, start=start)
    segments = [*lane.feed(text), *lane.finish()]
    return "".join(part.text for part in segments if part.channel is Channel.CONTENT)
