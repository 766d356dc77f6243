"""Every way of feeding one case: whole, unit by unit, at every two-way cut, at random cuts.

A unit is a character of a text or a byte of a stream. The random cuts are seeded by the case
itself, so that a failure repeats.
"""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Iterator
from typing import TypeVar

EXHAUSTIVE = os.environ.get("SIDECAR_EXHAUSTIVE") == "1"
"""``SIDECAR_EXHAUSTIVE=1 pytest tests/core`` takes minutes: no case is sampled."""

S = TypeVar("S", str, bytes)


def units(case: S) -> list[S]:
    """One piece for each unit."""
    return [case[i : i + 1] for i in range(len(case))]


def two_way(case: S) -> Iterator[list[S]]:
    """Each way of making two pieces."""
    for cut in range(1, len(case)):
        yield [case[:cut], case[cut:]]


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
