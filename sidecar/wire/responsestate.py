"""What is known of one Responses answer, whether it comes as a stream or as a document."""

from __future__ import annotations

from typing import Any

from sidecar.core.channel import Channel
from sidecar.core.jsontext import dump
from sidecar.core.policy import OnEmpty, StartsIn, UnknownFields
from sidecar.core.stream import MalformedChunk
from sidecar.wire.calls import CallFilter
from sidecar.wire.deltas import plain_text
from sidecar.wire.errors import NOTHING_VISIBLE, visible_error
from sidecar.wire.fields import Record, Table, prune
from sidecar.wire.items import ItemJudge
from sidecar.wire.messageitem import Held, Part
from sidecar.wire.responses_fields import HOSTED_TOOLS, RESPONSE, RESULT_KEYS
from sidecar.wire.responsewriter import Ended
from sidecar.wire.ruling import Ruling, Shared
from sidecar.wire.texts import Texts
from sidecar.wire.usage import openai_tokens

MAX_HELD = 1_048_576
"""Bytes of all announcements of messages and parts that wait for visible text. One is of a few
hundred bytes."""

Judged = tuple[bool, bool]
"""Whether an event stays, and whether it was changed."""
DROPPED: Judged = (False, True)


class ResponseState:
    """One answer under one rule, as far as it was read."""

    def __init__(self, ruling: Ruling) -> None:
        self.shared = Shared(ruling)
        self.stats = self.shared.stats
        self.progress = self.shared.progress
        self.ruling = ruling
        self.keeps_unknown = ruling.policy.unknown_fields is UnknownFields.PASS
        self.judge = ItemJudge(ruling, self.stats)
        self.visible = False
        """Something was shown that is an answer without being text."""
        self._room = MAX_HELD
        calls = CallFilter(ruling.policy.tool_calls, ruling.declared, self.stats, self.progress)
        self._items = Texts(ruling, self.shared, calls, self.progress)
        """Reads no text: it is told of reasoning in items."""
        self._texts = [self._items]
        self._parsed = False
        """Upstream takes the reasoning out of the text itself."""
        self._ids = 0

    def new_id(self, kind: str) -> str:
        """An id for an item of ours; ``kind`` is how those of its type begin."""
        self._ids += 1
        return f"{kind}_{self.ruling.seed}{self._ids:04d}"

    def new_part(self, after: Part | None, *, refusal: bool) -> Part:
        """A text of a message begins, ``after`` another or as its first one: the first begins where
        the rule says, unless reasoning came in items, and another where the one before it ends."""
        ruling = self.ruling_now(first=after is None)
        start = None if after is None else after.texts.lane.continuation
        if start is not None:
            ruling = ruling._replace(start=start)
        part = Part(ruling, self.shared, refusal=refusal)
        self._texts.append(part.texts)
        return part

    def hold(self, record: Record, text: bytes, *, changed: bool) -> Held:
        """An announcement that came as ``text`` and is sent later, if at all. Raises
        MalformedChunk."""
        self._room -= len(text)
        if self._room < 0:
            raise MalformedChunk(f"announcements have up to {MAX_HELD} bytes")
        return Held(record, b"" if changed else text)

    def ruling_now(self, *, first: bool) -> Ruling:
        """What holds for such a text."""
        if self._parsed and self.ruling.policy.starts_in is StartsIn.AUTO:
            first = False
        return self.ruling if first else self.ruling._replace(start=None, closers=frozenset())

    def reason(self, text: str) -> bool:
        """An item says ``text``, which is reasoning: whether that is hidden."""
        if text:
            self._parsed = True
        return self._items.hides_reasoning(text)

    def note(self, item: Record) -> None:
        """An item that is no message stays."""
        if self.judge.channel(item) is Channel.REASONING:
            self.reason(reasoning_of(item))
        else:
            self.visible = True

    def instead(self) -> str:
        """What is sent because nothing else was, now that the answer is complete. Raises Ended if
        the rule wants an error."""
        if self.visible or any(texts.visible for texts in self._texts):
            return ""
        wish = self.ruling.policy.on_empty
        self.stats.empty_answers[wish] += 1
        if wish is OnEmpty.ERROR:
            raise Ended(NOTHING_VISIBLE)
        if wish is OnEmpty.TEXT:
            text = self.ruling.policy.empty_text
        else:
            text = "".join(texts.take_promoted() for texts in self._texts)
        self._items.show(text)
        return text

    def clean_response(self, response: Record) -> bool:
        """Judge all of a response but its output, in place. Returns whether it was changed."""
        changed = self.prune(response, RESPONSE)
        if response.get("model"):
            self.stats.model = response["model"]
        if response.get("usage"):
            self.stats.tokens |= openai_tokens(response["usage"])
        error = response.get("error")
        if not error:
            return changed
        told = self.told(error)
        if isinstance(error, dict):
            told = {key: told[key] for key in told if key in error}
        response["error"] = told
        return changed or told != error

    def tell_call(self, key: object, item: Record) -> None:
        """A call is announced, or complete, as ``item``; ``key`` stands for it."""
        kind = str(item.get("type"))
        name = item.get("name")
        if not isinstance(name, str) or not name:
            name = HOSTED_TOOLS.get(kind, (kind.removesuffix("_call"),))[0]
        arguments = item.get("arguments") or item.get("input") or item.get("action")
        self.progress.call(key, name, arguments or "")

    def tell_result(self, value: Any) -> None:
        """A tool has returned this, and it is complete."""
        if value:
            self.progress.result(value if isinstance(value, str) else _as_text(value))
            self.progress.end_result()

    def tell_results_within(self, item: Record) -> None:
        """``item``, a call, is complete, and may have what the tool returned in it."""
        for path in RESULT_KEYS.get(str(item.get("type")), ()):
            value: Any = item
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            self.tell_result(value)

    def told(self, error: Any, status: int | None = None) -> Record:
        """What a client is told of an error that upstream reports, in the answer or with this HTTP
        status instead of one."""
        self.stats.error = "upstream_error"
        told, unknown = visible_error(error, self.ruling, status)
        self.stats.unknown_fields += unknown
        return told

    def prune(self, record: Record, table: Table) -> bool:
        """Take out, in place, what the table does not know. Returns whether anything was."""
        dropped = prune(record, table, keep_unknown=self.keeps_unknown)
        self.stats.unknown_fields += dropped
        return bool(dropped)


def _as_text(value: Any) -> str:
    return dump(value, exact=True).decode()


def reasoning_of(item: Record) -> str:
    """The text of a reasoning item, in the order in which a stream has it."""
    return plain_text([item.get("summary"), item.get("content")])
