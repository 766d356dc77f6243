"""What a piece of text *is*. Knows nothing of formats, policies or wire shapes."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Channel(StrEnum):
    """The kind of text a model wrote.

    The first four are what a policy judges. The last two are what a format leaves over once its
    regions are cut out: they are never shown, and they are counted so that no character is lost
    without a trace (promise 6, conservation).
    """

    CONTENT = "content"
    REASONING = "reasoning"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    MARKUP = "markup"
    """Markers and message headers: syntax, never text."""
    SEPARATOR = "separator"
    """White space (or the comma between two calls) that only a removed region needed."""


class Segment(NamedTuple):
    """A run of text in one channel, ready to be judged."""

    channel: Channel
    text: str
    format_id: str
    """The format that recognised it; empty for content."""
    call: int = 0
    """Which call of the lane the text belongs to, markers included: 1, 2, …; 0 if to none."""
    marker: str = ""
    """The marker that the text is, where it is not written as its family writes it."""

    @property
    def as_family(self) -> str:
        """The text as its family writes it, for whoever reads its calls."""
        return self.marker or self.text
