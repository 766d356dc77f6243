"""A model family's way of writing, as facts: regions, and the markers that open and close them.

A format says nothing about what should happen to a region; that is the policy's. The YAML in
``config/formats/`` is read into these values by :mod:`sidecar.rules.formatfile`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

from sidecar.core.channel import Channel
from sidecar.core.pythoncalls import read_calls

SELF = "self"
"""In ``interrupts``: the regions of the same format."""


class At(StrEnum):
    """Where an open marker counts."""

    ANYWHERE = "anywhere"
    LINE = "line"
    """First on its line, white space and removed regions aside."""
    START = "start"
    """First in the message, white space and removed regions aside."""
    AFTER = "after"
    """Directly after a removed region, white space aside."""


class Body(StrEnum):
    """How the inside of a region is read."""

    TEXT = "text"
    """The first close marker closes."""
    JSON = "json"
    """A body that begins as JSON is read as JSON: a close marker inside a string does not close
    it. Without close markers the region ends where the JSON value ends; what stands between the
    marker and the value (a function's name) belongs to the region."""
    VALUE = "value"
    """As JSON, and the region ends with the value even if it has close markers."""
    PYTHON = "python"
    """As VALUE without close markers and as JSON with them, for Python's calls and literals:
    strings stand in either kind of quotes."""


_DECODER = json.JSONDecoder()

ONLY_KEY = "*"
"""In ``ToolName.json``: the name is the only key of the object, and the arguments its value."""


@dataclass(frozen=True, slots=True)
class ToolName:
    """How to read the tools that a call region names.

    ``python``: as the functions of Python calls. ``json`` reads that key of the JSON object (or of
    each object in the array), and ``*`` means that the object's only key is the name. Otherwise the
    name stands ``after`` one literal, white space aside, and ends before the first of ``until`` (or
    at the region's end).
    ``strip`` lists prefixes that are not part of the name; ``until_last`` cuts a trailing
    ``:INDEX``-like suffix; ``once``: a region has one call, and ``after`` may stand in its body.
    """

    python: bool = False
    json: str | None = None
    after: str | None = None
    until: tuple[str, ...] = ()
    strip: tuple[str, ...] = ()
    until_last: str | None = None
    once: bool = False

    def read(self, call: str) -> list[str]:
        """The names in ``call``, the text of one call region with its markers: none if it is not
        written as expected, an empty one for each call whose name cannot be read."""
        if self.python:
            return _from_python(call)
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
            names += [self._of(item) if isinstance(item, dict) else "" for item in items]
            start = call.find("{", end)
        return names

    def _of(self, item: dict[str, object]) -> str:
        if self.json == ONLY_KEY:
            return next(iter(item)) if len(item) == 1 else ""
        name = item.get(self.json or "")
        return name if isinstance(name, str) else ""

    def _from_literals(self, call: str) -> list[str]:
        assert self.after is not None
        names = []
        for piece in call.split(self.after, 1 if self.once else -1)[1:]:
            piece = piece.lstrip()
            end = min((i for i in map(piece.find, self.until) if i >= 0), default=len(piece))
            names.append(self.clean(piece[:end]))
        return names

    def clean(self, written: str) -> str:
        """The name in ``written``, which stands between ``after`` and ``until``."""
        name = written.strip()
        for prefix in self.strip:
            name = name.removeprefix(prefix)
        if self.until_last:
            name = name.rpartition(self.until_last)[0] or name
        return name


def _from_python(call: str) -> list[str]:
    try:
        return [name for name, _ in read_calls(call)]
    except ValueError:
        return []


class ArgumentsAs(StrEnum):
    """How a call writes its arguments."""

    MEMBER = "member"
    """A member of the JSON object that has the name."""
    JSON = "json"
    """The JSON object at the first brace after the name."""
    NAMED = "named"
    """One after another, each between literals."""
    PYTHON = "python"
    """The keyword arguments of a Python call."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """How to read the arguments of the calls in a region.

    ``keys`` are what MEMBER's member may be called. NAMED's keys and values each stand between two
    literals, of which an empty first one means directly after what was read before; one line end
    beside a value belongs to the markup.
    """

    kind: ArgumentsAs
    keys: tuple[str, ...] = ()
    key: tuple[str, str] = ("", "")
    value: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of text between markers that belongs to one channel.

    ``then`` names the region of the same format that follows a close marker (a call's header is
    followed by its body). ``inside`` names the region of the same format in which alone the open
    marker counts, and to which a close marker returns. ``interrupts`` lists what an open marker of
    this region ends although it never closed: channels, ids of formats, or ``self`` for its own
    format. ``proof``: the open marker counts only if one of these literals stands in the region,
    near its beginning. ``implicit``: where the prompt has opened a region, it is this one, and as
    its first open marker would.

    ``escaped``: its text is HTML-escaped, so an escaped marker in it is none, whatever a rule takes
    for one.

    A region of channel ``content`` is visible without its markers: a wrapper of the answer, or a
    header before it. If it is the ``last``, the format's own markers are plain text from there on.
    A region of channel ``markup`` is a header: open markers count inside it.
    """

    name: str
    channel: Channel
    open: tuple[str, ...] = ()
    close: tuple[str, ...] = ()
    at: At = At.ANYWHERE
    body: Body = Body.TEXT
    then: str | None = None
    inside: str | None = None
    interrupts: frozenset[str] = frozenset()
    stray_close_is_text: bool = False
    proof: tuple[str, ...] = ()
    implicit: bool = False
    last: bool = False
    escaped: bool = False
    tool_name: ToolName | None = None
    arguments: Arguments | None = None


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
    """One family: its regions, the markers that are removed wherever they stand, and those that
    are only as the ``tail`` of a message.

    ``models`` names those that write it. ``opened_by_prompt`` are globs for the lower-case names of
    the models whose prompt template opens the reasoning, so that the answer begins inside it.
    """

    id: str
    regions: tuple[Region, ...]
    discard: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    opened_by_prompt: tuple[str, ...] = ()
    groups: frozenset[str] = frozenset()
    examples: tuple[Example, ...] = ()
