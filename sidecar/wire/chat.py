"""Chat completions: ``chat.completion.chunk`` streams and ``chat.completion`` documents.

What may pass is written down in :mod:`sidecar.wire.chat_fields`; what becomes of one choice is
decided in :mod:`sidecar.wire.choice`. This module puts the choices back into their envelope.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from sidecar.core.framing import EVENTS
from sidecar.core.jsontext import Parsed, as_int, dump, parse
from sidecar.core.lane import Lane
from sidecar.core.policy import Reasoning, ToolCalls, UnknownFields
from sidecar.core.sse import event as written
from sidecar.core.stats import Verdict
from sidecar.core.stream import UPSTREAM_CLOSED, Fault, MalformedChunk, Reading
from sidecar.core.unread import Settled, Stops
from sidecar.wire.calls import more_of_call
from sidecar.wire.chat_fields import CARRIED, ENVELOPE, OF_ONE_CHUNK, REASONING_KEYS
from sidecar.wire.choice import Choice
from sidecar.wire.errors import error_payload, visible_error
from sidecar.wire.fields import Record, prune
from sidecar.wire.ruling import Ruling, Shared
from sidecar.wire.template import Template
from sidecar.wire.usage import openai_tokens

_PASS = Reading(Verdict.PASS)
_DROP = Reading(Verdict.DROP)

_REPEATED = ("id", "object", "created", "model", "system_fingerprint")


_CALLS = "tool_calls"
_ANY_ARGUMENTS = Stops({})


class _Said(NamedTuple):
    """What a streamed choice says, and nothing else: ``value`` under this ``key``, which has but
    the one ``text``, under the key ``member``."""

    key: str
    value: Any
    member: str
    text: str


class _Expected(NamedTuple):
    """What the next chunk is likely to be, and of which choice: it says another text under
    ``key``."""

    key: str
    template: Template
    choice: Choice


class Chat:
    """One chat answer under one rule."""

    framing = EVENTS
    max_choices = 128
    """The largest ``n`` of OpenAI's API: a higher index could only serve to grow the state."""
    text_key = "content"
    """The one key that holds the text of a streamed choice."""
    _beside_text: Collection[str] = ("role",)
    """The keys beside it that say nothing of it."""
    kind, id_prefix = "chat.completion.chunk", "chatcmpl"

    def __init__(self, ruling: Ruling) -> None:
        self._shared = Shared(ruling)
        self.stats = self._shared.stats
        self.progress = self._shared.progress
        self._ruling = ruling
        self._policy = ruling.policy
        self._keeps_unknown = ruling.policy.unknown_fields is UnknownFields.PASS
        policy = ruling.policy
        self._moves = policy.reasoning is Reasoning.MOVE or policy.tool_calls is ToolCalls.MOVE
        self._choices: dict[int, Choice] = {}
        self._known: dict[str, _Expected] = {}
        """What the next chunk is likely to be, by the key under which it says something."""
        self._expected: _Expected | None = None
        """That of these which the last chunk was like."""
        self._passed = False
        """The last chunk was sent on as it came."""
        self._latest: Record = {}
        """The latest chunk with a choice; a chunk of our own repeats its envelope."""
        self._current: Choice | None = None
        """The one that was read last."""
        self._usage = b""
        """A chunk with the usage, which waits for a finish that was postponed."""

    @property
    def lanes(self) -> dict[int, Lane]:
        """The lane of each choice, by its index."""
        return {index: choice.lane for index, choice in self._choices.items()}

    @property
    def hesitates(self) -> bool:
        """Whether the text that was read last holds something back that may be visible."""
        return self._current is not None and self._current.lane.hesitates

    @property
    def settled(self) -> Settled | None:
        """What is known of the next chunks, as the answer stands now."""
        expected = self._expected
        if expected is None or not expected.choice.repeats:
            return None
        around, choice = expected.template.around, expected.choice
        if expected.key == self.text_key:
            stops = choice.settled
            hide = choice.hides if stops is None and choice.hides_more else None
            return Settled(around, self._repeat_text, stops, choice.note, hide)
        if expected.key != _CALLS:
            hide = choice.hides_reasoning if choice.hides_more_reasoning else None
            return Settled(around, self._repeat_thought, hide=hide)
        if not choice.call_goes_on:
            return None
        if self._passed:
            return Settled(around, _in_full, _ANY_ARGUMENTS, _unnoted)
        return Settled(around, _in_full, hide=choice.hides_call)

    def _repeat_thought(self, text: str) -> Reading | None:
        """The same for a chunk in which it is the reasoning that is another."""
        assert self._expected is not None
        if not text:
            return None
        return _DROP if self._expected.choice.hides_reasoning(text) else _PASS

    def _repeat_text(self, text: str) -> Reading | None:
        """What becomes of a chunk that is like the one before in all but its text; None if it must
        be read in full, and then nothing happened."""
        assert self._expected is not None
        _, template, choice = self._expected
        if choice.passes(text):
            return _PASS
        if self._moves:
            return None
        visible = choice.read_text(text)
        if visible == text:
            return _PASS
        if not visible:
            return _DROP
        return Reading(Verdict.REWRITE, (written(template.with_text(visible)),))

    def read(self, event: Parsed) -> Reading:
        """Judge one chunk of a stream. Raises MalformedChunk."""
        self._expected = None
        record = _record(event)
        if record.get("error"):
            return self._error(record["error"])
        changed = self._prune(record)
        self._note(record)
        items = record.get("choices")
        if not items:
            return self._read_envelope(record, event, changed)
        self._latest = record
        reading = self._read_choices(record, _items(items), event, changed)
        if self._usage and not self._postpones:
            # The answer goes on, and this is no more its end.
            out = reading.out or ((written(event.text),) if reading.verdict is Verdict.PASS else ())
            reading = Reading(Verdict.REWRITE, (self._take_usage(), *out), last=reading.last)
        return reading

    def read_document(self, document: Parsed) -> bytes | None:
        """Judge a whole answer: the document for the client, None if it is the same. Raises
        MalformedChunk."""
        record = _record(document)
        if record.get("error"):
            return self._upstream_error(record["error"])
        changed = self._prune(record)
        self._note(record)
        items = record.get("choices")
        if not items:
            raise MalformedChunk("an answer has choices")
        for position, item in enumerate(_items(items)):
            index = self._index(item, position)
            # Each is complete, so one with the index of another is another all the same.
            choice = self._choices[index] = self._new_choice(index)
            changed |= choice.read_whole(item)
            if choice.fault is not None:
                return self._fault(choice.fault)
        return dump(record, exact=document.exact) if changed else None

    def end(self, fault: Fault | None) -> list[bytes]:
        """What is still to be said when upstream is done."""
        out: list[bytes] = []
        complete = bool(self._choices)
        for index, choice in self._choices.items():
            if choice.finished:
                continue
            ended = choice.postponed is not None and fault is None
            rest = choice.release(complete=ended)
            if rest:
                out.append(self._chunk(index, rest))
            if not ended:
                complete = False
            elif choice.fault is not None:
                fault, complete = choice.fault, False
            else:
                self._finish(index)
                out.append(self._chunk(index, {}, choice.postponed))
        if self._usage:
            out.append(self._take_usage())
        if not complete:
            out.append(written(self._fault(fault or UPSTREAM_CLOSED)))
        return out

    def refuse(self, error: Any, status: int) -> list[bytes]:
        """What a client is told, in the answer that has begun, of upstream's answer with an error
        and this HTTP status instead."""
        return [written(self._upstream_error(error, status))]

    def carry(self, extra: Record) -> bytes:
        """A chunk that says nothing, with these top-level keys."""
        return self._chunk(0, {}, None, extra)

    def carry_text(self, key: str, text: str) -> bytes:
        """A chunk that says ``text`` under this key of its delta."""
        return self._chunk(0, {key: text})

    def _read_envelope(self, record: Record, event: Parsed, changed: bool) -> Reading:
        """Judge a chunk without a choice."""
        if changed and not _carries(record):
            return _DROP
        if record.get("usage") and self._postpones:
            # Some clients keep the usage of the last chunk only: the finish must come before it.
            self._usage = written(dump(record, exact=event.exact) if changed else event.text)
            return _DROP
        if not changed:
            return _PASS
        return Reading(Verdict.REWRITE, (written(dump(record, exact=event.exact)),))

    @property
    def _postpones(self) -> bool:
        """Whether the finish of a choice waits for the end of the stream."""
        return any(choice.postponed is not None for choice in self._choices.values())

    def _take_usage(self) -> bytes:
        usage, self._usage = self._usage, b""
        return usage

    def _read_choices(
        self, record: Record, items: list[Record], event: Parsed, changed: bool
    ) -> Reading:
        # Padding is of another length each time.
        alone = len(items) == 1 and not _carries(record) and not record.get("obfuscation")
        said = self._only_said(items[0]) if alone else None
        before: list[bytes] = []
        passed, says = True, False
        for item in items:
            index = self._index(item)
            choice = self._current = self._choice(index)
            had_finished = choice.finished
            verdict = choice.read(item)
            passed = passed and verdict is Verdict.PASS
            says = says or verdict is not Verdict.DROP
            before.extend(self._chunk(index, delta) for delta in choice.before)
            if choice.finished and not had_finished:
                if choice.fault is not None:
                    before.append(written(self._fault(choice.fault)))
                    return Reading(Verdict.REWRITE, tuple(before), last=True)
                self._finish(index)
        if not changed and not before and said is not None:
            self._passed = passed
            if passed or not says or said.key != _CALLS:
                self._learn(said, record, event)
        if passed and not changed and not before:
            return _PASS
        if not says and not _carries(record):
            return Reading(Verdict.REWRITE if before else Verdict.DROP, tuple(before))
        # Padding that evens out the length of a text that is no longer there.
        record.pop("obfuscation", None)
        return Reading(Verdict.REWRITE, (*before, written(dump(record, exact=event.exact))))

    def _learn(self, said: _Said, record: Record, event: Parsed) -> None:
        """Expect more chunks like this one, of which ``record`` is left."""
        known = self._known.get(said.key)
        if known is not None and known.template.fits(event.text):
            self._expected = known
            return
        [item] = record["choices"]
        if not self._passed and not _is_less(event, record, self._holder(item), said):
            return
        template = Template.of(event.text, said.text, said.member)
        if template is not None:
            choice = self._choices[self._index(item)]
            self._expected = self._known[said.key] = _Expected(said.key, template, choice)

    def _only_said(self, item: Record) -> _Said | None:
        """What a streamed choice says, if that is a text, reasoning, or arguments of a call, and
        nothing else."""
        if any(map(item.get, OF_ONE_CHUNK)):
            return None
        holder = self._holder(item)
        said = [key for key, value in holder.items() if value and key not in self._beside_text]
        if len(said) != 1:
            return None
        [key], value = said, holder[said[0]]
        if key == _CALLS:
            arguments = more_of_call(value)
            return _Said(key, value, "arguments", arguments) if arguments else None
        if key not in (self.text_key, *REASONING_KEYS) or not isinstance(value, str):
            return None
        return _Said(key, value, key, value)

    def _holder(self, item: Record) -> Record:
        """What has the text of a streamed choice."""
        delta = item.get("delta")
        return delta if isinstance(delta, dict) else {}

    def _choice(self, index: int) -> Choice:
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = self._new_choice(index)
        return choice

    def _new_choice(self, index: int) -> Choice:
        return Choice(self._ruling, self._shared, self._shared.progress_of(index))

    def _finish(self, index: int) -> None:
        """A choice is complete. What a person is told is of the first one."""
        if index == 0:
            self.progress.finish()

    def _note(self, record: Record) -> None:
        """Note what a chunk, or a document, says of itself."""
        model = record.get("model")
        if model:
            self.stats.model = model
        usage = record.get("usage") or (record.get("x_groq") or {}).get("usage")
        if usage:
            self.stats.tokens |= openai_tokens(usage)
        self.progress.cite(record.get("search_results"))
        self.progress.cite(record.get("citations"))

    def _index(self, item: Record, otherwise: int = 0) -> int:
        if item.get("index") is None:
            return otherwise
        index = as_int(item["index"])
        if index is None or not 0 <= index < self.max_choices:
            raise MalformedChunk(f"a choice's index is an integer from 0 to {self.max_choices - 1}")
        return index

    def _chunk(
        self, index: int, delta: Record, reason: str | None = None, extra: Record | None = None
    ) -> bytes:
        """A chunk of our own."""
        envelope = {key: self._latest[key] for key in _REPEATED if key in self._latest}
        if not self._latest:
            envelope = {
                "id": f"{self.id_prefix}-{self._ruling.seed}",
                "object": self.kind,
                "created": int(self._ruling.at),
                "model": self._ruling.model,
            }
        item = {"index": index} | self._saying(delta) | {"finish_reason": reason}
        return written(dump(envelope | {"choices": [item]} | (extra or {}), exact=True))

    def _saying(self, delta: Record) -> Record:
        """The keys of a streamed choice that say ``delta``."""
        return {"delta": delta}

    def _fault(self, fault: Fault) -> bytes:
        self.stats.error = fault.code
        return error_payload(fault)

    def _error(self, error: Any) -> Reading:
        """Upstream reports an error in the stream, which ends with it."""
        out = []
        for index, choice in self._choices.items():
            rest = {} if choice.finished else choice.release(complete=False)
            if rest:
                out.append(self._chunk(index, rest))
        if self._usage:
            out.append(self._take_usage())
        out.append(written(self._upstream_error(error)))
        return Reading(Verdict.REWRITE, tuple(out), last=True)

    def _upstream_error(self, error: Any, status: int | None = None) -> bytes:
        self.stats.error = "upstream_error"
        record, unknown = visible_error(error, self._ruling, status)
        self.stats.unknown_fields += unknown
        return dump({"error": record}, exact=True)

    def _prune(self, record: Record) -> bool:
        dropped = prune(record, ENVELOPE, keep_unknown=self._keeps_unknown)
        self.stats.unknown_fields += dropped
        return bool(dropped)


def _record(parsed: Parsed) -> Record:
    if not isinstance(parsed.value, dict):
        raise MalformedChunk("a chunk is a JSON object")
    return parsed.value


def _items(items: Any) -> list[Record]:
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise MalformedChunk("choices is a list of objects")
    return items


def _carries(record: Record) -> bool:
    """Whether a chunk has more to say than its choices. A key that no table knows and that is
    still there is one that the rule lets through."""
    return any(value and (key in CARRIED or key not in ENVELOPE) for key, value in record.items())


def _is_less(event: Parsed, record: Record, holder: Record, said: _Said) -> bool:
    """Whether ``record`` is what the event said, less (of) what ``holder``, which is in it and has
    no role, had ``said``."""
    if holder.get("role"):
        return False
    left = holder.get(said.key)
    holder[said.key] = said.value
    is_less: bool = parse(event.text).value == record
    if left is None:
        del holder[said.key]
    else:
        holder[said.key] = left
    return is_less


def _in_full(_: str) -> None:
    """More of a call of which it is not known what becomes of it."""


def _unnoted(_: str) -> None:
    """More of a call that passes: nobody keeps count."""
