"""Every JSON key that a chat completion may carry while a rule hides anything.

The shapes are those of OpenAI's API reference and of the servers that copy it. A key that is not
here is dropped and counted: tomorrow's server will name its reasoning differently.
"""

from __future__ import annotations

from sidecar.wire.errors import ERROR
from sidecar.wire.fields import (
    ANY_LIST,
    ANY_LIST_OR_TEXT,
    ANY_OBJECT,
    FLAG,
    NOTHING,
    NUMBER,
    NUMBERS,
    TEXT,
    TEXT_OR_NUMBER,
    Table,
    an_object,
    objects,
    text_or_object,
)
from sidecar.wire.logprobs import LOGPROBS

SIDE_DOORS: Table = dict.fromkeys(
    (
        "__verbose",  # llama.cpp: the raw text, the prompt and its tokens
        "_debug_info",  # Ollama: the prompt as the template wrote it
        "hidden_states",  # SGLang
        "prompt_logprobs",  # vLLM
        "prompt_text",
        "prompt_token_ids",
        "sglext",  # SGLang: the ids of all tokens, in a chunk or in an event of its own
    ),
    NOTHING,
)
"""What servers add to an answer, one of its choices or a message for debugging and training: the
hidden text again, or the prompt, in which stands what was hidden in the rounds before."""

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
    "prompt_tokens_details": an_object(TOKEN_DETAILS),
    "completion_tokens_details": an_object(TOKEN_DETAILS),
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
    "cost_details": an_object(
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
    an_object({"filtered": FLAG, "detected": FLAG, "severity": TEXT}),
)

SOURCE: Table = {
    "title": TEXT,
    "url": TEXT,
    "date": TEXT,
    "last_updated": TEXT,
    "snippet": TEXT,
    "source": TEXT,
}

ENVELOPE: Table = SIDE_DOORS | {
    "id": TEXT,
    "object": TEXT,
    "created": NUMBER,
    "model": TEXT,
    "choices": ANY_LIST,
    "usage": an_object(USAGE),
    "system_fingerprint": TEXT,
    "service_tier": TEXT,
    "obfuscation": TEXT,
    "error": ERROR,
    "provider": TEXT,  # OpenRouter
    "citations": objects(SOURCE, or_items=TEXT),  # Perplexity, xAI
    "search_results": objects(SOURCE),
    "prompt_filter_results": objects(  # Azure
        {"prompt_index": NUMBER, "content_filter_results": an_object(CONTENT_FILTERS)}
    ),
    "timings": an_object(TIMINGS),  # llama.cpp
    "prompt_progress": an_object(
        {"total": NUMBER, "cache": NUMBER, "processed": NUMBER, "time_ms": NUMBER}
    ),
    "x_groq": an_object(
        # In "debug" are the tokens of the prompt and of the answer.
        {"id": TEXT, "seed": NUMBER, "usage": an_object(USAGE), "debug": NOTHING}
    ),
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

ANY_CHOICE: Table = SIDE_DOORS | {
    "index": NUMBER,
    "logprobs": an_object(LOGPROBS),
    "finish_reason": TEXT,
    "native_finish_reason": TEXT,  # OpenRouter
    "stop_reason": TEXT_OR_NUMBER,  # vLLM
    "matched_stop": TEXT_OR_NUMBER,  # SGLang
    "token_ids": NUMBERS,  # vLLM
    "content_filter_results": an_object(CONTENT_FILTERS),  # Azure
}
_CHAT_CHOICE: Table = ANY_CHOICE | {
    # What a message says, in a place where no message is read.
    "provider_specific_fields": NOTHING,  # LiteLLM
    "text": NOTHING,
}
STREAMED_CHOICE: Table = _CHAT_CHOICE | {"delta": ANY_OBJECT, "message": NOTHING}
WHOLE_CHOICE: Table = _CHAT_CHOICE | {"message": ANY_OBJECT, "delta": NOTHING}

STOP_KEYS = ("native_finish_reason", "stop_reason", "matched_stop")
"""The keys of a choice that may name the marker at which generation stopped."""
OF_ONE_CHUNK = ("finish_reason", "logprobs", "token_ids", *STOP_KEYS)
"""The keys of a choice that say something about the text, or the end, of one chunk alone."""

_CITATION: Table = {
    "url": TEXT,
    "title": TEXT,
    "content": TEXT,
    "file_id": TEXT,
    "filename": TEXT,
    "index": NUMBER,
    "start_index": NUMBER,
    "end_index": NUMBER,
}
_IMAGE_URL = text_or_object({"url": TEXT, "detail": TEXT})

MESSAGE: Table = SIDE_DOORS | {
    "role": TEXT,
    "content": ANY_LIST_OR_TEXT,
    "refusal": TEXT,
    "reasoning_content": TEXT,
    "reasoning": TEXT,
    "thinking": TEXT,
    "reasoning_details": ANY_LIST,
    "reasoning_items": ANY_LIST,
    "thinking_blocks": ANY_LIST,
    "provider_specific_fields": ANY_OBJECT,
    "tool_calls": ANY_LIST,
    "function_call": ANY_OBJECT,
    "tool_call_id": TEXT,
    "name": TEXT,
    "annotations": objects(
        _CITATION
        | {
            "type": TEXT,
            "url_citation": an_object(_CITATION),
            "file_citation": an_object(_CITATION),
        }
    ),
    "audio": an_object({"id": TEXT, "data": TEXT, "transcript": TEXT, "expires_at": NUMBER}),
    "images": objects({"type": TEXT, "index": NUMBER, "image_url": _IMAGE_URL}),
    "index": NUMBER,  # Mistral
}
"""What a delta may hold, or a document's message. Reasoning and calls are kept or dropped whole,
and kept ones keep all their keys."""

REASONING_KEYS = (
    "reasoning_content",
    "reasoning",
    "thinking",
    "reasoning_details",
    "reasoning_items",
    "thinking_blocks",
    "provider_specific_fields",
)
"""The keys of a message that say the reasoning, most of them the same text again; the plainest
first."""

OTHER_VISIBLE_KEYS = ("refusal", "audio", "images")
"""The keys of a message that are an answer although it has no text."""

SHOWN_PARTS: dict[str, Table] = {
    "text": {"type": TEXT, "text": TEXT},
    "refusal": {"type": TEXT, "refusal": TEXT},
    "image_url": {"type": TEXT, "image_url": _IMAGE_URL},
    "reference": {  # Mistral
        "type": TEXT,
        "reference_ids": objects({}, or_items=TEXT_OR_NUMBER),
    },
}
"""By its type, what a part may hold where a message's content is a list of parts."""
THINKING_PARTS = frozenset({"thinking", "redacted_thinking", "reasoning"})
"""The types of parts that are reasoning, kept or dropped whole."""

ANSWER_ROLES = frozenset({"assistant", ""})
"""The roles whose message is the answer."""
RESULT_ROLES = frozenset({"tool", "function"})
"""The roles whose message is what a tool returned. A message of any other role is nobody's answer
to the client: it is hidden like a result that is not kept."""

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
CUT_OFF = FINISH_REASONS - CALL_FINISHES - {"stop"}
"""The reasons that say that the model would have gone on."""
