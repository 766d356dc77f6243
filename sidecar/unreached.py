"""Why a server could not be asked."""

from __future__ import annotations

import os
import ssl

import aiohttp

from sidecar.printable import printable


def unreached(error: Exception) -> str:
    """One sentence for what aiohttp raised before there was an answer."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            said = getattr(error.certificate_error, "verify_message", "")
            return f"Its certificate is not valid: {printable(said or str(error))}."
        case aiohttp.ClientConnectorDNSError():
            return f"There is no address for the name {printable(error.host)}."
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "It does not speak TLS as we do; is it http:// instead?"
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno
            reason = os.strerror(number) if number else "no reason given"
            return f"It cannot be connected to: {reason}."
        case aiohttp.ConnectionTimeoutError():
            return "It did not accept a connection within 10 seconds."
        case aiohttp.ServerDisconnectedError():
            return "It closed the connection without an answer; is it https:// instead?"
        case aiohttp.ClientResponseError():
            return f"What answers is not HTTP/1.1: {printable(error.message)[:200]}."
        case TimeoutError():
            return "No answer came in time, not even its head."
    return f"It cannot be asked: {printable(str(error))[:200]}."
