"""Every JSON key that an answer of OpenAI's Responses API may carry while a rule hides anything.

The shapes are those of the API reference ("The response object", "Streaming events" and "Output
items" of Responses) and of the servers that copy it. An event, an item, a part or a key that is
not here is dropped and counted.
"""

from __future__ import annotations

from sidecar.core.channel import Channel
from sidecar.wire.chat_fields import CONTENT_FILTERS, SIDE_DOORS, TIMINGS, TOKEN_DETAILS
from sidecar.wire.errors import ERROR
from sidecar.wire.fields import (
    ANY_LIST,
    ANY_LIST_OR_TEXT,
    ANY_OBJECT,
    ANY_OBJECT_OR_TEXT,
    FLAG,
    NOTHING,
    NUMBER,
    NUMBERS,
    TEXT,
    TEXT_OR_NUMBER,
    Holds,
    Table,
    an_object,
    objects,
    text_or_object,
)
from sidecar.wire.logprobs import TOKEN

_ANYTHING = Holds(TEXT_OR_NUMBER.types | FLAG.types | ANY_LIST.types | ANY_OBJECT.types)
"""In a call or a result, which is kept or dropped whole."""

TOKEN_LOGPROBS = objects(TOKEN)
"""``logprobs`` of an event or a part. In an event the alternatives have no bytes."""

ANNOTATION: Table = {
    "type": TEXT,
    "index": NUMBER,
    "start_index": NUMBER,
    "end_index": NUMBER,
    "url": TEXT,
    "title": TEXT,
    "file_id": TEXT,
    "filename": TEXT,
    "container_id": TEXT,
}

_AGENT = an_object({"agent_name": TEXT})
"""Which of several agents wrote it (beta)."""

# Events.

_EVENT: Table = SIDE_DOORS | {"type": TEXT, "sequence_number": NUMBER, "agent": _AGENT}
_OF_ITEM: Table = _EVENT | {"item_id": TEXT, "output_index": NUMBER, "obfuscation": TEXT}
_OF_PART: Table = _OF_ITEM | {"content_index": NUMBER}
_OF_SUMMARY: Table = _OF_ITEM | {"summary_index": NUMBER}
_OF_COMMAND: Table = _OF_ITEM | {"command_index": NUMBER}
_DELTA: Table = {"delta": TEXT}
_PART: Table = {"part": ANY_OBJECT}

_TEXT: dict[str, Table] = {
    "response.content_part.added": _OF_PART | _PART,
    "response.content_part.done": _OF_PART | _PART,
    "response.output_text.delta": _OF_PART | _DELTA | {"logprobs": TOKEN_LOGPROBS},
    "response.output_text.done": _OF_PART | {"text": TEXT, "logprobs": TOKEN_LOGPROBS},
    "response.output_text.annotation.added": (
        _OF_PART | {"annotation": an_object(ANNOTATION), "annotation_index": NUMBER}
    ),
    "response.refusal.delta": _OF_PART | _DELTA,
    "response.refusal.done": _OF_PART | {"refusal": TEXT},
}
TEXT_EVENTS = frozenset(_TEXT)
"""The events of a message; those of a part may be of reasoning that a server announces so."""

_REASONING: dict[str, Table] = {
    "response.reasoning_text.delta": _OF_PART | _DELTA,
    "response.reasoning_text.done": _OF_PART | {"text": TEXT},
    "response.reasoning_summary_part.added": _OF_SUMMARY | _PART,
    "response.reasoning_summary_part.done": _OF_SUMMARY | _PART | {"status": TEXT},
    "response.reasoning_summary_text.delta": _OF_SUMMARY | _DELTA,
    "response.reasoning_summary_text.done": _OF_SUMMARY | {"text": TEXT},
    "response.reasoning_part.added": _OF_PART | _PART,  # vLLM
    "response.reasoning_part.done": _OF_PART | _PART,
    # The names before "_text", when a delta was an object.
    "response.reasoning.delta": _OF_PART | {"delta": text_or_object({"text": TEXT})},
    "response.reasoning.done": _OF_PART | {"text": TEXT},
    "response.reasoning_summary.delta": _OF_SUMMARY | {"delta": text_or_object({"text": TEXT})},
    "response.reasoning_summary.done": _OF_SUMMARY | {"text": TEXT},
}
REASONING_EVENTS = frozenset(_REASONING)

_CALL_STEPS: dict[str, tuple[str, ...]] = {
    "code_interpreter_call": ("in_progress", "interpreting", "completed"),
    "file_search_call": ("in_progress", "searching", "completed"),
    "image_generation_call": ("in_progress", "generating", "completed"),
    "mcp_call": ("in_progress", "completed", "failed"),
    "mcp_list_tools": ("in_progress", "completed", "failed"),
    "web_search_call": ("in_progress", "searching", "completed"),
}
_CALL_TEXTS: dict[str, str] = {
    "apply_patch_call_operation_diff": "diff",
    "code_interpreter_call_code": "code",
    "custom_tool_call_input": "input",
    "function_call_arguments": "arguments",
    "mcp_call_arguments": "arguments",
}
"""By the name of its events, the key under which the last of them repeats the whole text."""
_CALL: dict[str, Table] = (
    {f"response.{call}.{step}": _OF_ITEM for call, steps in _CALL_STEPS.items() for step in steps}
    | {f"response.{name}.delta": _OF_ITEM | _DELTA for name in _CALL_TEXTS}
    | {
        # Some servers say the name of the function again.
        f"response.{name}.done": _OF_ITEM | {key: TEXT, "name": TEXT}
        for name, key in _CALL_TEXTS.items()
    }
    | {
        "response.shell_call_command.added": _OF_COMMAND | {"command": TEXT},
        "response.shell_call_command.delta": _OF_COMMAND | _DELTA,
        "response.shell_call_command.done": _OF_COMMAND | {"command": TEXT},
    }
)
CALL_EVENTS = frozenset(_CALL)
"""The events that occur within a call only."""

_RESULT: dict[str, Table] = {
    "response.image_generation_call.partial_image": _OF_ITEM
    | {
        "partial_image_b64": TEXT,
        "partial_image_index": NUMBER,
        "background": TEXT,
        "output_format": TEXT,
        "quality": TEXT,
        "size": TEXT,
    },
    "response.shell_call_output_content.delta": (
        _OF_COMMAND | {"delta": text_or_object({"stdout": TEXT, "stderr": TEXT})}
    ),
    "response.shell_call_output_content.done": _OF_COMMAND | {"output": ANY_LIST},
}
RESULT_EVENTS = frozenset(_RESULT)
"""The events that carry what a tool returned; that of an image occurs within a call."""

_AUDIO: dict[str, Table] = {
    "response.audio.delta": _OF_PART | _DELTA,
    "response.audio.done": _OF_PART,
    "response.audio.transcript.delta": _OF_PART | _DELTA,
    "response.audio.transcript.done": _OF_PART,
}
AUDIO_EVENTS = frozenset(_AUDIO)

_RESPONSE: dict[str, Table] = {
    f"response.{state}": _EVENT | {"response": ANY_OBJECT, "timings": an_object(TIMINGS)}
    for state in ("created", "queued", "in_progress", "completed", "incomplete", "failed")
}
RESPONSE_EVENTS = frozenset(_RESPONSE)
"""The events that carry the whole response as it is by then."""

_OPAQUE: dict[str, Table] = {"response.compaction.compacting": _OF_ITEM}
OPAQUE_EVENTS = frozenset(_OPAQUE)
"""The events of an opaque item: they say nothing."""

_ITEM_EVENT: Table = _EVENT | {"output_index": NUMBER, "item": ANY_OBJECT}

EVENTS: dict[str, Table] = (
    _TEXT
    | _REASONING
    | _CALL
    | _RESULT
    | _AUDIO
    | _RESPONSE
    | _OPAQUE
    | {
        "response.output_item.added": _ITEM_EVENT,
        "response.output_item.done": _ITEM_EVENT,
        # Flat as OpenAI documents it, in an object as it sends it.
        "error": _EVENT | {"code": TEXT_OR_NUMBER, "message": TEXT, "param": TEXT, "error": ERROR},
        "keepalive": _EVENT,
    }
)
"""By its type, what an event may hold. What is in an item, a part or a response has a table of
its own."""

# Items.

_ITEM: Table = SIDE_DOORS | {
    "id": TEXT,
    "type": TEXT,
    "status": TEXT,
    "agent": _AGENT,
    "created_by": TEXT,
}

_CALL_ITEMS: dict[str, tuple[str, ...]] = {
    "additional_tools": ("role", "tools"),
    "apply_patch_call": ("call_id", "caller", "operation"),
    "code_interpreter_call": ("code", "container_id", "outputs"),
    "computer_call": ("action", "actions", "call_id", "pending_safety_checks"),
    "custom_tool_call": ("async", "call_id", "caller", "input", "name", "namespace"),
    "file_search_call": ("queries", "results"),
    "function_call": ("arguments", "async", "call_id", "caller", "name", "namespace"),
    "image_generation_call": (
        "action",
        "background",
        "error",
        "output_format",
        "quality",
        "result",
        "revised_prompt",
        "size",
        "svg_usage",
    ),
    "local_shell_call": ("action", "call_id"),
    "mcp_approval_request": ("arguments", "name", "server_label"),
    "mcp_call": ("approval_request_id", "arguments", "error", "name", "output", "server_label"),
    "mcp_list_tools": ("error", "server_label", "tools"),
    "multi_agent_call": ("action", "arguments", "call_id"),
    "program": ("call_id", "code", "fingerprint"),
    "shell_call": ("action", "call_id", "caller", "environment", "max_output_length"),
    "tool_search_call": ("arguments", "call_id", "execution"),
    "web_search_call": ("action", "results"),
}
_RESULT_ITEMS: dict[str, tuple[str, ...]] = {
    # What one agent says to another, as a tool would to a model.
    "agent_message": ("author", "content", "recipient"),
    "apply_patch_call_output": ("call_id", "caller", "output"),
    "computer_call_output": ("acknowledged_safety_checks", "call_id", "output"),
    "custom_tool_call_output": ("call_id", "caller", "name", "output"),
    "function_call_output": ("call_id", "caller", "name", "namespace", "output"),
    "local_shell_call_output": ("call_id", "output"),
    "mcp_approval_response": ("approval_request_id", "approve", "reason"),
    "multi_agent_call_output": ("action", "call_id", "output"),
    "program_output": ("call_id", "result"),
    "shell_call_output": ("call_id", "caller", "max_output_length", "output"),
    "tool_search_output": ("call_id", "execution", "tools"),
}
_OPAQUE_ITEMS: dict[str, Table] = {
    # The rounds before, encrypted. Without it a client that keeps no history of its own has none.
    "compaction": {"encrypted_content": TEXT},
    "compaction_trigger": {},
    "configuration_update": {
        "reasoning": an_object({"effort": TEXT}),
        "text": an_object({"format": ANY_OBJECT}),
    },
    "item_reference": {},
}
OPAQUE_ITEMS = frozenset(_OPAQUE_ITEMS)
"""The types of items that say nothing that could be read, and that a client must send back."""

ITEMS: dict[str, Table] = (
    {
        "message": _ITEM | {"role": TEXT, "phase": TEXT, "content": ANY_LIST},
        "reasoning": _ITEM
        | {
            "summary": ANY_LIST,
            "content": ANY_LIST,
            "encrypted_content": TEXT,
            "role": TEXT,  # LiteLLM
            "format": TEXT,  # OpenRouter
            "signature": TEXT,
        },
    }
    | {
        kind: _ITEM | dict.fromkeys(keys, _ANYTHING)
        for kind, keys in (_CALL_ITEMS | _RESULT_ITEMS).items()
    }
    | {kind: _ITEM | table for kind, table in _OPAQUE_ITEMS.items()}
)
"""By its type, what an item may hold."""

ITEM_CHANNELS: dict[str, Channel] = (
    {"reasoning": Channel.REASONING}
    | dict.fromkeys(_CALL_ITEMS, Channel.TOOL_CALL)
    | dict.fromkeys(_RESULT_ITEMS, Channel.TOOL_RESULT)
)
"""By its type, what an item is as a whole. A message is read part by part."""

RESULT_KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "code_interpreter_call": (("outputs",),),
    "file_search_call": (("results",),),
    "mcp_call": (("output",), ("error",)),
    "web_search_call": (("results",), ("action", "sources")),
}
"""By its type, the paths of keys at which a call holds what the tool returned. A picture is not
that: it is what was asked for."""

HOSTED_TOOLS: dict[str, tuple[str, ...]] = {
    "apply_patch_call": ("apply_patch",),
    "code_interpreter_call": ("code_interpreter",),
    "computer_call": ("computer", "computer_use", "computer_use_preview"),
    "file_search_call": ("file_search",),
    "image_generation_call": ("image_generation",),
    "local_shell_call": ("local_shell",),
    "mcp_approval_request": ("mcp",),
    "mcp_call": ("mcp",),
    "mcp_list_tools": ("mcp",),
    "program": ("programmatic_tool_calling",),
    "shell_call": ("shell",),
    "tool_search_call": ("tool_search",),
    "web_search_call": (
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
    ),
}
"""By the type of a call, the types of the tools that declare it in a request. Functions and custom
tools are declared by name; what other agents do and additional tools, by no tool."""

# Parts.

_MORE: Table = {"type": TEXT, "prompt_cache_breakpoint": an_object({"mode": TEXT, "ttl": TEXT})}

PARTS: dict[str, Table] = {
    kind: _MORE | table
    for kind, table in {
        "output_text": {
            "text": TEXT,
            "annotations": objects(ANNOTATION),
            "logprobs": TOKEN_LOGPROBS,
        },
        "refusal": {"refusal": TEXT},
        "output_audio": {"data": TEXT, "transcript": TEXT},
        "reasoning_text": {"text": TEXT},
        "summary_text": {"text": TEXT},
        "input_text": {"text": TEXT},
        "input_image": {"detail": TEXT, "file_id": TEXT, "image_url": TEXT},
        "input_file": {
            "detail": TEXT,
            "file_data": TEXT,
            "file_id": TEXT,
            "file_url": TEXT,
            "filename": TEXT,
        },
        "input_audio": {"input_audio": an_object({"data": TEXT, "format": TEXT})},
    }.items()
}
"""By its type, what a part of a message or of reasoning may hold. The input is in stored items."""

REASONING_PARTS = frozenset({"reasoning_text", "summary_text"})

# The response.

_TOKENS: Table = TOKEN_DETAILS | {
    "cache_write_tokens_details": an_object({"ttl_12h_tokens": NUMBER, "ttl_30m_tokens": NUMBER}),
    "tool_output_tokens": NUMBER,  # vLLM
    "cached_tokens_per_turn": NUMBERS,
    "input_tokens_per_turn": NUMBERS,
    "output_tokens_per_turn": NUMBERS,
    "tool_output_tokens_per_turn": NUMBERS,
}

USAGE: Table = {
    "input_tokens": NUMBER,
    "output_tokens": NUMBER,
    "total_tokens": NUMBER,
    "input_tokens_details": an_object(_TOKENS),
    "output_tokens_details": an_object(_TOKENS),
    "num_server_side_tools_used": NUMBER,  # xAI
    "num_sources_used": NUMBER,
    "is_byok": FLAG,  # OpenRouter
    "cost": NUMBER,
    "cost_details": an_object(
        {
            "upstream_inference_cost": NUMBER,
            "upstream_inference_input_cost": NUMBER,
            "upstream_inference_output_cost": NUMBER,
        }
    ),
}

_IMAGE_TOKENS: Table = dict.fromkeys(
    ("cached_image_tokens", "cached_text_tokens", "image_tokens", "text_tokens"), NUMBER
)
_MODERATED = an_object(
    {
        "type": TEXT,
        "model": TEXT,
        "flagged": FLAG,
        "categories": ANY_OBJECT,
        "category_applied_input_types": ANY_OBJECT,
        "category_scores": ANY_OBJECT,
        "code": TEXT,
        "message": TEXT,
    }
)

_ECHOED: Table = {
    "background": FLAG,
    "conversation": text_or_object({"id": TEXT}),
    "frequency_penalty": NUMBER,
    "image": an_object({"context_compression": TEXT}),
    "instructions": ANY_LIST_OR_TEXT,
    "max_output_tokens": NUMBER,
    "max_tool_calls": NUMBER,
    "metadata": ANY_OBJECT,
    "parallel_tool_calls": FLAG,
    "presence_penalty": NUMBER,
    "previous_response_id": TEXT,
    "prompt": an_object({"id": TEXT, "version": TEXT, "variables": ANY_OBJECT}),
    "prompt_cache_key": TEXT,
    "prompt_cache_options": an_object({"mode": TEXT, "ttl": TEXT, "comparison_response_id": TEXT}),
    "prompt_cache_retention": TEXT,
    # How to reason, never what was reasoned.
    "reasoning": an_object(
        dict.fromkeys(("context", "effort", "generate_summary", "mode", "summary"), TEXT)
    ),
    "safety_identifier": TEXT,
    "service_tier": TEXT,
    "store": FLAG,
    "temperature": NUMBER,
    "text": an_object({"format": ANY_OBJECT, "verbosity": TEXT}),
    "tool_choice": ANY_OBJECT_OR_TEXT,
    "tools": ANY_LIST,
    "top_logprobs": NUMBER,
    "top_p": NUMBER,
    "truncation": TEXT,
    "user": TEXT,
}
"""What a response repeats of its request."""

RESPONSE: Table = (
    SIDE_DOORS
    | _ECHOED
    | {
        "id": TEXT,
        "object": TEXT,
        "created_at": NUMBER,
        "completed_at": NUMBER,
        "model": TEXT,
        "status": TEXT,
        "error": ERROR,
        "incomplete_details": an_object({"reason": TEXT}),
        "output": ANY_LIST,
        "usage": an_object(USAGE),
        "access_programs": an_object({"cyber": TEXT}),
        "billing": an_object({"payer": TEXT}),
        "input_transformations": objects(
            {"id": TEXT, "type": TEXT, "action": TEXT, "reason": TEXT}
        ),
        "moderation": an_object({"input": _MODERATED, "output": _MODERATED}),
        "prompt_cache_diagnostics": an_object(
            {
                "type": TEXT,
                "reason": TEXT,
                "cache_missed_tokens": NUMBER,
                "comparison_reusable_tokens": NUMBER,
            }
        ),
        "tool_usage": an_object(
            {
                "image_gen": an_object(
                    {
                        "input_tokens": NUMBER,
                        "output_tokens": NUMBER,
                        "cached_tokens": NUMBER,
                        "total_tokens": NUMBER,
                        "input_tokens_details": an_object(_IMAGE_TOKENS),
                        "output_tokens_details": an_object(_IMAGE_TOKENS),
                        "cached_tokens_details": an_object(_IMAGE_TOKENS),
                    }
                ),
                "web_search": an_object({"num_requests": NUMBER}),
            }
        ),
        "content_filters": objects(  # Azure
            {
                "blocked": FLAG,
                "source_type": TEXT,
                "content_filter_results": an_object(CONTENT_FILTERS),
                "content_filter_offsets": an_object(
                    {"start_offset": NUMBER, "end_offset": NUMBER, "check_offset": NUMBER}
                ),
            }
        ),
        "provider": TEXT,  # OpenRouter
        "timings": an_object(TIMINGS),  # llama.cpp
        # The prompt or the output again, where no item is read.
        "input_messages": NOTHING,  # vLLM
        "output_messages": NOTHING,
        "output_text": NOTHING,  # every SDK makes its own from the items
        "provider_specific_fields": NOTHING,  # LiteLLM
    }
)
"""The response object: the whole answer, and what most events that are not of an item carry."""
