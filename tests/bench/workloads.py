"""Answers as event streams: what a model says, token by token, in events of about 300 bytes.

Owns the texts and the shape of their chunks. Knows nothing of how they are sent or measured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any, NamedTuple

import orjson

DONE_EVENT = b"data: [DONE]\n\n"

Delta = dict[str, Any]
Dump = Callable[[Delta], bytes]


class Workload(NamedTuple):
    """One answer: its events, without the end mark, and the text a reader should see of it."""

    name: str
    events: tuple[bytes, ...]
    visible: str


# Every kind of Markdown that a filter must look at twice: line ends, code spans, a fence, links,
# comparisons. No token ends in what may still become a marker: it would be held back, and a
# client that acknowledges each event would wait for it.
_ANSWER = """\
## How a heat pump works

A heat pump does **not** make heat, it *moves* it: one unit of electricity brings three to four \
units of warmth from outside (the *coefficient of performance*). Three things decide what it costs:

1. The **flow temperature**. Every degree less saves about 2.5 % of the electricity.
2. The source. Ground water is at 10 °C all year, air is at -5 °C when you need it most.
3. The tariff; see [the table](https://example.org/tariffs) of your supplier.

Set `flow_max` to 45 and `curve` to 0.6, then write the file back:

```python
def curve(outside: float, slope: float = 0.6) -> float:
    return 20 + slope * (20 - outside) if outside <20 else 20.0
```

After a week, compare the meter's reading with last year's: a difference of 400 kWh a month is \
usual for an old house, more is worth a look at the valves.

"""

_THOUGHT = """\
The user asks about the curve. Let me check the units first: kilowatt hours, not kilowatts. \
So 400 a month is about 13 a day, which at a COP of 3.2 gives some 42 of warmth. Plausible.
"""

_TOKEN = re.compile(r"\n+|[ ]?\w+|[ ]?[^\w\s]+\w*|[ ]+")


def tokens(text: str, count: int) -> list[str]:
    """``count`` tokens of ``text``, over and over."""
    return list(islice(cycle(_TOKEN.findall(text)), count))


def compact(chunk: Delta) -> bytes:
    """The way of servers with a native JSON library: UTF-8, no white space."""
    return orjson.dumps(chunk)


def spaced(chunk: Delta) -> bytes:
    """The way of the standard library: ASCII with escapes, and a space after each separator."""
    return json.dumps(chunk).encode()


def plain(count: int, name: str = "plain answer", dump: Dump = compact) -> Workload:
    """An answer in which nothing is hidden."""
    answer = tokens(_ANSWER, count - 2)
    return _workload(name, _said(answer), "".join(answer), dump=dump)


def reasoning(count: int) -> Workload:
    """Half of the events are reasoning in a field of its own."""
    thought = tokens(_THOUGHT, count // 2)
    answer = tokens(_ANSWER, count - 2 - len(thought))
    deltas = [*({"reasoning_content": token} for token in thought), *_said(answer)]
    return _workload("half reasoning, own field", deltas, "".join(answer))


def in_band(count: int) -> Workload:
    """Half of the events are reasoning between tags in the text."""
    thought = ["<think>", *tokens(_THOUGHT, count // 2 - 2), "</think>"]
    answer = tokens(_ANSWER, count - 2 - len(thought))
    return _workload("half reasoning, in band", _said([*thought, *answer]), "".join(answer))


def calls(count: int) -> Workload:
    """A sentence, then tool calls whose arguments come token by token."""
    sentence = tokens(_ANSWER, count // 10)
    deltas = [*_said(sentence), *islice(_call_deltas(), count - 2 - len(sentence))]
    return _workload("tool calls", deltas, "".join(sentence), finish="tool_calls")


def _call_deltas() -> Iterator[Delta]:
    arguments = tokens('{"city": "Kiel", "days": [1, 2, 3], "unit": "celsius"}', 20)
    index = 0
    while True:
        head = {"index": index, "id": f"call_{index:024x}", "type": "function"}
        yield {"tool_calls": [head | {"function": {"name": "forecast", "arguments": ""}}]}
        for token in arguments:
            yield {"tool_calls": [{"index": index, "function": {"arguments": token}}]}
        index += 1


def _said(texts: list[str]) -> list[Delta]:
    return [{"content": text} for text in texts]


def _workload(
    name: str, deltas: list[Delta], visible: str, *, finish: str = "stop", dump: Dump = compact
) -> Workload:
    chunks = [
        _chunk({"role": "assistant", "content": ""}),
        *map(_chunk, deltas),
        _chunk({}, finish),
    ]
    return Workload(name, tuple(b"data: " + dump(chunk) + b"\n\n" for chunk in chunks), visible)


def _chunk(delta: Delta, finish: str | None = None) -> Delta:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {
        "id": "chatcmpl-cfe783743e9159af7e002e96a50a12b5",
        "object": "chat.completion.chunk",
        "created": 1790002001,
        "model": "Qwen/Qwen3-235B-A22B-Instruct-2507",
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
        "choices": [choice],
        "usage": None,
    }
