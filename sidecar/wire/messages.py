"""Anthropic's Messages: the events of a stream, and the ``message`` that is one document.

What becomes of the blocks is decided in :mod:`sidecar.wire.messageblocks`; this module has what is
around them: the message, its end, and errors.

Sources: Anthropic API reference, "Create a Message", "Streaming Messages" and "Errors".
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sidecar.core.framing import NAMED_EVENTS
from sidecar.core.jsontext import Parsed, dump
from sidecar.core.lane import Lane, visible_text
from sidecar.core.policy import FinishReason, Reasoning, ToolCalls
from sidecar.core.sse import event as written
from sidecar.core.stats import Verdict
from sidecar.core.stream import UPSTREAM_CLOSED, Fault, MalformedChunk, Reading
from sidecar.core.unread import Settled
from sidecar.wire.blockwriter import DELTA, PING, Block, Event, assembled
from sidecar.wire.checked import an_object
from sidecar.wire.errors import visible_error
from sidecar.wire.errorshapes import messages_error
from sidecar.wire.fields import Record
from sidecar.wire.messageblocks import Blocks
from sidecar.wire.messages_fields import CALL_STOPS, CUT_OFF, EVENTS, MESSAGE, STOP_REASONS
from sidecar.wire.ruling import Ruling
from sidecar.wire.template import Template
from sidecar.wire.usage import messages_tokens

_REWRITE = Verdict.REWRITE
_DROP = Reading(Verdict.DROP)

_BROKEN = 500
"""The HTTP status that an error in an answer would have had."""

_DELTA_NAME = DELTA.encode()
_PASS_DELTA = Reading(Verdict.PASS, name=_DELTA_NAME)


class _Expected(NamedTuple):
    """What the next event is likely to be: a delta of ``block``, which the client knows under
    ``place``; ``left`` is how it leaves, if under another index than it came."""

    came: Template
    left: Template | None
    block: Block
    place: int | None

    def still(self, block: Block) -> bool:
        """Whether that is this block, which the client still knows so."""
        return self.block is block and self.place == block.index


class Messages:
    """One answer under one rule."""

    framing = NAMED_EVENTS

    def __init__(self, ruling: Ruling) -> None:
        self._ruling = ruling
        self._policy = ruling.policy
        self._moves = (
            ruling.policy.reasoning is Reasoning.MOVE or ruling.policy.tool_calls is ToolCalls.MOVE
        )
        self._blocks = Blocks(ruling)
        self.stats = self._blocks.stats
        self.progress = self._blocks.progress
        self._usage: Record = {}
        self._begun = False
        """The client knows of a message."""
        self._complete = False
        """Upstream has said why the message ended: it has no further blocks."""
        self._expected: _Expected | None = None

    @property
    def lanes(self) -> dict[int, Lane]:
        """The lane of the text that is read now."""
        return self._blocks.lanes

    @property
    def hesitates(self) -> bool:
        """Whether the text that was read last holds something back that may be visible."""
        return self._blocks.texts.lane.hesitates

    # A stream.

    @property
    def settled(self) -> Settled | None:
        """What is known of the next deltas, as the answer stands now."""
        expected = self._expected
        if expected is None or not expected.still(expected.block):
            return None
        stops = self._blocks.texts.settled if expected.left is None else None
        note = self._blocks.texts.note
        return Settled(expected.came.around, self._repeat, stops, note, name=_DELTA_NAME)

    def _repeat(self, text: str) -> Reading | None:
        """What becomes of a delta that is like the one before in all but its text; None if it must
        be read in full, and then nothing happened."""
        expected = self._expected
        assert expected is not None
        if self._blocks.texts.passes(text):
            visible = text
        elif self._moves:
            return None
        else:
            visible = self._blocks.texts.feed(text).visible
            if not visible and text:
                return _DROP
        left = expected.left
        if left is None and visible == text:
            return _PASS_DELTA
        out = (left or expected.came).with_text(visible)
        return Reading(_REWRITE, (written(out, _DELTA_NAME),))

    def read(self, event: Parsed) -> Reading:
        """Judge one event. Raises MalformedChunk."""
        record = an_object(event.value, "an event")
        kind = record.get("type")
        if not isinstance(kind, str):
            if not record.get("error"):
                raise MalformedChunk("an event has a type")
            kind = "error"
        stays = self._read(kind, record, event)
        if kind not in (DELTA, PING):
            self._expected = None
        if self._blocks.fault is not None and kind != "error":
            return Reading(_REWRITE, tuple(self._break_off(self._blocks.fault)), last=True)
        out = self._blocks.writer.take()
        last = kind in ("message_stop", "error")
        if not out:
            return _DROP
        if len(out) == 1 and out[0].text is event.text:
            self._learn(stays, event, None)
            return Reading(Verdict.PASS, name=kind.encode(), last=last)
        if len(out) == 1:
            self._learn(stays, event, out[0].record)
        return Reading(_REWRITE, tuple(map(_written, out)), last=last)

    def end(self, fault: Fault | None) -> list[bytes]:
        """What is still to be said when upstream is done."""
        if self._complete:
            return [_written(Event({"type": "message_stop"}))]
        return self._break_off(fault or UPSTREAM_CLOSED)

    def refuse(self, error: Any, status: int) -> list[bytes]:
        """What a client is told, in the answer that has begun, of upstream's answer with an error
        and this HTTP status instead."""
        return [_written(Event(self._told(error, status)))]

    def carry(self, extra: Record) -> bytes:
        """A ping, with these keys."""
        return _written(Event({"type": PING} | extra))

    def carry_text(self, key: str, text: str) -> bytes:
        """Nothing: a text is a block, which would be part of the answer."""
        return b""

    def _break_off(self, fault: Fault) -> list[bytes]:
        """The end of a stream that cannot go on."""
        self._blocks.finish(cut_off=True)
        out = [*self._blocks.writer.take(), Event(self._fail(self._blocks.fault or fault))]
        return list(map(_written, out))

    def _read(self, kind: str, record: Record, event: Parsed) -> Block | None:
        """Judge an event. Returns the block of which it is text, if all of that is visible."""
        table = EVENTS.get(kind)
        if table is None:
            # Its name is written on a line of its own.
            if kind.isprintable():
                self._blocks.read_unknown(Event(record, event.text))
            else:
                self.stats.unknown_fields += 1
            return None
        judged = Event(record, b"" if self._blocks.prune(record, table) else event.text)
        if kind == PING:
            self._blocks.read_ping(judged)
            return None
        if kind == "error":
            self._read_error(judged)
            return None
        if kind == "message_start":
            self._read_start(judged)
            return None
        self._begin()
        if kind == "message_delta":
            self._read_ending(judged)
        elif kind == "message_stop":
            self._end_blocks(None)
            self._blocks.writer.out.append(judged)
        elif not self._complete:
            return self._blocks.read(kind, judged)
        return None

    def _learn(self, block: Block | None, event: Parsed, left: Record | None) -> None:
        """Expect more deltas like this one, if it is nothing but text; ``left`` is how it left."""
        if block is None or event.exact:
            return
        expected = self._expected
        if expected is not None and expected.still(block) and expected.came.fits(event.text):
            return
        text = event.value["delta"]["text"]
        came = Template.of(event.text, text, "text")
        leaves = None if left is None else Template.of(dump(left, exact=False), text, "text")
        if came is not None and (left is None or leaves is not None):
            self._expected = _Expected(came, leaves, block, block.index)

    def _read_start(self, event: Event) -> None:
        if self._begun:
            # A client takes one message.
            return
        self._begun = True
        message = an_object(event.record.get("message"), "a message")
        changed = self._blocks.prune(message, MESSAGE)
        self._note(message)
        content = message.get("content")
        if content != []:
            # Accumulators add the blocks that follow to what is here.
            message["content"] = []
            changed = True
        for key in ("stop_reason", "stop_sequence"):
            if message.get(key) is not None:
                message[key] = None
                changed = True
        self._blocks.writer.out.append(Event(event.record) if changed else event)
        if content:
            self._blocks.read_whole(content)

    def _begin(self) -> None:
        """Announce the message, if upstream did not."""
        if self._begun:
            return
        self._begun = True
        message: Record = {
            "id": f"msg_{self._ruling.seed}",
            "type": "message",
            "role": "assistant",
            "model": "",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        self._blocks.writer.out.append(Event({"type": "message_start", "message": message}))

    def _read_ending(self, event: Event) -> None:
        delta = event.record.get("delta")
        changed = False
        self._note(event.record)
        if isinstance(delta, dict):
            if delta.get("stop_reason"):
                self._end_blocks(delta["stop_reason"])
            changed = self._judge_ending(delta)
        self._blocks.writer.out.append(Event(event.record) if changed else event)

    def _end_blocks(self, reason: str | None) -> None:
        """The message has no further blocks, for that reason."""
        if not self._complete:
            self._complete = True
            self._blocks.finish(cut_off=reason in CUT_OFF)
            self._blocks.say_instead()
            if self._blocks.fault is None:
                self.progress.finish()

    def _note(self, record: Record) -> None:
        """Note what a message, or the event of its end, says of itself."""
        if record.get("model"):
            self.stats.model = record["model"]
        if record.get("usage"):
            # The end of a stream says again only what has changed.
            said = record["usage"].items()
            self._usage |= {key: value for key, value in said if value is not None}
            self.stats.tokens |= messages_tokens(self._usage)

    def _judge_ending(self, record: Record) -> bool:
        """Judge why a message ended, in place. Returns whether that was changed."""
        reason, sequence = record.get("stop_reason"), record.get("stop_sequence")
        told = reason
        if reason and reason not in STOP_REASONS:
            told = "end_turn"
            self.stats.unknown_fields += 1
        elif reason in CALL_STOPS and self._blocks.lacks_calls:
            if self._policy.finish_reason is FinishReason.REWRITE:
                told = "end_turn"
        elif reason == "end_turn" and self._blocks.moved_calls:
            told = "tool_use"
        if told != reason:
            record["stop_reason"] = told
        # It is a piece of the text before it, which may have been hidden.
        hides = sequence and (
            self._blocks.hid or visible_text(self._ruling.vocabulary, sequence) != sequence
        )
        if hides:
            record["stop_sequence"] = None
        return told != reason or bool(hides)

    # Errors.

    def _read_error(self, event: Event) -> None:
        self._blocks.finish(cut_off=True)
        error = event.record.get("error")
        record = event.record | self._told(error)
        self._blocks.writer.out.append(event if record == event.record else Event(record))

    def _told(self, error: Any, status: int | None = None) -> Record:
        """What a client is told of an error that upstream reports."""
        self.stats.error = "upstream_error"
        told, unknown = visible_error(error, self._ruling, status)
        self.stats.unknown_fields += unknown
        return messages_error(status or _BROKEN, told)

    def _fail(self, fault: Fault) -> Record:
        """What a client is told of it."""
        self.stats.error = fault.code
        return messages_error(_BROKEN, {"message": fault.message})

    # A document.

    def read_document(self, document: Parsed) -> bytes | None:
        """Judge a whole message: the document for the client, None if it is the same. Raises
        MalformedChunk."""
        record = an_object(document.value, "a message")
        if record.get("error") and "content" not in record:
            return dump(self._told(record["error"]), exact=False)
        before = dump(record, exact=document.exact)
        self._blocks.prune(record, MESSAGE)
        self._note(record)
        content = record.get("content")
        if not isinstance(content, list):
            raise MalformedChunk("a message has content")
        self._blocks.read_whole(content)
        self._end_blocks(record.get("stop_reason"))
        if self._blocks.fault is not None:
            return dump(self._fail(self._blocks.fault), exact=False)
        record["content"] = assembled(self._blocks.writer.take())
        self._judge_ending(record)
        after = dump(record, exact=document.exact)
        return None if after == before else after


def _written(event: Event) -> bytes:
    text = event.text or dump(event.record, exact=False)
    return written(text, event.record["type"].encode())
