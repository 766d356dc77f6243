"""Where two visible texts meet because what stood between them was removed.

Owns the white space beside removed regions. Knows nothing of markers: it is told what is visible
and where something is removed, and answers what of the white space is shown.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from sidecar.core.format import At

MAX_SPACE = 256
"""Characters of white space held beside a removed region. No model separates by more."""

SPACE = " \t\r\n"
_BETWEEN_CALLS = SPACE + ",;"
_LINE_ENDS = ("\n", "\r")


class _Edge(StrEnum):
    """What the visible text, if any, would be joined to."""

    START = "nothing came before"
    LEADING = "only removed text came before"
    VISIBLE = "visible text came before"
    REMOVED = "visible text came before, then removed text"


class Joint(NamedTuple):
    """What of a text is a ``separator`` that goes, and what after it is ``visible``."""

    separator: str
    visible: str


class Seam:
    """The end of one lane's visible text. ``hidden``: the lane begins in a hidden region."""

    __slots__ = ("_edge", "_line_ends", "_removed_call", "held", "restored")

    def __init__(self, *, hidden: bool) -> None:
        self.held = ""
        """White space (and, after a call, commas) whose neighbour decides."""
        self._edge = _Edge.LEADING if hidden else _Edge.START
        self._line_ends = 0
        """Line ends at the end of the visible text so far."""
        self._removed_call = False
        """The last thing removed was a tool call: a comma may separate it from the next."""
        self.restored = False
        """The last thing shown is a region that was to be removed: it still counts as one."""

    def __repr__(self) -> str:
        return str(self._edge.value)

    @property
    def plain(self) -> bool:
        """Whether visible text came last, so that more of it is joined as it is."""
        return self._edge is _Edge.VISIBLE and not self.restored

    @property
    def untouched(self) -> bool:
        """Whether nothing came before but, maybe, white space."""
        return self._edge is _Edge.START

    @property
    def room(self) -> int:
        """How much more white space can be held; -1 if something visible is."""
        return -1 if self.held.strip(SPACE) else MAX_SPACE - len(self.held)

    def places(self) -> set[At]:
        """What the next visible character's place is called."""
        places = set()
        if self._edge in (_Edge.START, _Edge.LEADING):
            places.add(At.START)
        if self._edge in (_Edge.LEADING, _Edge.REMOVED) or self.restored:
            places.add(At.AFTER)
        return places

    def passed(self, text: str) -> None:
        """``text``, which is not empty, was shown as it is."""
        if text[-1:] not in _LINE_ENDS:
            self._line_ends = 0
            return
        rest = text.rstrip("\r\n")
        ends = text.count("\n", len(rest))
        self._line_ends = ends if rest else self._line_ends + ends

    def show(self, text: str) -> Joint:
        """``text`` is visible, less the white space that only a removed region needed."""
        if self._edge is not _Edge.VISIBLE and text:
            text = self.held + text
            body = text.lstrip(_BETWEEN_CALLS if self._removed_call else SPACE)
            space = text[: len(text) - len(body)]
            if not body and len(space) <= MAX_SPACE:
                self.held = space
                return Joint("", "")
            self.held = space[:MAX_SPACE]
            separator, kept = self._settle()
            joint = Joint(separator, kept + text[len(space[:MAX_SPACE]) :])
            self._edge = _Edge.VISIBLE
            self._removed_call = False
        else:
            joint = Joint("", text)
        if joint.visible.strip(SPACE):
            self.restored = False
        if joint.visible:
            self.passed(joint.visible)
        return joint

    def remove(self, *, call: bool | None) -> Joint:
        """Something is removed here: a call, another region, or (None) a lone marker. The white
        space before it goes with it, and so do the commas between two calls."""
        separator, visible = "", ""
        if not call and self.held.strip(SPACE):
            separator, visible = self._settle()
            self._edge = _Edge.VISIBLE
            self.passed(visible)
        if call is not None:
            self._removed_call = call
        self.restored = False
        space, self.held = self.held, ""
        self._edge = _AFTER_REMOVAL[self._edge]
        return Joint(separator + space, visible)

    def restore(self, text: str) -> None:
        """``text`` is visible after all, though a region was removed where it stands."""
        self._edge = _Edge.VISIBLE
        self.restored = True
        if text:
            self.passed(text)

    def finish(self) -> Joint:
        """Nothing follows."""
        return self._settle()

    def _settle(self) -> Joint:
        """The held white space is followed by visible text, or by the end."""
        space, self.held = self.held, ""
        if self._edge is _Edge.LEADING:
            excess = len(space) - len(space.lstrip(SPACE))
        elif self._edge is _Edge.REMOVED:
            excess = _length_of_line_ends(space, self._line_ends)
        else:
            excess = 0
        return Joint(space[:excess], space[excess:])


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
