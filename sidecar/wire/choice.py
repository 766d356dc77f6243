"""One choice of a chat answer: its lane, its calls, and what becomes of each of its messages."""

from __future__ import annotations

from typing import Any

from sidecar.core.channel import Channel, Segment
from sidecar.core.lane import Lane
from sidecar.core.policy import FinishReason, OnEmpty, ToolCalls, ToolResults, UnknownFields
from sidecar.core.progress import Progress
from sidecar.core.stats import FIELD, Verdict
from sidecar.core.stream import Fault
from sidecar.core.unread import Stops
from sidecar.wire.calls import CallFilter, said_in_calls
from sidecar.wire.chat_fields import (
    ANSWER_ROLES,
    CALL_FINISHES,
    CUT_OFF,
    FINISH_REASONS,
    MESSAGE,
    OF_ONE_CHUNK,
    OTHER_VISIBLE_KEYS,
    REASONING_KEYS,
    RESULT_ROLES,
    STREAMED_CHOICE,
    WHOLE_CHOICE,
)
from sidecar.wire.deltas import extend, joined, plain_text, speaks
from sidecar.wire.errors import NOTHING_VISIBLE, UNREADABLE_CALL
from sidecar.wire.fields import TEXT, Record, Table, prune
from sidecar.wire.parts import Parts
from sidecar.wire.repeats import cut_repeats
from sidecar.wire.ruling import Ruling, Shared
from sidecar.wire.texts import Texts

_REASONING_KEYS = frozenset(REASONING_KEYS)

# An attribute of an enumeration costs as much as a search; these are asked for with every event.
_PASS, _REWRITE, _DROP = Verdict.PASS, Verdict.REWRITE, Verdict.DROP


class Choice:
    """One choice, delta by delta (:meth:`read`) or as a whole (:meth:`read_whole`)."""

    def __init__(self, ruling: Ruling, shared: Shared, progress: Progress) -> None:
        self.finished = False
        self.postponed: str | None = None
        """A finish reason that was held back: an agent's back end may go on after a round of
        tool calls, and a choice has one finish."""
        self.before: list[Record] = []
        """Deltas to be sent before the chunk that was read last."""
        self._policy = ruling.policy
        self._keeps_unknown = ruling.policy.unknown_fields is UnknownFields.PASS
        self._stats = shared.stats
        self._tell = ruling.tell
        self._progress = progress
        self._calls = CallFilter(ruling.policy.tool_calls, ruling.declared, shared.stats, progress)
        self._texts = Texts(ruling, shared, self._calls, progress)
        self._answering = True
        """The current message is the assistant's, not what a tool returned."""
        self._keeps_message = False
        """It is what a tool returned, and such messages are kept."""
        self._returns = False
        """It is what a tool returned, and not what a user or the system said."""
        self._role_sent = False
        self._role_hidden = False
        self._announced = False
        """An earlier message of the choice has said its role; to the client there is but one."""

    @property
    def lane(self) -> Lane:
        """The lane of the current message."""
        return self._texts.lane

    @property
    def hid(self) -> bool:
        """Something of the choice was hidden, or moved out of its text."""
        return self._texts.hid

    @property
    def fault(self) -> Fault | None:
        """What is wrong with the choice, now that it is complete."""
        if self._texts.unreadable:
            return UNREADABLE_CALL
        refuses = self._policy.on_empty is OnEmpty.ERROR and self._empty
        return NOTHING_VISIBLE if refuses else None

    @property
    def _empty(self) -> bool:
        """Whether nothing that a person or a program could use was left."""
        return not self._texts.visible and not self._calls.kept

    @property
    def repeats(self) -> bool:
        """Whether nothing but its text decides what becomes of an increment that is like one
        that passed."""
        return (
            self._answering and not self.finished and self.postponed is None and not self._owes_role
        )

    @property
    def settled(self) -> Stops | None:
        """What such an increment must not have to pass unread; see :attr:`Texts.settled`."""
        return self._texts.settled

    def note(self, text: str) -> None:
        """Such increments with this text have passed unread."""
        self._texts.note(text)

    @property
    def hides_more(self) -> bool:
        """Whether more text is likely to be hidden; see :meth:`hides`."""
        return self._texts.hides_more

    @property
    def hides_more_reasoning(self) -> bool:
        """Whether more reasoning in a field is hidden, and nobody need be told that it came."""
        return self._texts.hides_more_reasoning

    @property
    def call_goes_on(self) -> bool:
        """Whether what becomes of more arguments of the call that was read last is what became of
        those, and nobody need be told that they came."""
        return self._tell is None and self._calls.goes_on

    def hides_call(self, arguments: str) -> bool:
        """There were more such arguments, and they are hidden: true."""
        self._calls.hide_more(arguments)
        return True

    def hides(self, text: str) -> bool:
        """Whether such an increment is hidden as a whole, and nobody need be told that it came; if
        so it was taken, if not nothing happened."""
        return self._texts.hides(text)

    def passes(self, text: str) -> bool:
        """Whether such an increment passes without a closer look; if so it was taken, if not
        nothing happened."""
        return self._texts.passes(text)

    def hides_reasoning(self, text: str) -> bool:
        """Whether an increment that is like one before in all but its reasoning, which is
        ``text``, is hidden."""
        return self._texts.hides_reasoning(text)

    def read_text(self, text: str) -> str:
        """What is visible of such an increment; nothing of it may have to be moved."""
        return self._texts.feed(text).visible

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
        instead = self._instead()
        if instead and isinstance(message, dict):
            extend(message, {"content": instead})
            changed = True
        reason = item.get("finish_reason")
        if reason:
            changed |= self._set_reason(item, reason)
        self.finished = True
        return changed

    def release(self, *, complete: bool, cut_off: bool = False) -> Record:
        """What is still to be said now that the choice has ended: a delta, empty if nothing.
        ``complete``: the stream of it did not break off; ``cut_off``: the model would have gone
        on."""
        rest = self._end_message(cut_off=cut_off or not complete)
        instead = self._instead() if complete else ""
        if instead:
            extend(rest, {"content": instead})
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
        if type(message.get("role")) not in TEXT.types:
            # Whoever said that, it was not the assistant.
            message["role"] = "unknown"
            self._stats.unknown_fields += 1
        changed = self._prune(message, MESSAGE)
        changed |= self._read_role(message)
        if self._answering:
            changed |= self._read_reasoning(message)
            changed |= self._read_calls(message, whole=whole)
            changed |= self._read_content(item, message, whole=whole)
            changed |= self._read_refusal(message, whole=whole)
            if any(map(message.get, OTHER_VISIBLE_KEYS)):
                self._texts.visible = True
                self._progress.show()
            self._progress.cite(message.get("annotations"))
        elif self._keeps_message:
            self._tell_result(message)
            changed |= self._read_reasoning(message)
            changed |= self._read_calls(message, whole=whole)
        else:
            changed |= self._hide_message(message)
        return cut_repeats(item, message, changed=changed, hid=self._texts.hid) or changed

    def _read_role(self, message: Record) -> bool:
        role = message.get("role")
        if role is None:
            return False
        answering = role in ANSWER_ROLES
        # A message begins: what the tool before it has returned is complete.
        self._progress.end_result()
        self._returns = role in RESULT_ROLES
        if answering is not self._answering:
            # The message before this one is over, so what it held is certain.
            rest = self._end_message()
            if rest:
                self.before.append(rest)
            if answering:
                self._renew()
        self._answering = answering
        self._keeps_message = role in RESULT_ROLES and self._policy.tool_results is ToolResults.KEEP
        if answering and self._announced:
            del message["role"]
            return True
        return False

    def _renew(self) -> None:
        """What follows is another message, and its calls are other calls."""
        self._texts.start_message()
        self._calls.start_message()

    def _end_message(self, *, cut_off: bool = False) -> Record:
        self._announced = self._role_sent and self._policy.tool_results is ToolResults.DROP
        text, moved = self._texts.finish(cut_off=cut_off)
        refusal, moved_too = self._texts.finish_refusal()
        rest: Record = {}
        if text:
            rest["content"] = text
        if refusal:
            rest["refusal"] = refusal
        self._add_moved(rest, moved + moved_too, whole=False)
        return rest

    def _hide_message(self, message: Record) -> bool:
        self._texts.hid = True
        self._role_hidden |= "role" in message
        self._tell_result(message)
        self._stats.hide_field(Channel.TOOL_RESULT, len(plain_text(message.get("content"))))
        message.clear()
        return True

    def _tell_result(self, message: Record) -> None:
        text = plain_text(message.get("content"))
        if self._returns:
            self._progress.result(text)
        if self._tell is not None:
            self._tell(Segment(Channel.TOOL_RESULT, text, FIELD))

    def _read_reasoning(self, message: Record) -> bool:
        if _REASONING_KEYS.isdisjoint(message):
            return False
        said = [key for key in REASONING_KEYS if message.get(key)]
        if not said:
            return False
        text = next(filter(None, (plain_text(message[key]) for key in said)), "")
        if not self._texts.hides_reasoning(text):
            return False
        for key in said:
            del message[key]
        return True

    def _read_content(self, item: Record, message: Record, *, whole: bool) -> bool:
        content = message.get("content")
        unknown = self._stats.unknown_fields
        visible: Any = content
        moved = ""
        if isinstance(content, list):
            texts = self._texts
            parts = Parts(texts.feed, texts.hides_reasoning, self._keeps_unknown, self._stats)
            visible, moved = parts.read(content)
        elif isinstance(content, str) and content:
            visible, moved = self._texts.feed(content)
        if whole:
            rest, more = self._texts.finish(cut_off=item.get("finish_reason") in CUT_OFF)
            visible = joined(visible, rest)
            moved += more
        if visible != content:
            message["content"] = visible
        added = self._add_moved(message, moved, whole=whole)
        return added or visible != content or self._stats.unknown_fields > unknown

    def _read_refusal(self, message: Record, *, whole: bool) -> bool:
        """A refusal is text of the model's too, and has a lane of its own."""
        refusal = message.get("refusal")
        if not refusal:
            return False
        visible, moved = self._texts.feed_refusal(refusal)
        if whole:
            rest, more = self._texts.finish_refusal()
            visible += rest
            moved += more
        if visible != refusal:
            message["refusal"] = visible
        return self._add_moved(message, moved, whole=whole) or visible != refusal

    def _add_moved(self, message: Record, reasoning: str, *, whole: bool) -> bool:
        """What was moved out of the text joins what came in fields. Returns whether anything
        was."""
        calls = self._texts.take_calls(whole=whole)
        if calls:
            extend(message, {"tool_calls": calls})
        if reasoning:
            extend(message, dict.fromkeys(self._policy.reasoning_fields, reasoning))
        return bool(calls or reasoning)

    def _read_calls(self, message: Record, *, whole: bool) -> bool:
        changed = False
        deltas = message.get("tool_calls")
        if self._tell is not None:
            self._tell(Segment(Channel.TOOL_CALL, said_in_calls(message), FIELD))
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
        self._texts.hid |= changed
        return changed

    def _instead(self) -> str:
        """What is sent because nothing else was, now that the choice is complete."""
        if not self._empty:
            return ""
        wish = self._policy.on_empty
        self._stats.empty_answers[wish] += 1
        text = self._policy.empty_text if wish is OnEmpty.TEXT else self._texts.take_promoted()
        self._texts.show(text)
        return text

    # The end.

    def _finish(self, item: Record, reason: str) -> bool:
        """The stream's choice says that it has ended. Returns whether that was changed."""
        self._calls.finish()
        # A back end that runs the tools itself goes on after a round of them.
        postpones = not self._answering or self._ends_with_hidden_calls(reason)
        if postpones:
            rest = self._end_message()
            self._renew()
        else:
            self.finished = True
            rest = self.release(complete=True, cut_off=reason in CUT_OFF)
        changed = self._set_reason(item, reason) or postpones
        if postpones:
            self.postponed, item["finish_reason"] = item["finish_reason"], None
        if rest:
            extend(item["delta"], rest)
            self.before.append(item["delta"])
            item["delta"] = {}
        return changed or bool(rest)

    def _ends_with_hidden_calls(self, reason: str) -> bool:
        hid = self._texts.hid_calls or bool(self._calls.hidden)
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
        elif reason == "stop" and self._policy.tool_calls is ToolCalls.MOVE and self._calls.kept:
            # Models' servers stop with the text; whoever runs the tools looks for the calls.
            rewritten = "tool_calls"
        item["finish_reason"] = rewritten
        return rewritten != reason

    def _prune(self, record: Record, table: Table) -> bool:
        dropped = prune(record, table, keep_unknown=self._keeps_unknown)
        self._stats.unknown_fields += dropped
        return bool(dropped)
