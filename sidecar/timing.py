"""When the events of a recording came: written as comments, which every reader of events skips.

``: t=1.250`` in a block of its own stands before the events that came 1.25 s after the request. The
recording is a stream as before, and what is made of it is the same with and without. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# A block of its own: after the blank line that ended another, whichever line ends that has.
_MARK = re.compile(
    rb"(?:\A|(?<=\n\n)|(?<=\r\n\r\n)|(?<=\r\r)): t=([0-9]{1,9}\.[0-9]{3})\n\n", re.ASCII
)


class Part(NamedTuple):
    """What came ``at`` so many seconds after the request."""

    at: float
    raw: bytes


def mark(at: float) -> bytes:
    """The comment that says when what follows came."""
    return b": t=%.3f\n\n" % at


def timed(recording: bytes) -> Iterator[Part]:
    """A recording in the parts that came together, without the comments; a recording that has none
    came at once."""
    before, *rest = _MARK.split(recording)
    if before:
        yield Part(0.0, before)
    for at, raw in zip(rest[::2], rest[1::2], strict=True):
        yield Part(float(at), raw)


def untimed(recording: bytes) -> bytes:
    """A recording as it came."""
    return _MARK.sub(b"", recording)
