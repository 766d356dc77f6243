"""What says a message again: it may stay only if it says no more than is left of the message."""

from __future__ import annotations

from sidecar.wire.chat_fields import REASONING_KEYS, STOP_KEYS
from sidecar.wire.deltas import plain_text
from sidecar.wire.fields import Record
from sidecar.wire.logprobs import says_only


def cut_repeats(item: Record, message: Record, *, changed: bool, hid: bool) -> bool:
    """Cut out of a choice, in place, what its ``message`` does not say. Returns whether anything
    was cut. ``changed``: the message was; ``hid``: something of the choice was hidden before."""
    cut = False
    logprobs, token_ids = item.get("logprobs"), item.get("token_ids")
    if logprobs or token_ids:
        content = plain_text(message.get("content"))
        kept = (plain_text(message[key]) for key in REASONING_KEYS if message.get(key))
        reasoning = next(filter(None, kept), "")
        refusal = message.get("refusal") or ""
        # Reasoning that stays is text that stays, and a server may count it or not.
        texts = (content, reasoning + content)
        if logprobs and not any(says_only(logprobs, text, refusal) for text in texts):
            item["logprobs"] = None
            cut = True
        if token_ids and (changed or not texts[1]):
            del item["token_ids"]
            cut = True
    if hid:
        for key in STOP_KEYS:
            if isinstance(item.get(key), str):
                item[key] = None
                cut = True
    return cut
