"""A message's content as a list of typed parts, some of which may be reasoning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sidecar.core.stats import Stats
from sidecar.wire.chat_fields import SHOWN_PARTS, THINKING_PARTS
from sidecar.wire.deltas import plain_text
from sidecar.wire.fields import prune


class Parts(NamedTuple):
    """How the parts of one choice are judged.

    ``judge`` gives the visible text of a part's text, and what is moved out of it;
    ``hides_reasoning`` says whether a part that is reasoning, with this text, is hidden.
    """

    judge: Callable[[str], tuple[str, str]]
    hides_reasoning: Callable[[str], bool]
    keeps_unknown: bool
    stats: Stats

    def read(self, parts: list[Any]) -> tuple[list[Any], str]:
        """The parts that stay, and the text that is moved out of them."""
        kept: list[Any] = []
        moved = ""
        for part in parts:
            if not self._knows(part):
                continue
            if part["type"] in THINKING_PARTS:
                if not self.hides_reasoning(plain_text(part)):
                    kept.append(part)
                continue
            key = "refusal" if part["type"] == "refusal" else "text"
            text = part.get(key)
            if isinstance(text, str) and text:
                visible, more = self.judge(text)
                moved += more
                if not visible:
                    continue
                part = part if visible == text else part | {key: visible}
            kept.append(part)
        return kept, moved

    def _knows(self, part: Any) -> bool:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str):
            if kind in THINKING_PARTS:
                return True
            if kind in SHOWN_PARTS:
                self.stats.unknown_fields += prune(
                    part, SHOWN_PARTS[kind], keep_unknown=self.keeps_unknown
                )
                return True
            if self.keeps_unknown:
                return True
        self.stats.unknown_fields += 1
        return False
