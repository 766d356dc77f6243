"""What an operator wishes to happen to each channel. Knows nothing of markers or wire shapes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reasoning(StrEnum):
    """What becomes of reasoning, in the answer's text and in fields of its own."""

    DROP = "drop"
    KEEP = "keep"
    MOVE = "move"
    """Out of the answer's text into fields of its own, which stay."""


class ToolCalls(StrEnum):
    """What becomes of tool calls."""

    DROP = "drop"
    KEEP = "keep"
    DECLARED = "declared"
    """Kept if the request itself declares a tool of that name, dropped otherwise."""
    MOVE = "move"
    """Out of the answer's text into ``delta.tool_calls``; calls in fields of their own stay."""


class ToolResults(StrEnum):
    """What becomes of tool results."""

    DROP = "drop"
    KEEP = "keep"


class StartsIn(StrEnum):
    """Where an answer begins: a prompt template may already have opened a reasoning block."""

    AUTO = "auto"
    """Whatever the request and the answer say; in content if they do not."""
    CONTENT = "content"
    REASONING = "reasoning"


class Unclosed(StrEnum):
    """What becomes of a region that is still open when the answer ends."""

    HIDE = "hide"
    SHOW = "show"


class Quoted(StrEnum):
    """What a marker in a code span or a code fence of the visible answer is."""

    KEEP = "keep"
    """A mention: it stays, as the text it is."""
    DROP = "drop"
    """A marker like any other."""


class OnEmpty(StrEnum):
    """What to do with an answer of which nothing visible is left."""

    ALLOW = "allow"
    PROMOTE = "promote"
    """Send the hidden reasoning as the answer."""
    TEXT = "text"
    """Send a text of the operator's as the answer."""
    ERROR = "error"


class FinishReason(StrEnum):
    """Whether ``finish_reason: tool_calls`` becomes ``stop`` once every call is stripped."""

    REWRITE = "rewrite"
    KEEP = "keep"


class UnknownFields(StrEnum):
    """What becomes of JSON keys that the wire format's table does not know."""

    DROP = "drop"
    PASS = "pass"


class EncryptedReasoning(StrEnum):
    """What becomes of reasoning that only upstream can read, where reasoning is dropped.

    A client that keeps no state at the provider must send it back with its next request.
    """

    KEEP = "keep"
    DROP = "drop"


class Errors(StrEnum):
    """Whose words tell a client of an upstream's error."""

    UPSTREAM = "upstream"
    """Upstream's, as far as they can be shown."""
    OWN = "own"
    """Ours, one sentence for each class of errors."""


class Unknown(StrEnum):
    """What becomes of an answer, or an event of one, that no wire format can read."""

    BLOCK = "block"
    PASS = "pass"


class Mode(StrEnum):
    """Whether a rule acts."""

    ENFORCE = "enforce"
    OBSERVE = "observe"
    """Nothing is changed; what would be is counted."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The wishes of one rule. Immutable, shared by all its streams."""

    reasoning: Reasoning = Reasoning.DROP
    tool_calls: ToolCalls = ToolCalls.DROP
    tool_results: ToolResults = ToolResults.DROP
    reasoning_fields: tuple[str, ...] = ("reasoning_content",)
    """The fields that ``reasoning: move`` writes to, each the same text."""
    starts_in: StartsIn = StartsIn.AUTO
    unclosed: Unclosed = Unclosed.HIDE
    quoted: Quoted = Quoted.KEEP
    on_empty: OnEmpty = OnEmpty.ALLOW
    empty_text: str = ""
    """What TEXT sends."""
    finish_reason: FinishReason = FinishReason.REWRITE
    unknown_fields: UnknownFields = UnknownFields.DROP
    encrypted_reasoning: EncryptedReasoning = EncryptedReasoning.KEEP
    errors: Errors = Errors.UPSTREAM
    unknown: Unknown = Unknown.BLOCK
    case_insensitive: bool = False
    """Whether markers count in upper case and lower case, of ASCII."""
    attributes: bool = False
    """Whether an open tag counts with attributes too."""
    spaced_tags: bool = False
    """Whether a tag counts with white space around its name too."""
    html_escaped: bool = False
    """Whether a tag counts HTML-escaped too."""
    mode: Mode = Mode.ENFORCE

    @property
    def hides(self) -> bool:
        """Whether any channel is kept from the client (or moved): if not, nothing is touched."""
        return not (
            self.reasoning is Reasoning.KEEP
            and self.tool_calls is ToolCalls.KEEP
            and self.tool_results is ToolResults.KEEP
        )
