"""Answers of our own: errors, in the words of the wire format that was asked for."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from sidecar.core.jsontext import dump
from sidecar.core.stream import Fault
from sidecar.server.headers import STREAM, VIA, Headers
from sidecar.wire.errorshapes import ErrorShape, openai_error

SERVER = "sidecar"
"""The ``Server`` header; aiohttp's own names its version and the interpreter's."""


class Refusal(Exception):
    """A request that is answered by ourselves, with ``status``, one sentence, and ``headers``.

    ``retry_after``: seconds after which it may be asked again (RFC 9110, 10.2.3).
    """

    def __init__(
        self, status: int, code: str, message: str, *, retry_after: int | None = None
    ) -> None:
        super().__init__(code)
        self.status = status
        self.fault = Fault(code, message)
        self.headers: dict[str, str] = (
            {} if retry_after is None else {"Retry-After": str(retry_after)}
        )


def error_reply(
    status: int,
    fault: Fault,
    headers: Mapping[str, str] | None = None,
    *,
    shape: ErrorShape = openai_error,
) -> web.Response:
    """An error of our own with an HTTP status. ``shape`` is that of the wire format; most clients
    read OpenAI's."""
    body = shape(status, {"message": fault.message, "code": fault.code})
    return json_reply(status, dump(body, exact=False), headers)


def json_reply(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON document."""
    reply = web.Response(status=status, body=body)
    reply.headers.extend(headers or {})
    reply.headers["Content-Type"] = "application/json"
    reply.headers["Server"] = SERVER
    reply.headers["Via"] = VIA
    return reply


class StreamReply(web.StreamResponse):
    """An answer that is written as it comes. Its head leaves with what is written first, or once
    its writer is told to ``send_headers``, which whoever writes does when nothing is there yet."""

    _send_headers_immediately = False


def stream_reply(
    headers: Headers, content_type: str, also: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """The head of an answer in events: ``headers`` are upstream's that pass, ``also`` those that it
    has whatever upstream says."""
    reply = StreamReply(status=200, reason=None, headers=headers)
    reply.headers.update(STREAM)
    reply.headers.update(also or {})
    reply.headers["Content-Type"] = content_type
    reply.headers["Server"] = SERVER
    reply.headers["Via"] = VIA
    return reply
