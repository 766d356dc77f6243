"""A secret in every place of an answer where hidden text can stand leaves in no byte.

It is looked for as text, however it is escaped, as base64 and as hex, as the bytes and the ids of
its tokens, and put together from the pieces of several events. Where a rule keeps what it belongs
to, it does leave: otherwise this would show nothing.
"""

from __future__ import annotations

import base64
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.core.document import filter_document
from sidecar.core.framing import LINES
from sidecar.core.jsontext import MalformedJSON
from sidecar.core.policy import Policy
from sidecar.core.stream import MalformedChunk, StreamFilter
from sidecar.wire.formats import WIRE_FORMATS
from sidecar.wire.ruling import Ruling
from tests.promises import CATALOGUE, LIMIT, compiled
from tests.wire.adapters import ADAPTERS
from tests.wire.conformance import DIED, Kind, Piece, Suite, written
from tests.wire.secret_positions import (
    DROP,
    IDS,
    MARKED,
    POSITIONS,
    SECRET,
    TEXT,
    Position,
)

ALL = tuple(CATALOGUE.resolve(["all"]))
SUITES = {each.name: Suite(each, ADAPTERS[each.name]) for each in WIRE_FORMATS}

per_format = pytest.mark.parametrize("wire_format", SUITES)


# --- looking for it -----------------------------------------------------------------------------

_LINE = re.compile(rb"\r\n|\n|\r")
_ENCODED = [
    # Of base64, that which does not depend on the bytes before and after.
    *(
        base64.b64encode(b"\0" * skip + SECRET.encode()).decode()[skip * 2 : 12]
        for skip in range(3)
    ),
    SECRET.encode().hex(),
]


def leaks(raw: bytes) -> bool:
    """Whether the secret, or four characters of it, can be read in the bytes."""
    if _is_in(raw.decode("utf-8", "replace")):
        return True
    texts: dict[str, str] = defaultdict(str)
    for line in _LINE.split(raw):
        try:
            value = json.loads(line.removeprefix(b"data:"))
        except ValueError:
            continue
        for key, said in _said(value):
            if said in IDS:
                return True
            if isinstance(said, str):
                texts[key] += said
            elif 0 <= said < 256:
                texts[key] += chr(said)
    return any(map(_is_in, texts.values()))


def _is_in(text: str) -> bool:
    pieces = (SECRET[i : i + 4] for i in range(len(SECRET) - 3))
    return any(piece in text for piece in (*pieces, *_ENCODED))


def _said(value: Any, key: str = "") -> Iterator[tuple[str, str | int]]:
    """The strings and integers of a value, and the keys as well, each with its key."""
    if isinstance(value, dict):
        for inner, held in value.items():
            yield "", inner
            yield from _said(held, inner)
    elif isinstance(value, list):
        for held in value:
            yield from _said(held, key)
    elif isinstance(value, str) or type(value) is int:
        yield key, value


@pytest.mark.parametrize(
    "value",
    [
        {"a": SECRET},
        {"a": f"x{SECRET[2:6]}x"},
        {SECRET: 1},
        {"a": list(SECRET.encode())},
        {"a": [{"bytes": [ord(c)]} for c in SECRET]},
        {"a": [{"token": c} for c in SECRET]},
        {"a": base64.b64encode(f"{'x' * 4}{SECRET}y".encode()).decode()},
        {"a": base64.b64encode(f"{'x' * 5}{SECRET}y".encode()).decode()},
        {"a": base64.b64encode(f"{'x' * 6}{SECRET}y".encode()).decode()},
        {"a": SECRET.encode().hex()},
        {"token_ids": IDS[1:2]},
    ],
)
def test_the_secret_is_found_in_every_encoding(value: Any) -> None:
    for name, suite in SUITES.items():
        assert leaks(suite.framing.write(json.dumps(value).encode(), b"")), name
    assert leaks(json.dumps(value).encode())
    assert leaks(b"data: " + json.dumps(value).replace("q", "\\u0071").encode() + b"\n\n")


def test_what_is_no_secret_is_not_found() -> None:
    assert not leaks(b'data: {"a":"Zq7 Xk9 Wv3","b":[90,113,55],"c":904210}\n\n')


# --- the answers --------------------------------------------------------------------------------


def sent(position: Position) -> bytes:
    """The answer as upstream sends it."""
    suite = SUITES[position.wire_format]
    if isinstance(position.answer, dict):
        return written(position.answer)
    named = suite.framing.mark == b"" and suite.framing is not LINES
    events = [(str(record["type"]) if named else "", record) for record in position.answer]
    return suite.stream(events)


def left(position: Position, policy: Policy, raw: bytes) -> bytes:
    """What leaves of it; nothing if it cannot be read."""
    suite = SUITES[position.wire_format]
    answer = suite.wire_format.answer(Ruling(policy, compiled(ALL, policy)))
    if isinstance(position.answer, list):
        return suite.run(policy, raw, answer=answer)
    try:
        return filter_document(raw, answer)
    except (MalformedChunk, MalformedJSON):
        return b""


@per_format
def test_it_leaves_from_no_position(wire_format: str) -> None:
    wrong = []
    for position in POSITIONS[wire_format]():
        raw = sent(position)
        assert leaks(raw), position.name
        if leaks(left(position, position.hides, raw)):
            wrong.append(position.name)
    assert wrong == []


@per_format
def test_it_leaves_where_it_is_kept(wire_format: str) -> None:
    kept = [position for position in POSITIONS[wire_format]() if position.keeps is not None]
    wrong = [p.name for p in kept if p.keeps and not leaks(left(p, p.keeps, sent(p)))]
    assert kept
    assert wrong == []


@per_format
def test_the_names_of_positions_tell_them_apart(wire_format: str) -> None:
    names = [position.name for position in POSITIONS[wire_format]()]
    assert len(set(names)) == len(names)


def _plain() -> list[Piece]:
    return [Piece(Kind.TEXT, TEXT)]


# --- around the events --------------------------------------------------------------------------


@pytest.mark.parametrize("wire_format", [n for n, s in SUITES.items() if s.framing is not LINES])
@pytest.mark.parametrize(
    "line", [f": {SECRET}", f"id: {SECRET}", f"retry: {SECRET}", f"{SECRET}: x", f"event: {SECRET}"]
)
def test_it_leaves_from_no_line_around_an_event(wire_format: str, line: str) -> None:
    suite = SUITES[wire_format]
    (plain,) = (made for made in suite.made({"plain": _plain()}))
    raw = suite.sent(plain.finished)
    for inserted in (f"{line}\n", f"{line}\n\n"):
        noisy = b"".join(inserted.encode() + block + b"\n\n" for block in raw.split(b"\n\n")[:-1])
        out = suite.run(DROP, noisy)
        assert not leaks(out)
        assert suite.read(out).texts == {0: TEXT}


@per_format
def test_it_leaves_from_no_error(wire_format: str) -> None:
    suite = SUITES[wire_format]
    name, record = suite.adapter.error(f"Too long: {MARKED}")
    error = record["error"]
    records = [record, record | {"zz_new": SECRET}]
    if isinstance(error, dict):
        records += [
            record | {"error": error | {key: value}}
            for key in ("type", "code", "param", "metadata", "zz_new")
            for value in (f"{SECRET} {SECRET}", [SECRET], {"said": SECRET})
        ]
    for told in records:
        out = suite.run(DROP, suite.stream([(name, told)], mark=False))
        assert not leaks(out), told
        assert suite.read(out).errors == 1
        try:
            whole = filter_document(written(told), suite.answer(DROP))
        except MalformedChunk:
            continue
        assert not leaks(whole), told


@per_format
def test_it_leaves_from_no_stream_that_breaks_off(wire_format: str) -> None:
    suite = SUITES[wire_format]
    for position in POSITIONS[wire_format]():
        if isinstance(position.answer, dict) or position.keeps is None:
            continue
        raw = sent(position)
        answer = suite.wire_format.answer(Ruling(position.hides, compiled(ALL, position.hides)))
        transducer = StreamFilter(answer, limit=LIMIT)
        end = b"\n" if suite.framing is LINES else b"\n\n"
        half = raw[: raw.find(end, len(raw) // 2) + len(end)]
        assert not leaks(transducer.feed(half) + transducer.finish(DIED)), position.name
