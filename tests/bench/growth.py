"""Whether a late event costs what an early one does: in one process, without sockets."""

from __future__ import annotations

import gc
import time

from sidecar.wire.ruling import Ruling
from tests.bench import answers
from tests.bench.answers import Answer
from tests.bench.engine import check, default_ruling, filtered

EVENTS = "events"
HIDDEN = "hidden"

_LITTLE_EVENTS, _MUCH_EVENTS = 100, 100_000
_LITTLE_HIDDEN, _MUCH_HIDDEN = 1 << 10, 1 << 20
"""Characters."""


def growth(rounds: int) -> dict[str, list[float]]:
    """By what grows, the cost of an event where there is much of it to that where there is little,
    in each round. What a stream costs before its first event is left out. Raises WrongAnswer."""
    ruling = default_ruling()
    empty = answers.plain(2)
    cases = {
        EVENTS: (answers.plain(_LITTLE_EVENTS), answers.plain(_MUCH_EVENTS)),
        HIDDEN: (answers.hidden(_LITTLE_HIDDEN), answers.hidden(_MUCH_HIDDEN)),
    }
    for answer in (answer for pair in cases.values() for answer in pair):
        check(answer, ruling)
    found: dict[str, list[float]] = {what: [] for what in cases}
    for _ in range(rounds):
        for what, (little, much) in cases.items():
            # As many events of both, so that what disturbs disturbs both.
            times = len(much.events) // len(little.events)
            start = _seconds(empty, ruling, times) / times
            costs = [
                (_seconds(answer, ruling, count) / count - start)
                / (len(answer.events) - len(empty.events))
                for answer, count in ((little, times), (much, 1))
            ]
            found[what].append(costs[1] / costs[0])
    return found


def _seconds(answer: Answer, ruling: Ruling, times: int) -> float:
    gc.collect()
    start = time.process_time()
    for _ in range(times):
        filtered(answer, ruling)
    return time.process_time() - start
