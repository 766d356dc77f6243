"""Who may ask: by the host's name, the page's origin and the client's key, in this order.

Everything here is decided by the head of a request, before its body is read and before upstream
hears of it.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator
from hashlib import sha256

from aiohttp import web

from sidecar.rules.config import Config
from sidecar.server.cors import Cors
from sidecar.server.exchange import Exchange, Outcome
from sidecar.server.headers import Headers
from sidecar.server.hosts import Hosts
from sidecar.server.replies import Refusal
from sidecar.server.websocket import KEY_PROTOCOL, PROTOCOLS, members, opens_websocket

_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)  # RFC 6750, 2.1


class Access:
    """Decides by the ``access`` of the configuration."""

    def __init__(self, config: Config, cors: Cors) -> None:
        access = config.access
        self._hosts = Hosts(access.hosts, config.listen, secure=access.tls is not None)
        self._cors = cors
        self._keys = access.keys

    def admit(self, request: web.BaseRequest, exchange: Exchange) -> web.Response | None:
        """The answer to a browser's question whether a page may ask; None for a request that is to
        be served. Raises Refusal.

        Whose key it has is noted in ``exchange``; and where the key stood it is taken out of the
        headers that go on: it is between the client and us.
        """
        self._hosts.check(request)
        if (preflight := self._cors.preflight(request)) is not None:
            exchange.outcome = Outcome.COMPLETED
            return preflight
        if opens_websocket(request):
            self._cors.check_websocket(request)
        if self._keys:
            self._identify(request, exchange)
        return None

    def _identify(self, request: web.BaseRequest, exchange: Exchange) -> None:
        headers = Headers()
        clients: list[str] = []
        is_websocket = opens_websocket(request)
        for name, value in request.headers.items():
            parts = list(_parts(name.lower(), value, of_websocket=is_websocket))
            owners = [key and self._owner(key) for _, key in parts]
            kept = [part for (part, _), owner in zip(parts, owners, strict=True) if not owner]
            if kept:
                headers.add(name, ", ".join(kept))
            clients += filter(None, owners)
        if not clients:
            raise _unauthorized()
        exchange.client, exchange.headers = clients[0], headers

    def _owner(self, key: str) -> str | None:
        """Whose key it is; None if nobody's. That takes as long whichever it is, and if none."""
        digest, owner = sha256(key.encode("utf-8", "surrogateescape")).digest(), None
        for known in self._keys:
            if hmac.compare_digest(known.digest, digest):
                owner = known.name
        return owner


def _parts(name: str, value: str, *, of_websocket: bool) -> Iterator[tuple[str, str | None]]:
    """The parts of a header, each with the key that it shows, None if it is no place for one."""
    if name == "authorization":
        bearer = _BEARER.fullmatch(value)
        yield value, bearer and bearer[1]
    elif name == "x-api-key":
        yield value, value
    elif of_websocket and name == PROTOCOLS.lower():
        for protocol in members(value):
            is_key = protocol.startswith(KEY_PROTOCOL)
            yield protocol, protocol.removeprefix(KEY_PROTOCOL) if is_key else None
    else:
        yield value, None


def _unauthorized() -> Refusal:
    refusal = Refusal(401, "invalid_api_key", "The request shows no key that is valid here.")
    refusal.headers = {"WWW-Authenticate": "Bearer"}  # RFC 9110, 11.6.1
    return refusal
