"""Markers that count only by what follows them.

The answers are True, False, or None while the text that decides has not come.
"""

from __future__ import annotations

import re

from sidecar.core.format import At, Body, Region
from sidecar.core.jsonbody import JsonBody
from sidecar.core.markers import BODY_STOPS, Action, ActiveRegion, MarkerSet

MAX_TAIL = 256
"""Characters of stop tokens, and the white space between them, that may end a message."""

MAX_PROOF = 1024
"""Characters from an open marker on in which its proof must stand. Models write a call's name
first, and all that is waited for is not yet on the reader's screen."""

_NOT_SPACE = re.compile(r"[^ \t\r\n]")
_BODY_STOPS = re.compile(f"[{re.escape(BODY_STOPS)}]")
_ANYWHERE = (At.ANYWHERE,)


def ends_message(
    text: str, start: int, end: int, markers: MarkerSet, *, final: bool
) -> bool | None:
    """Whether a stop token at ``start`` has nothing but white space and markers after it."""
    while True:
        found = _NOT_SPACE.search(text, end)
        position = len(text) if found is None else found.start()
        if position > start + MAX_TAIL:
            return False
        if found is None:
            return True if final else None
        match = markers.match(text, position, _ANYWHERE)
        if match.pending and not final:
            return None
        if match.marker is None or match.marker.action is Action.OPEN:
            return False
        end = match.end


def is_proven(region: ActiveRegion, text: str, start: int, end: int, *, final: bool) -> bool | None:
    """Whether one of the literals that prove a region stands in it; its open marker stands from
    ``start`` to ``end``."""
    assert region.proof is not None
    window = text[start : start + MAX_PROOF]
    limit, ended = _end_of_region(region.facts, region.proof.closers, window, end - start)
    if region.proof.literals.find(window[:limit], 0) is not None:
        return True
    return False if ended or final or len(window) == MAX_PROOF else None


def _end_of_region(region: Region, closers: MarkerSet, window: str, start: int) -> tuple[int, bool]:
    """Where the region whose body begins at ``start`` ends in ``window``, and whether it does."""
    closer = closers.find(window, start)
    ends = [] if closer is None else [closer]
    if region.body is Body.VALUE or not (region.close or region.body is Body.TEXT):
        ends += _end_of_value(region.body, window, start)
    return min(ends, default=len(window)), bool(ends)


def _end_of_value(kind: Body, window: str, start: int) -> list[int]:
    """Where the value that begins at ``start`` ends; nothing if it does not."""
    body = JsonBody(kind, closes=False, opener=window[:start])
    position = start
    while (position := body.seek(window, position, _BODY_STOPS)) < len(window):
        position += 1
        if body.take(window[position - 1]):
            return [position]
    return []
