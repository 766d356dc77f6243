"""Tool calls in fields of their own: which are kept, and under which index."""

from __future__ import annotations

import operator
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sidecar.core.channel import Channel
from sidecar.core.jsontext import as_int, dump
from sidecar.core.policy import ToolCalls
from sidecar.core.progress import Progress
from sidecar.core.stats import Stats
from sidecar.wire.fields import Record

MAX_UNNAMED = 65_536
"""Bytes of deltas kept until their call's name arrives. Names come first everywhere but in a few
servers, and there the first delta has no arguments; what comes after that many stays hidden."""

MAX_CALLS = 128
"""Calls of one message that are told apart: as many tools as OpenAI's API takes. Those beyond share
one fate, and it is to be hidden."""


@dataclass(slots=True)
class _Call:
    """One call of a message. ``index`` is the client's; None while the call is not kept."""

    id: Any = None
    name: Any = None
    index: int | None = None
    waiting: list[Record] = field(default_factory=list)
    told: bool = False
    """Its name was told of."""

    def continues(self, call_id: Any, name: Any) -> bool:
        """Whether a delta with this id and name, either of which may be missing, is more of it.

        Some servers give parallel calls the same index, and some repeat id and name; Mistral's
        later deltas have another id and no name.
        """
        if not name:
            return True
        same_id = not (self.id and call_id) or call_id == self.id
        return same_id and (not self.name or name == self.name)


class CallFilter:
    """The tool calls of one choice. All deltas of a hidden call are hidden; ``progress`` is told of
    every call."""

    def __init__(
        self, wish: ToolCalls, declared: Collection[str], stats: Stats, progress: Progress
    ) -> None:
        self.kept = 0
        self.hidden = 0
        self._wish = wish
        self._declared = declared
        self._stats = stats
        self._progress = progress
        self._room = MAX_UNNAMED
        self._calls: dict[int, _Call] = {}
        self._last = -1
        self._latest: _Call | None = None
        """The one that had the last delta."""
        self._function = _Call()

    @property
    def goes_on(self) -> bool:
        """Whether it is certain what becomes of more arguments of the call that was read last, and
        nobody need be told of them."""
        named = self._latest is not None and self._latest.name is not None
        return named and not self._progress.reads_arguments

    def hide_more(self, arguments: str) -> None:
        """There were more arguments of that call, and they are hidden as those before."""
        self._stats.hide_field(Channel.TOOL_CALL, len(arguments))

    def take_index(self) -> int:
        """The client's index for one more call that is kept."""
        self.kept += 1
        return self.kept - 1

    def start_message(self) -> None:
        """The calls of another message follow; those that were never named are hidden."""
        self.finish()
        self._calls = {}
        self._last = -1
        self._latest = None
        self._function = _Call()

    def finish(self) -> None:
        """No further delta will come: a call that was never named is hidden."""
        for call in self._calls.values():
            if not call.told:
                call.told = True
                self._progress.call(call, "")
            if call.name is None:
                self._name(call, "")
                self._hide_all(call)

    def filter(self, deltas: list[Any], *, whole: bool = False) -> list[Any]:
        """The deltas that stay, renumbered; ``deltas`` itself if all stay as they are. ``whole``:
        each is a call of its own."""
        if self._wish is ToolCalls.KEEP:
            self.kept += len(deltas)
            for position, delta in enumerate(deltas):
                if isinstance(delta, dict):
                    self._pass(delta, position if whole else None)
            return deltas
        kept: list[Any] = []
        for position, delta in enumerate(deltas):
            if isinstance(delta, dict):
                kept.extend(self._filter_one(delta, position if whole else None))
        same = len(kept) == len(deltas) and all(map(operator.is_, kept, deltas))
        return deltas if same else kept

    def filter_function(self, value: Record) -> Record | None:
        """The legacy ``function_call``, or None if it is hidden."""
        name = value.get("name")
        if not self._function.continues(None, name):
            self._function = _Call()
        call = self._function
        self._tell(call, name, value)
        if self._wish is ToolCalls.KEEP:
            self.kept += 1
            return value
        if call.name is None and name:
            self._name(call, name)
        if call.index is None:
            self._hide(value)
            return None
        return value

    def _filter_one(self, delta: Record, position: int | None) -> list[Record]:
        function = function_of(delta)
        name = function.get("name")
        call = self._call_of(delta, name, position)
        self._tell(call, name, function)
        if call.name is None:
            if not name and self._waits(delta):
                call.waiting.append(delta)
                return []
            self._name(call, name or "")
        call.waiting.append(delta)
        if call.index is None:
            self._hide_all(call)
            return []
        waiting, call.waiting = call.waiting, []
        return [_renumbered(kept, call.index) for kept in waiting]

    def _pass(self, delta: Record, position: int | None) -> None:
        """Tell of a delta that stays as it is."""
        function = function_of(delta)
        name = function.get("name")
        call = self._call_of(delta, name, position)
        self._tell(call, name, function)
        call.name = call.name or name

    def _tell(self, call: _Call, name: Any, function: Record) -> None:
        said = name if isinstance(name, str) and name else None
        call.told = call.told or said is not None
        self._progress.call(call, said, function.get("arguments") or function.get("input") or "")

    def _call_of(self, delta: Record, name: Any, position: int | None) -> _Call:
        index = as_int(delta.get("index")) if position is None else position
        if index is None:
            # Mistral numbers nothing: a name begins the next call.
            index = self._last + 1 if name or self._last < 0 else self._last
        self._last = index
        if index not in self._calls and len(self._calls) >= MAX_CALLS:
            self._latest = _Call(name="")
            return self._latest
        call = self._calls.setdefault(index, _Call())
        if not call.continues(delta.get("id"), name):
            if call.name is None:
                self._name(call, "")
                self._hide_all(call)
            call = self._calls[index] = _Call()
        call.id = call.id or delta.get("id")
        self._latest = call
        return call

    def _name(self, call: _Call, name: Any) -> None:
        call.name = name
        if self._wish is ToolCalls.KEEP:
            return
        declared = isinstance(name, str) and name in self._declared
        if self._wish is ToolCalls.MOVE or (self._wish is ToolCalls.DECLARED and declared):
            call.index = self.take_index()
        else:
            self.hidden += 1

    def _waits(self, delta: Record) -> bool:
        if self._wish is not ToolCalls.DECLARED or self._room <= 0:
            return False
        self._room -= len(dump(delta, exact=True))
        return True

    def _hide_all(self, call: _Call) -> None:
        for delta in call.waiting:
            self._hide(function_of(delta))
        call.waiting = []

    def _hide(self, function: Record) -> None:
        self._stats.hide_field(Channel.TOOL_CALL, len(_said(function)))


def function_of(delta: Record) -> Record:
    """The object with the name in a tool, or in a call: ``function``, or ``custom``; empty if it
    has none."""
    for key in ("function", "custom"):
        value = delta.get(key)
        if isinstance(value, dict):
            return value
    return {}


def more_of_call(deltas: Any) -> str:
    """The arguments in the ``tool_calls`` of an increment, if they say nothing else of one call;
    empty if they do."""
    if not isinstance(deltas, list) or len(deltas) != 1 or not isinstance(deltas[0], dict):
        return ""
    function = deltas[0].get("function")
    if "custom" in deltas[0] or not isinstance(function, dict):
        return ""
    said = [key for key, value in function.items() if value]
    arguments = function["arguments"] if said == ["arguments"] else ""
    return arguments if isinstance(arguments, str) else ""


def said_in_calls(message: Record) -> str:
    """The names and arguments in the fields of a message, or of one increment of it, that hold
    calls."""
    calls = (call for call in message.get("tool_calls") or () if isinstance(call, dict))
    return "".join(map(_said, (*map(function_of, calls), message.get("function_call") or {})))


def _said(function: Record) -> str:
    """What a call says: texts, or anything else as JSON, as Ollama's arguments are parsed."""
    values = filter(None, map(function.get, ("name", "arguments", "input")))
    return "".join(v if isinstance(v, str) else dump(v, exact=True).decode() for v in values)


def _renumbered(delta: Record, index: int) -> Record:
    if "index" not in delta or as_int(delta["index"]) == index:
        return delta
    return delta | {"index": index}
