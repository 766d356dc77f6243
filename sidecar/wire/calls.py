"""Tool calls in fields of their own: which are kept, and under which index."""

from __future__ import annotations

import operator
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sidecar.core.channel import Channel
from sidecar.core.jsontext import as_int
from sidecar.core.policy import ToolCalls
from sidecar.core.stats import Stats
from sidecar.wire.fields import Record

MAX_UNNAMED = 65_536
"""Characters of a call's arguments kept until its name arrives. Names come first everywhere but
in a few servers, and there the first delta has no arguments; a longer one stays hidden."""


MAX_CALLS = 1024
"""Calls of one choice that are told apart. No model makes as many; those beyond share one fate, and
it is to be hidden."""


@dataclass(slots=True)
class _Call:
    """One call of the stream. ``index`` is the client's; None while the call is not kept."""

    id: str | None = None
    named: bool = False
    index: int | None = None
    waiting: list[Record] = field(default_factory=list)
    size: int = 0


class CallFilter:
    """The tool calls of one choice. All deltas of a hidden call are hidden."""

    def __init__(self, wish: ToolCalls, declared: Collection[str], stats: Stats) -> None:
        self.kept = 0
        self.hidden = 0
        self._wish = wish
        self._declared = declared
        self._stats = stats
        self._calls: dict[int, _Call] = {}
        self._last = -1
        self._function = _Call()

    def filter(self, deltas: list[Any]) -> list[Any]:
        """The deltas that stay, renumbered; ``deltas`` itself if all stay as they are."""
        if self._wish is ToolCalls.KEEP:
            self.kept += len(deltas)
            return deltas
        kept: list[Any] = []
        for delta in deltas:
            if isinstance(delta, dict):
                kept.extend(self._filter_one(delta))
        return deltas if len(kept) == len(deltas) and all(map(operator.is_, kept, deltas)) else kept

    def filter_function(self, value: Record) -> Record | None:
        """The legacy ``function_call``, or None if it is hidden."""
        if self._wish is ToolCalls.KEEP:
            self.kept += 1
            return value
        call = self._function
        if not call.named and value.get("name"):
            self._name(call, value["name"])
        if call.index is None:
            self._hide(value)
            return None
        return value

    def finish(self) -> None:
        """No further delta will come: a call that was never named is hidden."""
        for call in self._calls.values():
            if not call.named:
                self._name(call, None)
                for delta in call.waiting:
                    self._hide(function_of(delta))

    def _filter_one(self, delta: Record) -> list[Record]:
        function = function_of(delta)
        call = self._call_of(delta, function)
        if not call.named:
            name = function.get("name")
            if not name and self._waits(call):
                # Counted even if empty: each delta is kept.
                call.size += 1 + len(str(function.get("arguments") or ""))
                call.waiting.append(delta)
                return []
            self._name(call, name)
        waiting, call.waiting = call.waiting, []
        if call.index is None:
            for hidden in [*waiting, delta]:
                self._hide(function_of(hidden))
            return []
        return [_renumbered(kept, call.index) for kept in [*waiting, delta]]

    def _call_of(self, delta: Record, function: Record) -> _Call:
        index = as_int(delta.get("index"))
        if index is None:
            # Mistral numbers nothing: a name begins the next call.
            index = self._last + 1 if function.get("name") or self._last < 0 else self._last
        self._last = index
        if index not in self._calls and len(self._calls) >= MAX_CALLS:
            return _Call(named=True)
        call = self._calls.setdefault(index, _Call())
        call_id = delta.get("id")
        if call.named and call.id and call_id and call_id != call.id and function.get("name"):
            # Some servers give parallel calls the same index.
            call = self._calls[index] = _Call()
        call.id = call.id or call_id
        return call

    def _name(self, call: _Call, name: Any) -> None:
        call.named = True
        if self._wish is ToolCalls.DECLARED and isinstance(name, str) and name in self._declared:
            call.index = self.kept
            self.kept += 1
        else:
            self.hidden += 1

    def _waits(self, call: _Call) -> bool:
        return self._wish is ToolCalls.DECLARED and call.size <= MAX_UNNAMED

    def _hide(self, function: Record) -> None:
        said = (str(function.get(key) or "") for key in ("name", "arguments", "input"))
        self._stats.hide_field(Channel.TOOL_CALL, sum(map(len, said)))


def function_of(delta: Record) -> Record:
    """The object with the name in a tool, or in a call: ``function``, or ``custom``; empty if it
    has none."""
    for key in ("function", "custom"):
        value = delta.get(key)
        if isinstance(value, dict):
            return value
    return {}


def _renumbered(delta: Record, index: int) -> Record:
    if "index" not in delta or as_int(delta["index"]) == index:
        return delta
    return delta | {"index": index}
