"""The markers of an answer, written as a sloppy model or an escaping library would write them.

Owns ways of writing that are made here, apart from what the package takes for a marker.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from sidecar.core.channel import Channel
from sidecar.core.policy import Policy
from tests.promises import Case

Write = Callable[[str, random.Random], str]

_TAG = re.compile(r"<(/?)([A-Za-z][^<>\s]*)(>?)")
_SPACE = ("", " ", "\n", "\t ", "\r\n  ")
_REFERENCES = {
    "<": ("&lt;", "&LT;", "&#60;", "&#060;", "&#x3c;", "&#X3C;", "&#x003c;"),
    ">": ("&gt;", "&GT;", "&#62;", "&#062;", "&#x3e;", "&#X3E;", "&#x003E;"),
    '"': ("&quot;", "&#34;", "&#x22;"),
    "'": ("&apos;", "&#39;", "&#039;", "&#x27;"),
    "/": ("&sol;", "&#47;", "&#x2F;", "&#x2f;"),
    "=": ("&equals;", "&#61;", "&#x3D;"),
}


def spaced(marker: str, chance: random.Random) -> str:
    """With white space in its tags."""

    def tag(found: re.Match[str]) -> str:
        slash, name, end = found.groups()
        space = [chance.choice(_SPACE) for _ in range(3)]
        return f"<{space[0]}{slash}{space[1] if slash else ''}{name}{end and space[2] + end}"

    return _TAG.sub(tag, marker)


def escaped(marker: str, chance: random.Random) -> str:
    """With character references, if it has the brackets of a tag."""
    if "<" not in marker and ">" not in marker:
        return marker
    return "".join(chance.choice((c, *_REFERENCES.get(c, (c,)))) for c in marker)


def any_case(marker: str, chance: random.Random) -> str:
    """With some of its ASCII letters in the other case."""
    return "".join(c.swapcase() if c.isascii() and chance.random() < 0.5 else c for c in marker)


class Way(NamedTuple):
    """A way of writing markers, and the wishes of a rule that takes them so."""

    name: str
    writes: tuple[Write, ...]
    wishes: dict[str, Any]

    @property
    def policy(self) -> Policy:
        """A rule that takes them so."""
        return Policy(**self.wishes)

    def write(self, marker: str) -> str:
        """The marker so written: the same for the same marker."""
        chance = random.Random(zlib.crc32(f"{self.name} {marker}".encode()))
        for write in self.writes:
            marker = write(marker, chance)
        return marker

    def rewrite(self, case: Case) -> str:
        """The text of an example with its markers so written, and the rest as it is."""
        lane = case.lane()
        found = [*lane.feed(case.example.text), *lane.finish()]
        return "".join(
            self.write(segment.text) if segment.channel is Channel.MARKUP else segment.text
            for segment in found
        )


WAYS = (
    Way("spaced", (spaced,), {"spaced_tags": True}),
    Way("escaped", (escaped,), {"html_escaped": True}),
    Way("any case", (any_case,), {"case_insensitive": True}),
    Way(
        "all at once",
        (any_case, spaced, escaped),
        {
            "spaced_tags": True,
            "html_escaped": True,
            "case_insensitive": True,
            "attributes": True,
        },
    ),
)
