"""Which of a few languages a request wants: the lookup of RFC 4647, 3.4, over ``Accept-Language``
(RFC 9110, 12.5.4)."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

MAX_HEADER: Final = 1_024
"""Characters of the header that are read; browsers send a few dozen."""

_RANGE = re.compile(r"([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)(?:\s*;\s*q=([01](?:\.[0-9]{0,3})?))?")


def chosen_language(header: str, known: Collection[str]) -> str | None:
    """The one of the ``known`` languages, in lower case, that a request wants most; None if it
    wants none of them."""
    wanted: list[tuple[float, str]] = []
    for part in header[:MAX_HEADER].split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is not None:
            wanted.append((float(found[2] or 1), found[1].lower()))
    for quality, tag in sorted(wanted, key=lambda each: -each[0]):
        while tag and quality > 0:
            if tag in known:
                return tag
            tag = tag.rpartition("-")[0]
    return None
