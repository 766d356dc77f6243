"""A user's mistakes: what a wrong file says about itself.

Owns the one-line form of a mistake. Knows nothing of YAML, of pydantic or of what a file is for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong in one file.

    ``line`` and ``column`` count from 1; a ``line`` of 0 is the file as a whole. ``path`` is the
    dotted path in the document, such as ``rules.0.reasoning``; empty for the whole document.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(part for part in (where, self.path, self.message) if part)


class ConfigError(Exception):
    """All the mistakes that were found, in the order of the files; its text has a line for each."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes, key=lambda m: (m.file, m.line, m.column)))
        super().__init__("\n".join(map(str, self.mistakes)))
