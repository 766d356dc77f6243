"""Streams that were damaged on their way: whatever comes, the engine ends well, and says nothing
that was hidden."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from sidecar.core.document import filter_document
from sidecar.core.jsontext import MalformedJSON
from sidecar.core.stream import MalformedChunk
from tests.fuzz import corpus
from tests.fuzz.budget import examples
from tests.fuzz.engine import NAMES, SUITES, check, texts
from tests.fuzz.mutations import bytewise, damaged, dumped
from tests.promises import LIMIT
from tests.wire.conformance import DROP, POLICIES, SECRETS, Event
from tests.wire.secret_positions import SECRET

per_format = pytest.mark.parametrize("name", NAMES)
PLACES = st.lists(st.floats(0, 1), max_size=5)
LIMITS = st.sampled_from([LIMIT, LIMIT, 200, 1000])
HIDDEN = re.compile("|".join(map(re.escape, (SECRET, *SECRETS.values()))))


@per_format
@examples(25)
@given(st.data())
def test_a_stream_that_was_damaged_anywhere_ends_well(name: str, data: st.DataObject) -> None:
    """Bytes are lost, doubled, flipped or another stream's; whatever the rule wishes, a client can
    read what leaves to an end, it does not depend on the cuts, and nothing raises."""
    raw = data.draw(bytewise(corpus.streams(name)))
    check(
        SUITES[name],
        data.draw(st.sampled_from(POLICIES)),
        raw,
        data.draw(PLACES),
        limit=data.draw(LIMITS),
    )


@per_format
@examples(25)
@given(st.data())
def test_events_with_other_values_than_expected_say_nothing_hidden(
    name: str, data: st.DataObject
) -> None:
    """Keys are renamed, values are of other types, events are missing, doubled or in another
    order: the same, and no secret leaves that did not stand where a client is shown it."""
    suite = SUITES[name]
    events = data.draw(damaged_events(name))
    style = data.draw(st.integers(0, 2))
    written = [(kind, dumped(record, style).encode()) for kind, record in events]
    raw = b"".join(suite.framing.write(text, kind.encode()) for kind, text in written)
    policy = data.draw(st.just(DROP) | st.sampled_from(POLICIES))
    left = check(suite, policy, raw + suite.framing.mark, data.draw(PLACES))
    if policy is DROP and not HIDDEN.search(" ".join(shown([record for _, record in events]))):
        event("a secret would be noticed" if HIDDEN.search(raw.decode()) else "there is no secret")
        assert not HIDDEN.search(" ".join(texts(left)))


@per_format
@examples(20)
@given(st.data())
def test_a_damaged_document_is_an_answer_or_none(name: str, data: st.DataObject) -> None:
    """It is filtered, with no secret that did not stand where a client is shown it, or it is
    refused in one of the two ways that are documented."""
    whole = st.sampled_from(corpus.documents(name))
    values = whole.map(json.loads).flatmap(damaged).flatmap(damaged)
    body = data.draw(bytewise(corpus.documents(name)) | values.map(lambda v: dumped(v, 0).encode()))
    try:
        out = filter_document(body, SUITES[name].answer(DROP))
    except (MalformedJSON, MalformedChunk):
        return
    if not HIDDEN.search(" ".join(shown(json.loads(body)))):
        event("a secret would be noticed" if HIDDEN.search(body.decode()) else "there is no secret")
        assert not HIDDEN.search(" ".join(texts(json.loads(out))))


@st.composite
def damaged_events(draw: st.DrawFn, name: str) -> list[Event]:
    """The events of an answer, some with other values, missing, doubled, elsewhere, or of another
    answer."""
    pool = corpus.answers(name)
    events = list(draw(st.sampled_from(pool)))
    for _ in range(draw(st.integers(1, 3))):
        at, what = draw(st.integers(0, len(events) - 1)), draw(st.sampled_from(_DAMAGES))
        kind, record = events[at]
        if what == "damage":
            events[at] = kind, draw(damaged(record))
        elif what == "move":
            events.append(events.pop(at))
        elif what == "double":
            events.insert(at, events[at])
        elif what == "insert":
            events.insert(at, draw(st.sampled_from(draw(st.sampled_from(pool)))))
        elif len(events) > 1:
            del events[at]
    return events


_DAMAGES = ("damage", "damage", "damage", "move", "double", "insert", "remove")

_SHOWN_KEYS = {"content", "text", "refusal", "delta", "response", "message", "error", "detail"}
_SHOWN_TYPES = re.compile(
    r"(response\.)?(output_text|text|refusal|message|error)(_delta|\.delta|\.done)?"
)


def shown(value: Any) -> Iterator[str]:
    """The texts that stand, or may stand, where a client is shown them."""
    if isinstance(value, list):
        for item in value:
            yield from shown(item)
    elif isinstance(value, dict):
        kind = value.get("type", "text")
        for key, item in value.items():
            yield from shown(item)
            is_text = not isinstance(kind, str) or _SHOWN_TYPES.fullmatch(kind)
            if key in _SHOWN_KEYS and isinstance(item, str) and is_text:
                yield item
