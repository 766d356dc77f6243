"""What the rules that only observe would have done: counted, and shown at ``/admin/observed``.

Numbers, and names out of the configuration; never a word of an answer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sidecar.core.jsontext import dump
from sidecar.core.stats import Stats


@dataclass(slots=True)
class _Counts:
    """Those of one rule: answers, and characters of them by channel and format."""

    answers: int = 0
    changed: int = 0
    unknown_fields: int = 0
    hiding: Counter[tuple[str, str]] = field(default_factory=Counter)
    characters: Counter[tuple[str, str]] = field(default_factory=Counter)


class Observed:
    """The counts ``since`` a moment, in seconds since 1970, by the names of rules: they outlive a
    reload."""

    def __init__(self, since: float) -> None:
        self._since = datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds")
        self._rules: dict[str, _Counts] = {}

    def add(self, rule: str, stats: Stats) -> None:
        """An answer is over, or broke off."""
        counts = self._rules.setdefault(rule, _Counts())
        hidden = {
            (channel.value, format_id or "none"): number
            for (channel, format_id), number in stats.hidden_characters.items()
            if number
        }
        counts.answers += 1
        counts.changed += bool(hidden or stats.unknown_fields)
        counts.unknown_fields += stats.unknown_fields
        counts.hiding.update(hidden.keys())
        counts.characters.update(hidden)

    def document(self) -> bytes:
        """All of it, as JSON."""
        rules = [_shown(rule, counts) for rule, counts in sorted(self._rules.items())]
        return dump({"since": self._since, "rules": rules}, exact=False)


def _shown(rule: str, counts: _Counts) -> dict[str, Any]:
    return {
        "rule": rule,
        "answers": counts.answers,
        "changed": counts.changed,
        "unknown_fields": counts.unknown_fields,
        "hidden": [
            {
                "channel": channel,
                "format": format_id,
                "answers": counts.hiding[channel, format_id],
                "characters": characters,
            }
            for (channel, format_id), characters in sorted(counts.characters.items())
        ],
    }
