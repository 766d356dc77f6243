"""The blocks of a Messages answer, as wholes: which stay.

Hidden reasoning is hidden whole. A ``thinking`` block that was emptied could not be sent back: its
signature is that of its text. So ``encrypted_reasoning`` has nothing to keep here.
"""

from __future__ import annotations

from typing import Any

from sidecar.core.channel import Channel
from sidecar.core.jsontext import dump
from sidecar.core.policy import Reasoning, ToolCalls, ToolResults, UnknownFields
from sidecar.core.stats import Stats
from sidecar.wire.fields import Record
from sidecar.wire.messages_fields import BLOCK_CHANNELS, BLOCKS
from sidecar.wire.ruling import HOSTED, Ruling

_SERVER_KEYS = {"mcp_tool_use": "server_name", "mcp_tool_listing": "mcp_server_name"}
_NOT_TEXT = frozenset(
    {"type", "id", "name", "tool_use_id", "signature", "data", "encrypted_content"}
)
"""The keys with names, and with what only upstream can read."""


class BlockJudge:
    """What the rule says of the blocks of one answer."""

    def __init__(self, ruling: Ruling, stats: Stats) -> None:
        self.kept_calls = 0
        """Calls that the client is to run."""
        self.hidden_calls = 0
        self._policy = ruling.policy
        self._declared = ruling.declared
        self._stats = stats
        self._hidden_ids: set[str] = set()
        """Of calls: their results are hidden too."""

    def hides(self, block: Record) -> bool:
        """Whether the block as a whole is kept from the client."""
        kind = block.get("type")
        if not isinstance(kind, str) or kind not in BLOCKS:
            hidden = self._policy.unknown_fields is UnknownFields.DROP
            self._stats.unknown_fields += hidden
            return hidden
        channel = BLOCK_CHANNELS.get(kind)
        hidden = self.hides_channel(channel)
        if channel is Channel.TOOL_CALL:
            if hidden and self._policy.tool_calls is ToolCalls.DECLARED:
                hidden = not self._is_declared(block)
            self.kept_calls += kind == "tool_use" and not hidden
            self.hidden_calls += hidden
            if hidden and isinstance(block.get("id"), str):
                self._hidden_ids.add(block["id"])
        elif channel is Channel.TOOL_RESULT:
            call = block.get("tool_use_id")
            hidden = hidden or (isinstance(call, str) and call in self._hidden_ids)
        return hidden

    def hides_channel(self, channel: Channel | None) -> bool:
        """Whether what is in this channel, and nothing more is known of it, is hidden."""
        if channel is Channel.REASONING:
            return self._policy.reasoning is Reasoning.DROP
        if channel is Channel.TOOL_CALL:
            return self._policy.tool_calls in (ToolCalls.DROP, ToolCalls.DECLARED)
        hides_results = self._policy.tool_results is ToolResults.DROP
        return channel is Channel.TOOL_RESULT and hides_results

    def _is_declared(self, block: Record) -> bool:
        key = _SERVER_KEYS.get(block["type"])
        if key is None:
            return isinstance(block.get("name"), str) and block["name"] in self._declared
        server = block.get(key)
        tool = f"{HOSTED}mcp:{server}" if isinstance(server, str) else f"{HOSTED}mcp"
        return tool in self._declared


def characters(value: Any) -> int:
    """The length of the text in a block, or in the delta of one; of a call that of its input, as
    JSON."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(map(characters, value))
    if not isinstance(value, dict):
        return 0
    said = value.get("input")
    texts = (part for key, part in value.items() if key not in _NOT_TEXT and key != "input")
    return sum(map(characters, texts)) + (len(dump(said, exact=False)) if said else 0)
