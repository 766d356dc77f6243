"""A stream as it was recorded and as a client gets it, side by side. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

from sidecar.printable import printable_lines
from sidecar.spoken import ANSWER, spoken
from sidecar.terminal import RED, Column, Span, columns

_ANCHOR: Final = 24
"""Characters by which the rest of the answer is found again behind something hidden: long enough to
stand in few places, and shortened where the answer has fewer."""

Said = Sequence[tuple[str, str]]


def side_by_side(raw: bytes, clean: bytes, limit: int, width: int, *, styled: bool) -> list[str]:
    """The rows: on the left what was sent, with what the client does not get in red."""
    sent, got = spoken(raw, limit), spoken(clean, limit)
    left = Column("what was recorded", tuple(_spans(sent, _answer(got))))
    right = Column("what the client gets", tuple(_spans(got, _answer(got))))
    return columns(left, right, width, styled=styled, style=RED)


def _answer(said: Said) -> str:
    return "".join(text for field, text in said if field == ANSWER)


def _spans(said: Said, visible: str) -> Iterator[Span]:
    """What was said, field by field, dim where it is not ``visible``."""
    fates = _fates(_answer(said), visible)
    for field, texts in groupby(said, key=itemgetter(0)):
        text = "".join(text for _, text in texts)
        if field != ANSWER:
            yield Span(printable_lines(f"[{field}] {text}\n\n"), dim=True)
            continue
        for hidden, characters in groupby(text, key=lambda _: next(fates)):
            yield Span(printable_lines("".join(characters)), dim=hidden)


def _fates(sent: str, visible: str) -> Iterator[bool]:
    """For each character that was sent whether it is hidden. What is visible keeps its order, so
    the next of it is looked for from where the last of it was."""
    at = 0
    while at < len(sent):
        found = _find(sent, visible, at)
        yield from (True for _ in range(found - at))
        at = found
        run = 0
        while at < len(sent) and run < len(visible) and sent[at] == visible[run]:
            yield False
            at += 1
            run += 1
        visible = visible[run:]


def _find(sent: str, visible: str, start: int) -> int:
    """Where the next of what is visible stands; the end if nowhere."""
    size = min(_ANCHOR, len(visible))
    while size:
        found = sent.find(visible[:size], start)
        if found >= 0:
            return found
        size //= 2
    return len(sent)
