"""Damage: what bytes, events and JSON values become on their way from a careless server."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

MARKERS = (
    *(b"<think>", b"</think>", b"<tool_call>", b"</tool_call>", b"<|channel|>", b"<|end|>"),
    *(b"\\u003cthink\\u003e", b"`", b"```", b"[TOOL_CALLS]"),
)
SYNTAX = (
    *(
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\r",
        b"data:",
        b"data: ",
        b"event: x\n",
        b"id: 1\n",
        b":\n",
    ),
    *(b"\xef\xbb\xbf", b"\0", b"\xff", b"\xc0\xbc", b"\xed\xa0\xbd", b"\xe2\x80\xa8", b"\xc2\x85"),
    *(b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"\\ud83e", b"\\u0000", b"NaN", b"1e999"),
    *(b"data: [DONE]\n\n", b"data: {}\n\n", b"data: []\n\n", b"data: null\n\n", b"{}\n", b"1" * 30),
)
"""What means something to a reader of event streams or of JSON."""

Mutation = Callable[[bytes], bytes]


def _at(data: bytes, place: float) -> int:
    return round(place * len(data))


_PLACE = st.floats(0, 1)
_LENGTH = st.integers(0, 60)


def _flip(place: float, bit: int) -> Mutation:
    def mutate(data: bytes) -> bytes:
        at = _at(data, place)
        return (
            data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :] if at < len(data) else data
        )

    return mutate


def _remove(place: float, length: int) -> Mutation:
    return lambda data: data[: _at(data, place)] + data[_at(data, place) + length :]


def _insert(place: float, what: bytes) -> Mutation:
    return lambda data: data[: _at(data, place)] + what + data[_at(data, place) :]


def _repeat(place: float, length: int, times: int) -> Mutation:
    def mutate(data: bytes) -> bytes:
        at = _at(data, place)
        return data[:at] + data[at : at + length] * times + data[at + length :]

    return mutate


def _truncate(place: float) -> Mutation:
    return lambda data: data[: _at(data, place)]


def _replace(old: bytes, new: bytes) -> Mutation:
    return lambda data: data.replace(old, new)


def bytewise(corpus: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of ``corpus`` with a few mutations that know nothing of what the bytes mean; some take a
    piece of another one."""
    others = st.sampled_from(corpus)
    splices = st.builds(
        lambda place, other, start, length: _insert(
            place, other[_at(other, start) : _at(other, start) + length]
        ),
        _PLACE,
        others,
        _PLACE,
        st.integers(1, 600),
    )
    crossed = st.builds(
        lambda place, other, start: (
            lambda data: data[: _at(data, place)] + other[_at(other, start) :]
        ),
        _PLACE,
        others,
        _PLACE,
    )
    line_ends = st.sampled_from(
        [(b"\n", b"\r\n"), (b"\n", b"\r"), (b"\n\n", b"\n"), (b"data: ", b"data:")]
    )
    mutation: st.SearchStrategy[Mutation] = st.one_of(
        st.builds(_flip, _PLACE, st.integers(0, 7)),
        st.builds(_remove, _PLACE, _LENGTH),
        st.builds(_insert, _PLACE, st.sampled_from(MARKERS + SYNTAX) | st.binary(max_size=8)),
        st.builds(_repeat, _PLACE, st.integers(1, 400), st.integers(2, 5)),
        st.builds(_truncate, _PLACE),
        line_ends.map(lambda pair: _replace(*pair)),
        splices,
        crossed,
    )
    return st.builds(_applied, others, st.lists(mutation, max_size=4))


def _applied(data: bytes, mutations: Sequence[Mutation]) -> bytes:
    for mutate in mutations:
        data = mutate(data)
    return data


# --- JSON ---------------------------------------------------------------------------------------

ODD: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        [
            None,
            True,
            False,
            0,
            -1,
            1,
            2,
            2**31,
            2**63,
            2**64,
            10**30,
            1.5,
            -0.0,
            1e308,
            "",
            " ",
            "0",
        ]
    ),
    st.sampled_from(["\ud83e", "\udd14", "\0", "<think>", "</think>", "x" * 300, "[DONE]", "stop"]),
    st.sampled_from([[], {}, [[]], [{}], [None], {"": None}, [0] * 40, {"text": "x"}]),
    st.sampled_from(["tool", "assistant", "text", "thinking", "tool_use", "message", "reasoning"]),
)
"""Values that nobody expects where they stand."""


@st.composite
def damaged(draw: st.DrawFn, value: Any) -> Any:
    """``value``, a JSON value, with one part of it replaced, removed, repeated, wrapped, or moved
    under another key. Nothing that a key may show is put under it that was elsewhere."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(value)))
        rest = {k: v for k, v in value.items() if k != key}
        what = draw(
            st.sampled_from(["deeper", "deeper", "replace", "remove", "rename", "wrap", "last"])
        )
        if what == "deeper":
            return {k: draw(damaged(v)) if k == key else v for k, v in value.items()}
        if what == "replace":
            return {k: draw(ODD) if k == key else v for k, v in value.items()}
        if what == "rename":
            return rest | {
                draw(st.sampled_from(["zz", "", key.upper(), f" {key}", f"{key}_"])): value[key]
            }
        if what == "wrap":
            return rest | {
                key: draw(st.sampled_from([[value[key]], {"text": value[key]}, [[value[key]]]]))
            }
        return rest | {key: value[key]} if what == "last" else rest
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(value) - 1))
        what = draw(st.sampled_from(["deeper", "deeper", "replace", "remove", "repeat"]))
        middle: dict[str, Callable[[], list[Any]]] = {
            "deeper": lambda: [draw(damaged(value[at]))],
            "replace": lambda: [draw(ODD)],
            "remove": list,
            "repeat": lambda: [value[at]] * draw(st.integers(2, 40)),
        }
        return [*value[:at], *middle[what](), *value[at + 1 :]]
    return draw(ODD)


def dumped(value: Any, style: int) -> str:
    """JSON in one of the ways in which servers write it."""
    if style == 0:
        return json.dumps(value, separators=(",", ":"))
    return json.dumps(value) if style == 1 else json.dumps(value, sort_keys=True, indent=1)
