"""By which names a listener may be asked (``Host``).

A browser keeps a page from reading what another origin answers, unless the page's own name leads
to that address by now: its owner changes the name's record (DNS rebinding), and the browser sends
the page's requests to a sidecar on its user's machine. Their ``Host`` tells.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import ip_address
from typing import Final

from aiohttp import HttpVersion10, web

from sidecar.rules.configvalues import Address
from sidecar.server.replies import Refusal

# RFC 9110, 7.2, and RFC 3986, 3.2.2: a name without an empty one, or an IP literal; and a port.
_HOST = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2}){1,255})"
    r"(?::(?P<port>[0-9]{0,5}))?"
)
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
"""The last label of what browsers take for an IPv4 address (URL Standard, "ends in a number")."""

_NOT_PUBLIC: Final = frozenset({"localhost", "local", "internal"})
"""The last labels of names that nobody else can own: RFC 6761, RFC 6762, and the one that ICANN
keeps for private use, as in ``host.docker.internal``."""


class Hosts:
    """``names`` are globs in lower case, with a port or without.

    Without names all are served, but for one case: over http on loopback a public name together
    with the listener's own port is refused. That is how every rebound page asks; programs on the
    machine say ``localhost`` or an address, and what a proxy passes on has the proxy's port.
    ``everywhere``: so it is on every address.
    """

    def __init__(
        self,
        names: Collection[str],
        listen: Address,
        *,
        secure: bool = False,
        everywhere: bool = False,
    ) -> None:
        self._names = re.compile("|".join(map(_expression, names))) if names else None
        self._is_exposed = everywhere or (not secure and _is_loopback(listen.host))

    def check(self, request: web.BaseRequest) -> None:
        """Raises Refusal for a request that is not for us, or that does not say for whom it is."""
        values = request.headers.getall("Host", ())
        found = _HOST.fullmatch(values[0]) if len(values) == 1 else None
        if found is None:
            if not values and request.version <= HttpVersion10 and self._names is None:
                return  # its clients need not say it
            raise Refusal(
                400, "bad_request", "The request must have one Host header that is valid."
            )
        name, port = found["name"].lower().rstrip("."), found["port"] or ""
        if self._names is not None:
            if not self._names.fullmatch(name) and not self._names.fullmatch(f"{name}:{port}"):
                raise Refusal(
                    421, "misdirected_request", "The sidecar is not served by this host name."
                )
        elif self._is_exposed and _is_public(name) and _is_own(port, request):
            raise Refusal(
                421,
                "misdirected_request",
                "This is not served by this host name, but by localhost, by an IP address, and by "
                "those that the configuration lists.",
            )


def _expression(glob: str) -> str:
    return ".*".join(map(re.escape, glob.split("*")))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_public(name: str) -> bool:
    """Whether somebody may own the name, and so say where it leads."""
    first, _, last = name.rpartition(".")
    is_address = name.startswith("[") or _NUMBER.fullmatch(last)
    return bool(first) and not is_address and last not in _NOT_PUBLIC


def _is_own(port: str, request: web.BaseRequest) -> bool:
    """Whether the port is the one that the client has connected to."""
    sockname = request.transport.get_extra_info("sockname") if request.transport else None
    return sockname is None or int(port or "80") == sockname[1]
