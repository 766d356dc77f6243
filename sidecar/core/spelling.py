"""The ways in which a marker may be written, where a rule takes more than the family's own.

Owns which those are, as patterns for :mod:`sidecar.core.markers`. Each is bounded: a name may be
held back with the white space, the attributes and the character references that it may have.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Final

SPACE: Final = "{space}"
ATTRIBUTES: Final = "{attributes}"
ESCAPED_ATTRIBUTES: Final = "{escapedattributes}"
"""What may follow the name in a tag, and is no tag that closes itself."""

_TAG = re.compile(r"(<[A-Za-z][A-Za-z0-9_:.|-]*)>")
"""A marker that could have attributes."""

_TAGS = re.compile(r"<(/?)([A-Za-z][^<>\s]*)(>?)")
"""The tags in a marker, and the beginning of one (HTML, 13.1.2: a name begins with a letter)."""

_NAMES: Final = {
    "<": ("lt", "LT"),
    ">": ("gt", "GT"),
    "/": ("sol",),
    '"': ("quot", "QUOT"),
    "'": ("apos",),
    "=": ("equals",),
}
"""The characters that some library's escaping replaces, of those that markers are made of, and the
names of their references (HTML, 13.5)."""


def _references(character: str, names: tuple[str, ...]) -> tuple[str, ...]:
    code = ord(character)
    # Numbers as libraries write them: PHP's have three digits, and some of the others four.
    decimal = (f"#{code}", f"#0{code}")
    digits = {f"{code:02x}", f"{code:02X}", f"{code:04x}", f"{code:04X}"}
    return tuple(
        f"&{each};"
        for each in (*names, *decimal, *(f"#{x}{d}" for x in "xX" for d in sorted(digits)))
    )


REFERENCES: Final = {
    character: _references(character, names) for character, names in _NAMES.items()
}
"""By character, the references to it that count (HTML, 13.1.4)."""

_CHARACTERS = {name: character for character, names in REFERENCES.items() for name in names}
_ANY_REFERENCE = re.compile("|".join(map(re.escape, _CHARACTERS)))


@dataclass(frozen=True, slots=True)
class Spelling:
    """What a rule takes for a marker besides the family's own literal; the wishes combine.

    ``any_case``: ASCII letters count in either case. ``attributes``: ``<name>`` counts with
    attributes. ``spaced``: white space counts after ``<``, around the ``/`` and before ``>`` of a
    tag ``<name>`` or ``</name>``; special tokens (``<|name|>``, ``[NAME]``) are a word of the
    model's, and have no inside. ``escaped``: HTML's character references count for the
    characters of a marker that has ``<`` or ``>``.
    """

    any_case: bool = False
    attributes: bool = False
    spaced: bool = False
    escaped: bool = False

    def patterns(self, literal: str) -> tuple[str, ...]:
        """What ``literal`` looks like: literals with placeholders."""
        if self.escaped:
            # A family may write references itself: they are the same marker.
            literal = _ANY_REFERENCE.sub(lambda found: _CHARACTERS[found[0]], literal)
        patterns = [literal]
        tag = _TAG.fullmatch(literal) if self.attributes else None
        if tag is not None:
            patterns.append(f"{tag[1]}{ESCAPED_ATTRIBUTES if self.escaped else ATTRIBUTES}>")
        return (
            tuple(_TAGS.sub(_spaced, each) for each in patterns) if self.spaced else tuple(patterns)
        )

    def references(self, pattern: str) -> dict[str, tuple[str, ...]]:
        """By character of ``pattern``, the references that count for it."""
        return REFERENCES if self.escaped and ("<" in pattern or ">" in pattern) else {}


AS_WRITTEN: Final = Spelling()
"""Nothing but the family's own literal."""


def _spaced(tag: re.Match[str]) -> str:
    slash, name, end = tag.groups()
    return f"<{SPACE}{slash and slash + SPACE}{name}{end and SPACE + end}"


def normal(marker: str) -> str:
    """``marker`` in one of its spellings, attributes apart, in the one that all of them share."""
    return "".join(html.unescape(marker).split()).lower()
