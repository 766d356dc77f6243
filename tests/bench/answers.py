"""Answers of a model: documents, and event streams, token by token, in events of about 300 bytes.

Owns the texts, the shape of their chunks, and what a reader should see of them. Knows nothing of
how they are sent or measured.
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


class Answer(NamedTuple):
    """One answer: its events, without the end mark, and the text a reader should see of it. A
    document is its only event."""

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

_PAGE = """\
<table class="costs">
  <thead><tr><th>Month</th><th>kWh</th></tr></thead>
  <tbody>
    <tr><td>January</td><td>&lt; 400</td></tr>
    <tr><td>February</td><td><b>380</b></td></tr>
  </tbody>
</table>
<p>Less than <i>last</i> year<br/>by <a href="https://example.org/tariffs">a tenth</a>.</p>
"""

_BIG = 16_384
"""Characters."""
_ARGUMENTS = 20
"""Tokens of the arguments of a call."""
_LAP = 50
"""Tokens by which reasoning grows."""
_CITATION = {"url": "https://example.org/tariffs", "title": "Tariffs"}

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


def plain(count: int, name: str = "plain answer", dump: Dump = compact) -> Answer:
    """An answer in which nothing is hidden."""
    answer = tokens(_ANSWER, count - 2)
    return _answer(name, _said(answer), "".join(answer), dump=dump)


def big(count: int) -> Answer:
    """Events of 16 KiB, in which nothing is hidden."""
    text = "".join(tokens(_ANSWER, _BIG))[:_BIG]
    texts = [text] * (count - 2)
    return _answer("16 KiB events", _said(texts), "".join(texts))


def html(count: int) -> Answer:
    """A page: most tokens begin or end a tag, and so might begin a marker."""
    page = tokens(_PAGE, count - 2)
    return _answer("HTML", _said(page), "".join(page))


def reasoning(count: int, hidden: float = 0.5) -> Answer:
    """This share of the events is reasoning in a field of its own."""
    thought = tokens(_THOUGHT, round(count * hidden))
    answer = tokens(_ANSWER, count - 2 - len(thought))
    deltas = [*({"reasoning_content": token} for token in thought), *_said(answer)]
    return _answer("reasoning, own field", deltas, "".join(answer))


def in_band(count: int, hidden: float = 0.5) -> Answer:
    """This share of the events is reasoning between tags in the text."""
    thought = ["<think>", *tokens(_THOUGHT, round(count * hidden) - 2), "</think>"]
    answer = tokens(_ANSWER, count - 2 - len(thought))
    return _answer("reasoning, in band", _said([*thought, *answer]), "".join(answer))


def hidden(characters: int) -> Answer:
    """At least so many characters of reasoning between tags, and then a short answer."""
    each = tokens(_THOUGHT, _LAP)
    laps = -(-characters // len("".join(each)))
    answer = tokens(_ANSWER, 10)
    texts = ["<think>", *each * laps, "</think>", *answer]
    return _answer("much reasoning, in band", _said(texts), "".join(answer))


def agent(count: int) -> Answer:
    """Turns of reasoning, a tool call, its result, a sentence and a source: every phase."""
    deltas: list[Delta] = []
    visible: list[str] = []
    calls_ = _call_deltas()
    while len(deltas) < count - 2:
        said = tokens(_ANSWER, 20)
        result = ["<function_results>", *tokens(_THOUGHT, 8), "</function_results>"]
        deltas += [{"reasoning_content": token} for token in tokens(_THOUGHT, 20)]
        deltas += islice(calls_, 1 + _ARGUMENTS)
        deltas += _said([*result, *said])
        deltas.append({"annotations": [{"type": "url_citation", "url_citation": _CITATION}]})
        visible += said
    return _answer("agent's turns", deltas, "".join(visible))


def document(count: int) -> Answer:
    """One answer that is not streamed, of so many tokens, in which nothing is hidden."""
    text = "".join(tokens(_ANSWER, count))
    message = {"role": "assistant", "content": text, "refusal": None}
    usage = {"prompt_tokens": 9, "completion_tokens": count, "total_tokens": 9 + count}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    body = {**_CHUNK, "object": "chat.completion", "choices": [choice], "usage": usage}
    return Answer("JSON", (orjson.dumps(body),), text)


def calls(count: int) -> Answer:
    """A sentence, then tool calls whose arguments come token by token."""
    sentence = tokens(_ANSWER, count // 10)
    deltas = [*_said(sentence), *islice(_call_deltas(), count - 2 - len(sentence))]
    return _answer("tool calls", deltas, "".join(sentence), finish="tool_calls")


def _call_deltas() -> Iterator[Delta]:
    arguments = tokens('{"city": "Kiel", "days": [1, 2, 3], "unit": "celsius"}', _ARGUMENTS)
    index = 0
    while True:
        head = {"index": index, "id": f"call_{index:024x}", "type": "function"}
        yield {"tool_calls": [head | {"function": {"name": "forecast", "arguments": ""}}]}
        for token in arguments:
            yield {"tool_calls": [{"index": index, "function": {"arguments": token}}]}
        index += 1


def _said(texts: list[str]) -> list[Delta]:
    return [{"content": text} for text in texts]


def _answer(
    name: str, deltas: list[Delta], visible: str, *, finish: str = "stop", dump: Dump = compact
) -> Answer:
    chunks = [
        _chunk({"role": "assistant", "content": ""}),
        *map(_chunk, deltas),
        _chunk({}, finish),
    ]
    return Answer(name, tuple(b"data: " + dump(chunk) + b"\n\n" for chunk in chunks), visible)


def _chunk(delta: Delta, finish: str | None = None) -> Delta:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {**_CHUNK, "choices": [choice], "usage": None}


_CHUNK: Delta = {
    "id": "chatcmpl-cfe783743e9159af7e002e96a50a12b5",
    "object": "chat.completion.chunk",
    "created": 1790002001,
    "model": "Qwen/Qwen3-235B-A22B-Instruct-2507",
    "service_tier": "default",
    "system_fingerprint": "fp_44709d6fcb",
}
