"""Statuses as tests see them: the steps of an answer, without a clock and without a dialect."""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.core.progress import Phase, Step
from sidecar.core.stats import Stats
from sidecar.core.status import NO_STATUSES, Form, Statuses
from sidecar.dialects import DIALECTS


class _Nothing:
    """A carrier that carries nothing."""

    def carry(self, extra: dict[str, object]) -> bytes:
        return b""

    def carry_text(self, key: str, text: str) -> bytes:
        return b""


class Collected(Statuses):
    """Keeps the steps, and writes nothing."""

    def __init__(self) -> None:
        super().__init__(NO_STATUSES, DIALECTS[Form.COMMENT], _Nothing(), Stats(), lambda: 0)
        self.steps: list[Step] = []

    def write(self, steps: Iterable[Step]) -> bytes:
        self.steps.extend(steps)
        return b""


def phases_of(steps: Iterable[Step]) -> list[str]:
    """The phases as a recording's YAML has them, such as ``calling_tool(search)``."""
    return [_named(step) for step in steps]


def _named(step: Step) -> str:
    if step.phase is Phase.CALLING_TOOL:
        return f"{step.phase.value}({step.tool or ''})"
    return step.phase.value
