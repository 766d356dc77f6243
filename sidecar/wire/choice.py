"""One choice of a chat answer: its lane, its calls, and what becomes of each of its messages."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from sidecar.core.channel import Channel, Segment
from sidecar.core.lane import Lane
from sidecar.core.policy import (
    FinishReason,
    OnEmpty,
    Policy,
    Reasoning,
    ToolResults,
    UnknownFields,
)
from sidecar.core.stats import Stats, Verdict
from sidecar.core.vocabulary import Vocabulary
from sidecar.wire.calls import CallFilter
from sidecar.wire.chat_fields import (
    ANSWER_ROLES,
    CALL_FINISHES,
    FINISH_REASONS,
    MESSAGE,
    OF_ONE_CHUNK,
    OTHER_VISIBLE_KEYS,
    REASONING_KEYS,
    RESULT_ROLES,
    SHOWN_PARTS,
    STOP_KEYS,
    STREAMED_CHOICE,
    THINKING_PARTS,
    WHOLE_CHOICE,
)
from sidecar.wire.deltas import extend, joined, plain_text, speaks
from sidecar.wire.fields import Record, Table, prune
from sidecar.wire.logprobs import says_only
from sidecar.wire.promotion import Promotion

_REASONING_KEYS = frozenset(REASONING_KEYS)

# An attribute of an enumeration costs as much as a search; these are asked for with every event.
_PASS, _REWRITE, _DROP = Verdict.PASS, Verdict.REWRITE, Verdict.DROP
_CONTENT, _REASONING = Channel.CONTENT, Channel.REASONING


class Ruling(NamedTuple):
    """What one rule means for one request. ``declared`` are the tools that it declares."""

    policy: Policy
    vocabulary: Vocabulary
    declared: Collection[str] = frozenset()


class Choice:
    """One choice, delta by delta (:meth:`read`) or as a whole (:meth:`read_whole`)."""

    def __init__(self, ruling: Ruling, stats: Stats) -> None:
        self.finished = False
        self.postponed: str | None = None
        """A finish reason that was held back: an agent's back end may go on after a round of
        tool calls, and a choice has one finish."""
        self.before: list[Record] = []
        """Deltas to be sent before the chunk that was read last."""
        self._ruling = ruling
        self._policy = ruling.policy
        self._keeps_unknown = ruling.policy.unknown_fields is UnknownFields.PASS
        self._stats = stats
        self._lane = Lane(ruling.vocabulary, ruling.declared)
        self._calls = CallFilter(ruling.policy.tool_calls, ruling.declared, stats)
        self._answering = True
        """The current message is the assistant's, not what a tool returned."""
        self._keeps_message = False
        """It is what a tool returned, and such messages are kept."""
        self._role_sent = False
        self._role_hidden = False
        self._announced = False
        """An earlier message of the choice has said its role; to the client there is but one."""
        self._reasoning_has_field = False
        self._hid = False
        self._hid_calls = False
        """Calls were hidden that stood in the text."""
        self._visible = False
        self._promotion = Promotion(wanted=ruling.policy.on_empty is OnEmpty.PROMOTE)

    @property
    def lane(self) -> Lane:
        """The lane of the current message."""
        return self._lane

    @property
    def empty(self) -> bool:
        """Whether nothing that a person or a program could use was left."""
        return not self._visible and not self._calls.kept

    @property
    def repeats(self) -> bool:
        """Whether nothing but its text decides what becomes of an increment that is like one
        that passed."""
        return (
            self._answering and not self.finished and self.postponed is None and not self._owes_role
        )

    def passes(self, text: str) -> bool:
        """Whether such an increment passes without a closer look; if so it was taken, if not
        nothing happened."""
        if not self._lane.passes(text):
            return False
        if not self._visible:
            self._show(text)
        return True

    def read_text(self, text: str) -> str:
        """What is visible of such an increment; nothing of it may have to be moved."""
        return self._judge(self._lane.feed(text))[0]

    def read(self, item: Record) -> Verdict:
        """Judge one streamed choice, in place. DROP: it has nothing left to say."""
        self.before = []
        changed = self._prune(item, STREAMED_CHOICE)
        # A delta of null crashes clients; Azure leaves it out where it only annotates.
        changed |= item.get("delta", {}) is None
        delta = item["delta"] = item.get("delta") or {}
        if self.finished:
            return self._silence(item, changed)
        if speaks(delta):
            self.postponed = None
        changed |= self._read_message(item, delta, whole=False)
        reason = item.get("finish_reason")
        if reason:
            changed |= self._finish(item, reason)
        says = speaks(item["delta"]) or bool(item.get("finish_reason"))
        if not changed and not (says and self._owes_role):
            self._role_sent |= bool(delta.get("role"))
            return _PASS
        if not says and (self._role_sent or not item["delta"].get("role")):
            self._announce(self.before)
            return _DROP
        self._announce([*self.before, item["delta"]])
        return _REWRITE

    def read_whole(self, item: Record) -> bool:
        """Judge a complete choice, in place. Returns whether it was changed."""
        changed = self._prune(item, WHOLE_CHOICE)
        message = item.get("message")
        if isinstance(message, dict):
            changed |= self._read_message(item, message, whole=True)
        self._calls.finish()
        promoted = self._promoted()
        if promoted and isinstance(message, dict):
            extend(message, {"content": promoted})
            changed = True
        reason = item.get("finish_reason")
        if reason:
            changed |= self._set_reason(item, reason)
        self.finished = True
        return changed

    def release(self) -> Record:
        """What is still to be said now that the choice has ended: a delta, empty if nothing."""
        rest = self._end_message()
        promoted = self._promoted()
        if promoted:
            extend(rest, {"content": promoted})
        self._announce([rest] if rest else [])
        return rest

    @property
    def _owes_role(self) -> bool:
        """Only a hidden message has said a role, and one SDK helper dies without any."""
        return self._role_hidden and not self._role_sent

    def _announce(self, deltas: list[Record]) -> None:
        """These are about to be sent: the first says the role, if it is still owed."""
        if deltas and self._owes_role and not deltas[0].get("role"):
            deltas[0]["role"] = "assistant"
        self._role_sent = self._role_sent or any(delta.get("role") for delta in deltas)

    def _silence(self, item: Record, changed: bool) -> Verdict:
        """The choice has finished; servers do send it once more, to carry the usage."""
        said = [key for key in OF_ONE_CHUNK if item.get(key)]
        if not changed and not said and not any(item["delta"].values()):
            return _PASS
        for key in said:
            item[key] = None
        item["delta"] = {}
        return _DROP

    # One message, or one increment of it.

    def _read_message(self, item: Record, message: Record, *, whole: bool) -> bool:
        changed = self._prune(message, MESSAGE)
        changed |= self._read_role(message)
        if self._answering:
            changed |= self._read_reasoning(message)
            changed |= self._read_content(message, whole=whole)
            changed |= self._read_calls(message, whole=whole)
            self._visible = self._visible or any(map(message.get, OTHER_VISIBLE_KEYS))
        elif self._keeps_message:
            changed |= self._read_reasoning(message)
            changed |= self._read_calls(message, whole=whole)
        else:
            changed |= self._hide_message(message)
        return self._read_repeats(item, message, changed) or changed

    def _read_role(self, message: Record) -> bool:
        role = message.get("role")
        if role is None:
            return False
        answering = role in ANSWER_ROLES
        if answering and not self._answering:
            self._start_message()
        self._answering = answering
        self._keeps_message = role in RESULT_ROLES and self._policy.tool_results is ToolResults.KEEP
        if answering and self._announced:
            del message["role"]
            return True
        return False

    def _start_message(self) -> None:
        """The message before this one is over, so what it held is certain."""
        rest = self._end_message()
        if rest:
            self.before.append(rest)
        self._renew()

    def _renew(self) -> None:
        """What follows is another message, and its calls are other calls."""
        self._lane = Lane(self._ruling.vocabulary, self._ruling.declared)
        self._calls.start_message()

    def _end_message(self) -> Record:
        self._announced = self._role_sent and self._policy.tool_results is ToolResults.DROP
        text, moved = self._judge(self._lane.finish())
        rest: Record = {}
        if moved and not self._reasoning_has_field:
            rest["reasoning_content"] = moved
        if text:
            rest["content"] = text
        return rest

    def _hide_message(self, message: Record) -> bool:
        self._hid = True
        self._role_hidden |= "role" in message
        self._stats.hide_field(Channel.TOOL_RESULT, len(plain_text(message.get("content"))))
        message.clear()
        return True

    def _read_reasoning(self, message: Record) -> bool:
        if _REASONING_KEYS.isdisjoint(message):
            return False
        said = [key for key in REASONING_KEYS if message.get(key)]
        if not said:
            return False
        text = next(filter(None, (plain_text(message[key]) for key in said)), "")
        if not self._hides_reasoning(text):
            return False
        for key in said:
            del message[key]
        return True

    def _hides_reasoning(self, text: str) -> bool:
        """Whether reasoning that came in a place of its own is hidden; ``text`` is what it says."""
        self._reasoning_has_field |= bool(text)
        self._stats.reasoning_seen |= bool(text)
        if self._policy.reasoning is not Reasoning.DROP:
            return False
        self._hid = True
        self._stats.hide_field(Channel.REASONING, len(text))
        self._promotion.keep(text)
        return True

    def _read_content(self, message: Record, *, whole: bool) -> bool:
        content = message.get("content")
        unknown = self._stats.unknown_fields
        visible: Any = content
        moved = ""
        if isinstance(content, list):
            visible, moved = self._read_parts(content)
        elif isinstance(content, str):
            visible, moved = self._judge(self._lane.feed(content))
        if whole:
            rest, moved_rest = self._judge(self._lane.finish())
            visible = joined(visible, rest)
            moved += moved_rest
        if moved and not self._reasoning_has_field:
            message["reasoning_content"] = (message.get("reasoning_content") or "") + moved
        if visible != content:
            message["content"] = visible
            return True
        return bool(moved) or self._stats.unknown_fields > unknown

    def _read_parts(self, parts: list[Any]) -> tuple[list[Any], str]:
        """Content as a list of typed parts, some of which may be reasoning."""
        kept: list[Any] = []
        moved = ""
        for part in parts:
            if not self._knows_part(part):
                continue
            if part["type"] in THINKING_PARTS:
                if not self._hides_reasoning(plain_text(part)):
                    kept.append(part)
                continue
            text = part.get("text")
            if isinstance(text, str) and text:
                visible, more = self._judge(self._lane.feed(text))
                moved += more
                if not visible:
                    continue
                part = part if visible == text else part | {"text": visible}
            kept.append(part)
        return kept, moved

    def _knows_part(self, part: Any) -> bool:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str):
            if kind in THINKING_PARTS:
                return True
            if kind in SHOWN_PARTS:
                self._prune(part, SHOWN_PARTS[kind])
                return True
            if self._keeps_unknown:
                return True
        self._stats.unknown_fields += 1
        return False

    def _read_calls(self, message: Record, *, whole: bool) -> bool:
        changed = False
        deltas = message.get("tool_calls")
        if deltas:
            kept = self._calls.filter(deltas, whole=whole)
            if kept is not deltas:
                changed = True
                if kept:
                    message["tool_calls"] = kept
                else:
                    del message["tool_calls"]
        function = message.get("function_call")
        if function and self._calls.filter_function(function) is None:
            del message["function_call"]
            changed = True
        self._hid |= changed
        return changed

    def _read_repeats(self, item: Record, message: Record, changed: bool) -> bool:
        """What says the message again may stay only if it says no more than is left of it."""
        cut = False
        logprobs, token_ids = item.get("logprobs"), item.get("token_ids")
        if logprobs or token_ids:
            content = plain_text(message.get("content"))
            if logprobs and not says_only(logprobs, content, message.get("refusal") or ""):
                item["logprobs"] = None
                cut = True
            if token_ids and (changed or not content):
                del item["token_ids"]
                cut = True
        if self._hid:
            for key in STOP_KEYS:
                if isinstance(item.get(key), str):
                    item[key] = None
                    cut = True
        return cut

    # Text.

    def _judge(self, segments: list[Segment]) -> tuple[str, str]:
        """The visible text of ``segments``, and what is moved out of it."""
        if len(segments) == 1 and segments[0].channel is _CONTENT:
            text = segments[0].text
            self._show(text)
            return text, ""
        visible, moved = [], []
        for segment in segments:
            if segment.channel is _CONTENT:
                visible.append(segment.text)
                continue
            self._hid = True
            self._stats.hide(segment)
            self._hid_calls = self._hid_calls or segment.channel is Channel.TOOL_CALL
            if segment.channel is _REASONING:
                if not self._reasoning_has_field:
                    self._promotion.keep(segment.text)
                if self._policy.reasoning is Reasoning.MOVE:
                    moved.append(segment.text)
        text = "".join(visible)
        self._show(text)
        return text, "".join(moved)

    def _show(self, text: str) -> None:
        if text and not self._visible:
            self._stats.visible_seen = True
            self._visible = bool(text.strip())

    def _promoted(self) -> str:
        """The hidden reasoning, if it is to be sent because nothing else was."""
        text = self._promotion.take() if self.empty else ""
        self._show(text)
        return text

    # The end.

    def _finish(self, item: Record, reason: str) -> bool:
        """The stream's choice says that it has ended. Returns whether that was changed."""
        self._calls.finish()
        # A back end that runs the tools itself goes on after a round of them.
        postpones = not self._answering or self._ends_with_hidden_calls(reason)
        changed = self._set_reason(item, reason) or postpones
        if postpones:
            self.postponed, item["finish_reason"] = item["finish_reason"], None
            rest = self._end_message()
            self._renew()
        else:
            self.finished = True
            rest = self.release()
        if rest:
            extend(item["delta"], rest)
            self.before.append(item["delta"])
            item["delta"] = {}
        return changed or bool(rest)

    def _ends_with_hidden_calls(self, reason: str) -> bool:
        hid = self._hid_calls or bool(self._calls.hidden)
        return reason in CALL_FINISHES and hid and not self._calls.kept

    def _set_reason(self, item: Record, reason: str) -> bool:
        rewritten = reason
        if reason not in FINISH_REASONS:
            rewritten = "stop"
            self._stats.unknown_fields += 1
        elif (
            self._ends_with_hidden_calls(reason)
            and self._policy.finish_reason is FinishReason.REWRITE
        ):
            rewritten = "stop"
        item["finish_reason"] = rewritten
        return rewritten != reason

    def _prune(self, record: Record, table: Table) -> bool:
        dropped = prune(record, table, keep_unknown=self._keeps_unknown)
        self._stats.unknown_fields += dropped
        return bool(dropped)
