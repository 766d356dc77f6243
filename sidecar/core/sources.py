"""The sources in what a tool returned, or in a field that is known to cite some.

Owns what counts as a source: an object with a URL, with its title if it has one, or a URL alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from sidecar.core.jsontext import MalformedJSON, parse

MAX_SOURCES: Final = 32
"""Of one answer: more than an interface has room for."""
MAX_URL: Final = 2_048
"""Characters; what is longer is no link that somebody would share."""

_DEPTH: Final = 12
"""Levels of objects and lists that are looked into."""
_URL_KEYS: Final = ("url", "link", "uri", "href")
_TITLE_KEYS: Final = ("title", "name")
# RFC 3986: what a URL consists of; a bracket or a quote after it belongs to the text around it.
_URL: Final = re.compile(r"https?://[^\s\x00-\x20\x7f<>\"'`{}|\\^\[\]()]+", re.IGNORECASE)
_TRAILING: Final = ".,;:!?*_"


class Source(NamedTuple):
    """``title`` is empty if none is known."""

    title: str
    url: str


def sources_in(value: object) -> list[Source]:
    """The sources in a JSON value: its objects with a URL, and its texts that are one."""
    return list(_walk(value, _DEPTH))


def sources_in_text(text: str) -> list[Source]:
    """The sources in a text: those of its JSON, if it is JSON, or else the URLs in it."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            return sources_in(parse(text.encode("utf-8", "surrogatepass")).value)
        except MalformedJSON:
            pass
    found = (match[0].rstrip(_TRAILING) for match in _URL.finditer(text))
    return [Source("", url) for url in found if len(url) <= MAX_URL]


def _walk(value: Any, depth: int) -> Iterator[Source]:
    if depth == 0:
        return
    if isinstance(value, str):
        if _is_url(value):
            yield Source("", value)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, depth - 1)
    elif isinstance(value, dict):
        url = next((value[key] for key in _URL_KEYS if _is_url(value.get(key))), None)
        if url is not None:
            title = next((value[key] for key in _TITLE_KEYS if value.get(key)), "")
            # A number is a subclass of str where it was kept as it was written.
            yield Source(title if type(title) is str else "", url)
            return
        for item in value.values():
            # Prose is not searched here: what a snippet links to is no source.
            if isinstance(item, dict | list):
                yield from _walk(item, depth - 1)


def _is_url(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_URL and bool(_URL.fullmatch(value))
