"""What is measured: which answers, in how many streams, and how upstream sends them."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from tests.bench import answers, targets
from tests.bench.answers import DONE_EVENT, Answer
from tests.bench.targets import Target


class Way(StrEnum):
    """When upstream sends what comes next."""

    LOCKSTEP = "lockstep"
    """When the client has what came before."""
    TORN = "torn"
    """So too, but each event in three segments, a millisecond apart."""
    FLOOD = "flood"
    """At once: as fast as the socket takes it."""
    PACED = "paced"
    """At fixed times."""
    DOCUMENT = "document"
    """The whole answer, which is no event stream."""


class Workload(NamedTuple):
    """A row of the table below."""

    name: str
    about: str
    make: Callable[[int], Answer]
    events: int
    """Of one stream."""
    streams: int = 64
    """At a time."""
    way: Way = Way.LOCKSTEP
    step: int = 1
    """Events of one segment, in lockstep."""
    interval: float = 0.0
    """Seconds between two events, where they are paced."""
    repeats: int = 1
    """Streams one after another, on each client's connection."""
    short: int | None = None
    """Events of one stream in a short run; without it, a tenth."""
    targets: tuple[Target, ...] = targets.USUAL

    def shortened(self) -> Workload:
        """The same for a short run: fewer events, requests and targets."""
        return self._replace(
            events=self.short or max(20, self.events // 10),
            repeats=max(1, self.repeats // 10),
            targets=tuple(t for t in self.targets if t not in targets.LEFT_OUT_OF_SHORT),
        )

    def warming(self) -> Workload:
        """The same for a first round that is not counted: of few streams, so that what many take is
        not counted as taken before."""
        streams, events = min(self.streams, 8), min(self.events, 50)
        return self._replace(streams=streams, events=events, repeats=1)

    @property
    def timed(self) -> bool:
        """Whether each event that is sent arrives, so that it can be acknowledged and timed."""
        return self.way in (Way.LOCKSTEP, Way.TORN, Way.PACED)


_THINKING = partial(answers.in_band, hidden=0.9)
_STRUCTURED = partial(answers.reasoning, hidden=0.9)

WORKLOADS = (
    Workload("saturation", "64 streams in lockstep", answers.plain, 1000),
    Workload(
        "flood",
        "64 streams, events as fast as the sockets take them",
        answers.plain,
        3000,
        way=Way.FLOOD,
    ),
    Workload("packed", "64 streams, 16 events a segment", answers.plain, 3200, step=16),
    Workload("torn", "64 streams, every event in three segments", answers.plain, 300, way=Way.TORN),
    Workload("big", "64 streams in lockstep, events of 16 KiB", answers.big, 100),
    Workload(
        "thinking",
        "64 streams, 90% of the events hidden, in band",
        _THINKING,
        3000,
        way=Way.FLOOD,
    ),
    Workload(
        "structured",
        "64 streams, 90% of the events hidden, in a field of their own",
        _STRUCTURED,
        3000,
        way=Way.FLOOD,
    ),
    Workload("html", "64 streams, an answer full of <", answers.html, 2000, way=Way.FLOOD),
    Workload(
        "statuses",
        "64 streams of agents, all statuses on",
        answers.agent,
        2000,
        way=Way.FLOOD,
        targets=(targets.NONE, targets.PASS_THROUGH, targets.DEFAULT, targets.STATUSES),
    ),
    Workload(
        "short",
        "64 clients, answers of 100 tokens that are not streamed",
        answers.document,
        100,
        way=Way.DOCUMENT,
        repeats=40,
        short=100,
        targets=targets.WITH_KEPT,
    ),
    Workload(
        "first",
        "one stream after another, to its first event",
        answers.plain,
        3,
        streams=1,
        repeats=200,
        short=3,
    ),
    Workload(
        "paced",
        "one stream, an event every 20 ms",
        answers.plain,
        500,
        1,
        Way.PACED,
        interval=0.02,
        short=30,
    ),
    Workload(
        "many",
        "1,000 open streams of 20 events a second",
        answers.plain,
        100,
        1000,
        Way.PACED,
        interval=0.05,
        short=10,
    ),
    Workload(
        "processes",
        "64 streams in lockstep, over one process and over two",
        answers.plain,
        1000,
        targets=(targets.DEFAULT, targets.TWO),
    ),
)


def sent(workload: Workload, answer: Answer) -> bytes:
    """The body of an answer as upstream sends it."""
    end = b"" if workload.way is Way.DOCUMENT else DONE_EVENT
    return b"".join(answer.events) + end
