"""Ollama's own API: ``/api/chat`` and ``/api/generate``, as lines of JSON and as a document.

An answer is one choice of a chat, and is judged as such; this module says where its text, its
reasoning and its calls stand. A call comes whole here, its arguments parsed: what is moved out of
the text is collected until the answer ends.

Source: https://docs.ollama.com/api.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sidecar.core.framing import LINES
from sidecar.core.jsontext import MalformedJSON, Parsed, dump, parse
from sidecar.core.lane import Lane
from sidecar.core.ndjson import line
from sidecar.core.policy import ToolCalls, UnknownFields
from sidecar.core.stats import Verdict
from sidecar.core.stream import EVENT_TOO_LARGE, UPSTREAM_CLOSED, Fault, MalformedChunk, Reading
from sidecar.wire.calls import function_of
from sidecar.wire.choice import Choice
from sidecar.wire.deltas import extend
from sidecar.wire.errors import visible_error
from sidecar.wire.errorshapes import ollama_error
from sidecar.wire.fields import Record, Table, prune
from sidecar.wire.made import MAX_MADE
from sidecar.wire.ollama_fields import CHAT_LINE, DONE_REASONS, GENERATE_LINE, MESSAGE
from sidecar.wire.ruling import Ruling, Shared

_PASS = Reading(Verdict.PASS)
_DROP = Reading(Verdict.DROP)

_IN_BOTH = ("thinking", "tool_calls")
"""What a chat's message calls so too."""
_PICTURES = ("images", "image")
_RENAMED = {"tool_name": "name", "tool_call_id": "tool_call_id"}
"""Keys of a message with a tool's result, and what a chat's message calls them."""
_REPEATED = ("model", "remote_model", "remote_host", "created_at")

_BROKEN = 500
"""The HTTP status that an error in an answer would have had."""


class OllamaChat:
    """One answer of ``/api/chat`` under one rule."""

    framing = LINES
    table: Table = CHAT_LINE
    text_key = "content"

    def __init__(self, ruling: Ruling) -> None:
        # The one field that reasoning has here.
        policy = replace(ruling.policy, reasoning_fields=("thinking",))
        self._ruling = ruling._replace(policy=policy)
        self._keeps_unknown = policy.unknown_fields is UnknownFields.PASS
        shared = Shared(self._ruling)
        self.stats = shared.stats
        self._choice = Choice(self._ruling, shared)
        self._moved = _MovedCalls()
        self._latest: Record = {}
        """The latest line; one of our own repeats what it says of the model."""

    @property
    def lanes(self) -> dict[int, Lane]:
        """The one lane."""
        return {0: self._choice.lane}

    def repeat(self, _: bytes) -> Reading | None:
        """None: every line says when it was made, so that none is like another."""
        return None

    def read(self, event: Parsed) -> Reading:
        """Judge one line of a stream. Raises MalformedChunk."""
        record = _object(event.value)
        if record.get("error"):
            out = [*self._rest(), line(self._told(record))]
            return Reading(Verdict.REWRITE, tuple(out), last=True)
        self._latest = record
        unknown = self.stats.unknown_fields
        self._prune(record, self.table)
        holder = self._holder(record)
        before = dict(holder)
        shown = self._as_chat(record, holder, "delta")
        self._choice.read(shown)
        out = self._lines(self._choice.before)
        changed = self._take(record, holder, shown, shown["delta"]) or holder != before
        changed = changed or self.stats.unknown_fields > unknown
        done = record.get("done") is True
        if done:
            fault = self._fault
            if fault is not None:
                return Reading(Verdict.REWRITE, (*out, line(self._fail(fault))), last=True)
            out += self._lines([{"tool_calls": self._moved.take()}])
        if not changed and not out:
            return _PASS._replace(last=done)
        if done or not changed or self._says(holder):
            out.append(line(dump(record, exact=event.exact)))
        return Reading(Verdict.REWRITE, tuple(out), last=done) if out else _DROP

    def end(self, fault: Fault | None) -> list[bytes]:
        """What is still to be said when upstream is done."""
        return [*self._rest(), line(self._fail(fault or UPSTREAM_CLOSED))]

    def read_document(self, document: Parsed) -> bytes | None:
        """Judge a whole answer: the document for the client, None if it is the same. Raises
        MalformedChunk."""
        record = _object(document.value)
        if record.get("error"):
            return self._told(record)
        unknown = self.stats.unknown_fields
        self._prune(record, self.table)
        if "done" not in record:
            raise MalformedChunk("an answer is done")
        holder = self._holder(record)
        before = dict(holder)
        shown = self._as_chat(record, holder, "message")
        self._choice.read_whole(shown)
        message = self._whole_calls(shown["message"])
        calls = self._moved.take()
        if calls:
            extend(message, {"tool_calls": calls})
        fault = self._fault
        if fault is not None:
            return self._fail(fault)
        changed = self._take(record, holder, shown, message) or holder != before
        changed = changed or self.stats.unknown_fields > unknown
        return dump(record, exact=document.exact) if changed else None

    # Where it stands.

    def _holder(self, record: Record) -> Record:
        """The object with the text, the reasoning and the calls of a line."""
        message: Record = record.get("message") or {}
        self._prune(message, MESSAGE)
        return message

    def _saying(self, delta: Record) -> Record:
        """The keys of a line that say ``delta``."""
        said = {key: delta[key] for key in _IN_BOTH if delta.get(key)}
        return {"message": {"role": "assistant", "content": delta.get("content") or ""} | said}

    def _as_chat(self, record: Record, holder: Record, key: str) -> Record:
        """The choice as a chat would have it, with its message under ``key``."""
        message = {name: holder[name] for name in ("role", *_IN_BOTH) if holder.get(name)}
        message |= {name: holder[key] for key, name in _RENAMED.items() if holder.get(key)}
        message["content"] = holder.get(self.text_key)
        if any(map(holder.get, _PICTURES)):
            # An answer, although it has no text.
            message["images"] = [{}]
        shown: Record = {key: message}
        if record.get("logprobs"):
            shown["logprobs"] = {"content": record["logprobs"]}
        if record.get("done") is True:
            shown["finish_reason"] = "length" if record.get("done_reason") == "length" else "stop"
        return shown

    def _take(self, record: Record, holder: Record, shown: Record, message: Record) -> bool:
        """Make a line, in place, say what is left of ``shown`` and of its ``message``, which were
        made of it. Returns whether anything around ``holder`` was changed."""
        message = self._whole_calls(message)
        for key in _IN_BOTH:
            if message.get(key):
                holder[key] = message[key]
            elif holder.get(key):
                del holder[key]
        text = message.get("content")
        if text != holder.get(self.text_key):
            holder[self.text_key] = text or ""
        for key, name in _RENAMED.items():
            if holder.get(key) and name not in message:
                del holder[key]
        if holder.get("role"):
            # To the client there is but one message.
            holder["role"] = message.get("role") or "assistant"
        if "images" not in message:
            for key in _PICTURES:
                holder.pop(key, None)
        changed = False
        if record.get("logprobs") and not shown.get("logprobs"):
            del record["logprobs"]
            changed = True
        if record.get("context") and self._choice.hid:
            # The tokens of the whole conversation.
            del record["context"]
            changed = True
        reason = record.get("done_reason")
        if reason and reason not in DONE_REASONS:
            record["done_reason"] = "stop"
            self.stats.unknown_fields += 1
        return changed

    def _whole_calls(self, message: Record) -> Record:
        """``message`` without the pieces of calls that were moved out of the text, which are
        collected."""
        calls = message.get("tool_calls")
        if not calls:
            return message
        whole = [call for call in calls if not self._moved.collects(call)]
        return message | {"tool_calls": whole}

    def _says(self, holder: Record) -> bool:
        return any(map(holder.get, (self.text_key, *_IN_BOTH, *_PICTURES)))

    def _lines(self, deltas: Iterable[Record]) -> list[bytes]:
        """Lines of our own, for those of the deltas that say anything here."""
        model = {key: self._latest[key] for key in _REPEATED if key in self._latest}
        said = map(self._whole_calls, deltas)
        return [
            line(dump(model | self._saying(delta) | {"done": False}, exact=True))
            for delta in said
            if any(map(delta.get, ("content", *_IN_BOTH)))
        ]

    # The end.

    def _rest(self) -> list[bytes]:
        """What was held of an answer that breaks off."""
        return self._lines([self._choice.release(complete=False)])

    @property
    def _fault(self) -> Fault | None:
        """What is wrong with the answer, now that it is complete."""
        return EVENT_TOO_LARGE if self._moved.overflowed else self._choice.fault

    def _fail(self, fault: Fault) -> bytes:
        self.stats.error = fault.code
        return dump(ollama_error(_BROKEN, {"message": fault.message}), exact=False)

    def _told(self, record: Record) -> bytes:
        """What a client is told of an error that upstream reports."""
        self.stats.error = "upstream_error"
        told, unknown = visible_error(record["error"], self._ruling)
        self.stats.unknown_fields += unknown
        return dump(ollama_error(_BROKEN, told), exact=True)

    def _prune(self, record: Record, table: Table) -> None:
        self.stats.unknown_fields += prune(record, table, keep_unknown=self._keeps_unknown)


class OllamaGenerate(OllamaChat):
    """One answer of ``/api/generate``: the message is the line itself. Its requests declare no
    tools, so nobody waits for a call."""

    table = GENERATE_LINE
    text_key = "response"

    def __init__(self, ruling: Ruling) -> None:
        policy = ruling.policy
        if policy.tool_calls is ToolCalls.MOVE:
            policy = replace(policy, tool_calls=ToolCalls.DROP)
        super().__init__(ruling._replace(policy=policy, declared=frozenset()))

    def _holder(self, record: Record) -> Record:
        return record

    def _saying(self, delta: Record) -> Record:
        message: Record = super()._saying(delta)["message"]
        del message["role"]
        return {"response": message.pop("content")} | message


class _MovedCalls:
    """Calls that are moved out of a text piece by piece, until they are complete."""

    def __init__(self) -> None:
        self.overflowed = False
        self._calls: list[tuple[Record, list[str]]] = []
        self._room = MAX_MADE

    def collects(self, delta: Any) -> bool:
        """Whether ``delta`` is a piece of such a call; if so it was taken."""
        function = function_of(delta) if isinstance(delta, dict) else {}
        arguments = function.get("arguments")
        if not isinstance(arguments, str):
            return False
        if "id" in delta or not self._calls:
            call = {"id": delta.get("id"), "function": {"name": function.get("name")}}
            self._calls.append((call, []))
        self._room -= len(arguments)
        if self._room < 0:
            self.overflowed = True
        else:
            self._calls[-1][1].append(arguments)
        return True

    def take(self) -> list[Record]:
        """Those that are complete: one that broke off has no arguments that could be parsed."""
        calls, self._calls = self._calls, []
        return [call for call, pieces in calls if _set_arguments(call, "".join(pieces))]


def _set_arguments(call: Record, text: str) -> bool:
    """Give ``call`` the arguments that ``text`` is the JSON of. Returns whether it is an object."""
    try:
        arguments = parse(text.encode("utf-8", "surrogatepass")).value
    except MalformedJSON:
        return False
    call["function"]["arguments"] = arguments
    return isinstance(arguments, dict)


def _object(value: object) -> Record:
    if not isinstance(value, dict):
        raise MalformedChunk("an answer is a JSON object")
    return value
