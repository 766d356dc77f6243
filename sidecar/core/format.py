"""A model family's way of writing, as facts: regions, and the markers that open and close them.

A format says nothing about what should happen to a region; that is the policy's. The YAML in
``config/formats/`` is read into these values by :mod:`sidecar.rules.catalogue`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

from sidecar.core.channel import Channel

SELF = "self"
"""In ``interrupts``: the regions of the same format."""


class At(StrEnum):
    """Where an open marker counts."""

    ANYWHERE = "anywhere"
    LINE = "line"
    """First on its line, white space and removed regions aside."""
    START = "start"
    """First in the message, white space and removed regions aside."""


class Body(StrEnum):
    """How the inside of a region is read."""

    TEXT = "text"
    """The first close marker closes."""
    JSON = "json"
    """A body that begins as JSON is read as JSON: a close marker inside a string does not close
    it. Without close markers the region ends where the JSON value ends; what stands between the
    marker and the value (a function's name) belongs to the region."""


_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class ToolName:
    """How to read the tools that a call region names.

    ``json`` reads that key of the JSON object (or of each object in the array); otherwise the name
    stands ``after`` one literal and ends before the first of ``until`` (or at the region's end).
    ``strip`` lists prefixes that are not part of the name; ``until_last`` cuts a trailing
    ``:INDEX``-like suffix; ``once``: a region has one call, and ``after`` may stand in its body.
    """

    json: str | None = None
    after: str | None = None
    until: tuple[str, ...] = ()
    strip: tuple[str, ...] = ()
    until_last: str | None = None
    once: bool = False

    def read(self, call: str) -> list[str]:
        """The names in ``call``, the text of one call region with its markers: none if it is not
        written as expected, an empty one for each call whose name cannot be read."""
        return self._from_json(call) if self.json else self._from_literals(call)

    def _from_json(self, call: str) -> list[str]:
        start = call.find("{")
        if start < 0:
            return []
        before = call[:start].rstrip()
        if before.endswith("["):
            start = len(before) - 1
        names: list[str] = []
        while start >= 0:
            try:
                value, end = _DECODER.raw_decode(call, start)
            except (ValueError, RecursionError):
                return [*names, ""]
            items = value if isinstance(value, list) else [value]
            found = [item.get(self.json) if isinstance(item, dict) else None for item in items]
            names += [name if isinstance(name, str) else "" for name in found]
            start = call.find("{", end)
        return names

    def _from_literals(self, call: str) -> list[str]:
        assert self.after is not None
        names = []
        for piece in call.split(self.after, 1 if self.once else -1)[1:]:
            end = min((i for i in map(piece.find, self.until) if i >= 0), default=len(piece))
            name = piece[:end].strip()
            for prefix in self.strip:
                name = name.removeprefix(prefix)
            if self.until_last:
                name = name.rpartition(self.until_last)[0] or name
            names.append(name)
        return names


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of text between markers that belongs to one channel.

    ``then`` names the region of the same format that follows a close marker (a call's header is
    followed by its body). ``interrupts`` lists what an open marker of this region ends although it
    never closed: channels, ids of formats, or ``self`` for its own format. A region of channel
    ``content`` without close markers is the rest of the answer: visible, and the format's own
    markers are plain text from there on. A region of channel ``markup`` is a header: open markers
    count inside it.
    """

    name: str
    channel: Channel
    open: tuple[str, ...] = ()
    close: tuple[str, ...] = ()
    at: At = At.ANYWHERE
    body: Body = Body.TEXT
    then: str | None = None
    interrupts: frozenset[str] = frozenset()
    stray_close_is_text: bool = False
    tool_name: ToolName | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """One text as the model writes it, and what each channel of it is (markers aside)."""

    name: str
    text: str
    visible: str
    reasoning: str = ""
    tool_call: str = ""
    tool_result: str = ""
    starts_in_reasoning: bool = False
    tools: tuple[str, ...] = ()
    """The tools that a status would name."""


@dataclass(frozen=True, slots=True)
class Format:
    """One family: its regions, and the markers that are removed wherever they stand."""

    id: str
    regions: tuple[Region, ...]
    discard: tuple[str, ...] = ()
    groups: frozenset[str] = frozenset()
    examples: tuple[Example, ...] = ()
