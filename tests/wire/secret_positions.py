"""Every place of an answer in which hidden text can stand, with a secret in it.

The places are made of the tables of known keys and events in ``sidecar/wire/*_fields.py``, so that
a new entry is covered, and of the lists of types below, which do not depend on them: a type that a
table has lost is noticed. A position is one answer, as a stream or a document.

Not here are quotes of other people in annotations and citations, which are shown as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from sidecar.core.channel import Channel
from sidecar.core.policy import (
    EncryptedReasoning,
    Policy,
    Reasoning,
    ToolCalls,
    ToolResults,
    UnknownFields,
)
from sidecar.wire import (
    chat_fields,
    completion_fields,
    messages_fields,
    ollama_fields,
    responses_fields,
)
from sidecar.wire.fields import NOTHING, Holds, Table

Json = dict[str, Any]

SECRET = "Zq7Xk9Wv3J"
MARKED = f"<think>{SECRET}</think>"
IDS = [904211, 904212, 904213]
"""The ids of its tokens."""
TEXT = "Hi there."

DROP = Policy()
KEEPS: dict[Channel, Policy] = {
    Channel.REASONING: Policy(reasoning=Reasoning.KEEP),
    Channel.TOOL_CALL: Policy(tool_calls=ToolCalls.KEEP, tool_results=ToolResults.KEEP),
    Channel.TOOL_RESULT: Policy(tool_calls=ToolCalls.KEEP, tool_results=ToolResults.KEEP),
}
REASONING = KEEPS[Channel.REASONING]
TOOLS = KEEPS[Channel.TOOL_CALL]
PASS = Policy(unknown_fields=UnknownFields.PASS)
NO_RESULTS = Policy(tool_calls=ToolCalls.KEEP)
NO_ENCRYPTED = Policy(encrypted_reasoning=EncryptedReasoning.DROP)


class Position(NamedTuple):
    """One answer with the secret in one place.

    ``answer`` is a list of the records of a stream, or a document. Under ``hides`` nothing of the
    secret may leave, under ``keeps`` it must; None if it stands where it never may.
    """

    wire_format: str
    name: str
    answer: list[Json] | Json
    keeps: Policy | None
    hides: Policy = DROP


# The event types of Responses, of openai-python's types and of servers.
RESPONSE_EVENT_TYPES = [
    f"response.{name}"
    for name in (
        *("created", "queued", "in_progress", "completed", "incomplete", "failed"),
        *("output_item.added", "output_item.done"),
        *("content_part.added", "content_part.done"),
        *("output_text.delta", "output_text.done", "output_text.annotation.added"),
        *("refusal.delta", "refusal.done"),
        *("reasoning_text.delta", "reasoning_text.done"),
        *("reasoning_summary_part.added", "reasoning_summary_part.done"),
        *("reasoning_summary_text.delta", "reasoning_summary_text.done"),
        *("function_call_arguments.delta", "function_call_arguments.done"),
        *("custom_tool_call_input.delta", "custom_tool_call_input.done"),
        *("mcp_call_arguments.delta", "mcp_call_arguments.done"),
        *("mcp_call.in_progress", "mcp_call.completed", "mcp_call.failed"),
        *("mcp_list_tools.in_progress", "mcp_list_tools.completed", "mcp_list_tools.failed"),
        *("web_search_call.in_progress", "web_search_call.searching", "web_search_call.completed"),
        "file_search_call.in_progress",
        *("file_search_call.searching", "file_search_call.completed"),
        "code_interpreter_call.in_progress",
        *("code_interpreter_call.interpreting", "code_interpreter_call.completed"),
        *("code_interpreter_call_code.delta", "code_interpreter_call_code.done"),
        "image_generation_call.in_progress",
        *("image_generation_call.generating", "image_generation_call.partial_image"),
        "image_generation_call.completed",
        "shell_call_command.added",
        *("shell_call_command.delta", "shell_call_command.done"),
        *("shell_call_output_content.delta", "shell_call_output_content.done"),
        *("audio.delta", "audio.done", "audio.transcript.delta", "audio.transcript.done"),
    )
] + ["error"]

MESSAGE_EVENT_TYPES = [
    "message_start",
    *("content_block_start", "content_block_delta", "content_block_stop"),
    *("message_delta", "message_stop", "ping", "error"),
]
MESSAGE_BLOCK_TYPES = [
    *("text", "thinking", "redacted_thinking", "compaction"),
    *("tool_use", "server_tool_use", "mcp_tool_use"),
    *("web_search_tool_result", "mcp_tool_result", "advisor_tool_result"),
    *("fallback", "container_upload"),
]
MESSAGE_DELTA_TYPES = ["text_delta", "thinking_delta", "signature_delta", "input_json_delta"]


# --- values of a table --------------------------------------------------------------------------


def plants(table: Table) -> Iterator[tuple[str, Json, Policy | None]]:
    """Records of ``table``, each with the secret where no text may stand: under a key that is not
    known, or known to hold nothing, or something else. And what lets it through."""
    yield "a new key", {"zz_new": {"said": [SECRET]}}, PASS
    for key, holds in table.items():
        if str not in holds.types or holds == NOTHING:
            yield f"{key}, a text", {key: SECRET}, None
        if holds == NOTHING:
            yield f"{key}, an object", {key: {"said": [SECRET]}}, None
        if holds.items is not None and str not in holds.items:
            yield f"{key}, texts", {key: [SECRET]}, None
        for where, inner, lets in plants(holds.inner or {}) if holds.inner is not None else ():
            value: Any = inner if dict in holds.types else [inner]
            yield f"{key}.{where}", {key: value}, lets


def filled(table: Table) -> Json:
    """A record of ``table`` with the secret under every key that may hold a text."""
    return {key: value for key, holds in table.items() if (value := _full(holds)) is not None}


def _full(holds: Holds) -> Any:
    if holds == NOTHING:
        return None
    if holds.inner is not None and dict in holds.types and str not in holds.types:
        return filled(holds.inner)
    if str in holds.types:
        return SECRET
    if list in holds.types:
        return [filled(holds.inner)] if holds.inner else [{"type": "text", "text": SECRET}]
    return {"text": SECRET} if dict in holds.types else None


# --- chat completions and legacy completions ----------------------------------------------------


def _tokens(*texts: str) -> list[Json]:
    return [
        {
            "token": text,
            "logprob": -0.5,
            "bytes": list(text.encode()),
            "top_logprobs": [{"token": text, "logprob": -0.5, "bytes": list(text.encode())}],
        }
        for text in texts
    ]


def _halves(text: str) -> list[str]:
    return [text[i : i + 3] for i in range(0, len(text), 3)]


class _Choices:
    """What a chat and a legacy completion have in common."""

    def __init__(self, wire_format: str, *, chat: bool) -> None:
        self.wire_format = wire_format
        self._chat = chat

    def chunk(self, said: Json, finish: str | None = None, **more: Any) -> Json:
        """A chunk, in which ``said`` is the delta; ``more`` are keys of the choice."""
        inner = {"delta": said} if self._chat else {"text": said.pop("content", "")} | said
        choice = {"index": 0, "finish_reason": finish} | inner | more
        return {"id": "c", "object": "o", "created": 1, "model": "m", "choices": [choice]}

    def stream(self, *chunks: Json) -> list[Json]:
        """An answer with these chunks before its visible text."""
        return [*chunks, self.chunk({"content": TEXT}), self.chunk({}, "stop")]

    def document(self, said: Json, /, **more: Any) -> Json:
        """A document; ``more`` are keys of its choice."""
        chunk = self.chunk({"content": TEXT} | said, "stop", **more)
        if self._chat:
            (choice,) = chunk["choices"]
            choice["message"] = {"role": "assistant"} | choice.pop("delta")
        return chunk

    def both(
        self, name: str, keeps: Policy | None, said: Json, /, **more: Any
    ) -> Iterator[Position]:
        """The position in a chunk of its own, beside text, and in a document."""
        yield from self.around(name, keeps, said, {}, **more)

    def around(
        self, name: str, keeps: Policy | None, said: Json, envelope: Json, /, **more: Any
    ) -> Iterator[Position]:
        """Likewise, with ``envelope`` around them."""
        alone = self.chunk(dict(said), **more) | envelope
        beside = self.chunk({"content": "So "} | said, **more) | envelope
        yield self.at(f"{name}, alone", self.stream(alone), keeps)
        yield self.at(f"{name}, beside text", self.stream(beside), keeps)
        yield self.at(f"{name}, whole", self.document(dict(said), **more) | envelope, keeps)

    def at(self, name: str, answer: list[Json] | Json, keeps: Policy | None) -> Position:
        """One position."""
        return Position(self.wire_format, name, answer, keeps)


def _choices_positions(made: _Choices, choice: Table, reasoning: Table) -> Iterator[Position]:
    for where, envelope, lets in plants(chat_fields.ENVELOPE):
        yield from made.around(f"answer: {where}", lets, {}, envelope)
    for where, more, lets in plants(choice):
        if not more.keys() & {"delta", "message", "text"}:
            # Tokens that spell no text go whole.
            lets = None if "logprobs" in more else lets
            yield from made.both(f"choice: {where}", lets, {}, **more)
    for key in chat_fields.REASONING_KEYS:
        value = _full(reasoning[key])
        yield from made.both(key, REASONING, {key: value})
        repeated: Json = {"logprobs": {"content": _tokens(*_halves(SECRET))}}
        yield from made.both(f"{key}, its tokens", REASONING, {key: value}, **repeated)
        yield from made.both(f"{key}, its token ids", REASONING, {key: value}, token_ids=IDS)
    for pieces in ([MARKED], _halves(MARKED)):
        chunks = [
            made.chunk({"content": piece}, logprobs={"content": _tokens(piece)}, token_ids=IDS)
            for piece in pieces
        ]
        yield made.at(f"text in {len(pieces)} deltas", made.stream(*chunks), REASONING)
    more = {"logprobs": {"content": _tokens(MARKED, TEXT)}, "token_ids": IDS}
    yield made.at("text, whole", made.document({"content": MARKED + TEXT}, **more), REASONING)
    for key in chat_fields.STOP_KEYS:
        stopped = made.chunk({"content": MARKED + TEXT}, "stop", **{key: SECRET})
        yield made.at(f"{key} after hidden text", [stopped], REASONING)


def chat_positions() -> Iterator[Position]:
    """``/v1/chat/completions``."""
    made = _Choices("chat", chat=True)
    choice = chat_fields.STREAMED_CHOICE | chat_fields.WHOLE_CHOICE
    yield from _choices_positions(made, choice, chat_fields.MESSAGE)
    for where, said, lets in plants(chat_fields.MESSAGE):
        yield from made.both(f"message: {where}", lets, said)
    for kind, table in chat_fields.SHOWN_PARTS.items():
        for where, part, lets in plants(table):
            said = {"content": [{"type": "text", "text": TEXT}, {"type": kind} | part]}
            yield from made.both(f"part {kind}: {where}", lets, said)
    for kind in sorted(chat_fields.THINKING_PARTS):
        part = {"type": kind, "thinking": [{"type": "text", "text": SECRET}], "data": SECRET}
        yield from made.both(f"part {kind}", REASONING, {"content": [part]})
    new_part = {"type": "zz_new", "text": SECRET}
    yield from made.both("part of a new type", PASS, {"content": [new_part]})
    for kind in ("text", "refusal"):
        part = {"type": kind, kind: MARKED + TEXT}
        yield from made.both(f"in the text of a part {kind}", REASONING, {"content": [part]})
    yield from made.both("refusal", REASONING, {"refusal": MARKED + TEXT})
    called = {"index": 0, "id": SECRET, "type": "function", "zz_new": SECRET}
    for key in ("function", "custom"):
        function = {"name": SECRET, "arguments": SECRET, "input": SECRET}
        yield from made.both(f"a call, {key}", TOOLS, {"tool_calls": [called | {key: function}]})
    yield from made.both("function_call", TOOLS, {"function_call": {"name": SECRET}})
    for role in ("tool", "function"):
        said = {"role": role, "content": SECRET, "name": SECRET, "tool_call_id": SECRET}
        chunks = [made.chunk(said), made.chunk({"role": "assistant", "content": ""})]
        yield made.at(f"a message of the {role}", made.stream(*chunks), TOOLS)
    for value in (SECRET, {"content": SECRET}):
        streamed, whole = made.chunk({}), made.document({})
        streamed["choices"][0] |= {"message": value, "text": value}
        whole["choices"][0] |= {"delta": value, "text": value}
        shape = type(value).__name__
        yield made.at(f"what is no message, {shape}", made.stream(streamed), None)
        yield made.at(f"what is no message, {shape}, whole", whole, None)


def completions_positions() -> Iterator[Position]:
    """``/v1/completions``."""
    made = _Choices("completions", chat=False)
    table = completion_fields.CHOICE
    yield from _choices_positions(made, table, table)
    words = _halves(MARKED)
    lists: Json = {
        "tokens": words,
        "token_logprobs": [-0.5] * len(words),
        "top_logprobs": [{word: -0.5} for word in words],
        "text_offset": list(range(len(words))),
    }
    yield from made.both("its tokens side by side", REASONING, {"content": MARKED}, logprobs=lists)


# --- Responses ----------------------------------------------------------------------------------

_AT: Json = {"item_id": "it_0", "output_index": 0, "content_index": 0, "summary_index": 0}
_TEXT_PART: Json = {"type": "output_text", "annotations": [], "logprobs": [], "text": TEXT}


def _message(*parts: Json, item_id: str = "msg_9") -> Json:
    item = {"id": item_id, "type": "message", "role": "assistant", "status": "completed"}
    return item | {"content": list(parts)}


def _response(*output: Json, **more: Any) -> Json:
    return {"id": "r", "object": "response", "status": "completed", "output": list(output)} | more


def _responses(*records: Json, output: tuple[Json, ...] = (), index: int = 9) -> list[Json]:
    """An answer with these events before its visible message, which is at ``index``."""
    message = _message(_TEXT_PART)
    at = {"item_id": "msg_9", "output_index": index, "content_index": 0}
    events: list[Json] = [
        {"type": "response.created", "response": _response(status="in_progress")},
        *records,
        {
            "type": "response.output_item.added",
            "output_index": index,
            "item": message | {"content": []},
        },
        {"type": "response.content_part.added", **at, "part": _TEXT_PART | {"text": ""}},
        {"type": "response.output_text.delta", **at, "delta": TEXT},
        {"type": "response.output_text.done", **at, "text": TEXT},
        {"type": "response.content_part.done", **at, "part": _TEXT_PART},
        {"type": "response.output_item.done", "output_index": index, "item": message},
        {"type": "response.completed", "response": _response(*output, message)},
    ]
    return [{"sequence_number": number} | event for number, event in enumerate(events)]


_CALL_OF_EVENT = {
    "apply_patch_call_operation_diff": "apply_patch_call",
    "code_interpreter_call_code": "code_interpreter_call",
    "custom_tool_call_input": "custom_tool_call",
    "function_call_arguments": "function_call",
    "mcp_call_arguments": "mcp_call",
    "shell_call_command": "shell_call",
    "shell_call_output_content": "shell_call_output",
}


def _item_of(kind: str) -> str:
    """The type of the item in which events of this type occur."""
    stem = kind.split(".")[1]
    return "reasoning" if stem.startswith("reasoning") else _CALL_OF_EVENT.get(stem, stem)


def _event_channel(kind: str) -> Channel | None:
    if kind in responses_fields.REASONING_EVENTS:
        return Channel.REASONING
    if kind in responses_fields.CALL_EVENTS:
        return Channel.TOOL_CALL
    return Channel.TOOL_RESULT if kind in responses_fields.RESULT_EVENTS else None


def responses_positions() -> Iterator[Position]:
    """``/v1/responses``."""
    yield from _response_events()
    yield from _response_texts()
    yield from _response_items()
    yield from _response_objects()


def _at(name: str, answer: list[Json] | Json, keeps: Policy | None) -> Position:
    return Position("responses", name, answer, keeps)


def _response_events() -> Iterator[Position]:
    """Every event: what is hidden as a whole filled up, in the item that it is of, in none, and
    in a message; and every event with what no table knows."""
    for kind in dict.fromkeys((*RESPONSE_EVENT_TYPES, *responses_fields.EVENTS)):
        table = responses_fields.EVENTS[kind]
        channel = _event_channel(kind)
        if channel is not None:
            event = filled(table) | _known(table) | {"type": kind}
            keeps = KEEPS[channel] if SECRET in json.dumps(event) else None
            item = {"id": "it_0", "type": _item_of(kind)}
            added = {"type": "response.output_item.added", "output_index": 0, "item": item}
            yield _at(f"{kind} of its item", _responses(added, event), keeps)
            yield _at(f"{kind} of no item", _responses(event), keeps)
            added = added | {"item": _message(item_id="it_0")}
            yield _at(f"{kind} of a message", _responses(added, event), None)
        for where, record, _ in plants(table):
            event = _known(table) | record | {"type": kind}
            yield _at(f"{kind}: {where}", _responses(event), None)
    event = _AT | {"type": "response.zz_new", "delta": SECRET, "item": {"text": SECRET}}
    yield _at("an event of a new type", _responses(event), PASS)
    yield _at("the type of an event", _responses({"type": SECRET}), PASS)


def _known(table: Table) -> Json:
    """Where an event stands, of the keys that it has."""
    return {key: value for key, value in _AT.items() if key in table}


def _response_texts() -> Iterator[Position]:
    """What repeats a text in which something is hidden."""
    for kind, key in (("output_text", "text"), ("refusal", "refusal")):
        text = MARKED + TEXT
        for pieces in ([text], _halves(text)):
            part: Json = {"type": kind, key: text}
            if kind == "output_text":
                part |= {"annotations": [], "logprobs": _tokens(*_halves(text))}
            item = _message(part, item_id="it_0")
            at = {key: _AT[key] for key in ("item_id", "output_index", "content_index")}
            events: list[Json] = [
                {"type": "response.output_item.added", "output_index": 0, "item": item},
                {"type": "response.content_part.added", **at, "part": part},
                *(
                    {
                        "type": f"response.{kind}.delta",
                        **at,
                        "delta": piece,
                        "logprobs": _tokens(piece),
                    }
                    for piece in pieces
                ),
                {
                    "type": f"response.{kind}.done",
                    **at,
                    key: text,
                    "logprobs": _tokens(*_halves(text)),
                },
                {"type": "response.content_part.done", **at, "part": part},
                {"type": "response.output_item.done", "output_index": 0, "item": item},
            ]
            name = f"{kind} in {len(pieces)} deltas"
            yield _at(name, _responses(*events, output=(item,)), REASONING)
            yield _at(f"{name}, without the end", _responses(*events)[:-9], None)
            for number, event in enumerate(events if len(pieces) == 1 else ()):
                yield _at(f"{name}: event {number} alone", _responses(event), None)
            yield _at(f"{name}: output alone", _responses(output=(item,)), REASONING)
            yield _at(f"{name}, whole", _response(item), REASONING)
    for step in ("added", "done"):
        part = {"type": "reasoning_text", "text": SECRET}
        event = _AT | {"type": f"response.content_part.{step}", "part": part}
        item = {"id": "it_0", "type": "reasoning", "summary": []}
        added = {"type": "response.output_item.added", "output_index": 0, "item": item}
        yield _at(f"reasoning in content_part.{step}", _responses(added, event), REASONING)
        yield _at(f"reasoning in content_part.{step} of no item", _responses(event), None)


def _response_items() -> Iterator[Position]:
    for kind, table in responses_fields.ITEMS.items():
        channel = responses_fields.ITEM_CHANNELS.get(kind)
        for where, record, lets in plants(table):
            item = {"id": "it_0", "type": kind, "role": "assistant", "content": [_TEXT_PART]}
            item = {key: value for key, value in item.items() if key in table} | record
            lets = lets if channel is None else None
            yield from _item_positions(f"item {kind}: {where}", item, lets, _COMPLETED)
        if channel is None:
            continue
        item = filled(table) | {"type": kind}
        # It is opaque, and has a position of its own.
        item.pop("encrypted_content", None)
        yield from _item_positions(f"item {kind}", item, KEEPS[channel])
    item = filled(responses_fields.ITEMS["reasoning"]) | {"type": "reasoning"}
    emptied = item | {"id": "it_0", "status": "completed", "encrypted_content": "opaque"}
    yield from _item_positions("reasoning that is emptied", emptied, REASONING)
    sealed = item | {"summary": [], "content": []}
    for position in _item_positions("encrypted reasoning", sealed, DROP):
        yield position._replace(hides=NO_ENCRYPTED)
    for kind, paths in responses_fields.RESULT_KEYS.items():
        for path in paths:
            value: Any = [{"text": SECRET}]
            for key in reversed(path):
                value = {key: value}
            name = f"{kind}: what {'.'.join(path)} returned"
            for position in _item_positions(name, {"id": "it_0", "type": kind} | value, TOOLS):
                yield position._replace(hides=NO_RESULTS)
    new: Json = {"id": SECRET, "type": "zz_new_call", "arguments": SECRET}
    yield from _item_positions("an item of a new type", new, PASS)
    for kind, table in responses_fields.PARTS.items():
        if kind in responses_fields.REASONING_PARTS:
            item = _message({"type": kind, "text": SECRET}, _TEXT_PART, item_id="it_0")
            yield from _item_positions(f"part {kind} in a message", item, REASONING)
        for where, record, lets in plants(table):
            item = _message({"type": kind} | record, _TEXT_PART, item_id="it_0")
            lets = None if kind in responses_fields.REASONING_PARTS else lets
            yield from _item_positions(f"part {kind}: {where}", item, lets, _COMPLETED)
    item = _message({"type": "zz_new", "text": SECRET}, _TEXT_PART, item_id="it_0")
    yield from _item_positions("a part of a new type", item, PASS)


_COMPLETED = ("response.completed",)


def _item_positions(
    name: str,
    item: Json,
    keeps: Policy | None,
    kinds: Iterable[str] = sorted(responses_fields.RESPONSE_EVENTS),
) -> Iterator[Position]:
    """The item wherever an item stands, of the events that hold the whole response in ``kinds``."""
    added = {"type": "response.output_item.added", "output_index": 0, "item": item}
    done = added | {"type": "response.output_item.done"}
    # The parts of a message are not in its announcement.
    yield _at(f"{name}, added", _responses(added), None if item.get("content") else keeps)
    yield _at(f"{name}, done", _responses(done), keeps)
    yield _at(f"{name}, added and done", _responses(added, done, output=(item,)), keeps)
    for kind in kinds:
        answer = _responses()
        answer[-1] = {"type": kind, "response": _response(item, _message(_TEXT_PART))}
        yield _at(f"{name}, in {kind}", answer, keeps)
    yield _at(f"{name}, in a document", _response(item), keeps)


def _response_objects() -> Iterator[Position]:
    for where, record, lets in plants(responses_fields.RESPONSE):
        response = _response(_message(_TEXT_PART)) | record
        yield _at(f"response: {where}, whole", response, lets)
        for kind in ("response.created", "response.completed"):
            answer = _responses()
            answer[-1] = {"type": kind, "response": response}
            yield _at(f"response: {where}, in {kind}", answer, lets)
    error: Json = {"code": "c", "message": f"No: {MARKED}", "param": None}
    response = _response(status="failed", error=error | {"zz_new": SECRET})
    failed: list[Json] = [{"type": "response.failed", "response": response}]
    yield _at("the error of a response", failed, None)
    yield _at("the error of a response, whole", response, None)


# --- Messages -----------------------------------------------------------------------------------


def _messages(*records: Json, **ending: Any) -> list[Json]:
    """An answer with these events before its visible block, which is at 9."""
    delta = {"type": "text_delta", "text": TEXT}
    return [
        {"type": "message_start", "message": _anthropic(stop_reason=None)},
        *records,
        {"type": "content_block_start", "index": 9, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 9, "delta": delta},
        {"type": "content_block_stop", "index": 9},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"} | ending, "usage": {}},
        {"type": "message_stop"},
    ]


def _anthropic(*content: Json, **more: Any) -> Json:
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m"}
    return message | {"content": list(content), "stop_reason": "end_turn", "usage": {}} | more


def messages_positions() -> Iterator[Position]:
    """``/v1/messages``."""
    yield from _message_events()
    yield from _message_blocks()
    yield from _message_deltas()
    for where, record, lets in plants(messages_fields.MESSAGE):
        message = _anthropic({"type": "text", "text": TEXT}) | record
        yield _in_messages(f"message: {where}, whole", message, lets)
        start = {"type": "message_start", "message": _anthropic() | record}
        yield _in_messages(f"message: {where}", [start, *_messages()[1:]], lets)
    hidden = {"type": "text", "text": MARKED + TEXT}
    ended = {"stop_reason": "stop_sequence", "stop_sequence": SECRET}
    yield _in_messages("stop_sequence, whole", _anthropic(hidden, **ended), REASONING)
    block = _block(hidden | {"text": ""}, {"type": "text_delta", "text": MARKED})
    yield _in_messages("stop_sequence", _messages(*block, **ended), REASONING)


def _in_messages(name: str, answer: list[Json] | Json, keeps: Policy | None) -> Position:
    return Position("messages", name, answer, keeps)


def _block(block: Json, *deltas: Json) -> list[Json]:
    """The events of a block at 0."""
    return [
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
    ]


def _message_events() -> Iterator[Position]:
    for kind in dict.fromkeys((*MESSAGE_EVENT_TYPES, *messages_fields.EVENTS)):
        for where, record, lets in plants(messages_fields.EVENTS[kind]):
            events = _messages()
            found = [index for index, event in enumerate(events) if event["type"] == kind]
            if found:
                events[found[0]] = events[found[0]] | record
            else:
                events.insert(1, {"type": kind} | record)
            lets = None if kind == "error" else lets
            yield _in_messages(f"{kind}: {where}", events, lets)
    new: Json = {"type": "zz_new", "index": 0, "text": SECRET}
    yield _in_messages("an event of a new type", _messages(new), PASS)
    yield _in_messages("the type of an event", _messages({"type": SECRET}), PASS)


def _message_blocks() -> Iterator[Position]:
    for kind in dict.fromkeys((*MESSAGE_BLOCK_TYPES, *messages_fields.BLOCKS)):
        table = messages_fields.BLOCKS[kind]
        channel = messages_fields.BLOCK_CHANNELS.get(kind)
        if channel is not None:
            yield from _block_positions(
                f"block {kind}", filled(table) | {"type": kind}, KEEPS[channel]
            )
        for where, record, lets in plants(table):
            text: Json = {"text": TEXT} if kind == "text" else {}
            block = {"type": kind} | text | record
            lets = lets if channel is None else None
            yield from _block_positions(f"block {kind}: {where}", block, lets)
    new = {"type": "zz_new", "text": SECRET}
    yield from _block_positions("a block of a new type", new, PASS)
    marked = {"type": "text", "text": MARKED + TEXT}
    yield from _block_positions("text", marked, REASONING)


def _block_positions(name: str, block: Json, keeps: Policy | None) -> Iterator[Position]:
    """The block wherever a block stands."""
    yield _in_messages(name, _messages(*_block(block)), keeps)
    yield _in_messages(f"{name}, never closed", _messages(*_block(block)[:-1]), keeps)
    yield _in_messages(f"{name}, whole", _anthropic(block), keeps)
    start = {"type": "message_start", "message": _anthropic(block)}
    yield _in_messages(f"{name}, in message_start", [start, *_messages()[1:]], keeps)


_BLOCK_OF_DELTA = {"input_json_delta": "tool_use", "compaction_delta": "compaction"}


def _message_deltas() -> Iterator[Position]:
    for kind in dict.fromkeys((*MESSAGE_DELTA_TYPES, *messages_fields.DELTAS)):
        table = messages_fields.DELTAS[kind]
        channel = messages_fields.DELTA_CHANNELS.get(kind)
        delta = filled(table) | {"type": kind}
        text: Json = {"type": "text", "text": ""}
        if channel is not None:
            block: Json = {"type": _BLOCK_OF_DELTA.get(kind, "thinking"), "id": "t", "name": "f"}
            keeps = KEEPS[channel]
            yield _in_messages(f"{kind} of its block", _messages(*_block(block, delta)), keeps)
            yield _in_messages(f"{kind} of text", _messages(*_block(text, delta)), None)
            alone = {"type": "content_block_delta", "index": 0, "delta": delta}
            yield _in_messages(f"{kind} of no block", _messages(alone), None)
        for where, record, lets in plants(table):
            said = {"type": kind} | ({"text": TEXT} if kind == "text_delta" else {}) | record
            lets = lets if kind == "text_delta" else None
            yield _in_messages(f"{kind}: {where}", _messages(*_block(text, said)), lets)
    new = {"type": "zz_new_delta", "text": SECRET}
    yield _in_messages("a delta of a new type", _messages(*_block(text, new)), PASS)
    for pieces in ([MARKED], _halves(MARKED)):
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
        name = f"text in {len(pieces)} deltas"
        yield _in_messages(name, _messages(*_block(text, *deltas)), REASONING)
        blocks = [event for delta in deltas for event in _block(text, delta)]
        yield _in_messages(f"{name}, each a block", _messages(*blocks), REASONING)


# --- Ollama's own -------------------------------------------------------------------------------


class _Lines:
    """What both paths have in common; ``said`` makes the keys of a text and of more beside it."""

    def __init__(self, wire_format: str, said: Callable[..., Json]) -> None:
        self.wire_format = wire_format
        self.said = said

    def line(self, said: Json, /, **more: Any) -> Json:
        """One line."""
        line = {"model": "m", "created_at": "2025-01-01T00:00:00Z", "done": False}
        return line | said | more

    def last(self, said: Json, /, **more: Any) -> Json:
        """The last line, which is a document as well."""
        ending = {"done": True, "done_reason": "stop", "eval_count": 3}
        return self.line(said, **ending | more)

    def everywhere(
        self, name: str, keeps: Policy | None, said: Json, /, **more: Any
    ) -> Iterator[Position]:
        """In a line alone, beside text, in the last line, and in a document; ``said`` is beside
        the text, ``more`` around both."""
        text, last = self.line(self.said(TEXT)), self.last(self.said(""))
        alone = self.line(self.said("", **said), **more)
        beside = self.line(self.said("So ", **said), **more)
        ending = self.last(self.said("", **said), **more)
        whole = self.last(self.said(TEXT, **said), **more)
        yield Position(self.wire_format, f"{name}, alone", [alone, text, last], keeps)
        yield Position(self.wire_format, f"{name}, beside text", [beside, text, last], keeps)
        yield Position(self.wire_format, f"{name}, last", [text, ending], keeps)
        yield Position(self.wire_format, f"{name}, whole", whole, keeps)

    def texts(self) -> Iterator[Position]:
        """What is hidden in the text, and repeated beside it."""
        for pieces in ([MARKED], _halves(MARKED)):
            lines = [self.line(self.said(piece), logprobs=_tokens(piece)) for piece in pieces]
            lines += [self.line(self.said(TEXT)), self.last(self.said(""))]
            name = f"text in {len(pieces)} lines"
            yield Position(self.wire_format, name, lines, REASONING)
        whole = self.last(self.said(MARKED + TEXT), logprobs=_tokens(MARKED, TEXT))
        yield Position(self.wire_format, "text, whole", whole, REASONING)


def _lines_positions(made: _Lines, table: Table) -> Iterator[Position]:
    yield from made.texts()
    yield from made.everywhere("thinking", REASONING, {"thinking": SECRET})
    tokens = _tokens(*_halves(SECRET))
    yield from made.everywhere("thinking, its tokens", None, {"thinking": SECRET}, logprobs=tokens)
    for where, record, lets in plants(table):
        # Tokens that spell no text go whole, and an error is the end.
        lets = None if record.keys() & {"logprobs", "error"} else lets
        yield from made.everywhere(f"line: {where}", lets, {}, **record)


def ollama_chat_positions() -> Iterator[Position]:
    """``/api/chat``."""

    def said(text: str, /, **more: Any) -> Json:
        return {"message": {"role": "assistant", "content": text} | more}

    made = _Lines("ollama_chat", said)
    yield from _lines_positions(made, ollama_fields.CHAT_LINE)
    for where, record, lets in plants(ollama_fields.MESSAGE):
        yield from made.everywhere(f"message: {where}", lets, record)
    function = {"name": SECRET, "arguments": {SECRET: SECRET}}
    call = {"id": SECRET, "function": function, "zz_new": SECRET}
    yield from made.everywhere("a call", TOOLS, {"tool_calls": [call]})
    result = {"role": "tool", "content": SECRET, "tool_name": SECRET}
    yield from made.everywhere("a tool's message", None, result)


def ollama_generate_positions() -> Iterator[Position]:
    """``/api/generate``. The tokens in ``context`` are those of the prompt and of the answer."""

    def said(text: str, /, **more: Any) -> Json:
        return {"response": text} | more

    made = _Lines("ollama_generate", said)
    yield from _lines_positions(made, ollama_fields.GENERATE_LINE)
    call = {"function": {"name": SECRET, "arguments": {SECRET: SECRET}}}
    yield from made.everywhere("a call", TOOLS, {"tool_calls": [call]})
    yield from made.everywhere("context", None, {"thinking": SECRET}, context=IDS)


POSITIONS: dict[str, Callable[[], Iterator[Position]]] = {
    "chat": chat_positions,
    "completions": completions_positions,
    "responses": responses_positions,
    "messages": messages_positions,
    "ollama_chat": ollama_chat_positions,
    "ollama_generate": ollama_generate_positions,
}
"""By the name of the wire format."""
