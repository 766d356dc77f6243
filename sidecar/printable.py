"""Words of somebody else that are shown on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """``text`` without what could steer the terminal, each such character as U+FFFD. Line ends and
    tabs are spaces: it is on one line."""
    return "".join(map(_harmless, text))


def printable_lines(text: str) -> str:
    """The same, with its lines."""
    return "\n".join(printable(line) for line in text.split("\n"))


def _harmless(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character in "\t\n\r" else "\ufffd"
