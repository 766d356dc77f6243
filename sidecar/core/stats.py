"""Plain counters of one answer. What reads them (metrics, replay) decides what they mean."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from sidecar.core.channel import Channel, Segment
from sidecar.core.policy import OnEmpty


class Verdict(StrEnum):
    """What happened to one frame."""

    PASS = "pass"
    """It left as its original bytes."""
    REWRITE = "rewrite"
    DROP = "drop"


FIELD: Final = "field"
"""Stands for the format of what came in a field of its own."""


@dataclass(slots=True)
class Stats:
    """Counts characters and keys; never holds text."""

    hidden_characters: Counter[tuple[Channel, str]] = field(default_factory=Counter)
    """By channel and format, or :data:`FIELD`."""
    unknown_fields: int = 0
    unreadable_events: int = 0
    """Events of a stream that its wire format cannot be made of."""
    orphan_closers: Counter[str] = field(default_factory=Counter)
    """By format: markers that closed reasoning which nothing had opened."""
    empty_answers: Counter[OnEmpty] = field(default_factory=Counter)
    """Choices of which nothing was left, by what was done about it."""
    reasoning_seen: bool = False
    call_seen: bool = False
    visible_seen: bool = False
    told: bool = False
    """A status with a text was written, which a person can see."""
    firsts: int = 0
    """How many of these four have happened, so that one look tells whether another has."""
    statuses: Counter[str] = field(default_factory=Counter)
    """By phase."""
    tokens: dict[str, int] = field(default_factory=dict)
    """What upstream says of the tokens so far: ``input``, ``output``, and of these ``cached`` and
    ``reasoning``."""
    model: str = ""
    """What upstream calls the model that answers."""
    error: str | None = None
    """The code of the error that the answer ended with, if it did."""

    def hide(self, segment: Segment) -> None:
        """A segment was hidden, or moved out of the answer."""
        self.hidden_characters[segment.channel, segment.format_id] += len(segment.text)

    def hide_field(self, channel: Channel, characters: int) -> None:
        """A field of its own was hidden; ``characters`` is the length of its text."""
        self.hidden_characters[channel, FIELD] += characters

    def see_reasoning(self) -> None:
        """Reasoning has come that is more than white space."""
        if not self.reasoning_seen:
            self.reasoning_seen = True
            self.firsts += 1

    def see_call(self) -> None:
        """A tool call has come, and its tool is known."""
        if not self.call_seen:
            self.call_seen = True
            self.firsts += 1

    def see_visible(self) -> None:
        """Something has come that the client gets and a person can see."""
        if not self.visible_seen:
            self.visible_seen = True
            self.firsts += 1

    def see_status(self) -> None:
        """A status was written that a person can see."""
        if not self.told:
            self.told = True
            self.firsts += 1
