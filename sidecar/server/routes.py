"""Which paths are served, and where they lead. Knows nothing of rules or sockets."""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import NamedTuple
from urllib.parse import urlsplit

PREFIX = "/v1"
"""Where the API begins on our side, as in the ``base_url`` that a client is given."""

_API = frozenset(
    {
        "assistants",
        "audio",
        "batches",
        "chat",
        "completions",
        "containers",
        "conversations",
        "embeddings",
        "evals",
        "files",
        "fine_tuning",
        "images",
        "messages",
        "models",
        "moderations",
        "responses",
        "threads",
        "uploads",
        "vector_stores",
        "videos",
    }
)
"""The resources of OpenAI's API (and Anthropic's ``messages``, which the same servers offer).
Whatever else a server has under its prefix (``/v1/metrics``, ``/v1/slots``) is not API."""

# RFC 3986, 3.3: pchar, less the percent-encodings of separators and of dots, which one server
# resolves and the next does not.
_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%(?!2[eEfF]|5[cC]|00)[0-9A-Fa-f]{2})+)+/?")
_DOTS = re.compile(r"/\.\.?(?:/|$)")


class Kind(StrEnum):
    """What becomes of a request; also the label of its metrics."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    API = "api"
    LISTED = "listed"
    REFUSED = "refused"


_FILTERED = {
    f"{PREFIX}/chat/completions": Kind.CHAT,
    f"{PREFIX}/completions": Kind.COMPLETIONS,
}
"""The paths of the requests whose answers are filtered, when they are POST."""


class Route(NamedTuple):
    """``url`` is the target at the upstream, without a query; empty if refused."""

    kind: Kind
    url: str


REFUSED = Route(Kind.REFUSED, "")


class Routes:
    """``base_url`` is the upstream's; ``paths`` are globs that are forwarded besides the API."""

    def __init__(self, base_url: str, paths: Collection[str]) -> None:
        parts = urlsplit(base_url)
        self._base_url = base_url
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._paths = tuple(paths)

    def find(self, method: str, path: str) -> Route:
        """The route of a request; ``path`` as it came, without its query."""
        if not _PATH.fullmatch(path) or _DOTS.search(path):
            return REFUSED
        if path in _FILTERED and method.upper() == "POST":
            return Route(_FILTERED[path], self._url(path))
        if _is_in_disguise(path):
            return REFUSED
        if path.startswith(PREFIX + "/") and path.split("/")[2] in _API:
            return Route(Kind.API, self._url(path))
        if any(fnmatchcase(path, glob) for glob in self._paths):
            return Route(Kind.LISTED, self._url(path))
        return REFUSED

    def _url(self, path: str) -> str:
        if path.startswith(PREFIX + "/"):
            return self._base_url + path.removeprefix(PREFIX)
        return self._origin + path


def _is_in_disguise(path: str) -> bool:
    """Whether some server could take ``path`` for an endpoint in ``_FILTERED``, whose answer would
    then leave unfiltered: servers are lenient in spelling, and have it under more prefixes."""
    if path in _FILTERED:
        return False
    plain = re.sub(r"%([0-9A-Fa-f]{2})", lambda code: chr(int(code[1], 16)), path)
    plain = re.split("[?#]", plain)[0]
    segments = (segment.partition(";")[0].strip(_BLANK) for segment in plain.split("/"))
    # Every path in ``_FILTERED`` ends so, that of chat too.
    return "/".join(segments).lower().rstrip("/").endswith("/completions")


_BLANK = "".join(map(chr, range(33))) + "\x7f"
