"""OpenAI's Responses: the events of a stream, and the ``response`` that is one document.

The same text comes again and again: in deltas, in the ``done`` events of a part, its item and its
message, and in the whole response at the end. Here is what becomes of the events about the answer
as a whole; :mod:`sidecar.wire.responseitems` and :mod:`sidecar.wire.responsetexts` have the others.

Sources: OpenAI API reference, "Responses" and "Streaming events".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.core.framing import NAMED_EVENTS
from sidecar.core.jsontext import Parsed, dump
from sidecar.core.lane import Lane
from sidecar.core.sse import event as written
from sidecar.core.stats import Verdict
from sidecar.core.stream import UPSTREAM_CLOSED, Fault, MalformedChunk, Reading
from sidecar.wire.checked import an_object
from sidecar.wire.errors import UNREADABLE_CALL
from sidecar.wire.errorshapes import openai_error
from sidecar.wire.fields import Record
from sidecar.wire.made import MadeItem
from sidecar.wire.messageitem import Held, Items
from sidecar.wire.responsedocument import ResponseDocument
from sidecar.wire.responseitems import OF_ITEM, ResponseItems
from sidecar.wire.responses_fields import EVENTS, RESPONSE_EVENTS, TEXT_EVENTS
from sidecar.wire.responsestate import DROPPED, Judged, ResponseState
from sidecar.wire.responsetexts import DELTAS, ResponseTexts
from sidecar.wire.responsewriter import Ended, Writer
from sidecar.wire.ruling import Ruling

_REWRITE = Verdict.REWRITE
_DROP = Reading(Verdict.DROP)

_BROKEN = 500
"""The HTTP status that an error in an answer would have had."""

_LAST = frozenset({"response.completed", "response.incomplete", "response.failed"})


class Responses:
    """One answer under one rule."""

    framing = NAMED_EVENTS

    def __init__(self, ruling: Ruling) -> None:
        self._state = ResponseState(ruling)
        self.stats = self._state.stats
        self.progress = self._state.progress
        self._items = Items()
        self._writer = Writer()
        self._texts = ResponseTexts(self._state, self._items, self._writer)
        self._wholes = ResponseItems(self._state, self._items, self._writer, self._texts)
        self._envelope: Record = {}
        """The response as it was announced; one of our own repeats it."""
        self._over = False
        self._failed = False
        """Upstream has reported an error."""

    @property
    def lanes(self) -> Mapping[tuple[int, int], Lane]:
        """The lanes of the texts that are open, by the positions of item and part."""
        return self._texts.lanes

    @property
    def hesitates(self) -> bool:
        """Whether the text that was read last holds something back that may be visible."""
        return self._texts.hesitates

    @property
    def settled(self) -> None:
        """None: every event has a number of its own, so that none repeats another."""
        return None

    # A stream.

    def read(self, event: Parsed) -> Reading:
        """Judge one event. Raises MalformedChunk, after which what was to be sent before it waits
        for the next event or the end."""
        record = an_object(event.value, "an event")
        kind = record.get("type")
        if not isinstance(kind, str):
            raise MalformedChunk("an event has a type")
        self._writer.begin(record)
        try:
            stays, changed = self._read(kind, record, event)
        except Ended as ended:
            self._fail(ended.fault)
            return Reading(_REWRITE, self._writer.take(), last=True)
        before = self._writer.take()
        self._over = self._over or kind in _LAST
        if not stays:
            return Reading(_REWRITE, before, last=self._over) if before else _DROP
        changed |= self._writer.number(record)
        name = kind.encode()
        if not changed and not before:
            return Reading(Verdict.PASS, name=name, last=self._over)
        own = self._writer.event(record, event) if changed else written(event.text, name)
        return Reading(_REWRITE, (*before, own), last=self._over)

    def end(self, fault: Fault | None) -> list[bytes]:
        """What is still to be said when upstream is done."""
        if not self._over and not (self._failed and fault is None):
            try:
                self._texts.finish(cut_off=True)
            except Ended as ended:
                fault = ended.fault
            self._fail(fault or UPSTREAM_CLOSED)
        return list(self._writer.take())

    def refuse(self, error: Any, status: int) -> list[bytes]:
        """What a client is told, in the answer that has begun, of upstream's answer with an error
        and this HTTP status instead."""
        self._over = True
        self._report(self._state.told(error, status))
        return list(self._writer.take())

    def carry(self, extra: Record) -> bytes:
        """A sign of life, as Azure sends it, with these keys; empty until the response was
        announced, before which two SDK helpers take no other event. It has no number: a client
        that resumes a stored stream counts only what was stored."""
        if not self._envelope:
            return b""
        return written(dump({"type": "keepalive"} | extra, exact=True), b"keepalive")

    def carry_text(self, key: str, text: str) -> bytes:
        """Nothing: a text is an item, which would be part of the answer."""
        return b""

    def _read(self, kind: str, record: Record, event: Parsed) -> Judged:
        """Judge an event, in place."""
        table = EVENTS.get(kind)
        if table is None:
            return self._read_unknown(record)
        changed = self._state.prune(record, table)
        if kind in DELTAS:
            return self._texts.read_delta(kind, record, event, changed)
        if kind in OF_ITEM:
            return self._wholes.read_of_item(kind, record, changed)
        if kind in TEXT_EVENTS:
            return self._wholes.read_part(kind, record, event, changed)
        if kind in RESPONSE_EVENTS:
            return self._read_response(kind, record, changed)
        if kind == "response.output_item.added":
            return self._wholes.read_added(record, event, changed)
        if kind == "response.output_item.done":
            return self._wholes.read_done(record, changed)
        return self._read_error(record, changed) if kind == "error" else (True, changed)

    def _read_unknown(self, record: Record) -> Judged:
        item = self._items.find(record)
        if not self._state.keeps_unknown or (item is not None and item.hidden):
            self.stats.unknown_fields += 1
            return DROPPED
        return True, item is not None and self._writer.place(item, record)

    def _read_error(self, record: Record, changed: bool) -> Judged:
        if not self._failed:
            # It costs as much as all items: a stream of errors must not pay for each.
            self._texts.finish(cut_off=True)
        self._failed = True
        error = record.get("error")
        flat = {key: record[key] for key in ("code", "message", "param") if key in record}
        if error is not None:
            record["error"] = self._state.told(error)
            changed |= record["error"] != error
        if flat or error is None:
            told = self._state.told(flat)
            record |= {key: told[key] for key in flat}
            changed |= any(record[key] != value for key, value in flat.items())
        return True, changed

    # The response as a whole.

    def _read_response(self, kind: str, record: Record, changed: bool) -> Judged:
        response = an_object(record.get("response"), "a response")
        changed |= self._state.clean_response(response)
        if not self._envelope:
            self._envelope = {key: response[key] for key in response if key != "output"}
        if kind in _LAST:
            self._texts.finish(cut_off=kind != "response.completed")
            self._wholes.complete(response)
            if self._texts.broken and kind == "response.completed":
                raise Ended(UNREADABLE_CALL)
            if kind != "response.failed":
                self._say_instead()
                self.progress.finish()
        return True, self._wholes.judge_output(response) or changed

    def _say_instead(self) -> None:
        """What is sent because nothing else was."""
        text = self._state.instead()
        if text:
            writer = self._writer
            writer.begin_made(MadeItem.message(self._state.new_id("msg"), writer.next_index()))
            writer.say(text)
            writer.end_made()

    def _fail(self, fault: Fault) -> None:
        """The end of an answer that cannot go on."""
        self._over = True
        self.stats.error = fault.code
        if not self._envelope:
            told = {"message": fault.message, "code": fault.code}
            self._report(openai_error(_BROKEN, told)["error"])
            return
        response = {"id": "", "object": "response", "created_at": 0, "model": ""} | self._envelope
        response |= {
            "status": "failed",
            "error": {"code": fault.code, "message": fault.message},
            "incomplete_details": None,
            "output": [],
        }
        self._writer.send(Held({"type": "response.failed", "response": response}))

    def _report(self, error: Record) -> None:
        """An error where no response was announced, which could have failed: two SDK helpers take
        none then, and all raise what they find under ``error``."""
        flat = {key: error[key] for key in ("code", "message", "param")}
        self._writer.send(Held({"type": "error", **flat, "error": error}))

    # A document.

    def read_document(self, document: Parsed) -> bytes | None:
        """Judge a whole response: the document for the client, None if it is the same. Raises
        MalformedChunk."""
        return ResponseDocument(self._state).read(document)

    def read_items(self, items: Any) -> tuple[list[Any], bool]:
        """Judge a stored list of items, of input or output: what is left, and whether that is
        another. Raises MalformedChunk."""
        return ResponseDocument(self._state).read_items(items)
