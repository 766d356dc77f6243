"""Every JSON key that a chat completion may carry while a rule hides anything.

The shapes are those of OpenAI's API reference and of the servers that copy it. A key that is not
here is dropped and counted: tomorrow's server will name its reasoning differently.
"""

from __future__ import annotations

from sidecar.wire.errors import ERROR
from sidecar.wire.fields import (
    FLAG,
    LIST,
    LIST_OR_TEXT,
    NUMBER,
    OBJECT,
    TEXT,
    TEXT_OR_NUMBER,
    Table,
    objects,
)
from sidecar.wire.logprobs import LOGPROBS

TOKEN_DETAILS: Table = dict.fromkeys(
    (
        "accepted_prediction_tokens",
        "audio_tokens",
        "cache_creation_tokens",
        "cache_write_tokens",
        "cached_tokens",
        "image_tokens",
        "reasoning_tokens",
        "rejected_prediction_tokens",
        "text_tokens",
        "video_tokens",
    ),
    NUMBER,
)

USAGE: Table = {
    "prompt_tokens": NUMBER,
    "completion_tokens": NUMBER,
    "total_tokens": NUMBER,
    "prompt_tokens_details": objects(TOKEN_DETAILS),
    "completion_tokens_details": objects(TOKEN_DETAILS),
    "prompt_cache_hit_tokens": NUMBER,  # DeepSeek
    "prompt_cache_miss_tokens": NUMBER,
    "reasoning_tokens": NUMBER,  # SGLang
    "queue_time": NUMBER,  # Groq
    "prompt_time": NUMBER,
    "completion_time": NUMBER,
    "total_time": NUMBER,
    "num_sources_used": NUMBER,  # xAI
    "is_byok": FLAG,  # OpenRouter
    "cost": NUMBER,
    "cost_details": objects(
        {
            "upstream_inference_cost": NUMBER,
            "upstream_inference_prompt_cost": NUMBER,
            "upstream_inference_completions_cost": NUMBER,
        }
    ),
}

TIMINGS: Table = dict.fromkeys(  # llama.cpp
    (
        "cache_n",
        "draft_n",
        "draft_n_accepted",
        "predicted_ms",
        "predicted_n",
        "predicted_per_second",
        "predicted_per_token_ms",
        "prompt_ms",
        "prompt_n",
        "prompt_per_second",
        "prompt_per_token_ms",
    ),
    NUMBER,
)

CONTENT_FILTERS: Table = dict.fromkeys(  # Azure
    (
        "custom_blocklists",
        "hate",
        "indirect_attack",
        "jailbreak",
        "profanity",
        "protected_material_code",
        "protected_material_text",
        "self_harm",
        "sexual",
        "violence",
    ),
    objects({"filtered": FLAG, "detected": FLAG, "severity": TEXT}),
)

ENVELOPE: Table = {
    "id": TEXT,
    "object": TEXT,
    "created": NUMBER,
    "model": TEXT,
    "choices": LIST,
    "usage": objects(USAGE),
    "system_fingerprint": TEXT,
    "service_tier": TEXT,
    "obfuscation": TEXT,
    "error": ERROR,
    "provider": TEXT,  # OpenRouter
    "citations": LIST,  # Perplexity, xAI
    "search_results": LIST,
    "prompt_filter_results": objects(  # Azure
        {"prompt_index": NUMBER, "content_filter_results": objects(CONTENT_FILTERS)}
    ),
    "timings": objects(TIMINGS),  # llama.cpp
    "prompt_progress": objects(
        {"total": NUMBER, "cache": NUMBER, "processed": NUMBER, "time_ms": NUMBER}
    ),
    "x_groq": objects({"id": TEXT, "seed": NUMBER, "usage": objects(USAGE)}),
}

CARRIED = frozenset(
    {
        "usage",
        "citations",
        "search_results",
        "prompt_filter_results",
        "timings",
        "prompt_progress",
        "x_groq",
    }
)
"""The keys of an envelope for whose sake a chunk is sent although its choices say nothing."""

CHOICE: Table = {
    "index": NUMBER,
    "delta": OBJECT,
    "message": OBJECT,
    "logprobs": objects(LOGPROBS),
    "finish_reason": TEXT,
    "native_finish_reason": TEXT,  # OpenRouter
    "stop_reason": TEXT_OR_NUMBER,  # vLLM
    "matched_stop": TEXT_OR_NUMBER,  # SGLang
    "token_ids": LIST,  # vLLM
    "content_filter_results": objects(CONTENT_FILTERS),  # Azure
}

STOP_KEYS = ("native_finish_reason", "stop_reason", "matched_stop")
"""The keys of a choice that may name the marker at which generation stopped."""

MESSAGE: Table = {
    "role": TEXT,
    "content": LIST_OR_TEXT,
    "refusal": TEXT,
    "reasoning_content": TEXT,
    "reasoning": TEXT,
    "reasoning_details": LIST,
    "reasoning_items": LIST,
    "thinking_blocks": LIST,
    "provider_specific_fields": OBJECT,
    "tool_calls": LIST,
    "function_call": OBJECT,
    "tool_call_id": TEXT,
    "name": TEXT,
    "annotations": LIST,
    "audio": OBJECT,
    "images": LIST,
    "index": NUMBER,  # Mistral
}
"""What a delta may hold, or a document's message."""

REASONING_KEYS = (
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "reasoning_items",
    "thinking_blocks",
    "provider_specific_fields",
)
"""The keys of a message that say the reasoning, most of them the same text again; the plainest
first."""

OTHER_VISIBLE_KEYS = ("refusal", "audio", "images")
"""The keys of a message that are an answer although it has no text."""

PART: Table = {
    "type": TEXT,
    "text": TEXT,
    "refusal": TEXT,
    "image_url": LIST_OR_TEXT,
    "thinking": LIST_OR_TEXT,  # Mistral
    "closed": FLAG,
    "signature": TEXT,
    "reference_ids": LIST,
}
"""What a part may hold where a message's content is a list of parts; its type is one of these."""

SHOWN_PARTS = frozenset({"text", "refusal", "image_url", "reference"})
THINKING_PARTS = frozenset({"thinking", "redacted_thinking", "reasoning"})

ANSWER_ROLES = frozenset({"assistant", ""})
"""The roles whose message is the answer; any other's is what a tool returned."""

FINISH_REASONS = frozenset(
    {
        "stop",
        "length",
        "tool_calls",
        "function_call",
        "content_filter",
        "model_length",  # Mistral
        "insufficient_system_resource",  # DeepSeek
        "abort",  # vLLM, SGLang
        "error",  # OpenRouter, Mistral
    }
)
CALL_FINISHES = frozenset({"tool_calls", "function_call"})
