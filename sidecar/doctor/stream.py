"""What came of a stream. Values, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One event, ``at`` so many seconds after the request."""

    at: float
    value: dict[str, Any]


class Stream(NamedTuple):
    """What came, until ``ended_at`` (seconds after the request). ``version`` is that of HTTP,
    ``reads`` the number of pieces in which it came, and ``done`` whether it has said that it is
    complete."""

    version: str
    headers: Mapping[str, str]
    events: tuple[Event, ...]
    reads: int
    ended_at: float
    done: bool
