"""A few arguments of a call, read while its JSON streams in, for a status that names them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic_core import from_json

MAX_READ = 4_096
"""Characters of a call's arguments that are read: what a status shows is short, and models write it
first. The bound also keeps the cost of parsing again and again linear."""


class CallArguments:
    """The arguments called ``wanted``, as far as they are complete."""

    def __init__(self, wanted: Collection[str]) -> None:
        self.found: dict[str, str] = {}
        """By name, as text."""
        self._wanted = wanted
        self._text = ""
        self._reading = True

    def add(self, piece: object) -> bool:
        """The next piece of the JSON has come, or all of it as an object. Returns whether one more
        argument was found."""
        if not self._reading:
            return False
        before = len(self.found)
        if isinstance(piece, str):
            self._text += piece
            self._parse()
        elif isinstance(piece, dict):
            self._take(piece, whole=True)
        if len(self.found) == len(self._wanted):
            self._stop()
        return len(self.found) > before

    def _parse(self) -> None:
        if len(self._text) > MAX_READ:
            self._text = self._text[:MAX_READ]
        try:
            value = from_json(self._text, allow_partial=True)
        except ValueError:
            self._stop()
            return
        if isinstance(value, dict):
            self._take(value, whole=self._text.rstrip().endswith("}") and _is_whole(self._text))
        if len(self._text) >= MAX_READ:
            self._stop()

    def _take(self, value: dict[str, Any], *, whole: bool) -> None:
        """A text is only there when it is complete, and so is whatever another key follows; the
        last value, if it is of another kind, may still go on."""
        names = list(value)
        for name in self._wanted:
            if name not in value or name in self.found:
                continue
            last = name == names[-1] and not whole
            said = _said(value[name])
            if said is not None and (isinstance(value[name], str) or not last):
                self.found[name] = said

    def _stop(self) -> None:
        self._reading = False
        self._text = ""


def _is_whole(text: str) -> bool:
    try:
        from_json(text)
    except ValueError:
        return False
    return True


def _said(value: object) -> str | None:
    """What a status says of an argument: a text, a number, a word, or a list of such; None if it is
    anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list):
        items = list(map(_said, value))
        if items and None not in items:
            return ", ".join(item for item in items if item is not None)
    return None
