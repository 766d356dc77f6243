"""Answers of which it is known what is hidden: all that is visible arrives, and nothing else."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.document import filter_document
from tests.fuzz.budget import examples
from tests.fuzz.engine import NAMES, SUITES, cut, events, left_of, records, texts
from tests.fuzz.made import SECRETS, Made, answers, written
from tests.wire.conformance import DIED, DROP, Kind, Piece, Read, Suite

per_format = pytest.mark.parametrize("name", NAMES)
PLACES = st.lists(st.floats(0, 1), max_size=6)


def read(raw: bytes, suite: Suite) -> Read:
    """What a client makes of the stream."""
    found, reader = Read(), suite.adapter.reader()
    for name, data in events(raw, suite):
        pieces = [Piece(Kind.END)] if data == "[DONE]" else reader.read(name, json.loads(data))
        for piece in pieces:
            found.add(piece)
    return found


def in_order(words: list[str], text: str) -> bool:
    """Whether the text has all the words, in their order."""
    found = [text.find(word) for word in words]
    return -1 not in found and found == sorted(found)


def leaks(out: bytes, values: object) -> bool:
    """Whether three characters of the secret are in the bytes, or in what they say."""
    said = [out.decode(), *texts(values)]
    return any(secret in text for secret in SECRETS for text in said)


@per_format
@examples(40)
@given(st.data())
def test_what_is_visible_arrives_and_what_is_hidden_does_not(
    name: str, data: st.DataObject
) -> None:
    """However the answer is written and cut, and however much noise is around it."""
    suite = SUITES[name]
    made: Made = data.draw(answers(suite))
    chance = Random(data.draw(st.integers(0, 2**32)))
    raw = written(chance, suite, made, noisy=data.draw(st.booleans()))
    out, _ = left_of(suite, DROP, cut(raw, data.draw(PLACES)))
    assert not leaks(out, records(out, suite))
    left = read(out, suite)
    assert left.ended
    assert not left.errors
    assert left.visible == suite.expected(DROP, suite.sent(made.pieces))
    assert in_order(made.words, left.texts.get(0, ""))


@per_format
@examples(25)
@given(st.data())
def test_an_answer_that_breaks_off_anywhere_says_so(name: str, data: st.DataObject) -> None:
    """What had come is there, and nothing hidden; of an event that was cut nothing is; and it ends
    with an error if its finish had not come."""
    suite = SUITES[name]
    made: Made = data.draw(answers(suite))
    events_ = suite.adapter.events(made.pieces)
    count = data.draw(st.integers(0, len(events_) - 1))
    whole, rest = (suite.stream(each, mark=False) for each in (events_[:count], events_[count:]))
    half = rest[: data.draw(st.integers(0, len(suite.one(events_[count])) - 3))]
    out, _ = left_of(suite, DROP, [whole + half], fault=DIED)
    assert not leaks(out, records(out, suite))
    left = read(out, suite)
    assert left.visible == suite.expected(DROP, whole)
    assert left.errors == (not left.finishes)


@per_format
@examples(15)
@given(st.data())
def test_a_document_says_no_more(name: str, data: st.DataObject) -> None:
    """The same as a document: the same text, and nothing hidden."""
    suite = SUITES[name]
    made: Made = data.draw(answers(suite))
    pieces = [
        piece
        for piece in made.pieces
        if piece.kind in suite.adapter.whole | {Kind.TEXT, Kind.FINISH}
    ]
    out = filter_document(suite.body(pieces), suite.answer(DROP))
    assert not leaks(out, json.loads(out))
    text = suite.read_document(out).texts.get(0, "")
    assert in_order(made.words, text)
