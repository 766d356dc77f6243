"""An answer that goes on and on: what the engine remembers of it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.stream import StreamFilter
from tests.fuzz import corpus
from tests.fuzz.budget import examples
from tests.fuzz.engine import NAMES, SUITES
from tests.promises import LIMIT
from tests.wire.conformance import POLICIES, bytes_held

per_format = pytest.mark.parametrize("name", NAMES)
_LONG = 200_000
_TIMES = 20
_MOST = 3 * 2**20
"""Bytes, fewer than come: announcements that wait for text (up to 1 MiB, as text and as values) are
the most that is kept of an answer."""

_NUMBERS = ("index", "output_index", "content_index", "summary_index")
_IDS = ("id", "item_id", "call_id", "tool_use_id")
_NAMES = ("type", "object", "role", "model")


@per_format
@examples(6)
@given(st.data())
def test_what_is_remembered_does_not_grow_with_the_answer(name: str, data: st.DataObject) -> None:
    """One event again and again, with a long text in one of its places; each time it is about the
    same choices and items, or each time about others."""
    suite = SUITES[name]
    events = data.draw(st.sampled_from(corpus.answers(name)))
    at = data.draw(st.integers(0, len(events) - 1))
    kind, record = events[at]
    places = sorted({key for key in _keys(record) if key not in _NAMES})
    key = data.draw(st.sampled_from(places)) if places else ""
    said = data.draw(st.sampled_from(["", "\n", "<think>", "<tool_call>{", "`"])) + "y " * (
        _LONG // 2
    )
    grows = data.draw(st.booleans())
    policy = data.draw(st.sampled_from(POLICIES))
    stream = StreamFilter(suite.answer(policy), limit=LIMIT)
    stream.feed(suite.stream(events[:at], mark=False))
    for number in range(_TIMES):
        again = _varied(record, key, said, number if grows else 0)
        stream.feed(suite.framing.write(json.dumps(again).encode(), kind.encode()))
    assert bytes_held(stream, policy) < _MOST


def _keys(value: Any) -> list[str]:
    """The keys of the texts in a JSON value."""
    if isinstance(value, list):
        return [key for item in value for key in _keys(item)]
    if not isinstance(value, dict):
        return []
    own = [key for key, item in value.items() if isinstance(item, str)]
    return own + [key for item in value.values() for key in _keys(item)]


def _varied(value: Any, long: str, said: str, number: int) -> Any:
    """``value`` about another choice or item, with ``said`` under the key ``long``."""
    if isinstance(value, list):
        return [_varied(item, long, said, number) for item in value]
    if not isinstance(value, dict):
        return value
    changed: dict[str, Any] = {}
    for key, item in value.items():
        if key in _NUMBERS:
            changed[key] = number
        elif isinstance(item, str) and key == long:
            changed[key] = said
        elif isinstance(item, str) and key in _IDS:
            changed[key] = f"{item}-{number}"
        else:
            changed[key] = _varied(item, long, said, number)
    return changed
