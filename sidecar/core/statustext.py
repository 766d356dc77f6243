"""The texts of statuses: what an operator writes, and what a person reads.

A text may name ``{tool}`` and, of a call, ``{args.NAME}``. What is not known yet leaves its part
out: the placeholder, the quotes or brackets around it, and the white space before these.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from sidecar.core.progress import Phase, Step

MAX_VALUE: Final = 80
"""Characters of a value that a model wrote: a status has one line."""

_PLACEHOLDER = re.compile(r"\{(tool|args\.[A-Za-z0-9_-]{1,64})\}")
_BRACES = re.compile(r"[{}]")
_QUOTES: Final = frozenset(
    {"“”", "„“", "””", "‘’", '""', "''", "``", "«»", "»«", "‹›", "()", "[]", "「」", "《》"}
)
# C0 and C1 controls, line and paragraph separators, and what turns the direction of text around.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+"
)
_SPACES = re.compile(r"\s+")


def shown(value: str) -> str:
    """``value``, which a model wrote, as a part of one line: without control characters, cut at
    :data:`MAX_VALUE` characters."""
    # What is far beyond the cut need not be looked at.
    line = _SPACES.sub(" ", _CONTROL.sub(" ", value[: 8 * MAX_VALUE])).strip()
    return line if len(line) <= MAX_VALUE else line[: MAX_VALUE - 1].rstrip() + "…"


class StatusText:
    """One text, compiled. Raises ValueError for braces that are no placeholder."""

    def __init__(self, text: str) -> None:
        if _BRACES.search(_PLACEHOLDER.sub("", text)):
            raise ValueError(
                "expected {tool} or {args.NAME} in braces, and no other braces in the text"
            )
        self._parts = _PLACEHOLDER.split(text)
        self.placeholders = frozenset(self._parts[1::2])
        self.arguments = frozenset(
            name.removeprefix("args.") for name in self.placeholders if name.startswith("args.")
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StatusText) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(tuple(self._parts))

    def said(self, step: Step) -> str:
        """The text for a step."""
        text, *rest = self._parts
        for name, after in zip(rest[::2], rest[1::2], strict=True):
            value = step.tool if name == "tool" else step.arguments.get(name.removeprefix("args."))
            value = shown(value or "")
            if value:
                text += value
            elif text[-1:] + after[:1] in _QUOTES:
                text, after = text[:-1].rstrip(), after[1:]
            else:
                text = text.rstrip()
            text += after
        return text


@dataclass(frozen=True, slots=True)
class StatusTexts:
    """The texts of one language. ``tools`` are pairs of a glob for a tool's name and its text: the
    first that fits counts, and the phase's own text if none does."""

    phases: Mapping[Phase, StatusText] = field(default_factory=dict)
    tools: tuple[tuple[str, StatusText], ...] = ()

    def said(self, step: Step) -> str:
        """The text for a step; empty if there is none."""
        if step.source is not None:
            return shown(step.source.title or step.source.url)
        text = self._of_tool(step.tool or "") if step.phase is Phase.CALLING_TOOL else None
        text = text or self.phases.get(step.phase)
        return "" if text is None else text.said(step)

    def wanted(self, tool: str) -> Collection[str]:
        """The arguments of ``tool`` that its text names."""
        text = self._of_tool(tool) or self.phases.get(Phase.CALLING_TOOL)
        return () if text is None else text.arguments

    def _of_tool(self, tool: str) -> StatusText | None:
        return next((text for glob, text in self.tools if fnmatchcase(tool, glob)), None)


DEFAULT_TEXTS: Final = StatusTexts(
    {
        phase: StatusText(text)
        for phase, text in {
            Phase.WAITING: "Thinking…",
            Phase.THINKING: "Thinking…",
            Phase.CALLING_TOOL: "Calling {tool}…",
            Phase.READING_RESULT: "Reading the result…",
            Phase.ANSWERING: "",
            Phase.DONE: "",
        }.items()
    }
)
