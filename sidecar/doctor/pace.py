"""How events came: in step with how they were sent, in bursts, or all at the end. Pure.

The two clocks have nothing to do with each other, so only distances are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Final

END: Final = 0.1
"""All at the end: within this share of the time over which they were sent. A buffer that is emptied
once needs milliseconds for it."""

OWN: Final = 0.5
"""An event came by itself if it is at least this share of its distance behind the one before. What
is collected comes with no distance at all; a busy machine shifts it a little."""

MOST: Final = 2 / 3
"""In step: so many of them came by themselves. Of pairs it is a half, of larger groups less; and a
machine may stop for a third of the time before it is taken for a buffer."""

TOGETHER: Final = 0.02
"""Seconds: without times of sending, what comes closer than this came together. The fastest models
write an event every five milliseconds or so: that is one long group, which is no burst."""

GROUP: Final = 4.0
"""Events that a group has on average, from which on groups are bursts: models write one token an
event, or a few."""

PAUSE: Final = 0.25
"""Seconds between two groups, on average, from which on a person sees it stutter."""


class Pace(StrEnum):
    """How the events of a stream came."""

    IN_STEP = "in step"
    IN_BURSTS = "in bursts"
    AT_THE_END = "all at the end"


def pace(sent: Sequence[float], arrived: Sequence[float]) -> Pace | None:
    """How events came that were ``sent`` and have ``arrived`` at these seconds, each of a clock of
    its own; None if there are fewer than three, or if they were not sent one after another."""
    if len(sent) != len(arrived):
        raise ValueError("each event is sent once, and arrives once")
    span = sent[-1] - sent[0] if len(sent) >= 3 else 0.0
    if span <= 0:
        return None
    if arrived[-1] - arrived[0] <= END * span:
        return Pace.AT_THE_END
    distances = zip(_distances(sent), _distances(arrived), strict=True)
    own = sum(came >= OWN * went for went, came in distances)
    return Pace.IN_STEP if own >= MOST * (len(sent) - 1) else Pace.IN_BURSTS


def pace_of_arrivals(arrived: Sequence[float]) -> Pace | None:
    """The same where nobody knows when they were sent: ``arrived`` counts from the request, in
    seconds. A model that thinks for long and then writes very fast cannot be told from a buffer;
    None if there are fewer than three."""
    if len(arrived) < 3:
        return None
    if arrived[-1] - arrived[0] <= END * arrived[-1]:
        return Pace.AT_THE_END
    pauses = [distance for distance in _distances(arrived) if distance > TOGETHER]
    if not pauses:
        return Pace.IN_STEP
    in_groups = len(arrived) / (len(pauses) + 1) >= GROUP
    return Pace.IN_BURSTS if in_groups and sum(pauses) / len(pauses) >= PAUSE else Pace.IN_STEP


def _distances(times: Sequence[float]) -> Iterator[float]:
    return (later - earlier for earlier, later in pairwise(times))
