"""The answers of an upstream in three wire formats, event by event as real servers send them.

Each answer has reasoning in fields of its own, one call, and a text that begins with reasoning
between markers. Its whole items or blocks are written down once; the stream and the document are
both made from them. Knows nothing of sockets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

Record = dict[str, Any]

REASONING: Final = "SECRET-REASONING"
"""Stands in every piece of reasoning."""
CALL: Final = "SECRET-CALL"
"""Stands in every piece of the call."""

IN_BAND: Final = f"<think>{REASONING} in the text.</think>\n\n"
ANSWER: Final = "The answer, in <b>bold</b>, is 4."
THOUGHT: Final = f"{REASONING}: two and two, {REASONING}: that is four."
SUMMARY: Final = f"**{REASONING}**, a {REASONING} in short."
ENCRYPTED: Final = "gAAAAABopaque"
"""What only the server can read: not hidden, a client must send it back."""
INPUT: Final = {"city": f"{CALL} Oslo", "note": CALL}
TOOL: Final = "weather"
PARAMETERS: Final[Record] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "note": {"type": "string"}},
    "required": ["city", "note"],
    "additionalProperties": False,
}

_TEXT: Final = IN_BAND + ANSWER
_ARGUMENTS: Final = json.dumps(INPUT)


class Answer(NamedTuple):
    """One answer: its event stream, and what a client gets that does not ask for a stream."""

    events: list[bytes]
    document: Record


def pieces(text: str) -> list[str]:
    """``text`` cut inside of every tag and after every comma; secrets stay whole."""
    return re.split(r"(?<=<)|(?<=</t)|(?<=,)", text)


def _event(payload: Any, name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(payload, separators=(',', ':'))}\n\n".encode()


# --- /v1/chat/completions -----------------------------------------------------------------------


def chat(body: Record) -> Answer:
    """A chat completion that answers the request ``body``, with the field ``reasoning_content``."""
    envelope = {"id": "chatcmpl-1", "created": 1_760_000_000, "model": body["model"]}
    usage = {"prompt_tokens": 9, "completion_tokens": 30, "total_tokens": 39}
    call = {
        "id": f"call_{CALL}",
        "type": "function",
        "function": {"name": TOOL, "arguments": _ARGUMENTS},
    }
    message = {
        "role": "assistant",
        "content": _TEXT,
        "reasoning_content": THOUGHT,
        "tool_calls": [call],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}
    document = envelope | {"object": "chat.completion", "choices": [choice], "usage": usage}

    def chunk(choices: list[Record], usage: Record | None = None) -> bytes:
        return _event(
            envelope | {"object": "chat.completion.chunk", "choices": choices, "usage": usage}
        )

    def delta(delta: Record, finish: str | None = None) -> bytes:
        return chunk([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}])

    opened = call | {"index": 0, "function": {"name": TOOL, "arguments": ""}}
    events = [
        delta({"role": "assistant", "content": ""}),
        *(delta({"reasoning_content": piece}) for piece in pieces(THOUGHT)),
        *(delta({"content": piece}) for piece in pieces(_TEXT)),
        delta({"tool_calls": [opened]}),
        *(
            delta({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
            for piece in pieces(_ARGUMENTS)
        ),
        delta({}, "tool_calls"),
        chunk([], usage),
        b"data: [DONE]\n\n",
    ]
    return Answer(events, document)


# --- /v1/responses ------------------------------------------------------------------------------

_REASONING_TEXT: Final = {"type": "reasoning_text", "text": THOUGHT}
_ITEMS: Final[list[Record]] = [
    {
        "id": f"rs_{REASONING}",
        "type": "reasoning",
        "summary": [],
        "content": [_REASONING_TEXT],
        "encrypted_content": None,
        "status": "completed",
    },
    {
        "id": "rs_1",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": SUMMARY}],
        "content": [_REASONING_TEXT],
        "encrypted_content": ENCRYPTED,
        "status": "completed",
    },
    {
        "id": f"fc_{CALL}",
        "type": "function_call",
        "call_id": f"call_{CALL}",
        "name": TOOL,
        "arguments": _ARGUMENTS,
        "status": "completed",
    },
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": _TEXT}],
        "status": "completed",
    },
]
"""The first item is vLLM's, which encrypts nothing; the others are as OpenAI sends them."""


def responses(body: Record) -> Answer:
    """A response to the request ``body``."""
    document = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_760_000_000,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": body["model"],
        "output": _ITEMS,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": "medium", "summary": "detailed"},
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": body["tools"],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 30,
            "output_tokens_details": {"reasoning_tokens": 12},
            "total_tokens": 39,
        },
        "user": None,
        "metadata": {},
    }
    events = [
        _event(payload | {"sequence_number": number}, payload["type"])
        for number, payload in enumerate(_response_events(document))
    ]
    return Answer(events, document)


def _response_events(document: Record) -> Iterator[Record]:
    begun = document | {"status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(document["output"]):
        for event in _item_events(item):
            yield event | {"output_index": index}
    yield {"type": "response.completed", "response": document}


_BEGUN: Final[dict[str, Record]] = {
    "reasoning": {"summary": [], "content": []},
    "function_call": {"arguments": ""},
    "message": {"content": []},
}
"""What an item of each type lacks when it is announced."""


def _item_events(item: Record) -> Iterator[Record]:
    begun = item | _BEGUN[item["type"]] | {"status": "in_progress"}
    yield {"type": "response.output_item.added", "item": begun}
    if item["type"] == "function_call":
        at = {"item_id": item["id"]}
        stem = "response.function_call_arguments"
        for piece in pieces(item["arguments"]):
            yield {"type": f"{stem}.delta", "delta": piece, "obfuscation": "x1"} | at
        yield {"type": f"{stem}.done", "arguments": item["arguments"]} | at
    for index, part in enumerate(item.get("summary", ())):
        at = {"item_id": item["id"], "summary_index": index}
        yield from _part_events("reasoning_summary_part", "reasoning_summary_text", part, at)
    for index, part in enumerate(item.get("content", ())):
        at = {"item_id": item["id"], "content_index": index}
        yield from _part_events("content_part", part["type"], part, at)
    yield {"type": "response.output_item.done", "item": item}


def _part_events(whole: str, text: str, part: Record, at: Record) -> Iterator[Record]:
    more: Record = {"logprobs": []} if "logprobs" in part else {}
    yield {"type": f"response.{whole}.added", "part": part | {"text": ""}} | at
    for piece in pieces(part["text"]):
        delta = {"type": f"response.{text}.delta", "delta": piece, "obfuscation": "x1"}
        yield delta | at | more
    yield {"type": f"response.{text}.done", "text": part["text"]} | at | more
    yield {"type": f"response.{whole}.done", "part": part} | at


# --- /v1/messages -------------------------------------------------------------------------------

_BLOCKS: Final[list[Record]] = [
    {"type": "thinking", "thinking": THOUGHT, "signature": f"{REASONING}-signature"},
    {"type": "redacted_thinking", "data": f"{REASONING}-redacted"},
    {"type": "text", "text": _TEXT},
    {"type": "tool_use", "id": f"toolu_{CALL}", "name": TOOL, "input": INPUT},
]


def messages(body: Record) -> Answer:
    """A message that answers the request ``body``."""
    stopped = {"stop_reason": "tool_use", "stop_sequence": None}
    document = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": _BLOCKS,
        **stopped,
        "usage": {
            "input_tokens": 9,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 30,
            "service_tier": "standard",
        },
    }
    payloads = _message_events(document, stopped)
    return Answer([_event(payload, payload["type"]) for payload in payloads], document)


def _message_events(document: Record, stopped: Record) -> Iterator[Record]:
    usage = document["usage"]
    begun = document | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    yield {"type": "message_start", "message": begun}
    for index, block in enumerate(document["content"]):
        opened, deltas = _block(block)
        yield {"type": "content_block_start", "index": index, "content_block": opened}
        yield {"type": "ping"}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {
        "type": "message_delta",
        "delta": stopped,
        "usage": {"output_tokens": usage["output_tokens"]},
    }
    yield {"type": "message_stop"}


def _block(block: Record) -> tuple[Record, list[Record]]:
    """A block as it is opened, and its deltas."""
    match block["type"]:
        case "thinking":
            thought = [
                {"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])
            ]
            signature = {"type": "signature_delta", "signature": block["signature"]}
            return block | {"thinking": "", "signature": ""}, [*thought, signature]
        case "text":
            text = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
            return block | {"text": ""}, text
        case "tool_use":
            partial = ["", *pieces(json.dumps(block["input"]))]
            arguments = [{"type": "input_json_delta", "partial_json": piece} for piece in partial]
            return block | {"input": {}}, arguments
        case _:
            return block, []


ANSWERS: Final = {
    "/v1/chat/completions": chat,
    "/v1/responses": responses,
    "/v1/messages": messages,
}
"""By the path that is asked; each takes the body of the request."""
