"""Statuses: what a person is told while nothing of the answer can be shown.

Owns when one is due and what it says; how it is written is the dialects'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from sidecar.core.progress import Phase, Step
from sidecar.core.sources import Source
from sidecar.core.stats import Stats
from sidecar.core.statustext import DEFAULT_TEXTS, StatusTexts, shown


class Form(StrEnum):
    """How a status is written; each but ``auto`` and ``off`` is a module of the dialects."""

    AUTO = "auto"
    """As suits the wire format."""
    OFF = "off"
    CHUNK = "chunk"
    COMMENT = "comment"
    EVENT = "event"
    REASONING = "reasoning"
    CONTENT = "content"
    OPEN_WEBUI = "open_webui"
    TYPED = "typed"


TEXTS: Final = frozenset({Form.REASONING, Form.CONTENT})
"""The forms in which a status is text of the answer."""


class Beat(StrEnum):
    """What is sent when nothing else was for a while."""

    COMMENT = "comment"
    CHUNK = "chunk"
    """An event of the format that says nothing."""
    STATUS = "status"
    """The latest status again."""


@dataclass(frozen=True, slots=True)
class StatusPolicy:
    """What a rule wishes of statuses, for one language.

    ``first_after``: seconds after which the answer is begun whatever upstream does; None: never.
    ``heartbeat``: seconds without a byte after which one is sent; None: never. ``choose``: the
    request may choose the form.
    """

    form: Form = Form.AUTO
    first_after: float | None = 0.2
    heartbeat: float | None = 15.0
    beat: Beat = Beat.COMMENT
    texts: StatusTexts = DEFAULT_TEXTS
    sources: bool = False
    choose: bool = False


NO_STATUSES: Final = StatusPolicy(form=Form.OFF, first_after=None, heartbeat=None)


class Status(NamedTuple):
    """One status. ``tool`` is empty if none is called; ``seq`` counts from 1; ``elapsed`` is in
    milliseconds since the request came."""

    phase: Phase
    text: str
    tool: str
    source: Source | None
    seq: int
    elapsed: int
    follows: bool = False
    """Text of the answer came before it."""


class Carrier(Protocol):
    """What a wire format can carry a status in."""

    def carry(self, extra: dict[str, object]) -> bytes:
        """An event of the format that says nothing, with ``extra`` keys; empty if there can be none
        yet."""

    def carry_text(self, key: str, text: str) -> bytes:
        """An event of the format that says ``text``, under the ``key`` of a delta."""


Dialect = Callable[[Status, Carrier], bytes]
"""One way of writing a status: a whole event, a whole line, or nothing."""


class Statuses:
    """The statuses of one answer. ``elapsed`` gives the milliseconds since the request came.
    ``as_text``: a status is text, and is not said twice in a row."""

    def __init__(
        self,
        policy: StatusPolicy,
        dialect: Dialect,
        carrier: Carrier,
        stats: Stats,
        elapsed: Callable[[], int],
        *,
        as_text: bool = False,
    ) -> None:
        self._texts = policy.texts
        self._dialect = dialect
        self._carrier = carrier
        self._stats = stats
        self._elapsed = elapsed
        self._as_text = as_text
        self._said = ""
        self._latest = Step(Phase.WAITING)
        self._count = 0

    def write(self, steps: Iterable[Step]) -> bytes:
        """The statuses of these steps."""
        return b"".join(map(self._write, steps))

    def again(self) -> bytes:
        """The latest status with its new time; before there was any, that upstream is waited
        for."""
        return self._write(self._latest)

    def _write(self, step: Step) -> bytes:
        if step.phase is not Phase.SOURCES:
            self._latest = step
        text = self._texts.said(step)
        if self._as_text and text == self._said:
            return b""
        self._said = text
        self._count += 1
        source = step.source
        if source is not None:
            source = Source(shown(source.title), source.url)
        status = Status(
            step.phase,
            text,
            shown(step.tool or ""),
            source,
            self._count,
            self._elapsed(),
            self._stats.visible_seen,
        )
        written = self._dialect(status, self._carrier)
        if written:
            self._stats.statuses[step.phase.value] += 1
            if text:
                self._stats.see_status()
        return written
