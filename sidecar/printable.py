"""Words of somebody else that are shown on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """``text`` without what could steer the terminal, each such character as U+FFFD. Line ends and
    tabs are spaces: it is on one line."""
    return "".join(
        character if character.isprintable() else " " if character.isspace() else "\ufffd"
        for character in text
    )
