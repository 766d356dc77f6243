"""The head of a request, as far as the parser lets pass what another reader takes for something
else."""

from __future__ import annotations

from aiohttp import HttpVersion10, HttpVersion11, web

from sidecar.server.replies import Refusal

_CHUNKED = ["chunked"]
_SERVED = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
_NOT_SERVED = frozenset({"CONNECT", "TRACE"})
"""The one opens a tunnel; to the other, upstream would answer with what it was sent, which may be
a key of ours."""


class OddHead(Refusal):
    """Nothing that follows on the connection can be trusted, so it is closed."""


def check_head(request: web.BaseRequest) -> None:
    """Raises OddHead for a version, a method or a framing of the body that is not served."""
    if request.version not in (HttpVersion10, HttpVersion11):
        # The parser knows 0.9, which has no headers, and takes 2.0 for it.
        raise OddHead(400, "bad_request", "HTTP/1.1 and HTTP/1.0 are served here.")
    if request.method in _NOT_SERVED:
        refusal = OddHead(405, "method_not_allowed", f"{request.method} is not served here.")
        refusal.headers["Allow"] = _SERVED  # RFC 9110, 15.5.6
        raise refusal
    codings = [value.lower() for value in request.headers.getall("Transfer-Encoding", ())]
    if codings and request.version == HttpVersion10:  # RFC 9112, 6.1
        raise OddHead(400, "bad_request", "A request of HTTP/1.0 has no Transfer-Encoding.")
    if codings not in ([], _CHUNKED):
        raise OddHead(400, "bad_request", "The only Transfer-Encoding served here is chunked.")


def is_last(request: web.BaseRequest) -> bool:
    """Whether nothing that follows on the connection may be served, because of what the parser
    makes of it: the last trailer of a chunked body becomes a header of the next request, which a
    proxy in between may have sent for somebody else; and what is sent at once behind an offer of
    another protocol is lost, be it half a request."""
    return "Transfer-Encoding" in request.headers or "Upgrade" in request.headers
