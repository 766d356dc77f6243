"""Which paths are served, and where they lead. Knows nothing of rules or sockets."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import NamedTuple
from urllib.parse import urlsplit

from sidecar.wire.errorshapes import ErrorShape, openai_error
from sidecar.wire.formats import WIRE_FORMATS, WireFormat
from sidecar.wire.stored import STORED, StoredAnswer

PREFIX = "/v1"
"""Where the API begins on our side, as in the ``base_url`` that a client is given."""

DRIP = PREFIX + "/sidecar/drip"
"""Where we stream ourselves, for ``sidecar doctor``: beneath the API, where proxies in front of us
lead it."""

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
        "realtime",
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
    """What becomes of a request that is not for an answer in a wire format."""

    STORED = "stored"
    API = "api"
    LISTED = "listed"
    DRIP = "drip"
    REFUSED = "refused"


_FILTERED = frozenset(wire_format.path for wire_format in WIRE_FORMATS)
"""The paths of the requests whose answers are filtered, when they are POST."""


class Route(NamedTuple):
    """``url`` is the target at the upstream, without a query; empty if there is none.

    ``wire_format`` is that of the answer if rules are about it; ``stored`` says what is fetched if
    it is an answer of before, or several.
    """

    kind: Kind | None
    url: str
    wire_format: WireFormat | None = None
    stored: StoredAnswer | None = None

    @property
    def label(self) -> str:
        """What metrics call it."""
        if self.wire_format is not None:
            return self.wire_format.name
        return str(self.kind)

    @property
    def error(self) -> ErrorShape:
        """How its errors are written."""
        return openai_error if self.wire_format is None else self.wire_format.error


REFUSED = Route(Kind.REFUSED, "")


class Routes:
    """``base_url`` is the upstream's; ``paths`` are globs that are forwarded besides the API;
    ``formats`` are the wire formats, each as it is to be read."""

    def __init__(
        self,
        base_url: str,
        paths: Collection[str],
        formats: Iterable[WireFormat] = WIRE_FORMATS,
    ) -> None:
        parts = urlsplit(base_url)
        self._base_url = base_url
        self._root = base_url.removesuffix(PREFIX)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._paths = tuple(paths)
        self._formats = {wire_format.path: wire_format for wire_format in formats}

    def find(self, method: str, path: str) -> Route:
        """The route of a request; ``path`` as it came, without its query."""
        if not _PATH.fullmatch(path) or _DOTS.search(path):
            return REFUSED
        method = method.upper()
        if path == DRIP:
            return Route(Kind.DRIP, "") if method == "GET" else REFUSED
        if path in _FILTERED and method == "POST":
            return Route(None, self._url(path), self._formats[path])
        stored = next((kind for kind in STORED if kind.path.fullmatch(path)), None)
        if stored is not None and method in stored.methods:
            return Route(Kind.STORED, self._url(path), stored=stored)
        if stored is None and _is_in_disguise(path):
            return REFUSED
        if path.startswith(PREFIX + "/") and path.split("/")[2] in _API:
            return Route(Kind.API, self._url(path))
        if any(fnmatchcase(path, glob) for glob in self._paths):
            return Route(Kind.LISTED, self._url(path))
        return REFUSED

    def _url(self, path: str) -> str:
        if path.startswith(PREFIX + "/"):
            return self._base_url + path.removeprefix(PREFIX)
        # Ollama has its own API beside the one of OpenAI's shape.
        return (self._root if path.startswith("/api/") else self._origin) + path


_ENDS = tuple(path.removeprefix(PREFIX) for path in _FILTERED)
_THREAD_MESSAGES = re.compile(PREFIX + "/threads/[^/]+/messages")
"""Those of the Assistants API, which are no answer to a request."""


def _is_in_disguise(path: str) -> bool:
    """Whether some server could take ``path`` for an endpoint whose answer is filtered, and would
    then have it leave unfiltered: servers are lenient in spelling, and have it under more
    prefixes."""
    if path in _FILTERED or _THREAD_MESSAGES.fullmatch(path):
        return False
    plain = re.sub(r"%([0-9A-Fa-f]{2})", lambda code: chr(int(code[1], 16)), path)
    plain = re.split("[?#]", plain)[0]
    segments = (segment.partition(";")[0].strip(_BLANK) for segment in plain.split("/"))
    plain = "/".join(segments).lower().rstrip("/")
    return plain.endswith(_ENDS) or any(kind.end.search(plain) for kind in STORED)


_BLANK = "".join(map(chr, range(33))) + "\x7f"
