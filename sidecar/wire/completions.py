"""Legacy completions: ``text_completion``, as a stream and as a document.

A completion is a chat answer of one message that is nothing but text, in ``choices[].text``: there
are no roles, and nothing but text can be a call. So it is judged as a chat answer is, and this
module only says where it stands. All text counts: with ``echo: true`` it begins with the prompt,
which is filtered like the rest.

There is no field that reasoning or a call could be moved to, so ``move`` is ``drop``; and no tool
is declared in such a request, so ``tool_calls: declared`` keeps no call.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sidecar.core.policy import Policy, Reasoning, ToolCalls
from sidecar.core.stats import Verdict
from sidecar.wire.chat import Chat
from sidecar.wire.chat_fields import ANY_CHOICE, REASONING_KEYS
from sidecar.wire.choice import Choice
from sidecar.wire.completion_fields import CHOICE
from sidecar.wire.fields import Record
from sidecar.wire.logprobs import text_says_only
from sidecar.wire.ruling import Ruling

_SHARED = tuple(key for key in ANY_CHOICE if key != "logprobs")
"""The keys of a choice that a chat has too, and that mean the same there."""


class Completions(Chat):
    """One completion under one rule."""

    max_choices = 2048
    """One request may hold many prompts, each of which gets its ``n`` choices."""
    text_key = "text"
    _beside_text = tuple(key for key in CHOICE if key != "text" and key not in REASONING_KEYS)
    kind, id_prefix = "text_completion", "cmpl"

    def __init__(self, ruling: Ruling) -> None:
        super().__init__(
            ruling._replace(policy=_without_moving(ruling.policy), declared=frozenset())
        )

    def _new_choice(self, index: int) -> Choice:
        return TextChoice(self._ruling, self._shared, self._shared.progress_of(index))

    def _holder(self, item: Record) -> Record:
        return item

    def _saying(self, delta: Record) -> Record:
        said: Record = {"text": delta.get("content") or "", "logprobs": None}
        _copy(REASONING_KEYS, delta, said)
        return said


class TextChoice(Choice):
    """One choice of a completion."""

    def read(self, item: Record) -> Verdict:
        changed = self._prune(item, CHOICE)
        shown = _as_chat(item, "delta")
        verdict = super().read(shown)
        _take(item, shown, "delta")
        changed |= self._cut_logprobs(item)
        if verdict is not Verdict.PASS or not changed:
            return verdict
        says = any(map(item.get, ("text", "finish_reason", *REASONING_KEYS)))
        return Verdict.REWRITE if says else Verdict.DROP

    def read_whole(self, item: Record) -> bool:
        changed = self._prune(item, CHOICE)
        shown = _as_chat(item, "message")
        changed |= super().read_whole(shown)
        _take(item, shown, "message")
        return self._cut_logprobs(item) or changed

    def _cut_logprobs(self, item: Record) -> bool:
        logprobs = item.get("logprobs")
        if not logprobs:
            return False
        if not text_says_only(logprobs, item.get("text") or ""):
            item["logprobs"] = None
            return True
        if self._texts.hid and logprobs.get("text_offset"):
            # It counts what is hidden, and points nowhere in the text that is left.
            logprobs["text_offset"] = None
            return True
        return False


def _without_moving(policy: Policy) -> Policy:
    if policy.reasoning is Reasoning.MOVE:
        policy = replace(policy, reasoning=Reasoning.DROP)
    if policy.tool_calls is ToolCalls.MOVE:
        policy = replace(policy, tool_calls=ToolCalls.DROP)
    return policy


def _as_chat(item: Record, key: str) -> Record:
    """The choice as a chat would have it, with its message under ``key``."""
    message: Record = {"content": item.get("text")}
    shown: Record = {key: message}
    _copy(REASONING_KEYS, item, message)
    _copy(_SHARED, item, shown)
    return shown


def _take(item: Record, shown: Record, key: str) -> None:
    """Make ``item``, in place, say what is left of ``shown``, which was made of it."""
    message = shown[key]
    _copy(REASONING_KEYS, message, item)
    _copy(_SHARED, shown, item)
    text = message.get("content")
    if text != item.get("text"):
        item["text"] = text or ""


def _copy(keys: Iterable[str], source: Record, target: Record) -> None:
    """Make these keys of ``target``, in place, those of ``source``."""
    for key in keys:
        if key in source:
            target[key] = source[key]
        else:
            target.pop(key, None)
