"""What one rule means for one request, and what the choices of its answer share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

from sidecar.core.channel import Segment
from sidecar.core.policy import Policy
from sidecar.core.progress import Progress
from sidecar.core.stats import Stats
from sidecar.core.status import NO_STATUSES, StatusPolicy
from sidecar.core.vocabulary import Opening, Vocabulary
from sidecar.wire.moved import call_ids
from sidecar.wire.promotion import MAX_PROMOTED, Room

HOSTED = "hosted:"
"""Comes before the type of a hosted tool that is declared; the names of functions have no colon."""


class Ruling(NamedTuple):
    """What one rule, ``name``, means for one request.

    ``declared`` are the tools that it declares. ``start`` is where a message of the answer begins,
    the visible text if it is None. ``closers``, as :func:`~sidecar.core.spelling.normal` writes
    them, are close markers of reasoning that are counted where nothing opened it. ``promoted``:
    bytes of hidden reasoning that may be kept for an answer of which nothing else is left.
    ``schemas`` are the declared tools' parameters, by the tools' names; they may be anything.
    ``seed`` keeps the ids of two answers' calls apart. ``status`` says what a person is told
    meanwhile; ``model`` is what the request calls the model, and ``at`` when it came, in seconds
    since 1970: what is sent before upstream has said anything repeats them. ``tell`` is told of
    every piece of a chat answer as it is judged, in the order in which the model wrote it.
    """

    policy: Policy
    vocabulary: Vocabulary
    declared: Collection[str] = frozenset()
    start: Opening | None = None
    closers: frozenset[str] = frozenset()
    promoted: int = MAX_PROMOTED
    schemas: Mapping[str, object] = MappingProxyType({})
    seed: str = ""
    name: str = ""
    status: StatusPolicy = NO_STATUSES
    model: str = ""
    at: float = 0.0
    tell: Callable[[Segment], None] | None = None


class Shared:
    """What the choices of one answer share."""

    def __init__(self, ruling: Ruling) -> None:
        self.stats = Stats()
        self.progress = Progress(
            self.stats, ruling.status.texts.wanted, sources=ruling.status.sources
        )
        """That of the answer; of several choices it is the first one's."""
        self.room = Room(ruling.promoted)
        """For the reasoning that may have to be promoted."""
        self.call_ids = call_ids(ruling.seed)

    def progress_of(self, choice: int) -> Progress:
        """That of one choice, of which nobody is told unless it is the first."""
        return Progress(self.stats, muted=True) if choice else self.progress
