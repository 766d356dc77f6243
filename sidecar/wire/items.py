"""The items of a Responses answer, as wholes: which stay, and what of them.

Owns what an item is and what the rule says of it. A message's text is read by whoever asks, in a
stream piece by piece; the events and their indexes are those of :mod:`sidecar.wire.responses`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sidecar.core.channel import Channel
from sidecar.core.policy import (
    EncryptedReasoning,
    Reasoning,
    ToolCalls,
    ToolResults,
    UnknownFields,
)
from sidecar.core.stats import Stats
from sidecar.core.stream import MalformedChunk
from sidecar.wire.chat_fields import ANSWER_ROLES, RESULT_ROLES
from sidecar.wire.deltas import plain_text
from sidecar.wire.fields import Record, Table, prune
from sidecar.wire.logprobs import says_only
from sidecar.wire.responses_fields import (
    HOSTED_TOOLS,
    ITEM_CHANNELS,
    ITEMS,
    OPAQUE_ITEMS,
    PARTS,
    REASONING_PARTS,
    RESULT_KEYS,
)
from sidecar.wire.ruling import HOSTED, Ruling

MAX_ITEMS = 1024
"""Items of one answer that are told apart: more than the rounds of any agent. A higher index could
only serve to grow the state."""

_SIGNED_ONLY = "vllm:"
"""How vLLM begins what it calls encrypted: the messages in base64, and a signature."""

MAX_HIDDEN_CALLS = 65_536
"""Hidden calls of one answer whose ids are remembered; more than fit into any document."""

_CALL_ID = 256
"""Characters of an id that tell calls apart; what begins like a hidden call's is hidden too."""

TextOf = Callable[[int, str], str]
"""What is visible of the text of a message's part, given its position among the parts."""


INPUT_ROLES = ("user", "system", "developer")
"""The roles whose message is part of the request."""


def text_key(kind: Any) -> str | None:
    """The key with the text of a part of this type, if its text is the model's answer."""
    return {"output_text": "text", "refusal": "refusal"}.get(kind) if type(kind) is str else None


def is_reasoning_part(part: Any) -> bool:
    """Whether it is a part of a type that only reasoning has."""
    kind = part.get("type") if isinstance(part, dict) else None
    return isinstance(kind, str) and kind in REASONING_PARTS


class ItemJudge:
    """What the rule says of the items of one answer."""

    def __init__(self, ruling: Ruling, stats: Stats) -> None:
        self._policy = ruling.policy
        self._declared = ruling.declared
        self._stats = stats
        self._keeps_unknown = ruling.policy.unknown_fields is UnknownFields.PASS
        self._keeps_results = ruling.policy.tool_results is ToolResults.KEEP
        self._hidden_calls: set[str] = set()
        """The ids of calls that are hidden: so are their results."""

    def channel(self, item: Record) -> Channel | None:
        """What the item is as a whole; None for a message, and for one that says nothing."""
        kind = item.get("type")
        if isinstance(kind, str):
            if kind in ITEM_CHANNELS:
                return ITEM_CHANNELS[kind]
            if kind in ITEMS:
                return None
        return Channel.MARKUP

    def hides(self, item: Record, *, stored: bool = False) -> bool:
        """Whether the item as a whole is kept from the client. ``stored``: it may also be of the
        input. Raises MalformedChunk if there are too many calls."""
        kind = item.get("type")
        channel = self.channel(item)
        if channel is None:
            return kind not in OPAQUE_ITEMS and self._hides_role(item.get("role"), stored)
        hidden = self.hides_channel(channel)
        call_id = item.get("call_id")
        call_id = call_id[:_CALL_ID] if isinstance(call_id, str) else None
        if channel is Channel.TOOL_CALL:
            if hidden and self._policy.tool_calls is ToolCalls.DECLARED:
                hidden = not self._is_declared(item)
            if hidden and call_id is not None:
                self._hidden_calls.add(call_id)
                if len(self._hidden_calls) > MAX_HIDDEN_CALLS:
                    raise MalformedChunk(f"an answer has up to {MAX_HIDDEN_CALLS} calls")
        elif channel is Channel.TOOL_RESULT and call_id in self._hidden_calls:
            hidden = True
        return hidden

    def hides_channel(self, channel: Channel) -> bool:
        """Whether what is in this channel, and nothing more is known of it, is hidden."""
        if channel is Channel.REASONING:
            return self._policy.reasoning is Reasoning.DROP
        if channel is Channel.TOOL_CALL:
            return self._policy.tool_calls in (ToolCalls.DROP, ToolCalls.DECLARED)
        if channel is Channel.MARKUP:
            return not self._keeps_unknown
        return channel is Channel.TOOL_RESULT and not self._keeps_results

    def _hides_role(self, role: Any, stored: bool) -> bool:
        """Whether a message of this role is nobody's answer to the client."""
        if not role:
            return False
        if not isinstance(role, str):
            return True
        if stored and role in RESULT_ROLES:
            return not self._keeps_results
        return role not in ANSWER_ROLES and not (stored and role in INPUT_ROLES)

    def emptied(self, item: Record) -> Record | None:
        """What stays of hidden reasoning: what only its provider can read. None if nothing does."""
        sealed = item.get("encrypted_content")
        if (
            not isinstance(sealed, str)
            or not sealed
            or sealed.startswith(_SIGNED_ONLY)
            or self._policy.encrypted_reasoning is EncryptedReasoning.DROP
        ):
            return None
        left = {
            key: item[key] for key in ("id", "type", "status") if isinstance(item.get(key), str)
        }
        return left | {"summary": [], "encrypted_content": sealed}

    def hide(self, item: Record) -> None:
        """The item is hidden, and no reasoning; none of its text was counted before."""
        channel = self.channel(item)
        if channel is Channel.MARKUP:
            self._stats.unknown_fields += 1
        elif channel is not None:
            self._stats.hide_field(channel, _characters(item))

    def clean(self, item: Record) -> bool:
        """Take out of an item that stays, in place, what no table knows, and of a call what the
        tool returned. Returns whether anything was."""
        kind = item.get("type")
        table = ITEMS.get(kind) if isinstance(kind, str) else None
        changed = table is not None and self._prune(item, table)
        for holder, key in self._returned(item):
            holder[key] = None
            changed = True
        return changed

    def count_within(self, item: Record) -> None:
        """The item stays: count what of it does not, but for its text."""
        for holder, key in self._returned(item):
            self._stats.hide_field(Channel.TOOL_RESULT, _characters(holder[key]))
        content = item.get("content")
        if isinstance(content, list) and item.get("type") == "message":
            for part in filter(self._hides_part, content):
                self._stats.hide_field(Channel.REASONING, len(plain_text(part)))

    def clean_message(self, item: Record, text_of: TextOf) -> bool:
        """Judge the parts of a complete message, in place. Returns whether it was changed."""
        changed = self.clean(item)
        content = item.get("content")
        if not isinstance(content, list):
            return changed
        kept = []
        for position, part in enumerate(content):
            stays, part_changed = self.clean_part(part, partial(text_of, position))
            changed |= part_changed or not stays
            if stays:
                kept.append(part)
        item["content"] = kept
        return changed

    def clean_part(self, part: Any, visible: Callable[[str], str]) -> tuple[bool, bool]:
        """Judge a complete part, in place: whether it stays, and whether it was changed."""
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str) or kind not in PARTS:
            self._stats.unknown_fields += not self._keeps_unknown
            return self._keeps_unknown, False
        if self._hides_part(part):
            return False, True
        changed = self._prune(part, PARTS[kind])
        key = text_key(kind)
        text = part.get(key) if key else None
        if key is None or not text:
            return True, changed
        left = visible(text)
        if left != text:
            part[key] = left
            changed = True
        changed |= cut_logprobs(part, left)
        return bool(left), changed

    def prune_part(self, part: Record) -> bool:
        """Take out of a part that is not complete, in place, what no table knows. Returns whether
        anything was."""
        kind = part.get("type")
        return isinstance(kind, str) and kind in PARTS and self._prune(part, PARTS[kind])

    def _hides_part(self, part: Any) -> bool:
        return is_reasoning_part(part) and self.hides_channel(Channel.REASONING)

    def _returned(self, item: Record) -> Iterator[tuple[Record, str]]:
        """Where a call holds what the tool returned, if that is hidden."""
        kind = item.get("type")
        if self._keeps_results or not isinstance(kind, str):
            return
        for *way, key in RESULT_KEYS.get(kind, ()):
            holder: Any = item
            for step in way:
                holder = holder.get(step) if isinstance(holder, dict) else None
            if isinstance(holder, dict) and holder.get(key):
                yield holder, key

    def _is_declared(self, item: Record) -> bool:
        kind = str(item.get("type"))
        if kind not in HOSTED_TOOLS:
            return isinstance(item.get("name"), str) and item["name"] in self._declared
        label = item.get("server_label")
        if isinstance(label, str):
            return f"{HOSTED}mcp:{label}" in self._declared
        return any(HOSTED + tool in self._declared for tool in HOSTED_TOOLS[kind])

    def _prune(self, record: Record, table: Table) -> bool:
        dropped = prune(record, table, keep_unknown=self._keeps_unknown)
        self._stats.unknown_fields += dropped
        return bool(dropped)


def cut_logprobs(record: Record, text: str) -> bool:
    """Cut the log-probabilities out of an event or a part, in place, unless they spell ``text``.
    Returns whether they were."""
    logprobs = record.get("logprobs")
    if not logprobs or says_only({"content": logprobs}, text, ""):
        return False
    record["logprobs"] = []
    return True


_NAMES = frozenset(
    {"id", "type", "status", "call_id", "name", "namespace", "server_label", "encrypted_content"}
)


def _characters(value: Any) -> int:
    """The length of the strings in ``value``, names and ids apart."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(map(_characters, value))
    if isinstance(value, dict):
        return sum(_characters(part) for key, part in value.items() if key not in _NAMES)
    return 0
