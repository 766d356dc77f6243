"""Every way of feeding one case: whole, unit by unit, at every two-way cut, at random cuts, and a
stream of many events in every place of each line.

A unit is a character of a text or a byte of a stream. The random cuts are seeded by the case
itself, so that a failure repeats.
"""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import TypeVar

EXHAUSTIVE = os.environ.get("SIDECAR_EXHAUSTIVE") == "1"
"""``SIDECAR_EXHAUSTIVE=1 pytest tests/core tests/wire`` takes an hour: no case is sampled."""

MAX_FOR_EVERY_PLACE = 3_000
"""Bytes of a recording."""

S = TypeVar("S", str, bytes)


def units(case: S) -> list[S]:
    """One piece for each unit."""
    return [case[i : i + 1] for i in range(len(case))]


def two_way(case: S) -> Iterator[list[S]]:
    """Each way of making two pieces."""
    for cut in range(1, len(case)):
        yield [case[:cut], case[cut:]]


def in_each_line(stream: bytes) -> Iterator[list[bytes]]:
    """Every place of the stream once, one in each of its lines at a time: after the first byte of
    each line, then after the second one, and so on. Two pieces a line, where :func:`two_way` takes
    the whole stream for each place."""
    lines = stream.splitlines(keepends=True)
    starts = [0, *accumulate(map(len, lines))]
    for place in range(1, max(map(len, lines)) + 1):
        cuts = [at + place for at, line in zip(starts, lines, strict=False) if place <= len(line)]
        yield [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]


def of_recording(stream: bytes) -> Iterator[list[bytes]]:
    """As many ways as a stream of many events can be fed in while the suite stays quick: every
    place of it where it is short."""
    if EXHAUSTIVE:
        return two_way(stream)
    return in_each_line(stream) if len(stream) < MAX_FOR_EVERY_PLACE else at_random(stream, 12)


def at_random(case: S, count: int) -> Iterator[list[S]]:
    """``count`` ways of making several pieces, some of them empty."""
    seed = case if isinstance(case, bytes) else case.encode("utf-8", "surrogatepass")
    chance = random.Random(zlib.crc32(seed))
    for _ in range(count):
        cuts: list[int] = sorted(chance.randint(0, len(case)) for _ in range(chance.randint(1, 9)))
        yield [case[a:b] for a, b in zip([0, *cuts], [*cuts, len(case)], strict=True)]


def every_way(case: S, *, random_cuts: int = 8) -> Iterator[list[S]]:
    """All of them, the whole case first."""
    yield [case]
    yield units(case)
    yield from two_way(case)
    yield from at_random(case, random_cuts)
