"""Recognises an event that differs from a judged one in nothing but its text.

Most events of an answer do. Their bytes before and after the text are those of an event that was
read in full, and of which nothing but the text decided what became of it; so nothing else is left
to judge, and no JSON needs parsing. :mod:`sidecar.core.unread` finds them in a stream.
"""

from __future__ import annotations

import re
from functools import cache

import orjson

from sidecar.core.jsontext import STRING, dump
from sidecar.core.unread import Around


class Template:
    """What stands ``around`` the text of an event in its data."""

    __slots__ = ("around",)

    def __init__(self, around: Around) -> None:
        self.around = around

    @classmethod
    def of(cls, data: bytes, text: str, key: str = "content") -> Template | None:
        """The template of an event, a JSON text, in which a string ``key``'s value is ``text``;
        None if that cannot be told for certain."""
        found = [*_member(key).finditer(data)]
        if len(found) != 1 or _read(found[0][1]) != text:
            return None
        start, end = data[: found[0].start(1) + 1], data[found[0].end(1) - 1 :]
        # Without an escape every key is spelled as it is, and every quote is one of a string's.
        return None if b"\\" in start or b"\\" in end else cls(Around(start, end))

    def fits(self, data: bytes) -> bool:
        """Whether an event differs from the template in nothing but its text."""
        return data.startswith(self.around.before) and data.endswith(self.around.after)

    def with_text(self, text: str) -> bytes:
        """The event with another text."""
        return self.around.before + dump(text, exact=False)[1:-1] + self.around.after


@cache
def _member(key: str) -> re.Pattern[bytes]:
    """Finds a member of this key that is a string, if no key is spelled with an escape."""
    space = rb"[ \t\r\n]*+"
    return re.compile(
        b'"%b"' % key.encode() + space + b":" + space + b"(" + STRING + b")", re.DOTALL
    )


def _read(string: bytes) -> str | None:
    """What a JSON string says; None if it is none, or has half a surrogate pair."""
    try:
        text: str = orjson.loads(string)
    except orjson.JSONDecodeError:
        return None
    return text
