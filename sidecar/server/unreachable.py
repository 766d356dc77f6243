"""Why there is no answer from the upstream: what a client is told of it, and what an operator."""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
from enum import StrEnum
from typing import Final

import aiohttp

from sidecar.server.connections import Lost
from sidecar.server.replies import Refusal

log = logging.getLogger("sidecar")

UNREACHABLE = "upstream gave no answer: %s"
"""The line of a request that could not be sent, or was not answered: the class of the failure and
nothing else, as the words of libraries quote what they choked on."""

QUIET: Final = 10.0
"""Seconds in which a class of failures is told once: while upstream is down, each request fails."""


class Failure(StrEnum):
    """The class of a failure, as the log calls it."""

    DNS = "dns"
    REFUSED = "refused"
    TIMEOUT = "connect_timeout"
    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate_not_trusted"
    NAME = "certificate_name"
    TLS = "tls"
    HANDSHAKE = "tls_handshake"
    """It ended in the middle. Servers that are starting or stopping do that, and some do so to whom
    they do not know."""
    CLOSED = "closed"
    MALFORMED = "malformed"


_UNREACHABLE: Final = "upstream_unreachable"
_TLS: Final = "upstream_tls"

_TOLD: Final[dict[Failure, tuple[int, str, str]]] = {
    Failure.DNS: (502, _UNREACHABLE, "The name of the upstream server cannot be resolved."),
    Failure.REFUSED: (502, _UNREACHABLE, "The upstream server refuses connections."),
    Failure.TIMEOUT: (504, _UNREACHABLE, "The upstream server could not be reached in time."),
    Failure.UNREACHABLE: (502, _UNREACHABLE, "The upstream server could not be reached."),
    Failure.CERTIFICATE: (502, _TLS, "The upstream server's certificate is not trusted."),
    Failure.NAME: (502, _TLS, "The upstream server's certificate is for another name."),
    Failure.TLS: (502, _TLS, "The upstream server and the sidecar do not agree on TLS."),
    Failure.HANDSHAKE: (502, _TLS, "The upstream server ended the TLS handshake."),
    Failure.CLOSED: (
        502,
        "upstream_closed",
        "The upstream server closed the connection before it answered.",
    ),
    Failure.MALFORMED: (
        502,
        "upstream_malformed",
        "The upstream server's answer is not valid HTTP.",
    ),
}
"""The status, the code and the sentence that a client gets."""

UNSENT: Final = frozenset(
    {Failure.DNS, Failure.REFUSED, Failure.TIMEOUT, Failure.UNREACHABLE, Failure.HANDSHAKE},
)
"""Those that may pass, and after which upstream has certainly not got the request."""

_OTHER_NAME: Final = frozenset({62, 64})
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


class Unreachable(Refusal):
    """There is no answer. ``stale``: perhaps only because the connection was an old one."""

    def __init__(self, failure: Failure, *, stale: bool = False) -> None:
        super().__init__(*_TOLD[failure])
        self.failure = failure
        self.stale = stale


def unreachable(error: Exception) -> Unreachable:
    """What an exception of aiohttp's client means."""
    if isinstance(error, Lost):
        return Unreachable(Failure.TLS if error.tls else Failure.CLOSED, stale=error.stale)
    return Unreachable(_failure(error))


def _failure(error: Exception) -> Failure:
    if isinstance(error, aiohttp.ServerTimeoutError):
        return Failure.TIMEOUT
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = error.certificate_error
        code = reason.verify_code if isinstance(reason, ssl.SSLCertVerificationError) else 0
        return Failure.NAME if code in _OTHER_NAME else Failure.CERTIFICATE
    if isinstance(error, aiohttp.ClientSSLError):
        return Failure.TLS
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Failure.DNS
    if isinstance(error, aiohttp.ClientConnectorError):
        if isinstance(error.os_error, ConnectionResetError):
            return Failure.HANDSHAKE  # there was a connection to be reset
        return Failure.REFUSED if error.errno == errno.ECONNREFUSED else Failure.UNREACHABLE
    if isinstance(error, ConnectionError):
        return Failure.CLOSED
    return Failure.MALFORMED


class Telling:
    """Writes the lines of the log, of each class of failures not too many."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._told: dict[Failure, float] = {}

    def tell(self, failure: Failure) -> None:
        """A client gets an error for this reason."""
        now = self._loop.time()
        if now - self._told.get(failure, -QUIET) >= QUIET:
            self._told[failure] = now
            log.warning(UNREACHABLE, failure.value)
