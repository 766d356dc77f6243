"""Which pages of other origins may read answers (Fetch Standard, "CORS protocol").

Without a policy, upstream's own headers say so, and its are the answers to preflights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from aiohttp import web

from sidecar.rules.accesssection import CorsPolicy
from sidecar.server.headers import VIA
from sidecar.server.replies import SERVER, Refusal

_PREFIX: Final = "access-control-"
_ASKS: Final = "Access-Control-Request-"
_METHODS: Final = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
_EXPOSED: Final = ", ".join(
    (
        "Request-Id",
        "Retry-After",
        "Retry-After-Ms",
        "X-Request-Id",
        "X-Sidecar-Status",
        "X-Should-Retry",
    )
)
"""What a page may read besides the few headers that it always may: what SDKs look for."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ANY: Final = ("*",)


class _Preflight(web.Response):
    """An answer of ours to a preflight."""


class Cors:
    """Answers preflights, and says on each answer who may read it."""

    def __init__(self, policy: CorsPolicy | None) -> None:
        self._policy = policy

    @property
    def is_ours(self) -> bool:
        """Whether the sidecar decides, and not upstream."""
        return self._policy is not None

    def preflight(self, request: web.BaseRequest) -> web.Response | None:
        """The answer if that is what is asked (Fetch Standard, "CORS-preflight request"), but for
        the origin. Raises Refusal for an origin that may not ask."""
        policy, headers = self._policy, request.headers
        if policy is None or request.method != "OPTIONS" or f"{_ASKS}Method" not in headers:
            return None
        if self._granted(headers.get("Origin")) is None:
            raise _refused()
        reply = _Preflight(status=204, headers={"Server": SERVER, "Via": VIA})
        reply.headers["Access-Control-Allow-Methods"] = _METHODS
        # One by one: the wildcard does not stand for Authorization.
        if asked := ", ".join(_tokens(headers.get(f"{_ASKS}Headers", ""))):
            reply.headers["Access-Control-Allow-Headers"] = asked
        if headers.get(f"{_ASKS}Private-Network") == "true":
            reply.headers["Access-Control-Allow-Private-Network"] = "true"
        reply.headers["Access-Control-Max-Age"] = str(int(policy.max_age))
        reply.headers["Vary"] = f"{_ASKS}Method, {_ASKS}Headers, {_ASKS}Private-Network"
        return reply

    def check_websocket(self, request: web.BaseRequest) -> None:
        """Raises Refusal for a page that may not open a WebSocket: browsers leave it to servers to
        look at its origin (RFC 6455, 10.2). Clients that are none have no origin, or ours."""
        origin = request.headers.get("Origin")
        if self._policy is None or origin is None or self._granted(origin) is not None:
            return
        if origin.partition("://")[2].lower() != request.headers.get("Host", "").lower():
            raise _refused()

    def dress(self, reply: web.StreamResponse, origin: str | None) -> None:
        """Say on an answer that a page of ``origin`` may read it, if it may; what upstream has said
        of that goes."""
        policy, headers = self._policy, reply.headers
        if policy is None:
            return
        if not isinstance(reply, _Preflight):
            for name in [name for name in headers if name.lower().startswith(_PREFIX)]:
                headers.popall(name, None)
        if policy.origins != _ANY:
            varies = [name for value in headers.popall("Vary", ()) for name in _tokens(value)]
            if not {"origin", "*"} & set(map(str.lower, varies)):
                varies.insert(0, "Origin")
            headers["Vary"] = ", ".join(varies)
        if (granted := self._granted(origin)) is not None:
            headers["Access-Control-Allow-Origin"] = granted
            headers["Access-Control-Expose-Headers"] = _EXPOSED
            if policy.credentials:
                headers["Access-Control-Allow-Credentials"] = "true"

    def _granted(self, origin: str | None) -> str | None:
        """What allows it to a page of ``origin``; None if nothing does."""
        if self._policy is None or origin is None:
            return None
        if self._policy.origins == _ANY:
            return "*"
        return origin if origin in self._policy.origins else None


def _tokens(listed: str) -> Iterator[str]:
    """The names in a list of headers that can be names (RFC 9110, 5.6.2)."""
    return (name for name in map(str.strip, listed.split(",")) if _TOKEN.fullmatch(name))


def _refused() -> Refusal:
    return Refusal(403, "origin_not_allowed", "Pages of this origin are not served.")
