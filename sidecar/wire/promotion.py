"""Hidden reasoning, kept in case that nothing else is left to send (``on_empty: promote``)."""

from __future__ import annotations

MAX_PROMOTED = 65_536
"""Characters. An answer that was misfiled as reasoning is a page or two; a model that reasons for
longer and then says nothing has not misfiled an answer."""


class Promotion:
    """The first ``MAX_PROMOTED`` characters of one choice's reasoning, if it is ``wanted``."""

    __slots__ = ("_room", "_texts")

    def __init__(self, *, wanted: bool) -> None:
        self._texts: list[str] = []
        self._room = MAX_PROMOTED if wanted else 0

    def keep(self, text: str) -> None:
        """``text`` was hidden."""
        kept = text[: self._room]
        if kept:
            self._texts.append(kept)
            self._room -= len(kept)

    def take(self) -> str:
        """What was kept; there is no more of it afterwards."""
        text = "".join(self._texts).strip()
        self._texts = []
        self._room = 0
        return text
