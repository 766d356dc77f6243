"""Every JSON key that an answer of Anthropic's Messages API may carry while a rule hides anything.

The shapes are those of the API reference ("Create a Message", "Streaming Messages", and the same of
the beta) and of the servers that copy it. An event, a block, a delta or a key that is not here is
dropped and counted.
"""

from __future__ import annotations

from sidecar.core.channel import Channel
from sidecar.wire.chat_fields import SIDE_DOORS, TIMINGS
from sidecar.wire.errors import ERROR
from sidecar.wire.fields import (
    ANY_LIST,
    ANY_OBJECT,
    FLAG,
    NOTHING,
    NUMBER,
    TEXT,
    TEXT_OR_NUMBER,
    TEXTS,
    Holds,
    Table,
    an_object,
    objects,
)

_ANYTHING = Holds(TEXT_OR_NUMBER.types | FLAG.types | ANY_LIST.types | ANY_OBJECT.types)
"""In a call or a result, which is kept or dropped whole."""

# The message.

_TOKENS: Table = {
    "input_tokens": NUMBER,
    "output_tokens": NUMBER,
    "cache_creation_input_tokens": NUMBER,
    "cache_read_input_tokens": NUMBER,
    "cache_creation": an_object(
        {"ephemeral_1h_input_tokens": NUMBER, "ephemeral_5m_input_tokens": NUMBER}
    ),
}

USAGE: Table = _TOKENS | {
    "fallback_credit": an_object(
        {"status": an_object({"type": TEXT, "reason": TEXT, "remove_to_redeem": TEXTS})}
    ),
    "inference_geo": TEXT,
    "iterations": objects(_TOKENS | {"type": TEXT, "model": TEXT}),
    "output_tokens_details": an_object({"thinking_tokens": NUMBER}),
    "server_tool_use": an_object({"web_fetch_requests": NUMBER, "web_search_requests": NUMBER}),
    "service_tier": TEXT,
    "speed": TEXT,
    "total_tokens": NUMBER,  # LiteLLM
    "is_byok": FLAG,  # OpenRouter
    "cost": NUMBER,
    "cost_details": an_object(
        dict.fromkeys(
            (
                "upstream_inference_cost",
                "upstream_inference_prompt_cost",
                "upstream_inference_completions_cost",
                "upstream_inference_input_cost",
                "upstream_inference_output_cost",
            ),
            NUMBER,
        )
    ),
}

_ENDING: Table = {
    "stop_reason": TEXT,
    "stop_sequence": TEXT,
    "stop_details": an_object(
        {
            "type": TEXT,
            "category": TEXT,
            "explanation": TEXT,
            "fallback_credit_token": TEXT,
            "fallback_has_prefill_claim": FLAG,
            "recommended_model": TEXT,
        }
    ),
    "container": an_object(
        {
            "id": TEXT,
            "expires_at": TEXT,
            "skills": objects({"type": TEXT, "skill_id": TEXT, "version": TEXT}),
        }
    ),
}
"""Why and where a message ended: in a stream, the ``delta`` of its last but one event."""

_MANAGED: Table = {
    "context_management": an_object(
        {
            "applied_edits": objects(
                {
                    "type": TEXT,
                    "cleared_input_tokens": NUMBER,
                    "cleared_thinking_turns": NUMBER,
                    "cleared_tool_uses": NUMBER,
                }
            )
        }
    ),
    "input_transformations": objects({"type": TEXT, "path": TEXT, "reason": TEXT}),
}
"""What was done to the request before the model read it."""

MESSAGE: Table = (
    SIDE_DOORS
    | _ENDING
    | _MANAGED
    | {
        "id": TEXT,
        "type": TEXT,
        "role": TEXT,
        "model": TEXT,
        "content": ANY_LIST,
        "usage": an_object(USAGE),
        "diagnostics": an_object(
            {"cache_miss_reason": an_object({"type": TEXT, "cache_missed_input_tokens": NUMBER})}
        ),
        "provider": TEXT,  # OpenRouter
        "timings": an_object(TIMINGS),  # llama.cpp
        # What a message says, in a place where no block is read.
        "provider_specific_fields": NOTHING,  # LiteLLM
        "reasoning_content": NOTHING,
        "thinking_blocks": NOTHING,
    }
)
"""The message object: the whole answer, or the envelope that a stream begins with."""

STOP_REASONS = frozenset(
    {
        "end_turn",
        "stop_sequence",
        "tool_use",
        "max_tokens",
        "model_context_window_exceeded",
        "pause_turn",
        "compaction",
        "refusal",
    }
)
CALL_STOPS = frozenset({"tool_use"})
CUT_OFF = STOP_REASONS - CALL_STOPS - {"end_turn", "stop_sequence"}
"""The reasons that say that the model would have gone on, or was not let."""

# Events.

_EVENT: Table = SIDE_DOORS | {"type": TEXT}
_OF_BLOCK: Table = _EVENT | {"index": NUMBER}

EVENTS: dict[str, Table] = {
    "message_start": _EVENT | {"message": ANY_OBJECT},
    "content_block_start": _OF_BLOCK | {"content_block": ANY_OBJECT},
    "content_block_delta": _OF_BLOCK | {"delta": ANY_OBJECT},
    "content_block_stop": _OF_BLOCK,
    "message_delta": _EVENT
    | _MANAGED
    | {
        "delta": an_object(_ENDING),
        "usage": an_object(USAGE),
        "timings": an_object(TIMINGS),  # llama.cpp
    },
    "message_stop": _EVENT
    | {
        "timings": an_object(TIMINGS),  # llama.cpp
        "amazon-bedrock-invocationMetrics": an_object(
            dict.fromkeys(
                (
                    "inputTokenCount",
                    "outputTokenCount",
                    "cacheReadInputTokenCount",
                    "cacheWriteInputTokenCount",
                    "invocationLatency",
                    "firstByteLatency",
                ),
                NUMBER,
            )
        ),
    },
    "ping": _EVENT,
    "error": _EVENT | {"error": ERROR, "request_id": TEXT},
}
"""By its type, what an event may hold. What is in a message, a block, a block's delta or an error
has a table of its own."""

# Blocks.

CITATION: Table = {
    "type": TEXT,
    "cited_text": TEXT,
    "title": TEXT,
    "url": TEXT,
    "source": TEXT,
    "file_id": TEXT,
    "document_index": NUMBER,
    "document_title": TEXT,
    "encrypted_index": TEXT,
    "search_result_index": NUMBER,
    "start_char_index": NUMBER,
    "end_char_index": NUMBER,
    "start_page_number": NUMBER,
    "end_page_number": NUMBER,
    "start_block_index": NUMBER,
    "end_block_index": NUMBER,
}
"""A citation of any type: those of the parts of a document, and those of what a search found."""

_BLOCK: Table = SIDE_DOORS | {"type": TEXT}
_COMPACTED: Table = {"content": TEXT, "encrypted_content": TEXT}

_REASONING: dict[str, Table] = {
    "thinking": {"thinking": TEXT, "signature": TEXT},
    "redacted_thinking": {"data": TEXT},
    # A summary of the rounds before, hidden text included, that the model wrote for itself.
    "compaction": _COMPACTED | {"signature": TEXT, "tool_changes": ANY_LIST},
}
_CALL: dict[str, Table] = {
    kind: dict.fromkeys(keys, _ANYTHING)
    for kind, keys in {
        "tool_use": ("caller", "id", "input", "name", "toolset_name"),
        "server_tool_use": ("caller", "id", "input", "name"),
        "mcp_tool_use": ("id", "input", "name", "server_name"),
        "mcp_tool_listing": ("mcp_server_name", "tools"),
    }.items()
}
_RESULT: dict[str, Table] = dict.fromkeys(
    (
        "tool_result",
        "advisor_tool_result",
        "bash_code_execution_tool_result",
        "code_execution_tool_result",
        "mcp_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "web_fetch_tool_result",
        "web_search_tool_result",
    ),
    dict.fromkeys(("caller", "content", "is_error", "tool_use_id"), _ANYTHING),
)
_FALLBACK = an_object({"model": TEXT})
_OPAQUE: dict[str, Table] = {
    "container_upload": {"file_id": TEXT},
    "fallback": {
        "from": _FALLBACK,
        "to": _FALLBACK,
        "trigger": an_object({"type": TEXT, "category": TEXT}),
    },
}
OPAQUE_BLOCKS = frozenset(_OPAQUE)
"""The types of blocks that hold no text: a file that the client may fetch, a change of models."""

BLOCKS: dict[str, Table] = {
    kind: _BLOCK | table
    for kind, table in (
        {"text": {"text": TEXT, "citations": objects(CITATION)}}
        | _REASONING
        | _CALL
        | _RESULT
        | _OPAQUE
    ).items()
}
"""By its type, what a block of a message's content may hold."""

BLOCK_CHANNELS: dict[str, Channel] = (
    dict.fromkeys(_REASONING, Channel.REASONING)
    | dict.fromkeys(_CALL, Channel.TOOL_CALL)
    | dict.fromkeys(_RESULT, Channel.TOOL_RESULT)
)
"""By its type, what a block is as a whole. Text is read."""

# Deltas.

DELTAS: dict[str, Table] = {
    kind: _BLOCK | table
    for kind, table in {
        "text_delta": {"text": TEXT},
        "citations_delta": {"citation": an_object(CITATION)},
        "thinking_delta": {"thinking": TEXT, "estimated_tokens": NUMBER},
        "signature_delta": {"signature": TEXT},
        "compaction_delta": _COMPACTED,
        "input_json_delta": {"partial_json": TEXT},
    }.items()
}
"""By its type, what the delta of a block may hold."""

DELTA_CHANNELS: dict[str, Channel] = dict.fromkeys(
    ("thinking_delta", "signature_delta", "compaction_delta"), Channel.REASONING
) | {"input_json_delta": Channel.TOOL_CALL}
"""By the type of a delta, what its block is, even if the block was never announced."""
