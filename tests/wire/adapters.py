"""How the answers of the conformance suite are written in each wire format, and read back.

The readers are strict: they fail on what an SDK's accumulator stumbles over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar

from tests.wire.conformance import Adapter, Event, Json, Kind, Piece, Reader
from tests.wire.recordings import recordings

TEXT, REASONING, CALL, RESULT = Kind.TEXT, Kind.REASONING, Kind.CALL, Kind.RESULT
FINISH, CLOSED, ERROR, END = Kind.FINISH, Kind.CLOSED, Kind.ERROR, Kind.END

_STRUCTURED = frozenset({REASONING, CALL, RESULT})


def compact(value: Any) -> str:
    """JSON as most servers write it."""
    return json.dumps(value, separators=(",", ":"))


def runs(answer: Iterable[Piece]) -> Iterator[tuple[Kind, list[Piece]]]:
    """The pieces of one kind that follow each other; each call and each result is alone."""
    numbered = enumerate(answer)
    for (kind, _), run in groupby(
        numbered, lambda pair: (pair[1].kind, pair[0] if pair[1].kind in (CALL, RESULT) else -1)
    ):
        yield kind, [piece for _, piece in run]


def joined(pieces: Iterable[Piece]) -> str:
    """Their texts together."""
    return "".join(piece.text for piece in pieces)


def halves(said: str) -> tuple[str, str]:
    """In two deltas."""
    return said[: len(said) // 2], said[len(said) // 2 :]


def recorded(*records: Json, named: bool = True, mark: bytes = b"") -> bytes:
    """A stream of server-sent events as a server writes it."""
    events = [
        (f"event: {record['type']}\n" if named else "") + f"data: {compact(record)}\n\n"
        for record in records
    ]
    return "".join(events).encode() + mark


# --- chat completions ---------------------------------------------------------------------------


class _ChatReader(Reader):
    """Joins deltas as the openai package does."""

    def __init__(self) -> None:
        self._calls: dict[int, list[str]] = {}
        self._answering = True

    def read(self, name: str, record: Json) -> Iterator[Piece]:
        assert not name
        if record.get("error"):
            yield Piece(ERROR)
            return
        for choice in record["choices"]:
            yield from self._read_choice(choice, choice["index"])

    def _read_choice(self, choice: Json, lane: int) -> Iterator[Piece]:
        delta = choice["delta"]
        role = delta.get("role")
        if role == "tool":
            yield from self._take_calls()
            self._answering = False
        elif role == "assistant":
            if not self._answering:
                yield Piece(CLOSED, lane=lane)
            self._answering = True
        content = delta.get("content")
        if delta.get("reasoning_content"):
            yield Piece(REASONING, delta["reasoning_content"])
        if content and self._answering:
            yield Piece(TEXT, content, lane=lane)
        elif content:
            yield Piece(RESULT, content)
        for part in delta.get("tool_calls") or ():
            function = part["function"]
            if part["index"] not in self._calls:
                assert part["index"] == len(self._calls), "a gap between the calls"
                assert part["id"], part
                assert function["name"], part
            said = self._calls.setdefault(part["index"], ["", ""])
            said[0] += function.get("name") or ""
            said[1] += function.get("arguments") or ""
        if choice["finish_reason"]:
            yield from self._take_calls()
            yield Piece(FINISH, _CHAT_FINISHES[choice["finish_reason"]], lane=lane)

    def _take_calls(self) -> Iterator[Piece]:
        calls, self._calls = self._calls, {}
        for name, arguments in calls.values():
            yield Piece(CALL, arguments, name)


_CHAT_FINISHES = {"stop": "stop", "length": "length", "tool_calls": "calls"}


class ChatAdapter(Adapter):
    """``/v1/chat/completions``. What a tool returned is a message of its own in a stream, and not
    in a document."""

    structured = _STRUCTURED
    whole = frozenset({REASONING, CALL})
    moves = frozenset({REASONING, CALL})
    finishes = frozenset(_CHAT_FINISHES.values())
    lanes = 2
    recordings: ClassVar[Mapping[str, bytes]] = {
        r.name: r.sent for r in recordings() if r.untouched and not r.declares
    }
    _envelope: ClassVar[Json] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "m",
    }

    def events(self, answer: Sequence[Piece]) -> list[Event]:
        lanes = sorted({piece.lane for piece in answer}) or [0]
        first = [self._chunk({"role": "assistant", "content": ""}, lane=lane) for lane in lanes]
        return [*first, *self._events(answer)]

    def _events(self, answer: Sequence[Piece]) -> Iterator[Event]:
        calls, answering = 0, True
        for piece in answer:
            if piece.kind is RESULT:
                answering = False
                said = {"role": "tool", "tool_call_id": "call_0", "content": piece.text}
                yield self._chunk(said)
                continue
            if not answering and piece.kind is not FINISH:
                answering, calls = True, 0
                yield self._chunk({"role": "assistant", "content": ""})
            if piece.kind is TEXT:
                yield self._chunk({"content": piece.text}, lane=piece.lane)
            elif piece.kind is REASONING:
                yield self._chunk({"reasoning_content": piece.text})
            elif piece.kind is CALL:
                for delta in self._call(piece, calls):
                    yield self._chunk({"tool_calls": [delta]})
                calls += 1
            else:
                yield self._chunk({}, _said(_CHAT_FINISHES, piece.text), lane=piece.lane)

    def _call(self, piece: Piece, index: int) -> Iterator[Json]:
        function = {"name": piece.name, "arguments": ""}
        yield {"index": index, "id": f"call_{index}", "type": "function", "function": function}
        for half in halves(piece.text):
            yield {"index": index, "function": {"arguments": half}}

    def _chunk(self, delta: Json, finish: str | None = None, lane: int = 0) -> Event:
        choice = {"index": lane, "delta": delta, "logprobs": None, "finish_reason": finish}
        return "", self._envelope | {"choices": [choice]}

    def error(self, message: str) -> Event:
        return "", {"error": {"message": message, "type": "server_error", "code": None}}

    def reader(self) -> Reader:
        return _ChatReader()

    def document(self, answer: Sequence[Piece]) -> Json:
        return self._envelope | {
            "object": "chat.completion",
            "choices": [self._choice(answer)],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        }

    def _choice(self, answer: Sequence[Piece]) -> Json:
        said = {kind: [piece for piece in answer if piece.kind is kind] for kind in Kind}
        message: Json = {"role": "assistant", "content": joined(said[TEXT]) or None}
        if said[REASONING]:
            message["reasoning_content"] = joined(said[REASONING])
        if said[CALL]:
            message["tool_calls"] = [
                {
                    "id": f"call_{index}",
                    "type": "function",
                    "function": {"name": piece.name, "arguments": piece.text},
                }
                for index, piece in enumerate(said[CALL])
            ]
        reason = _said(_CHAT_FINISHES, said[FINISH][0].text)
        return {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}

    def read_document(self, document: Json) -> Iterator[Piece]:
        (choice,) = document["choices"]
        message = choice["message"]
        yield Piece(REASONING, message.get("reasoning_content") or "")
        yield Piece(TEXT, message["content"] or "")
        for call in message.get("tool_calls") or ():
            assert call["id"], call
            yield Piece(CALL, call["function"]["arguments"], call["function"]["name"])
        yield Piece(FINISH, _CHAT_FINISHES[choice["finish_reason"]])


def _said(finishes: Mapping[str, str], reason: str) -> str:
    """How a format says that reason."""
    return next(said for said, meant in finishes.items() if meant == reason)


# --- legacy completions -------------------------------------------------------------------------


class _CompletionsReader(Reader):
    def read(self, name: str, record: Json) -> Iterator[Piece]:
        assert not name
        if record.get("error"):
            yield Piece(ERROR)
            return
        for choice in record["choices"]:
            assert "logprobs" in choice, choice
            yield Piece(REASONING, choice.get("reasoning") or "")
            yield Piece(TEXT, choice["text"], lane=choice["index"])
            if choice["finish_reason"]:
                yield Piece(FINISH, choice["finish_reason"], lane=choice["index"])


_VLLM_CHUNK: Json = {
    "id": "cmpl-6",
    "object": "text_completion",
    "created": 1700000000,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "text": " Hi there",
            "logprobs": {
                "text_offset": [0, 3],
                "token_logprobs": [-0.25, -0.5],
                "tokens": [" Hi", " there"],
                "top_logprobs": [{" Hi": -0.25, " Yo": -1.5}, {" there": -0.5}],
            },
            "finish_reason": None,
            "stop_reason": None,
        }
    ],
}
_VLLM_END: Json = {"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}
_VLLM_COMPLETION = recorded(
    _VLLM_CHUNK,
    _VLLM_CHUNK | {"choices": [_VLLM_END | {"stop_reason": None}]},
    _VLLM_CHUNK
    | {
        "choices": [],
        "usage": {"prompt_tokens": 3, "total_tokens": 5, "completion_tokens": 2},
    },
    named=False,
    mark=b"data: [DONE]\n\n",
)


class CompletionsAdapter(Adapter):
    """``/v1/completions``: nothing but text, and (OpenRouter) reasoning. Nothing can be moved."""

    structured = whole = frozenset({REASONING})
    moves = frozenset()
    finishes = frozenset({"stop", "length"})
    declares = False
    lanes = 2
    recordings: ClassVar[Mapping[str, bytes]] = {"vllm": _VLLM_COMPLETION}

    def events(self, answer: Sequence[Piece]) -> list[Event]:
        return list(map(self._event, answer))

    def _event(self, piece: Piece) -> Event:
        if piece.kind is FINISH:
            return "", self._envelope("", piece.text, piece.lane)
        if piece.kind is REASONING:
            return "", self._envelope("", None, piece.lane, reasoning=piece.text)
        return "", self._envelope(piece.text, None, piece.lane)

    def _envelope(self, text: str, finish: str | None, lane: int = 0, **more: str) -> Json:
        choice = {"text": text, "index": lane, "logprobs": None, "finish_reason": finish} | more
        envelope = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m"}
        return envelope | {"choices": [choice]}

    def error(self, message: str) -> Event:
        return "", {"error": {"message": message, "type": "server_error", "code": None}}

    def reader(self) -> Reader:
        return _CompletionsReader()

    def document(self, answer: Sequence[Piece]) -> Json:
        said = {kind: joined(p for p in answer if p.kind is kind) for kind in Kind}
        choices = self._envelope(said[TEXT], said[FINISH])
        if said[REASONING]:
            choices["choices"][0]["reasoning"] = said[REASONING]
        return choices

    def read_document(self, document: Json) -> Iterator[Piece]:
        yield from self.reader().read("", document)


# --- Responses ----------------------------------------------------------------------------------

_RESPONSE_FINISHES = {"completed": "stop", "incomplete": "length"}


class _ResponsesReader(Reader):
    """Accumulates items by their position, and compares every repetition."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._items: list[Json] = []
        self._done: list[Json | None] = []
        self._failed = False

    def read(self, name: str, record: Json) -> Iterator[Piece]:
        kind = record["type"]
        assert name == kind
        if "sequence_number" in record:
            assert self._number in (None, record["sequence_number"]), "a gap in the numbers"
            self._number = record["sequence_number"] + 1
        if kind == "response.output_item.added":
            self._add(record)
        elif kind == "response.output_item.done":
            yield from self._complete(record)
        elif kind in ("response.content_part.added", "response.content_part.done"):
            self._part(record, added=kind.endswith("added"))
        elif kind.endswith((".delta", ".done")):
            yield from self._text(kind, record)
        elif kind in ("response.completed", "response.incomplete"):
            output = [self._done[index] for index in range(len(self._items))]
            assert record["response"]["output"] == output, "the whole says something else"
            yield Piece(FINISH, _RESPONSE_FINISHES[record["response"]["status"]])
            yield Piece(END)
        elif kind in ("error", "response.failed") and not self._failed:
            self._failed = True
            yield Piece(ERROR)

    def _add(self, record: Json) -> None:
        assert record["output_index"] == len(self._items), "a gap between the items"
        self._items.append(json.loads(json.dumps(record["item"])))
        self._done.append(None)

    def _item(self, record: Json) -> Json:
        item = self._items[record["output_index"]]
        assert item["id"] == record["item_id"], "another item's id"
        assert self._done[record["output_index"]] is None, "the item was complete"
        return item

    def _part(self, record: Json, *, added: bool) -> None:
        parts = self._item(record)["content"]
        if added:
            assert record["content_index"] == len(parts), "a gap between the parts"
            parts.append(dict(record["part"]))
        else:
            part = parts[record["content_index"]]
            assert _whole(part["text"]) == _whole(record["part"]["text"])

    def _text(self, kind: str, record: Json) -> Iterator[Piece]:
        item = self._item(record)
        holder, key = item, "arguments"
        if not kind.startswith("response.function_call_arguments"):
            if item["type"] == "reasoning" and record["content_index"] == len(item["content"]):
                # Clients do not wait for the announcement of such a part.
                item["content"].append({"type": "reasoning_text", "text": ""})
            holder, key = item["content"][record["content_index"]], "text"
        lane = _lane(item)
        if kind.endswith(".delta"):
            holder[key] += record["delta"]
            if kind == "response.output_text.delta":
                yield Piece(TEXT, record["delta"], lane=lane)
            elif kind == "response.reasoning_text.delta":
                yield Piece(REASONING, record["delta"])
        else:
            assert _whole(holder[key]) == _whole(record[key]), "done says something else"
            if kind == "response.output_text.done":
                yield Piece(CLOSED, lane=lane)

    def _complete(self, record: Json) -> Iterator[Piece]:
        index, item = record["output_index"], record["item"]
        known = self._items[index]
        assert (item["id"], item["type"]) == (known["id"], known["type"])
        assert self._done[index] is None, "completed twice"
        self._done[index] = item
        if item["type"] == "message":
            assert len(item["content"]) == len(known["content"])
        for part, before in zip(item.get("content", ()), known.get("content", ()), strict=True):
            assert _whole(part["text"]) == _whole(before["text"]), "the item says something else"
        if item["type"] == "function_call":
            assert item["arguments"] == known["arguments"], "the call says something else"
            yield Piece(CALL, item["arguments"], item["name"])
        elif item["type"] == "function_call_output":
            yield Piece(RESULT, item["output"])


def _lane(item: Json) -> int:
    return int(item["id"].split("_")[1]) if item["type"] == "message" else 0


def _whole(said: str) -> str:
    return said.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _openai_response() -> Iterator[Json]:
    text, at = "Hi there.", {"item_id": "msg_0", "output_index": 0, "content_index": 0}
    response: Json = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1700000000,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": "Be <b>brief</b>.",
        "max_output_tokens": None,
        "model": "gpt-5-mini",
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": "low", "summary": None},
        "service_tier": "auto",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [{"type": "function", "name": "find", "parameters": {"type": "object"}}],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "user": None,
        "metadata": {"a": "b"},
    }
    part: Json = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    item: Json = {"id": "msg_0", "type": "message", "status": "completed", "content": [part]}
    item |= {"role": "assistant"}
    begun = item | {"status": "in_progress", "content": []}
    usage = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 12,
    }
    yield {"type": "response.created", "response": response}
    yield {"type": "response.in_progress", "response": response}
    yield {"type": "response.output_item.added", "output_index": 0, "item": begun}
    yield {"type": "response.content_part.added", **at, "part": part | {"text": ""}}
    for delta in ("Hi", " there", "."):
        said: Json = {"delta": delta, "logprobs": [], "obfuscation": "x7Yq"}
        yield {"type": "response.output_text.delta", **at, **said}
    yield {"type": "response.output_text.done", **at, "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": part}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    whole = response | {"status": "completed", "output": [item], "usage": usage}
    yield {"type": "response.completed", "response": whole}


_OPENAI_RESPONSE = recorded(
    *(record | {"sequence_number": number} for number, record in enumerate(_openai_response()))
)
_BARE = ("sequence_number", "output_index", "content_index", "obfuscation", "logprobs")
_LLAMACPP_RESPONSE = recorded(
    *(
        {key: value for key, value in record.items() if key not in _BARE}
        for record in _openai_response()
    )
)
"""llama.cpp gives neither numbers nor positions."""


class ResponsesAdapter(Adapter):
    """``/v1/responses``. Texts that come at the same time are messages; the answer has one end."""

    structured = whole = _STRUCTURED
    moves = frozenset({REASONING, CALL})
    finishes = frozenset(_RESPONSE_FINISHES.values())
    lanes = 2
    recordings: ClassVar[Mapping[str, bytes]] = {
        "openai": _OPENAI_RESPONSE,
        "llamacpp": _LLAMACPP_RESPONSE,
    }

    def events(self, answer: Sequence[Piece]) -> list[Event]:
        return [
            (record["type"], record | {"sequence_number": number})
            for number, record in enumerate(self._records(answer))
        ]

    def _records(self, answer: Sequence[Piece]) -> Iterator[Json]:
        begun = self._response("in_progress", [])
        yield {"type": "response.created", "response": begun}
        yield {"type": "response.in_progress", "response": begun}
        items: list[Json] = []
        for kind, run in runs(answer):
            if kind is FINISH:
                status = _said(_RESPONSE_FINISHES, run[0].text)
                whole = self._response(status, items)
                yield {"type": f"response.{status}", "response": whole}
                return
            new = self._items(kind, run, len(items))
            for index, item in enumerate(new, len(items)):
                yield from self._begin(item, index)
            for piece in run:
                number = [_lane(item) for item in new].index(piece.lane)
                yield from self._say(new[number], len(items) + number, piece)
            for index, item in enumerate(new, len(items)):
                yield from self._end(item, index)
            items += new

    def _items(self, kind: Kind, run: list[Piece], count: int) -> list[Json]:
        """The items of a run, complete: one for each text of a message."""
        if kind is TEXT:
            return [
                {
                    "id": f"msg_{lane}_{count}",
                    "type": "message",
                    "role": "assistant",
                    "content": [self._part(joined(p for p in run if p.lane == lane))],
                    "status": "completed",
                }
                for lane in sorted({piece.lane for piece in run})
            ]
        if kind is REASONING:
            part = {"type": "reasoning_text", "text": joined(run)}
            return [{"id": f"rs_{count}", "type": "reasoning", "summary": [], "content": [part]}]
        (piece,) = run
        if kind is RESULT:
            item: Json = {"id": f"fco_{count}", "type": "function_call_output"}
            item |= {"call_id": f"call_{count - 1}", "output": piece.text}
        else:
            item = {"id": f"fc_{count}", "type": "function_call", "call_id": f"call_{count}"}
            item |= {"name": piece.name, "arguments": piece.text}
        return [item | {"status": "completed"}]

    def _part(self, said: str) -> Json:
        return {"type": "output_text", "annotations": [], "logprobs": [], "text": said}

    def _begin(self, item: Json, index: int) -> Iterator[Json]:
        empty = {key: [] if key == "content" else "" for key in ("content", "arguments")}
        begun = item | {key: value for key, value in empty.items() if key in item}
        yield {"type": "response.output_item.added", "output_index": index, "item": begun}
        for part in item.get("content", ()):
            yield self._added("added", item, index, part | {"text": ""})

    def _added(self, step: str, item: Json, index: int, part: Json) -> Json:
        at = {"item_id": item["id"], "output_index": index, "content_index": 0}
        return {"type": f"response.content_part.{step}", **at, "part": part}

    def _say(self, item: Json, index: int, piece: Piece) -> Iterator[Json]:
        at = {"item_id": item["id"], "output_index": index}
        if piece.kind is CALL:
            for half in halves(piece.text):
                yield {"type": "response.function_call_arguments.delta", **at, "delta": half}
        elif piece.kind is not RESULT:
            kind = item["content"][0]["type"]
            more: Json = {"logprobs": []} if piece.kind is TEXT else {}
            at["content_index"] = 0
            yield {"type": f"response.{kind}.delta", **at, "delta": piece.text, **more}

    def _end(self, item: Json, index: int) -> Iterator[Json]:
        at = {"item_id": item["id"], "output_index": index}
        if item["type"] == "function_call":
            kind = "response.function_call_arguments.done"
            yield {"type": kind, **at, "arguments": item["arguments"]}
        for part in item.get("content", ()):
            more: Json = {"logprobs": []} if part["type"] == "output_text" else {}
            done = {"type": f"response.{part['type']}.done", **at, "content_index": 0}
            yield done | {"text": part["text"]} | more
            yield self._added("done", item, index, part)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}

    def _response(self, status: str, output: list[Json]) -> Json:
        why = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": "resp_1",
            "object": "response",
            "created_at": 1700000000,
            "status": status,
            "error": None,
            "incomplete_details": why,
            "model": "m",
            "output": output,
            "reasoning": {"effort": "low", "summary": None},
            "tools": [],
        }

    def error(self, message: str) -> Event:
        return "error", {"type": "error", "error": {"message": message, "code": "server_error"}}

    def reader(self) -> Reader:
        return _ResponsesReader()

    def document(self, answer: Sequence[Piece]) -> Json:
        last = list(self._records(answer))[-1]
        response: Json = last["response"]
        return response

    def read_document(self, document: Json) -> Iterator[Piece]:
        for item in document["output"]:
            if item["type"] == "message":
                said = "".join(part["text"] for part in item["content"])
                yield Piece(TEXT, said, lane=_lane(item))
            elif item["type"] == "reasoning":
                yield Piece(REASONING, "".join(part["text"] for part in item["content"]))
            elif item["type"] == "function_call":
                yield Piece(CALL, item["arguments"], item["name"])
            else:
                yield Piece(RESULT, item["output"])
        yield Piece(FINISH, _RESPONSE_FINISHES[document["status"]])


# --- Messages -----------------------------------------------------------------------------------

_MESSAGE_FINISHES = {"end_turn": "stop", "max_tokens": "length", "tool_use": "calls"}
_DELTA_KEYS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("thinking", "signature"),
    "input_json_delta": ("tool_use", "partial_json"),
}


class _MessagesReader(Reader):
    """Accumulates blocks by their position, as the anthropic package does."""

    def __init__(self) -> None:
        self._begun = False
        self._blocks: list[Json] = []
        self._open: set[int] = set()

    def read(self, name: str, record: Json) -> Iterator[Piece]:
        kind = record["type"]
        assert name == kind
        if kind == "error":
            yield Piece(ERROR)
            return
        assert self._begun == (kind != "message_start") or kind == "ping", "no message, or two"
        if kind == "message_start":
            assert record["message"]["content"] == []
            self._begun = True
        elif kind == "content_block_start":
            yield from self._start(record)
        elif kind == "content_block_delta":
            yield from self._delta(record)
        elif kind == "content_block_stop":
            self._open.remove(record["index"])
            block = self._blocks[record["index"]]
            if block["type"] == "tool_use":
                yield Piece(CALL, block["partial_json"], block["name"])
        elif kind == "message_delta":
            assert not self._open, "a block is open"
            assert "output_tokens" in record["usage"]
            yield Piece(FINISH, _MESSAGE_FINISHES[record["delta"]["stop_reason"]])
        elif kind == "message_stop":
            yield Piece(END)

    def _start(self, record: Json) -> Iterator[Piece]:
        assert record["index"] == len(self._blocks), "a gap between the blocks"
        block = dict(record["content_block"])
        self._blocks.append(block)
        self._open.add(record["index"])
        if block["type"] != "text":
            # Texts that follow each other are one.
            yield Piece(CLOSED)
        if block["type"] == "tool_use":
            block["partial_json"] = ""
        elif block["type"] == "tool_result":
            yield Piece(RESULT, block["content"])

    def _delta(self, record: Json) -> Iterator[Piece]:
        assert record["index"] in self._open, "no such block is open"
        block, delta = self._blocks[record["index"]], record["delta"]
        kind, key = _DELTA_KEYS[delta["type"]]
        assert block["type"] == kind, "a delta of another block"
        block[key] += delta[key]
        if key == "text":
            yield Piece(TEXT, delta[key])
        elif key == "thinking":
            yield Piece(REASONING, delta[key])


_CITED: Json = {
    "type": "char_location",
    "cited_text": "<i>It is</i> so.",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 9,
}


def _anthropic_message() -> Iterator[Json]:
    usage = {
        "input_tokens": 9,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 1,
        "service_tier": "standard",
    }
    message: Json = {
        "model": "claude-sonnet-4-5",
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    yield {"type": "message_start", "message": message}
    for index, deltas in enumerate((["Hi", " there"], [", `<think>` me", "."])):
        empty: Json = {"type": "text", "text": ""} | ({"citations": []} if index else {})
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for text in deltas:
            delta: Json = {"type": "text_delta", "text": text}
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        if index:
            delta = {"type": "citations_delta", "citation": _CITED}
            yield {"type": "content_block_delta", "index": index, "delta": delta}
            yield {"type": "ping"}
        yield {"type": "content_block_stop", "index": index}
    ending = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": ending, "usage": {"output_tokens": 9}}
    yield {"type": "message_stop"}


class MessagesAdapter(Adapter):
    """``/v1/messages``. Blocks come one after the other, so there is one text at a time."""

    structured = whole = _STRUCTURED
    moves = frozenset({REASONING, CALL})
    finishes = frozenset(_MESSAGE_FINISHES.values())
    recordings: ClassVar[Mapping[str, bytes]] = {"anthropic": recorded(*_anthropic_message())}

    def events(self, answer: Sequence[Piece]) -> list[Event]:
        return [(record["type"], record) for record in self._records(answer)]

    def _records(self, answer: Sequence[Piece]) -> Iterator[Json]:
        yield {"type": "message_start", "message": self._message([], None)}
        yield {"type": "ping"}
        for index, (kind, run) in enumerate(runs(answer)):
            if kind is FINISH:
                reason = _said(_MESSAGE_FINISHES, run[0].text)
                ending = {"stop_reason": reason, "stop_sequence": None}
                usage = {"output_tokens": 9}
                yield {"type": "message_delta", "delta": ending, "usage": usage}
                yield {"type": "message_stop"}
                return
            empty: Json = {"text": "", "thinking": "", "input": {}}
            block = self._block(kind, run, index)
            begun = block | {key: value for key, value in empty.items() if key in block}
            yield {"type": "content_block_start", "index": index, "content_block": begun}
            for delta in self._deltas(kind, run):
                yield {"type": "content_block_delta", "index": index, "delta": delta}
            yield {"type": "content_block_stop", "index": index}

    def _deltas(self, kind: Kind, run: list[Piece]) -> Iterator[Json]:
        if kind is TEXT:
            yield from ({"type": "text_delta", "text": piece.text} for piece in run)
        elif kind is REASONING:
            yield from ({"type": "thinking_delta", "thinking": piece.text} for piece in run)
            yield {"type": "signature_delta", "signature": ""}  # llama.cpp's
        elif kind is CALL:
            for half in ("", *halves(run[0].text)):
                yield {"type": "input_json_delta", "partial_json": half}

    def _block(self, kind: Kind, run: list[Piece], index: int) -> Json:
        """The block of a run, complete."""
        if kind is TEXT:
            return {"type": "text", "text": joined(run)}
        if kind is REASONING:
            return {"type": "thinking", "thinking": joined(run), "signature": ""}
        (piece,) = run
        if kind is RESULT:
            return {"type": "tool_result", "tool_use_id": f"t{index - 1}", "content": piece.text}
        name, arguments = piece.name, json.loads(piece.text)
        return {"type": "tool_use", "id": f"t{index}", "name": name, "input": arguments}

    def _message(self, content: list[Json], reason: str | None) -> Json:
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": {"input_tokens": 9, "output_tokens": 1},
        }

    def error(self, message: str) -> Event:
        error = {"type": "api_error", "message": message}
        return "error", {"type": "error", "error": error}

    def reader(self) -> Reader:
        return _MessagesReader()

    def document(self, answer: Sequence[Piece]) -> Json:
        blocks, reason = [], ""
        for index, (kind, run) in enumerate(runs(answer)):
            if kind is FINISH:
                reason = _said(_MESSAGE_FINISHES, run[0].text)
            else:
                blocks.append(self._block(kind, run, index))
        return self._message(blocks, reason)

    def read_document(self, document: Json) -> Iterator[Piece]:
        for block in document["content"]:
            if block["type"] == "text":
                yield Piece(TEXT, block["text"])
            elif block["type"] == "thinking":
                yield Piece(REASONING, block["thinking"])
            elif block["type"] == "tool_use":
                yield Piece(CALL, compact(block["input"]), block["name"])
            else:
                yield Piece(RESULT, block["content"])
        yield Piece(FINISH, _MESSAGE_FINISHES[document["stop_reason"]])


# --- Ollama's own -------------------------------------------------------------------------------


class _OllamaReader(Reader):
    def __init__(self, adapter: OllamaAdapter) -> None:
        self._adapter = adapter

    def read(self, name: str, record: Json) -> Iterator[Piece]:
        if record.get("error"):
            yield Piece(ERROR)
            return
        yield from self._adapter.said(record)
        if record["done"]:
            yield Piece(FINISH, record["done_reason"])
            yield Piece(END)


class OllamaAdapter(Adapter):
    """What both paths have: a line for each piece, the last with the counters."""

    structured = whole = moves = frozenset({REASONING, CALL})
    finishes = frozenset({"stop", "length"})

    def line(self, text: str, **more: Any) -> Json:
        """The keys that say something."""
        raise NotImplementedError

    def said(self, record: Json) -> Iterator[Piece]:
        """What these keys say."""
        raise NotImplementedError

    def message(self, holder: Json, key: str) -> Iterator[Piece]:
        """What an object says, with its text under ``key``."""
        yield Piece(REASONING, holder.get("thinking") or "")
        yield Piece(TEXT, holder[key])
        for call in holder.get("tool_calls") or ():
            function = call["function"]
            yield Piece(CALL, compact(function["arguments"]), function["name"])

    def _calls(self, pieces: Iterable[Piece]) -> list[Json]:
        return [
            {"function": {"name": piece.name, "arguments": json.loads(piece.text)}}
            for piece in pieces
        ]

    def _line(self, said: Json, reason: str | None = None) -> Json:
        line = {"model": "m", "created_at": "2025-01-01T00:00:00Z"} | said
        if reason is None:
            return line | {"done": False}
        return line | {"done": True, "done_reason": reason, "total_duration": 9, "eval_count": 3}

    def events(self, answer: Sequence[Piece]) -> list[Event]:
        return [("", self._event(piece)) for piece in answer]

    def _event(self, piece: Piece) -> Json:
        if piece.kind is FINISH:
            return self._line(self.line(""), piece.text)
        if piece.kind is REASONING:
            return self._line(self.line("", thinking=piece.text))
        if piece.kind is CALL:
            return self._line(self.line("", tool_calls=self._calls([piece])))
        return self._line(self.line(piece.text))

    def error(self, message: str) -> Event:
        return "", {"error": message}

    def reader(self) -> Reader:
        return _OllamaReader(self)

    def document(self, answer: Sequence[Piece]) -> Json:
        said = {kind: [piece for piece in answer if piece.kind is kind] for kind in Kind}
        more: Json = {"thinking": joined(said[REASONING])} if said[REASONING] else {}
        if said[CALL]:
            more["tool_calls"] = self._calls(said[CALL])
        return self._line(self.line(joined(said[TEXT]), **more), said[FINISH][0].text)

    def read_document(self, document: Json) -> Iterator[Piece]:
        yield from self.said(document)
        yield Piece(FINISH, document["done_reason"])


_OLLAMA_LINE: Json = {"model": "qwen3", "created_at": "2025-07-07T20:22:19.184789Z"}
_OLLAMA_COUNTERS: Json = {
    "done_reason": "stop",
    "total_duration": 8113331500,
    "load_duration": 6396458,
    "prompt_eval_count": 18,
    "prompt_eval_duration": 143375,
    "eval_count": 52,
    "eval_duration": 1000,
}


class OllamaChatAdapter(OllamaAdapter):
    """``/api/chat``."""

    recordings: ClassVar[Mapping[str, bytes]] = {
        "ollama": b"".join(
            compact(
                _OLLAMA_LINE | {"message": {"role": "assistant", "content": said}} | more
            ).encode()
            + b"\n"
            for said, more in (
                ("Hi", {"done": False}),
                (" there.", {"done": False}),
                ("", {"done": True, **_OLLAMA_COUNTERS}),
            )
        )
    }

    def line(self, text: str, **more: Any) -> Json:
        return {"message": {"role": "assistant", "content": text} | more}

    def said(self, record: Json) -> Iterator[Piece]:
        return self.message(record["message"], "content")


class OllamaGenerateAdapter(OllamaAdapter):
    """``/api/generate``: such a request declares no tool, so there is nobody to move a call for."""

    moves = frozenset({REASONING})
    declares = False
    recordings: ClassVar[Mapping[str, bytes]] = {
        "ollama": b"".join(
            compact(_OLLAMA_LINE | more).encode() + b"\n"
            for more in (
                {"response": "Hi", "done": False},
                {"response": " there.", "done": False},
                {"response": "", "done": True, **_OLLAMA_COUNTERS, "context": [1, 2, 3]},
            )
        )
    }

    def line(self, text: str, **more: Any) -> Json:
        return {"response": text} | more

    def said(self, record: Json) -> Iterator[Piece]:
        return self.message(record, "response")


ADAPTERS: dict[str, Adapter] = {
    "chat": ChatAdapter(),
    "completions": CompletionsAdapter(),
    "responses": ResponsesAdapter(),
    "messages": MessagesAdapter(),
    "ollama_chat": OllamaChatAdapter(),
    "ollama_generate": OllamaGenerateAdapter(),
}
"""By the name of the wire format."""
