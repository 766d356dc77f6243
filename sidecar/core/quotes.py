"""Whether a marker in the visible answer is only mentioned: code spans and code fences.

Follows CommonMark 0.31 (4.5 fenced code blocks, 6.1 code spans) as far as a stream allows: a span
protects only if it closes on its own line, soon enough to wait for.
"""

from __future__ import annotations

import re
from enum import Enum, auto

MAX_SPAN = 256
"""Characters from a marker to the end of its code span that are waited for. Longer spans of code
on one line are rare, and everything waited for is not yet on the reader's screen."""

_RUN_OR_LINE_END = re.compile(r"`+|\n")


class Line:
    """Whether nothing but white space stands before a position on its line.

    Positions only move forward within one text; :meth:`carry` hands the knowledge to the next.
    """

    __slots__ = ("blank", "known")

    def __init__(self) -> None:
        self.blank = True
        self.known = 0
        """The position in the current text that ``blank`` speaks of."""

    def blank_before(self, text: str, position: int) -> bool:
        """Whether the line is blank up to ``position``, which becomes the known one."""
        since = text[self.known : position]
        end = since.rfind("\n")
        if end >= 0:
            self.blank = not since[end + 1 :].strip(" \t\r")
        elif self.blank and since:
            self.blank = not since.strip(" \t\r")
        self.known = position
        return self.blank

    def skip(self, text: str, start: int, end: int) -> None:
        """A marker stands from ``start`` to ``end``: as if it were not there."""
        self.blank_before(text, start)
        self.known = end

    def carry(self, text: str, consumed: int) -> None:
        """``text`` was read up to ``consumed``; what is held starts the next text."""
        self.blank_before(text, consumed)
        self.known = 0


class Protection(Enum):
    """What the quotes around a marker say."""

    NONE = auto()
    MENTION = auto()
    UNDECIDED = auto()


class Quotes:
    """The code spans and fences of one visible answer, fed with their characters in order."""

    __slots__ = ("_closing", "_fence", "_opening", "_run", "_span")

    def __init__(self) -> None:
        self._fence: tuple[str, int] | None = None
        self._opening: tuple[str, int] | None = None
        """A line that looks like the start of a fence; certain at the line's end."""
        self._closing = False
        """The line looks like the end of the fence; certain at the line's end."""
        self._span = 0
        """Length of the backtick run that may have opened a code span on this line."""
        self._run: tuple[str, int, bool] | None = None
        """A run of fence characters at the end of the text so far: character, length, and
        whether the line was blank before it. The next character says whether it has ended."""

    @property
    def plain(self) -> bool:
        """Whether the next character, unless it is a stop, changes nothing here."""
        return self._run is None

    @property
    def calm(self) -> bool:
        """Whether a line end changes nothing here either."""
        return self._run is None and self._opening is None and not self._closing and not self._span

    def pass_stop(self, text: str, position: int, line: Line) -> int:
        """Take the stop (a line end, or a run of fence characters) at ``position``.

        Returns the position after it.
        """
        character = text[position]
        if character == "\n":
            self._end_run(line, position)
            self._end_line(line.blank_before(text, position))
            return position + 1
        end = position + 1
        while end < len(text) and text[end] == character:
            end += 1
        length = end - position
        run = self._run
        if run is not None and run[0] == character and position == 0:
            length, blank = length + run[1], run[2]
        else:
            self._end_run(line, position)
            blank = line.blank_before(text, position)
        self._run = (character, length, blank)
        if end < len(text):
            self._end_run(line, end)
        return end

    def pass_text(self, line: Line, position: int) -> None:
        """Plain text, not a stop, stands at ``position``."""
        self._end_run(line, position)

    def protection(self, text: str, position: int, line: Line, *, final: bool) -> Protection:
        """What the marker at ``position`` is; ``final``: no text will follow."""
        self._end_run(line, position)
        if self._fence is not None:
            if self._closing and line.blank_before(text, position):
                # Nothing but a marker follows on the closing line: the block is over.
                self._fence, self._closing = None, False
                return Protection.NONE
            return Protection.MENTION
        if not self._span:
            return Protection.NONE
        return self._span_protection(text, position, final)

    def _span_protection(self, text: str, position: int, final: bool) -> Protection:
        limit = position + MAX_SPAN
        for found in _RUN_OR_LINE_END.finditer(text, position, limit):
            if found[0] == "\n":
                return Protection.NONE
            ends = found.end() < min(len(text), limit) or (final and found.end() == len(text))
            if found.end() - found.start() == self._span and ends:
                return Protection.MENTION
        return Protection.NONE if final or len(text) >= limit else Protection.UNDECIDED

    def _end_run(self, line: Line, position: int) -> None:
        if self._run is None:
            return
        character, length, blank = self._run
        self._run = None
        line.blank, line.known = False, position
        if self._closing:
            self._closing = False
        elif self._fence is not None:
            if blank and character == self._fence[0] and length >= self._fence[1]:
                self._closing = True
                line.blank = True
        elif blank and length >= 3:
            self._opening = (character, length)
            self._span = length if character == "`" else 0
        elif character == "`":
            if self._opening is not None and self._opening[0] == "`":
                self._opening = None
            if not self._span:
                self._span = length
            elif self._span == length:
                self._span = 0

    def _end_line(self, blank: bool) -> None:
        if self._fence is not None:
            if self._closing and blank:
                self._fence = None
        elif self._opening is not None:
            self._fence = self._opening
        self._opening, self._closing, self._span = None, False, 0
