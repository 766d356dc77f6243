"""The way to the upstream: one connection a request, and nothing shared between two users."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
from yarl import URL

from sidecar.rules.config import Upstream
from sidecar.server.headers import Headers

_PLAIN = frozenset({"", "identity"})
_DECODABLE = _PLAIN | {"gzip", "deflate", "br", "zstd"}
Body = bytes | AsyncIterator[bytes] | None


class UpstreamClient:
    """Sends requests upstream. Open until :meth:`close`."""

    def __init__(self, upstream: Upstream) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                # A kept connection may hold an answer that nobody asked for; the next user would
                # get it.
                force_close=True,
                limit=0,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=upstream.timeouts.connect),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("Accept", "Content-Type", "User-Agent"),
            # Some gateways put whole policies into a response header; aiohttp would stop at 8 KiB.
            max_line_size=65_536,
            max_field_size=65_536,
        )

    async def send(
        self, method: str, url: str, headers: Headers, body: Body, *, decode: bool
    ) -> aiohttp.ClientResponse:
        """The answer's head. Whoever gets it must close it.

        ``url`` is taken as it is, to the byte. ``decode``: a content encoding that upstream used
        although it was asked for none is undone.
        """
        return await self._session.request(
            method,
            URL(url, encoded=True),
            headers=headers,
            data=body,
            allow_redirects=False,
            auto_decompress=decode,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


def is_readable(answer: aiohttp.ClientResponse, *, decoded: bool) -> bool:
    """Whether the answer's body is plain, or (``decoded``) was made so."""
    encoding = answer.headers.get("Content-Encoding", "").strip().lower()
    return encoding in (_DECODABLE if decoded else _PLAIN)
