"""Whether an answer came out right: nothing lost, and nothing shown that is to be hidden."""

from __future__ import annotations

from typing import Any

import orjson

from tests.bench.answers import DONE_EVENT, Answer

_HIDDEN = frozenset({"reasoning_content", "reasoning", "tool_calls"})


class WrongAnswer(Exception):
    """What a proxy delivered is not what it should have."""


def check_untouched(body: bytes, sent: bytes) -> None:
    """Raises WrongAnswer unless ``body`` is what upstream sent, to the byte."""
    if body != sent:
        raise WrongAnswer(f"{len(body)} bytes instead of {len(sent)}; the end: {body[-300:]!r}")


def check_stream(body: bytes, answer: Answer) -> None:
    """Raises WrongAnswer unless an event stream has the visible text, none other, and its end."""
    if not body.endswith(DONE_EVENT):
        raise WrongAnswer(f"an answer without an end: {body[-300:]!r}")
    datas = (block.removeprefix(b"data: ") for block in body.split(b"\n\n") if block)
    chunks = [orjson.loads(data) for data in datas if data != b"[DONE]"]
    _check([choice["delta"] for chunk in chunks for choice in chunk["choices"]], answer)


def check_document(body: bytes, answer: Answer) -> None:
    """Raises WrongAnswer unless an answer that is not streamed has the visible text, and none
    other."""
    _check([choice["message"] for choice in orjson.loads(body)["choices"]], answer)


def _check(messages: list[dict[str, Any]], answer: Answer) -> None:
    shown = {key for message in messages for key in _HIDDEN & message.keys()}
    if shown:
        raise WrongAnswer(f"an answer with {', '.join(sorted(shown))}")
    text = "".join(message.get("content") or "" for message in messages)
    if text != answer.visible:
        raise WrongAnswer(
            f"{len(text)} characters instead of {len(answer.visible)}; the end: {text[-100:]!r}"
        )
