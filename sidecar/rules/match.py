"""Whether a rule is about a request. Owns globs; knows nothing of files, policies or sockets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import translate
from functools import lru_cache


class Tools(StrEnum):
    """Whether the request itself lists tools (a non-empty ``tools`` or ``functions``)."""

    DECLARED = "declared"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Match:
    """What a rule asks of a request; what is left out asks nothing.

    ``model`` and ``path`` are globs of ``*`` and ``?``, case-sensitive; ``headers`` pairs a
    lower-case name with a glob.
    """

    model: tuple[str, ...] = ()
    path: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    tools: Tools | None = None


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What a rule may ask of a request. ``headers``: lower-case name -> all its values."""

    model: str
    path: str
    headers: Mapping[str, Sequence[str]]
    tools_declared: bool


def matches(match: Match, request: RequestFacts) -> bool:
    """Whether all that ``match`` asks holds for ``request``."""
    return (
        (not match.model or matches_any(match.model, (request.model,)))
        and (match.path is None or matches_any((match.path,), (request.path,)))
        and all(matches_any((glob,), request.headers.get(name, ())) for name, glob in match.headers)
        and (match.tools is None or (match.tools is Tools.DECLARED) is request.tools_declared)
    )


def matches_any(globs: Iterable[str], texts: Iterable[str]) -> bool:
    """Whether one of the texts is as one of the globs says."""
    return any(map(_any_of(tuple(globs)).match, texts))


@lru_cache(maxsize=1024)
def _any_of(globs: tuple[str, ...]) -> re.Pattern[str]:
    """What finds that a text is as one of ``globs`` says, which are those of rules and formats."""
    # A star never gives back what it took (atomic groups), so that a hostile name costs at most its
    # length times the globs'.
    return re.compile("|".join(map(translate, globs)) or "(?!)")
