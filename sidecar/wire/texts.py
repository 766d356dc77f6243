"""The texts of one choice: what of them is visible, and what is moved out of them.

A message has two, its content and its refusal, and each has a lane. Owns what is known of the
text so far; knows nothing of the JSON that it came in.
"""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from sidecar.core.channel import Channel, Segment
from sidecar.core.lane import Lane
from sidecar.core.policy import OnEmpty, Reasoning, StartsIn, ToolCalls
from sidecar.core.progress import Phase, Progress
from sidecar.core.spelling import normal
from sidecar.core.stats import FIELD
from sidecar.core.unread import Stops
from sidecar.wire.calls import CallFilter
from sidecar.wire.fields import Record
from sidecar.wire.moved import MovedCalls
from sidecar.wire.promotion import Promotion, Room
from sidecar.wire.ruling import Ruling, Shared
from sidecar.wire.textcalls import CallsInText

# An attribute of an enumeration costs as much as a search; these are asked for with every event.
_CONTENT, _REASONING = Channel.CONTENT, Channel.REASONING
_MARKUP, _SEPARATOR = Channel.MARKUP, Channel.SEPARATOR
_TOOL_CALL, _TOOL_RESULT = Channel.TOOL_CALL, Channel.TOOL_RESULT
_ANSWERING, _THINKING = Phase.ANSWERING, Phase.THINKING

_NO_CLOSERS: frozenset[str] = frozenset()


class Said(NamedTuple):
    """What is ``visible`` of a text, and the reasoning that is to be ``moved`` out of it."""

    visible: str
    moved: str


class Turn(NamedTuple):
    """A stretch of a text, and what is to be moved out of it: reasoning, or deltas of calls."""

    visible: str
    moved: str
    calls: list[Record]


class Texts:
    """The texts of one choice. ``calls`` are those that came in fields; ``progress`` is told what
    comes."""

    def __init__(
        self, ruling: Ruling, shared: Shared, calls: CallFilter, progress: Progress
    ) -> None:
        self.hid = False
        """Something of the choice was hidden, in a text or in a field."""
        self.hid_calls = False
        """Calls were hidden that stood in the text."""
        self.visible = False
        """Something was shown that is more than white space."""
        self._ruling = ruling
        self._stats = shared.stats
        self._tell = ruling.tell
        self._moves_reasoning = ruling.policy.reasoning is Reasoning.MOVE
        self._reasoning_has_field = False
        self._progress = progress
        self._moved: MovedCalls | None = None
        if ruling.policy.tool_calls is ToolCalls.MOVE:
            self._moved = MovedCalls(progress, ruling.schemas, calls, shared.call_ids)
        self._calls = self._moved or CallsInText(progress, ruling.schemas)
        promotes = ruling.policy.on_empty is OnEmpty.PROMOTE
        self._promotion = Promotion(shared.room if promotes else Room(0))
        self._start = ruling.start
        self.start_message()

    @property
    def lane(self) -> Lane:
        """The lane of the current message's content."""
        return self._lane

    @property
    def unreadable(self) -> bool:
        """Whether a call that was to be moved is not as its family writes one."""
        return self._moved is not None and self._moved.unreadable

    def start_message(self) -> None:
        """The texts of another message follow."""
        self._lane = Lane(self._ruling.vocabulary, self._ruling.declared, self._start)
        self._refusal: Lane | None = None
        """The lane of its refusal, if it has one."""
        self._fed = False
        """The lane has read some text."""
        unknown = self._start is None and not self._reasoning_has_field
        self._closers = self._ruling.closers if unknown else _NO_CLOSERS
        """What would close reasoning that nothing has opened; empty once something has."""

    def passes(self, text: str) -> bool:
        """Whether ``text``, more of the content, is visible as it is; if so it was taken, if not
        nothing happened."""
        if not self._lane.passes(text):
            return False
        if self._progress.phase is not _ANSWERING:
            self.show(text)
        return True

    @property
    def settled(self) -> Stops | None:
        """What more of the content must not have to be visible as it is, if it is noted; see
        :attr:`Lane.settled`."""
        return self._lane.settled if self._progress.phase is _ANSWERING else None

    def note(self, text: str) -> None:
        """``text``, more of the content, was shown, and it had none of the stops."""
        self._lane.note(text)

    @property
    def hides_more(self) -> bool:
        """Whether the content is in reasoning that is dropped, and all know that it is."""
        drops = self._moved is None and self._ruling.policy.reasoning is Reasoning.DROP
        return drops and self._thinks and self._lane.hides_reasoning

    @property
    def hides_more_reasoning(self) -> bool:
        """The same for reasoning in a field of its own."""
        return self._ruling.policy.reasoning is Reasoning.DROP and self._thinks

    @property
    def _thinks(self) -> bool:
        return self._progress.phase is _THINKING

    def hides(self, text: str) -> bool:
        """Whether ``text``, more of the content, is hidden as a whole; if so it was taken, if not
        nothing happened."""
        if not self._lane.hides(text):
            return False
        self.feed(text)
        return True

    def feed(self, text: str) -> Said:
        """More of the content."""
        self._fed = True
        said = self._judge(self._lane.feed(text), self._calls)
        self._calls.settle(self._lane)
        return said

    def finish(self, *, cut_off: bool) -> Said:
        """What was held of the content, which has ended; ``cut_off``: before the model ended it."""
        said = self._judge(self._lane.finish(), self._calls)
        self._calls.settle(self._lane)
        self._calls.finish(cut_off=cut_off)
        return said

    def feed_in_turn(self, text: str) -> list[Turn]:
        """More of the content, stretch by stretch, for a client that is told of their order."""
        self._fed = True
        turns = self._turns(self._lane.feed(text))
        return [*turns, *self._turn_of_calls()]

    def finish_in_turn(self, *, cut_off: bool) -> list[Turn]:
        """Likewise, what was held; see :meth:`finish`."""
        turns = self._turns(self._lane.finish())
        self._calls.finish(cut_off=cut_off)
        return [*turns, *self._turn_of_calls()]

    def feed_refusal(self, text: str) -> Said:
        """More of the refusal."""
        if self._refusal is None:
            self._refusal = Lane(self._ruling.vocabulary, self._ruling.declared)
        return self._judge(self._refusal.feed(text), None)

    def finish_refusal(self) -> Said:
        """What was held of the refusal, which is complete."""
        held = [] if self._refusal is None else self._refusal.finish()
        return self._judge(held, None)

    def take_calls(self, *, whole: bool) -> list[Record]:
        """The calls that were moved out of the text since the last time: deltas, or, if ``whole``,
        complete ones."""
        return [] if self._moved is None else self._moved.take_deltas(whole=whole)

    def hides_reasoning(self, text: str) -> bool:
        """Whether reasoning that came in a place of its own is hidden; ``text`` is what it says."""
        if text and not self._reasoning_has_field:
            self._find_reasoning_parsed()
        self._progress.think(text)
        if self._tell is not None:
            self._tell(Segment(_REASONING, text, FIELD))
        if self._ruling.policy.reasoning is not Reasoning.DROP:
            return False
        self.hid = True
        self._stats.hide_field(_REASONING, len(text))
        self._promotion.keep(text)
        return True

    def show(self, text: str) -> None:
        """``text`` is sent to the client."""
        if text and not text.isspace():
            self.visible = True
            self._progress.answer(text)

    def take_promoted(self) -> str:
        """The reasoning that was hidden, to be sent because nothing else was."""
        return self._promotion.take()

    def _find_reasoning_parsed(self) -> None:
        """Upstream takes the reasoning out of the text itself, so nothing is assumed of the text,
        unless the rule says so."""
        self._reasoning_has_field = True
        self._closers = _NO_CLOSERS
        if self._ruling.policy.starts_in is StartsIn.AUTO:
            self._start = None
            if not self._fed:
                self._lane = Lane(self._ruling.vocabulary, self._ruling.declared)

    def _turns(self, segments: list[Segment]) -> list[Turn]:
        if self._moved is None and not self._moves_reasoning:
            turns = [Turn(*self._judge(segments, self._calls), [])] if segments else []
            self._calls.settle(self._lane)
            return turns
        turns = []
        for _, stretch in groupby(segments, attrgetter("call")):
            turns += [Turn(*self._judge([segment], self._calls), []) for segment in stretch]
            self._calls.settle(self._lane)
            turns += self._turn_of_calls()
        self._calls.settle(self._lane)
        return turns

    def _turn_of_calls(self) -> list[Turn]:
        calls = self.take_calls(whole=False)
        return [Turn("", "", calls)] if calls else []

    def _judge(self, segments: list[Segment], calls: CallsInText | None) -> Said:
        """``calls`` reads those in the text, None if nobody does."""
        if self._tell is not None:
            for segment in segments:
                self._tell(segment)
        if len(segments) == 1 and segments[0].channel is _CONTENT and not self._calls.open:
            text = segments[0].text
            self.show(text)
            return Said(text, "")
        visible, moved = [], []
        for segment in segments:
            if calls is not None:
                calls.take(segment, self._lane)
            if segment.channel is _CONTENT:
                visible.append(segment.text)
                self.show(segment.text)
                continue
            self._hide(segment)
            if segment.channel is _REASONING:
                self._progress.think(segment.text)
                if not self._reasoning_has_field:
                    self._promotion.keep(segment.text)
                    if self._moves_reasoning:
                        moved.append(segment.text)
        return Said("".join(visible), "".join(moved))

    def _hide(self, segment: Segment) -> None:
        self.hid = True
        self._stats.hide(segment)
        # What may be moved is not hidden from whoever runs the tools.
        if segment.channel is _TOOL_CALL and self._moved is None:
            self.hid_calls = True
        elif segment.channel is _TOOL_RESULT:
            self._progress.result(segment.text)
        elif segment.channel is _MARKUP:
            self._progress.end_result()
        if self._closers:
            self._note_orphan(segment)

    def _note_orphan(self, segment: Segment) -> None:
        """Count a close marker of reasoning, if no other marker of its message came before."""
        if segment.channel is _MARKUP and normal(segment.text) in self._closers:
            self._stats.orphan_closers[segment.format_id] += 1
        elif segment.channel is not _SEPARATOR:
            self._closers = _NO_CLOSERS
