"""Whether a marker in the visible answer is only mentioned: code spans and code fences.

Follows CommonMark 0.31 (4.5 fenced code blocks, 6.1 code spans) as far as a stream allows: a span
protects only if it closes on its own line, soon enough to wait for. What nobody asks about is not
looked at: the text since the last marker is read when the next one may stand there.
"""

from __future__ import annotations

import re
from enum import Enum, auto

MAX_SPAN = 256
"""Characters from a marker to the end of its code span that are waited for. Longer spans of code
on one line are rare, and everything waited for is not yet on the reader's screen."""

_RUN = re.compile(r"`+|~+")
_RUN_OR_LINE_END = re.compile(r"`+|\n")
_OPENING = re.compile(r"\n[ \t\r]*(`{3,}(?=[^`\n]*\n)|~{3,}(?=[^\n]*\n))")
_CLOSING = re.compile(r"\n[ \t\r]*(`{3,}|~{3,})(?=[ \t\r]*\n)")
"""What begins, and what may end a fence, in a whole line after another one."""


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

    def read(self, text: str, end: int, line: Line) -> None:
        """Take the visible ``text`` up to ``end``, from where ``line`` is known, which is known up
        to there afterwards."""
        position = line.known
        if self._run is not None and position < end:
            position = self._read_on(self._run, text, end, line)
        while position < end:
            line_end = text.find("\n", position, end)
            for run in _RUN.finditer(text, position, end if line_end < 0 else line_end):
                self._run = run[0][0], len(run[0]), line.blank_before(text, run.start())
                line.known = run.end()
                if run.end() < end:
                    self._end_run(line)
            if line_end < 0:
                break
            self._end_line(line.blank_before(text, line_end))
            position = self._read_lines(text, line_end, end)
        line.blank_before(text, end)

    @property
    def running(self) -> bool:
        """Whether the text so far ends in a run of fence characters, which may go on."""
        return self._run is not None

    def meet(self, character: str, line: Line) -> None:
        """``character``, which is not read yet, ends the run before it, unless it is more of it."""
        if self._run is not None and self._run[0] != character:
            self._end_run(line)

    def protection(self, text: str, position: int, line: Line, *, final: bool) -> Protection:
        """What the marker at ``position`` is, up to which the text was read; ``final``: no text
        will follow."""
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

    def _read_lines(self, text: str, line_end: int, end: int) -> int:
        """Read the lines after the one that ends at ``line_end``, as far as they end before
        ``end``: nothing of them outlasts their ends but fences. Returns where the next one begins.
        """
        while True:
            found = (_CLOSING if self._fence else _OPENING).search(text, line_end, end)
            if found is None:
                return text.rfind("\n", line_end, end) + 1
            line_end, (character, length) = found.end(), (found[1][0], len(found[1]))
            if self._fence is None:
                self._fence = character, length
            elif character == self._fence[0] and length >= self._fence[1]:
                self._fence = None

    def _read_on(self, run: tuple[str, int, bool], text: str, end: int, line: Line) -> int:
        """Where the ``run`` ends that came before the text, or what of it is here."""
        character, length, blank = run
        more = _RUN.match(text, line.known, end)
        if more is not None and more[0][0] == character:
            line.known = more.end()
            self._run = character, length + len(more[0]), blank
        if line.known < end:
            self._end_run(line)
        return line.known

    def _end_run(self, line: Line) -> None:
        """The run that ends where ``line`` is known is over."""
        assert self._run is not None
        character, length, blank = self._run
        self._run = None
        line.blank = False
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
