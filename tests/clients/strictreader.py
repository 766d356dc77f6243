"""A reader of event streams that forgives nothing which some client in use does not survive."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final, NamedTuple

DONE: Final = "[DONE]"
"""The data of the end mark."""


class Event(NamedTuple):
    """One event, its name empty if it has none."""

    name: str
    data: Any


class Events(NamedTuple):
    """What a stream holds: its events, and its comments without the colon and a space."""

    events: list[Event]
    comments: list[str]


def read_strictly(stream: bytes, names: Collection[str]) -> Events:
    """The events of a stream: one line of JSON each, an event line before it only with one of these
    ``names``, comments that end no event, and nothing else."""
    read = Events([], [])
    name, data = "", ""
    *lines, rest = stream.decode().split("\n")
    assert rest == "", f"the last line has no end: {rest!r}"
    for line in lines:
        assert "\r" not in line
        kind, _, value = line.partition(": ")
        match kind:
            case "event":
                assert value in names, f"nobody knows this event: {line!r}"
                assert not name
                assert not data
                name = value
            case "data":
                assert not data, f"more than one line of data: {line!r}"
                data = value
            case "" if line:
                assert not name, f"a comment within an event: {line!r}"
                assert not data, f"a comment within an event: {line!r}"
                read.comments.append(value)
            case "":
                assert data, f"an event without data, after {read!r}"
                read.events.append(Event(name, _value(data)))
                name = data = ""
            case _:
                raise AssertionError(f"neither data, an event, a comment, nor blank: {line!r}")
    assert not name
    assert not data
    return read


def _value(data: str) -> Any:
    return DONE if data == DONE else json.loads(data, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")
