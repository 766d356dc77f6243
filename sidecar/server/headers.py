"""Which headers pass, in either direction."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from aiohttp import HttpVersion, HttpVersion11
from multidict import CIMultiDict

Headers = CIMultiDict[str]

_HOP_BY_HOP = frozenset(  # RFC 9110, 7.6.1, and what proxies learned the hard way
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OURS_TO_SET = frozenset({"host", "content-length", "expect", "accept-encoding"})
_OF_ANOTHER_REQUEST = frozenset(
    {
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-url",
        "x-override-url",
        "x-rewrite-url",
    }
)
"""With these, some frameworks serve another method or path than those of the request line: a rule
would be about the one, or none about it, and the answer would be the other's."""
_OWN_PREFIX = "x-sidecar-"
_OF_PARTS = frozenset({"range", "if-range"})

_JSON = re.compile('application/json *(?:; *charset="?utf-8"? *)?;?', re.IGNORECASE)

_HARMLESS = frozenset(
    {
        "access-control-allow-credentials",
        "access-control-allow-headers",
        "access-control-allow-methods",
        "access-control-allow-origin",
        "access-control-expose-headers",
        "anthropic-organization-id",
        "date",
        "openai-organization",
        "openai-processing-ms",
        "openai-version",
        "request-id",
        "retry-after",
        "retry-after-ms",
        "vary",
        "www-authenticate",
        "x-request-id",
        "x-should-retry",
    }
)
"""The response headers that a client of a filtered answer gets. Any other may repeat what the
answer does not say."""
_HARMLESS_PREFIXES = ("anthropic-ratelimit-", "x-ratelimit-")

STREAM = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
"""What keeps proxies and browsers from collecting a stream before they show it."""


VIA = "1.1 sidecar"
"""The ``Via`` of what we answer ourselves, which was received from nobody."""


def to_upstream(
    headers: Iterable[tuple[str, str]],
    *,
    api_key: str | None,
    filtered: bool,
    version: HttpVersion = HttpVersion11,
) -> Headers:
    """The request headers for the upstream, duplicates included.

    ``api_key`` replaces the client's ``Authorization``, and its ``x-api-key`` if it sent one;
    ``filtered``: a rule reads the answer, so it must come whole. ``version`` is the one in which
    the request came.
    """
    pairs = list(headers)
    dropped = _HOP_BY_HOP | _OURS_TO_SET | _OF_ANOTHER_REQUEST | _named_in_connection(pairs)
    if filtered:
        dropped |= _OF_PARTS
    passed = Headers(
        (name, value)
        for name, value in pairs
        if name.lower() not in dropped and not name.lower().startswith(_OWN_PREFIX)
    )
    passed["Accept-Encoding"] = "identity"
    if api_key is not None:
        passed["Authorization"] = f"Bearer {api_key}"
        # From Anthropic's clients. Some servers for them look for the one, some for the other.
        if "x-api-key" in passed:
            passed["x-api-key"] = api_key
    return _via(passed, version)


def of_json(headers: Headers) -> Headers:
    """``headers`` of a request whose body was read as JSON, without a type that says otherwise: a
    server that goes by it would read another request (LiteLLM reads a form). None is put in its
    place: one that insists on JSON's, because browsers send others unasked, must be able to."""
    if not all(map(_JSON.fullmatch, headers.getall("Content-Type", ()))):
        headers.popall("Content-Type")
    return headers


def untouched(
    headers: Iterable[tuple[str, str]], version: HttpVersion | None = HttpVersion11
) -> Headers:
    """The response headers of an answer that no rule reads: all but hop-by-hop ones. ``version`` is
    the one in which it came."""
    pairs = list(headers)
    dropped = _HOP_BY_HOP | _named_in_connection(pairs)
    passed = Headers((name, value) for name, value in _clean(pairs) if name.lower() not in dropped)
    return _via(passed, version or HttpVersion11)


def harmless(headers: Iterable[tuple[str, str]], also: Collection[str]) -> Headers:
    """The response headers of a filtered answer; ``also`` are more names, in lower case."""
    return Headers(
        (name, value) for name, value in _clean(headers) if _is_harmless(name.lower(), also)
    )


def _via(headers: Headers, version: HttpVersion) -> Headers:
    """With ourselves at the end of the list of proxies (RFC 9110, 7.6.3)."""
    ours = f"{version.major}.{version.minor} sidecar"
    headers["Via"] = ", ".join([*headers.getall("Via", ()), ours])
    return headers


def _is_harmless(name: str, also: Collection[str]) -> bool:
    return name in _HARMLESS or name in also or name.startswith(_HARMLESS_PREFIXES)


def _named_in_connection(headers: Iterable[tuple[str, str]]) -> frozenset[str]:
    return frozenset(
        token.strip().lower()
        for name, value in headers
        if name.lower() == "connection"
        for token in value.split(",")
    )


def _clean(headers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Those that can be sent on: a lenient parser lets control characters in, no writer out."""
    for name, value in headers:
        if value.isprintable() or value.replace("\t", "").isprintable():
            yield name, value
