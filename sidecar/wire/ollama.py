"""Ollama's own API: ``/api/chat`` and ``/api/generate``, as lines of JSON and as a document.

An answer is one choice of a chat, and is judged as such; this module says where its text, its
reasoning and its calls stand. A call comes whole here, its arguments parsed: what is moved out of
the text is collected until the answer ends.

Source: https://docs.ollama.com/api.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sidecar.core.framing import LINES
from sidecar.core.jsontext import MalformedJSON, Parsed, dump, parse
from sidecar.core.lane import Lane
from sidecar.core.ndjson import line
from sidecar.core.policy import ToolCalls, UnknownFields
from sidecar.core.stats import Verdict
from sidecar.core.stream import EVENT_TOO_LARGE, UPSTREAM_CLOSED, Fault, MalformedChunk, Reading
from sidecar.wire.choice import Choice
from sidecar.wire.deltas import extend
from sidecar.wire.errors import visible_error
from sidecar.wire.errorshapes import ollama_error
from sidecar.wire.fields import Record, Table, prune
from sidecar.wire.ollama_fields import CHAT_LINE, DONE_REASONS, GENERATE_LINE, LOADS, MESSAGE
from sidecar.wire.ruling import Ruling, Shared
from sidecar.wire.usage import ollama_tokens

_PASS = Reading(Verdict.PASS)
_DROP = Reading(Verdict.DROP)

_IN_BOTH = ("thinking", "tool_calls")
"""What a chat's message calls so too."""
_PICTURES = ("images", "image")
_RENAMED = {"tool_name": "name", "tool_call_id": "tool_call_id"}
"""Keys of a message with a tool's result, and what a chat's message calls them."""
_REPEATED = ("model", "remote_model", "remote_host", "created_at")

_MAX_MOVED = 8_388_608
"""Characters of the calls of one answer that are moved out of its text. They wait for its end, and
a line of this size is over the limit of any client."""
_A_CALL = 256
"""What each of them counts as beside its name and arguments: its objects take memory too."""

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
        self.progress = shared.progress
        self._choice = _WholeCalls(self._ruling, shared)
        self._latest: Record = {}
        """The latest line; one of our own repeats what it says of the model."""

    @property
    def lanes(self) -> dict[int, Lane]:
        """The one lane."""
        return {0: self._choice.lane}

    @property
    def hesitates(self) -> bool:
        """Whether the text that was read last holds something back that may be visible."""
        return self._choice.lane.hesitates

    @property
    def settled(self) -> None:
        """None: every line says when it was made, so that none repeats another."""
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
        self._note(record)
        holder = self._holder(record)
        before = dict(holder)
        shown = self._as_chat(record, holder, "delta")
        self._choice.read(shown)
        out = self._lines(self._choice.before)
        changed = self._take(record, holder, shown, shown["delta"]) or holder != before
        changed = changed or self.stats.unknown_fields > unknown
        done = record.get("done") is True
        if done:
            fault = self._choice.fault
            if fault is not None:
                return Reading(Verdict.REWRITE, (*out, line(self._fail(fault))), last=True)
            out += self._lines([{"tool_calls": self._choice.moved.take()}])
            self.progress.finish()
        if not changed and not out:
            return _PASS._replace(last=done)
        if done or not changed or self._says(holder):
            out.append(line(dump(record, exact=event.exact)))
        return Reading(Verdict.REWRITE, tuple(out), last=done) if out else _DROP

    def end(self, fault: Fault | None) -> list[bytes]:
        """What is still to be said when upstream is done."""
        return [*self._rest(), line(self._fail(fault or UPSTREAM_CLOSED))]

    def refuse(self, error: Any, status: int) -> list[bytes]:
        """What a client is told, in the answer that has begun, of upstream's answer with an error
        and this HTTP status instead."""
        return [line(self._told({"error": error}, status))]

    def carry(self, extra: Record) -> bytes:
        """A line that says nothing, with these keys."""
        return self._own_line({}, extra)

    def carry_text(self, key: str, text: str) -> bytes:
        """A line that says ``text`` under this key of its message."""
        return self._own_line({key: text})

    def read_document(self, document: Parsed) -> bytes | None:
        """Judge a whole answer: the document for the client, None if it is the same. Raises
        MalformedChunk."""
        record = _object(document.value)
        if record.get("error"):
            return self._told(record)
        unknown = self.stats.unknown_fields
        self._prune(record, self.table)
        self._note(record)
        if "done" not in record:
            raise MalformedChunk("an answer is done")
        holder = self._holder(record)
        before = dict(holder)
        shown = self._as_chat(record, holder, "message")
        self._choice.read_whole(shown)
        message = shown["message"]
        calls = self._choice.moved.take()
        if calls:
            extend(message, {"tool_calls": calls})
        fault = self._choice.fault
        if fault is not None:
            return self._fail(fault)
        changed = self._take(record, holder, shown, message) or holder != before
        changed = changed or self.stats.unknown_fields > unknown
        return dump(record, exact=document.exact) if changed else None

    # Where it stands.

    def _holder(self, record: Record) -> Record:
        """The object with the text, the reasoning and the calls of a line."""
        message: Record | None = record.get("message")
        if not message:
            message = record["message"] = {"role": "assistant", "content": ""}
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
            reason = record.get("done_reason")
            shown["finish_reason"] = "length" if reason == "length" else "stop"
            self._choice.loads = reason in LOADS
        return shown

    def _take(self, record: Record, holder: Record, shown: Record, message: Record) -> bool:
        """Make a line, in place, say what is left of ``shown`` and of its ``message``, which were
        made of it. Returns whether anything around ``holder`` was changed."""
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
                if holder.get(key):
                    del holder[key]
        changed = False
        if record.get("logprobs") and not shown.get("logprobs"):
            del record["logprobs"]
            changed = True
        if record.get("context") and (self._choice.hid or self.stats.unknown_fields):
            # The tokens of the whole conversation.
            del record["context"]
            changed = True
        reason = record.get("done_reason")
        if reason and reason not in DONE_REASONS:
            record["done_reason"] = "stop"
            self.stats.unknown_fields += 1
        return changed

    def _says(self, holder: Record) -> bool:
        return any(map(holder.get, (self.text_key, *_IN_BOTH, *_PICTURES, "completed")))

    def _lines(self, deltas: Iterable[Record]) -> list[bytes]:
        """Lines of our own, for those of the deltas that say anything here."""
        return [
            self._own_line(delta) for delta in deltas if any(map(delta.get, ("content", *_IN_BOTH)))
        ]

    def _own_line(self, delta: Record, extra: Record | None = None) -> bytes:
        envelope = {key: self._latest[key] for key in _REPEATED if key in self._latest}
        if not self._latest:
            at = datetime.fromtimestamp(self._ruling.at, UTC)
            envelope = {"model": self._ruling.model, "created_at": at.isoformat()}
        record = envelope | self._saying(delta) | {"done": False} | (extra or {})
        return line(dump(record, exact=True))

    def _note(self, record: Record) -> None:
        """Note what a line, or a document, says of itself."""
        if record.get("model"):
            self.stats.model = record["model"]
        if record.get("done") is True:
            self.stats.tokens |= ollama_tokens(record)

    # The end.

    def _rest(self) -> list[bytes]:
        """What was held of an answer that breaks off."""
        return self._lines([self._choice.release(complete=False)])

    def _fail(self, fault: Fault) -> bytes:
        self.stats.error = fault.code
        return dump(ollama_error(_BROKEN, {"message": fault.message}), exact=False)

    def _told(self, record: Record, status: int | None = None) -> bytes:
        """What a client is told of an error that upstream reports."""
        self.stats.error = "upstream_error"
        told, unknown = visible_error(record["error"], self._ruling, status)
        self.stats.unknown_fields += unknown
        return dump(ollama_error(status or _BROKEN, told), exact=True)

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


class _WholeCalls(Choice):
    """An answer as a chat's choice. Calls are moved out of its text into :attr:`moved`."""

    def __init__(self, ruling: Ruling, shared: Shared) -> None:
        super().__init__(ruling, shared, shared.progress)
        self.moved = _MovedCalls()
        self.loads = False
        """The request only loads a model, or unloads it: no answer is missing."""

    @property
    def fault(self) -> Fault | None:
        return EVENT_TOO_LARGE if self.moved.overflowed else super().fault

    @property
    def _empty(self) -> bool:
        return not self.loads and super()._empty

    def _add_moved(self, message: Record, reasoning: str, *, whole: bool) -> bool:
        self.moved.collect(self._texts.take_calls(whole=whole))
        return super()._add_moved(message, reasoning, whole=whole)


class _MovedCalls:
    """Calls that are moved out of a text piece by piece, until they are complete."""

    def __init__(self) -> None:
        self.overflowed = False
        self._calls: list[tuple[Record, list[str]]] = []
        self._room = _MAX_MOVED

    def collect(self, deltas: Iterable[Record]) -> None:
        """Take more of them: the first delta of a call has its id and name."""
        for delta in deltas:
            function = delta["function"]
            if "id" in delta:
                call = {"id": delta["id"], "function": {"name": function["name"]}}
                self._calls.append((call, []))
                self._room -= _A_CALL + len(function["name"])
            self._room -= len(function["arguments"])
            self.overflowed = self._room < 0
            if self.overflowed:
                self._calls = []
                return
            self._calls[-1][1].append(function["arguments"])

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
