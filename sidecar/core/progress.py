"""What one answer is doing, as far as it was read: the phases that a person may be told of.

Whoever judges the answer tells it what it sees, in the order in which the model wrote it. Every
change is a step that waits to be taken; a phase that goes on is no change, and neither is a block
in which nothing stands.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from sidecar.core.callarguments import CallArguments
from sidecar.core.sources import MAX_SOURCES, Source, sources_in, sources_in_text
from sidecar.core.stats import Stats


class Phase(StrEnum):
    """What an answer is doing."""

    WAITING = "waiting"
    """Nothing has come that says anything."""
    THINKING = "thinking"
    CALLING_TOOL = "calling_tool"
    READING_RESULT = "reading_result"
    """A tool has returned something."""
    SOURCES = "sources"
    """No phase that lasts: one source was found."""
    ANSWERING = "answering"
    DONE = "done"


_NO_ARGUMENTS: Mapping[str, str] = MappingProxyType({})


class Step(NamedTuple):
    """A change. ``tool`` is what is called, None if it has no name; ``arguments`` are those of its
    arguments that a text names and that are complete; ``source`` is what was found."""

    phase: Phase
    tool: str | None = None
    arguments: Mapping[str, str] = _NO_ARGUMENTS
    source: Source | None = None


Wanted = Callable[[str], Collection[str]]
"""The names of those arguments of a tool that a status shows."""

MAX_RESULT = 65_536
"""Characters of a tool's result that are searched for sources: a page of search results has a few
thousand."""

# An attribute of an enumeration costs as much as a search; these are asked for with every event.
_THINKING, _ANSWERING = Phase.THINKING, Phase.ANSWERING
_READING_RESULT, _CALLING_TOOL = Phase.READING_RESULT, Phase.CALLING_TOOL


def _nothing(_: str) -> Collection[str]:
    return ()


class Progress:
    """The phases of one answer, or of one choice of it.

    ``stats`` are told what comes for the first time. ``wanted``: see :data:`Wanted`. ``sources``:
    whether they are looked for. ``muted``: nobody takes the steps.
    """

    def __init__(
        self,
        stats: Stats,
        wanted: Wanted = _nothing,
        *,
        sources: bool = False,
        muted: bool = False,
    ) -> None:
        self.phase = Phase.WAITING
        self.steps: list[Step] = []
        """Those that were not taken yet."""
        self._stats = stats
        self._wanted = wanted
        self._muted = muted
        self._over = False
        self._latest = Step(Phase.WAITING)
        self._key: object = None
        self._tool: str | None = None
        self._arguments: CallArguments | None = None
        self._sources_left = MAX_SOURCES if sources else 0
        self._urls: set[str] = set()
        self._result: list[str] = []
        self._result_room = 0

    def take(self) -> list[Step]:
        """The steps since the last time."""
        steps, self.steps = self.steps, []
        return steps

    def think(self, text: str) -> None:
        """Reasoning has come."""
        if self.phase is _THINKING or not text or text.isspace():
            return
        self._stats.see_reasoning()
        self._enter(Step(_THINKING))

    def answer(self, text: str) -> None:
        """Text has come that the client gets."""
        if self.phase is _ANSWERING or not text or text.isspace():
            return
        self._stats.see_visible()
        self._enter(Step(_ANSWERING))

    def show(self) -> None:
        """Something has come that the client shows, and that is no text: a picture, a sound."""
        self.answer("picture")

    def call(self, key: object, name: str | None, arguments: object = "") -> None:
        """More of a call. ``key`` is an object that stands for it; ``name`` is its tool's, None if
        that is not said here, empty if it has none; ``arguments`` are the next piece of their JSON,
        or all of them as an object."""
        if name == "" and self.phase is _CALLING_TOOL:
            # More of the call before: some families give arguments a region of their own.
            return
        if key is not self._key:
            self._key, self._tool, self._arguments = key, None, None
        news = False
        if name is not None and self._tool is None:
            self._stats.see_call()
            self._tool = name
            wanted = self._wanted(name) if name else ()
            self._arguments = CallArguments(wanted) if wanted else None
            news = True
        read = self._arguments
        if read is not None and arguments:
            news = read.add(arguments) or news
        if news:
            found = MappingProxyType(dict(read.found)) if read is not None else _NO_ARGUMENTS
            self._enter(Step(_CALLING_TOOL, self._tool or None, found))

    @property
    def reads_arguments(self) -> bool:
        """Whether more arguments of the call that came last may be worth telling."""
        return self._arguments is not None

    def result(self, text: str) -> None:
        """More of what a tool returned has come."""
        if not text or text.isspace():
            return
        if self.phase is not _READING_RESULT:
            self._enter(Step(_READING_RESULT))
            self._result_room = MAX_RESULT
        if self._sources_left and self._result_room > 0:
            self._result.append(text[: self._result_room])
            self._result_room -= len(text)

    def end_result(self) -> None:
        """What the tool returned is complete."""
        if self._result:
            text, self._result = "".join(self._result), []
            self._tell_sources(sources_in_text(text))

    def cite(self, value: object) -> None:
        """``value`` is known to hold sources: objects with URLs, or URLs."""
        if self._sources_left and value:
            self._tell_sources(sources_in(value))

    def finish(self) -> None:
        """The answer is complete."""
        self._enter(Step(Phase.DONE))
        self._over = True

    def _enter(self, step: Step) -> None:
        if self._over:
            return
        self.end_result()
        self.phase = step.phase
        if step != self._latest:
            self._latest = step
            self._add(step)

    def _tell_sources(self, sources: Collection[Source]) -> None:
        for source in sources:
            if self._sources_left and source.url not in self._urls and not self._over:
                self._sources_left -= 1
                self._urls.add(source.url)
                self._add(Step(Phase.SOURCES, source=source))

    def _add(self, step: Step) -> None:
        if not self._muted:
            self.steps.append(step)
